"""Draws everything that becomes of photographs, a row each: the photograph, all twelve views, the mesh from four sides.

python examples/make_overview.py --out overview.jpg                              # examples/images
python examples/make_overview.py --objects FOLDER_OF_MESHES --out overview.jpg   # photographed as `evaluate photo` does

Of objects the truth stands at the end of the row, from the same four sides, where the framing rule puts it.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import Float
from jsonargparse import auto_cli
from PIL import Image, ImageOps
from torch import Tensor

from infinitemesh import Camera, InfiniteMeshPipeline, Mesh, load_image
from infinitemesh.evaluate.framing import photo_from_truth
from infinitemesh.evaluate.protocol import load_protocol
from infinitemesh.evaluate.truth import Case, list_truth
from infinitemesh.render.sheet import contact_sheet

SEEN_FROM = Camera.orbit([30.0, 120.0, 210.0, 300.0], [15.0] * 4)
MARGIN = 1 / 8  # of a view's width, cut off: objects are framed to fill 0.6


def main(
    out: str,
    model: str = "small",
    photos: str = "examples/images",
    objects: str | None = None,
    size: int = 96,
    seed: int = 0,
):
    pipeline = InfiniteMeshPipeline.from_pretrained(model)
    rows = []
    for name, photo, truth in photographed(Path(objects)) if objects else found(Path(photos)):
        trace = pipeline.trace(photo, seed)
        seen = [shape.render(SEEN_FROM, 2 * size).composite() for shape in (trace.mesh, truth) if shape is not None]
        rows.append(
            torch.cat([padded(photo, size), *(middle(views, size) for views in (trace.views.composite(), *seen))])
        )
        print(name)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(torch.cat(rows), columns=len(rows[0])).save(out, quality=88)


def found(folder: Path) -> Iterator[tuple[str, Image.Image, Mesh | None]]:
    """The folder's pictures; nothing is known of what they show."""
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")):
        with Image.open(path) as picture:
            yield path.stem, picture.copy(), None


def photographed(folder: Path) -> Iterator[tuple[str, Image.Image, Mesh | None]]:
    """The protocol's photograph of every mesh, and the mesh in the photograph's frame."""
    for truth in list_truth(folder):
        case = Case(truth, load_protocol("photo"))
        yield case.name, case.photo(), photo_from_truth(case).apply(case.mesh)


def middle(views: Float[Tensor, "v 3 side side"], size: int) -> Float[Tensor, "v 3 h w"]:
    cut = round(views.shape[-1] * MARGIN)
    shown = views[:, :, cut:-cut, cut:-cut]
    return torch.nn.functional.interpolate(shown, (size, size), mode="bilinear", antialias=True)


def padded(photo: Image.Image, size: int) -> Float[Tensor, "1 3 h w"]:
    """The whole photograph, square on white."""
    white = Image.new("RGBA", photo.size, "white")
    on_white = Image.alpha_composite(white, photo.convert("RGBA")).convert("RGB")
    return load_image(ImageOps.pad(on_white, (size, size), color="white"))[None]


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
