"""Pictures inside mesh files: encoded and, with limits, decoded."""

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import torch
from PIL import Image

from infinitemesh.errors import InputError
from infinitemesh.steps import step

TextureFormat = Literal["png", "webp"]

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 8192 * 8192
ROWS_PER_STRIP = 64  # compressed by themselves: 0.3 % more bytes, and the cores share the work


@step("encode picture")
def encode_image(image: np.ndarray, texture_format: TextureFormat) -> bytes:
    """[h, w, 3] uint8 as PNG, which is exact, or WebP (quality 90), about a quarter of the size."""
    if texture_format == "png":
        return _png(image)
    if texture_format != "webp":
        raise InputError(f"texture_format {texture_format!r} is unknown; use 'png' or 'webp'")
    out = io.BytesIO()
    Image.fromarray(image).save(out, format="WEBP", quality=90, method=4)
    return out.getvalue()


def _png(image: np.ndarray) -> bytes:
    """Every row less the one above (filter 2), in strips that end on a byte: one stream, the same on any machine.

    Pillow, which chooses a filter a row, writes textures of the same size in the same time, on one core.
    """
    height, width = image.shape[:2]
    rows = np.ascontiguousarray(image).reshape(height, -1)
    filtered = np.full((height, 1 + rows.shape[1]), 2, dtype=np.uint8)
    filtered[:, 1:] = rows
    filtered[1:, 1:] -= rows[:-1]
    starts = range(0, height, ROWS_PER_STRIP)

    def deflated(start: int) -> bytes:
        packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
        strip = packer.compress(filtered[start : start + ROWS_PER_STRIP].data)
        return strip + packer.flush(zlib.Z_FINISH if start == starts[-1] else zlib.Z_SYNC_FLUSH)

    if len(starts) == 1 or torch.get_num_threads() == 1:
        strips = list(map(deflated, starts))
    else:
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            strips = list(pool.map(deflated, starts))
    stream = b"\x78\x9c" + b"".join(strips) + struct.pack(">I", zlib.adler32(filtered.data))
    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)  # 8 bits of red, green and blue, not interlaced
    chunks = ((b"IHDR", header), (b"IDAT", stream), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )


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
