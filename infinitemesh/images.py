"""Photographs from anywhere, safely: checked before they are decoded, upright, sRGB, floats in [0, 1], alpha kept."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from infinitemesh.errors import InputError
from infinitemesh.files import read_bytes

if TYPE_CHECKING:
    from PIL.Image import Image

ImageSource = "str | Path | bytes | Image | np.ndarray | Tensor"

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
MAX_BYTES = 100_000_000
MAX_PIXELS = 64_000_000  # below Pillow's own warning, so a refusal is ours and says what to do
MIN_SIDE = 16


def load_image(source: "str | Path | bytes | Image | np.ndarray | Tensor", *, max_side: int | None = None) -> Tensor:
    """Straight sRGB in [0, 1]: 3 h w, or 4 h w where the source has alpha. Raises InputError for what is no picture.

    Files and bytes are PNG, JPEG, WebP, BMP or TIFF (their first frame) of at most 100 MB and 64 megapixels. EXIF
    rotation is applied. Colours are brought to sRGB by an embedded ICC profile; one that is damaged or of other
    channels is ignored, as viewers do. 16 bits are kept for grey pictures, as far as Pillow goes. Arrays are h w,
    or h w c with 1 to 4 channels, of bool, uint8, uint16 or floats in [0, 1]; tensors likewise, as c h w. Pictures
    longer than `max_side` are reduced to it.
    """
    pixels = _from_tensor(source) if isinstance(source, Tensor) else _decoded(source, max_side)
    channels, height, width = pixels.shape
    _check_side(width, height)
    if not torch.isfinite(pixels).all() or pixels.min() < -1e-4 or pixels.max() > 1 + 1e-4:
        raise InputError("the picture holds NaN, infinity or values outside [0, 1]; divide 8-bit values by 255")
    if channels < 3:  # grey, perhaps with alpha
        pixels = torch.cat([pixels[:1].expand(3, -1, -1), pixels[1:]])
    return _reduced(pixels.clamp(0, 1), max_side)


def check_image(path: str | Path) -> None:
    """Raises InputError where `load_image` would, as far as a file's first bytes tell: before seconds of other work."""
    from PIL import Image

    name = str(path)
    with _input_errors(name), Image.open(io.BytesIO(read_bytes(path, max_bytes=MAX_BYTES)), formats=FORMATS) as image:
        _check_size(image.width, image.height, name)
        _check_side(image.width, image.height)


def _decoded(source: "str | Path | bytes | Image | np.ndarray", max_side: int | None) -> Float[Tensor, "c h w"]:
    from PIL import Image

    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        with _input_errors("the picture"):
            return _converted(source, "the picture", max_side)
    if isinstance(source, bytes):
        name, content = f"the picture of {len(source):,} bytes", source
        if len(content) > MAX_BYTES:
            raise InputError(f"{name} is over the limit of {MAX_BYTES:,} bytes; reduce it first")
    elif isinstance(source, str | Path):
        name, content = str(source), read_bytes(source, max_bytes=MAX_BYTES)
    else:
        raise InputError(f"a picture is a path, bytes, PIL image, array or tensor, got {type(source).__name__}")
    with _input_errors(name), Image.open(io.BytesIO(content), formats=FORMATS) as image:
        _check_size(image.width, image.height, name)
        if image.format == "JPEG" and max_side is not None:
            image.draft(None, (max_side, max_side))  # decodes at a half, a quarter, ... but not below max_side
        image.load()
        return _converted(image, name, max_side)


@contextmanager
def _input_errors(name: str) -> Iterator[None]:
    from PIL import Image, UnidentifiedImageError

    needed = f"a readable {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image"
    try:
        yield
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"{name} is not {needed}; save it as PNG or JPEG") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{name} has too many pixels, the limit is {MAX_PIXELS:,}; reduce it first") from error
    except Exception as error:  # damaged files make decoders raise almost anything
        raise InputError(f"{name} is not {needed}: {error}") from error


