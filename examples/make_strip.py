"""Draws what becomes of photographs, a row each: the four main views, two interpolated ones, the mesh from four sides.

python examples/make_strip.py --out docs/photo_to_mesh.jpg
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from jsonargparse import auto_cli
from PIL import Image, ImageOps
from torch import Tensor

from infinitemesh import Camera, InfiniteMeshPipeline, Trace, load_image
from infinitemesh.render.sheet import contact_sheet

PHOTOS = tuple(f"examples/images/{name}.jpg" for name in ("coffee", "mug", "robot", "chair"))
BETWEEN_DEG = (60.0, 210.0)  # of the eight interpolated views
SHOWN = 0.75  # of a view's width: objects are framed to fill 0.6
SEEN_FROM = Camera.orbit([30.0, 120.0, 210.0, 300.0], [15.0] * 4)
LABELS = ["photograph", "front", "right", "back", "left"]
LABELS += [f"between, {azimuth:.0f}°" for azimuth in BETWEEN_DEG]
LABELS += [f"mesh, {azimuth:.0f}°" for azimuth in SEEN_FROM.azimuth_deg]


def main(
    out: str = "docs/photo_to_mesh.jpg",
    model: str = "small",
    photos: Sequence[str] = PHOTOS,
    size: int = 126,
    quality: int = 88,
):
    pipeline = InfiniteMeshPipeline.from_pretrained(model)
    rows = [row(photo, pipeline.trace(photo), size) for photo in photos]
    header = LABELS + [""] * (len(rows) - 1) * len(LABELS)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(torch.cat(rows), columns=len(LABELS), labels=header).save(out, quality=quality)


def row(photo: str, trace: Trace, size: int) -> Float[Tensor, "v 3 h w"]:
    assert trace.main_views is not None  # a photograph's run has them
    off_by = (trace.views.camera.azimuth_deg[None] - torch.tensor(BETWEEN_DEG)[:, None] + 180) % 360 - 180
    between = trace.views[off_by.abs().argmin(1)]
    views = torch.cat([trace.main_views.composite(), between.composite()])
    meshes = trace.mesh.render(SEEN_FROM, 2 * views.shape[-1]).composite()
    return torch.cat([padded(photo, size), middle(views, size), middle(meshes, size)])


def middle(views: Float[Tensor, "v 3 side side"], size: int) -> Float[Tensor, "v 3 h w"]:
    margin = round(views.shape[-1] * (1 - SHOWN) / 2)
    shown = views[:, :, margin:-margin, margin:-margin]
    return torch.nn.functional.interpolate(shown, (size, size), mode="bilinear", antialias=True)


def padded(photo: str, size: int) -> Float[Tensor, "1 3 h w"]:
    """The whole photograph, square on white."""
    with Image.open(photo) as picture:
        return load_image(ImageOps.pad(picture.convert("RGB"), (size, size), color="white"))[None]


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
