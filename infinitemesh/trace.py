"""Everything that a run made, and as files that one can look at:

foreground.png          the photograph's object, cut out and framed
main_views.png          contact sheets on white
views.png
views/                  every view with cameras.json (`views_from_folder` reads it), and normals where there are some
surface.glb, mesh.glb   before and after texturing
turntable.webp
run.json                seconds of every stage, and how the mesh was made
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from einops import rearrange
from PIL import Image

from infinitemesh.files import atomic_folder
from infinitemesh.types import Mesh, Triplane, ViewSet
from infinitemesh.view_folder import save_views

TURNTABLE_FRAMES, TURNTABLE_SIZE = 24, 256


@dataclass(frozen=True)
class Trace:
    """Everything that a run made, in order. What a run from given views skipped is None."""

    foreground: ViewSet | None
    main_views: ViewSet | None
    views: ViewSet
    triplane: Triplane
    surface: Mesh  # before it got its colours
    mesh: Mesh
    seconds: Mapping[str, float]  # a stage; of a batch, an object's share

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Writes views, contact sheets, meshes, a turntable and run.json (see this file's head), all or nothing."""
        with atomic_folder(folder, overwrite=overwrite) as temporary:
            if self.foreground is not None:
                _cut_out(self.foreground).save(temporary / "foreground.png")
            if self.main_views is not None:
                self.main_views.to("cpu").grid(columns=4).save(temporary / "main_views.png")
            self.views.to("cpu").grid().save(temporary / "views.png")
            save_views(self.views, temporary / "views")
            self.surface.to("cpu").save(temporary / "surface.glb")
            self.mesh.save(temporary / "mesh.glb")
            self.mesh.turntable(temporary / "turntable.webp", frames=TURNTABLE_FRAMES, size=TURNTABLE_SIZE)
            run = {"seconds": dict(self.seconds), "mesh": dict(self.mesh.metadata)}
            (temporary / "run.json").write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
        return Path(folder)


def _cut_out(view: ViewSet) -> Image.Image:
    levels = (torch.cat([view.rgb[0], view.alpha[0]]).clamp(0, 1) * 255).round().to(torch.uint8).cpu()
    return Image.fromarray(rearrange(levels, "c h w -> h w c").contiguous().numpy())
