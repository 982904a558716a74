"""Contact sheets."""

import math

import torch
from einops import rearrange
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from infinitemesh.errors import InputError

LABEL_HEIGHT_PX = 14


def contact_sheet(
    images: Float[Tensor, "v 3 h w"],
    columns: int | None = None,
    labels: list[str] | None = None,
    padding: int = 2,
) -> Image.Image:
    """Pictures in [0, 1] row by row on white, each under its label; `columns` None makes the sheet about square."""
    count, _, height, width = images.shape
    if count == 0:
        raise InputError("a contact sheet needs at least one picture, got none")
    if labels is not None and len(labels) != count:
        raise InputError(f"{count} pictures need {count} labels, got {len(labels)}")
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    rows = math.ceil(count / columns)
    head = LABEL_HEIGHT_PX if labels is not None else 0
    step_x, step_y = width + padding, height + head + padding
    sheet = Image.new("RGB", (columns * step_x - padding, rows * step_y - padding), "white")
    draw = ImageDraw.Draw(sheet)
    for i, picture in enumerate(to_pictures(images)):
        corner = (i % columns * step_x, i // columns * step_y)
        if labels is not None:
            draw.text((corner[0] + 2, corner[1] + 1), labels[i], fill="black", font=ImageFont.load_default(11))
        sheet.paste(picture, (corner[0], corner[1] + head))
    return sheet


def to_pictures(images: Float[Tensor, "v 3 h w"]) -> list[Image.Image]:
    """8-bit pictures, rounded to nearest."""
    levels = (images.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu()
    return [Image.fromarray(picture) for picture in rearrange(levels, "v c h w -> v h w c").contiguous().numpy()]
