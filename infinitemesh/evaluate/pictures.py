"""Pictures of an evaluation: a strip an object (truth above, result below), and a sheet of best, median and worst."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from infinitemesh.evaluate.measure import Measured
from infinitemesh.evaluate.truth import Case
from infinitemesh.files import atomic_write

if TYPE_CHECKING:
    from PIL.Image import Image

VIEWS, SIZE_PX = 6, 160


def save_strip(path: Path, case: Case, measured: Measured) -> None:
    """Some of the compared views, evenly chosen; nothing where the protocol compares no pictures."""
    from infinitemesh.render.sheet import contact_sheet

    result, truth = measured.pictures, measured.truth_pictures
    if result is None or truth is None:
        return
    chosen = sorted({round(i * (len(truth.rgb) - 1) / (VIEWS - 1)) for i in range(VIEWS)})
    left, right, top, bottom = _filled_square(torch.cat([truth[chosen].coverage, result[chosen].coverage]))
    rows = torch.cat([truth[chosen].colours, result[chosen].colours])[..., top:bottom, left:right]
    small = F.interpolate(rows, (SIZE_PX, SIZE_PX), mode="bilinear", antialias=True, align_corners=False)
    with atomic_write(path, overwrite=True) as temporary:
        contact_sheet(small, columns=len(chosen)).save(temporary)


def _filled_square(coverage: Float[Tensor, "v 1 h w"]) -> tuple[int, int, int, int]:
    """left, right, top, bottom of the smallest centred square that shows everything: small objects are to be seen."""
    size = coverage.shape[-1]
    covered = coverage[:, 0].amax(0) > 0.02
    off_centre = (covered.nonzero() - (size - 1) / 2).abs()
    reach = int(off_centre.max()) + 3 if len(off_centre) else size // 2
    low, high = max(size // 2 - reach, 0), min(size // 2 + reach, size)
    return low, high, low, high


def save_sheet(out: Path, labelled: Sequence[tuple[str, str]]) -> None:
    """`sheet.png`: the strips of the given objects, each under its label."""
    from PIL import Image

    strips = [(label, out / "pictures" / f"{name}.png") for label, name in labelled]
    tiles = [_titled(label, Image.open(path).convert("RGB")) for label, path in strips if path.is_file()]
    if not tiles:
        return
    sheet = Image.new("RGB", (max(t.width for t in tiles), sum(t.height for t in tiles)), "white")
    top = 0
    for tile in tiles:
        sheet.paste(tile, (0, top))
        top += tile.height
    with atomic_write(out / "sheet.png", overwrite=True) as temporary:
        sheet.save(temporary)


def _titled(label: str, strip: "Image") -> "Image":
    from PIL import Image, ImageDraw, ImageFont

    tile = Image.new("RGB", (strip.width, strip.height + 22), "white")
    ImageDraw.Draw(tile).text((4, 4), label, fill="black", font=ImageFont.load_default(13))
    tile.paste(strip, (0, 20))
    return tile
