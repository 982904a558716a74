"""Everything that a run made, as files one can look at.

foreground.png          the photograph's object, cut out and framed
main_views.png          contact sheets on white
views.png
views/                  every view with cameras.json (`views_from_folder` reads it)
surface.glb, mesh.glb   before and after texturing
turntable.webp
run.json                seconds of every stage, and how the mesh was made
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from einops import rearrange
from PIL import Image

from infinitemesh.files import atomic_folder
from infinitemesh.types import ViewSet
from infinitemesh.view_folder import save_views

if TYPE_CHECKING:
    from infinitemesh.pipeline import Trace

TURNTABLE_FRAMES, TURNTABLE_SIZE = 24, 256


def save_trace(trace: "Trace", folder: str | Path, *, overwrite: bool = False) -> Path:
    """All files or none."""
    with atomic_folder(folder, overwrite=overwrite) as temporary:
        if trace.foreground is not None:
            _cut_out(trace.foreground).save(temporary / "foreground.png")
        if trace.main_views is not None:
            trace.main_views.to("cpu").grid(columns=4).save(temporary / "main_views.png")
        trace.views.to("cpu").grid().save(temporary / "views.png")
        save_views(trace.views, temporary / "views")
        trace.surface.to("cpu").save(temporary / "surface.glb")
        trace.mesh.save(temporary / "mesh.glb")
        trace.mesh.turntable(temporary / "turntable.webp", frames=TURNTABLE_FRAMES, size=TURNTABLE_SIZE)
        run = {"seconds": dict(trace.seconds), "mesh": dict(trace.mesh.metadata)}
        (temporary / "run.json").write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    return Path(folder)


def _cut_out(view: ViewSet) -> Image.Image:
    levels = (torch.cat([view.rgb[0], view.alpha[0]]).clamp(0, 1) * 255).round().to(torch.uint8).cpu()
    return Image.fromarray(rearrange(levels, "c h w -> h w c").contiguous().numpy())