def _check_size(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise InputError(f"{name} has {width} x {height} pixels, over the limit of {MAX_PIXELS:,}; reduce it first")


def _check_side(width: int, height: int) -> None:
    if min(height, width) < MIN_SIDE:
        raise InputError(
            f"the picture has {width} x {height} pixels; at least {MIN_SIDE} x {MIN_SIDE} are needed, 512 are good"
        )


def _converted(image: "Image", name: str, max_side: int | None) -> Float[Tensor, "c h w"]:
    """Any mode of Pillow, upright and in sRGB."""
    from PIL import ImageOps

    _check_size(image.width, image.height, name)
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I") or upright.mode == "F":
        return _deep_grey(np.asarray(upright), upright.mode, name)
    pixels = _as_srgb(upright)
    if upright.has_transparency_data:
        pixels.putalpha(upright.convert("RGBA").getchannel("A"))
    factor = 1 if max_side is None else max(pixels.size) // max_side
    if factor > 1:  # while a pixel takes four bytes, not sixteen
        mixing = "RGBa" if pixels.mode == "RGBA" else "RGB"
        pixels = pixels.convert(mixing).reduce(factor).convert(pixels.mode)
    return _from_array(np.asarray(pixels))


def _deep_grey(values: np.ndarray, mode: str, name: str) -> Float[Tensor, "c h w"]:
    values = values.astype(np.float64)
    if mode != "F":
        values = values / 65535
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        wanted = "floats in [0, 1]" if mode == "F" else "at most 16 bits"
        raise InputError(f"{name} is grey with values outside of {wanted}; save it as an 8- or 16-bit PNG")
    return _from_array(values.astype(np.float32))


def _as_srgb(image: "Image") -> "Image":
    """RGB by the embedded profile, where there is a fitting one."""
    from PIL import ImageCms

    plain = image if image.mode in ("RGB", "L", "CMYK", "LAB") else image.convert("RGB")
    profile = image.info.get("icc_profile")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(plain, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass  # a profile that does not fit these pixels: the pixels are taken as sRGB, as viewers do
    return plain.convert("RGB")


def _from_array(values: np.ndarray) -> Float[Tensor, "c h w"]:
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or not 1 <= values.shape[-1] <= 4:
        raise InputError(f"an array of shape {values.shape} is no picture; give h w, or h w c with 1 to 4 channels")
    native = values.astype(values.dtype.newbyteorder("="), copy=True)
    return _scaled(rearrange(torch.from_numpy(native), "h w c -> c h w"))


def _from_tensor(values: Tensor) -> Float[Tensor, "c h w"]:
    if values.ndim == 2:
        values = values[None]
    if values.ndim != 3 or not 1 <= values.shape[0] <= 4:
        raise InputError(f"a tensor of shape {tuple(values.shape)} is no picture; give c h w with 1 to 4 channels")
    return _scaled(values.detach().cpu())


def _scaled(values: Tensor) -> Float[Tensor, "c h w"]:
    largest = {torch.bool: 1, torch.uint8: 255, torch.uint16: 65535}
    if values.dtype in largest:
        return values.float() / largest[values.dtype]
    if values.is_floating_point():
        return values.float()
    raise InputError(f"a picture of {values.dtype} has no known range; give uint8, uint16 or floats in [0, 1]")


def _reduced(pixels: Tensor, max_side: int | None) -> Tensor:
    """Premultiplied while colours are mixed, so what lies behind transparent pixels does not show."""
    height, width = pixels.shape[-2:]
    if max_side is None or max(height, width) <= max_side:
        return pixels
    ratio = max_side / max(height, width)
    size = (max(round(height * ratio), MIN_SIDE), max(round(width * ratio), MIN_SIDE))
    alpha = pixels[3:] if len(pixels) == 4 else torch.ones_like(pixels[:1])
    mixed = torch.cat([pixels[:3] * alpha, alpha])[None]
    mixed = torch.nn.functional.interpolate(mixed, size, mode="bilinear", antialias=True, align_corners=False)[0]
    rgb = (mixed[:3] / mixed[3:].clamp(min=1e-4)).clamp(0, 1)
    return rgb if len(pixels) == 3 else torch.cat([rgb, mixed[3:].clamp(0, 1)])
