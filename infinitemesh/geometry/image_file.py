"""Pictures inside mesh files: encoded and, with limits, decoded."""

import io
from typing import Literal

import numpy as np
from PIL import Image

from infinitemesh.errors import InputError

TextureFormat = Literal["png", "webp"]

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 8192 * 8192


def encode_image(image: np.ndarray, texture_format: TextureFormat) -> bytes:
    """[h, w, 3] uint8 as PNG, which is exact, or WebP (quality 90), about a quarter of the size."""
    out = io.BytesIO()
    if texture_format == "png":
        Image.fromarray(image).save(out, format="PNG", compress_level=6)
    elif texture_format == "webp":
        Image.fromarray(image).save(out, format="WEBP", quality=90, method=4)
    else:
        raise InputError(f"texture_format {texture_format!r} is unknown; use 'png' or 'webp'")
    return out.getvalue()


def decode_image(content: bytes, name: str) -> np.ndarray:
    """[h, w, 3] uint8 sRGB from PNG, JPEG or WebP; the size is checked before pixels are decoded, alpha is dropped."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise InputError(f"{name} has {image.width} x {image.height} pixels, over the limit of 8192 x 8192")
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name} is not a readable PNG, JPEG or WebP image: {error}") from error
