"""Weights in 8 bits, half of half precision, or 6: to be stored and carried; networks compute with floats as ever.

A large matrix or kernel `x` is two tensors of the safetensors file: `x..int8`, whole numbers of -127 ... 127, and
`x..scale`, float32, one for each row; x = int8 * scale. A row has one index on the first axis that is longer than 1: an
output of a linear layer or convolution, a position of an embedding. torch allows no empty names, so a network has no
tensor called so, and a reader that does not know the format misses x rather than take integers for weights.

Where 6 bits are enough (a frozen backbone), `x..int6` takes the place of `x..int8`: whole numbers of -31 ... 31, stored
flat with 32 added to each, four in three bytes, uint8. Read as one little-endian number, they are its digits of base
64, the first value the lowest. The network knows the shape.

config.json has `ENTRY` where diffusers looks for such things, so that its own from_pretrained refuses the folder; with
6 bits it has `ENTRY_INT6`, so that readers of 8 bits alone refuse it too. Which tensors are in which, their names say.
"""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING
from diffusers.quantizers.quantization_config import QuantizationConfigMixin
from einops import rearrange
from jaxtyping import Float, Float32, Int8, UInt8
from torch import Tensor

from infinitemesh.errors import CheckpointError

INT8, INT6, SCALE = "..int8", "..int6", "..scale"
MARK = "quantization_config"  # the key of config.json that diffusers looks at
METHOD = "infinitemesh-int8, which infinitemesh.hub.load_network reads"  # diffusers' own message repeats it
ENTRY: Mapping[str, Any] = {"quant_method": METHOD, "format": 1}
ENTRY_INT6: Mapping[str, Any] = {**ENTRY, "format": 2}
LARGEST_KEPT = 4096  # values: below, 8 bits would save little
LEVELS, LEVELS_INT6 = 127, 31
OFFSET = 32  # 6 bits have no sign
SCALE_BITS = 16


def is_large(tensor: Tensor) -> bool:
    """Whether a tensor is worth 8 bits: matrices, kernels and tables, not biases and norms."""
    return tensor.is_floating_point() and tensor.ndim >= 2 and tensor.numel() > LARGEST_KEPT


def fits_int6(tensor: Tensor) -> bool:
    """Whether a tensor can be in 6 bits: large, and in whole groups of four values."""
    return is_large(tensor) and tensor.numel() % 4 == 0


def to_int8(tensor: Float[Tensor, "..."]) -> tuple[Int8[Tensor, "..."], Float32[Tensor, " rows"]]:
    """Symmetric, to the nearest level: no value moves by more than half its row's scale; zeros stay zeros.

    Scales are max|row| / 127 rounded up to 16 bits. With 7 bits of the integers a product then fits the 24 of float32:
    what is stored comes back exactly, on any device, and storing it again gives the same bytes.
    """
    return _rounded(tensor, LEVELS)


def to_int6(tensor: Float[Tensor, "..."]) -> tuple[UInt8[Tensor, " bytes"], Float32[Tensor, " rows"]]:
    """As `to_int8`, with scales of max|row| / 31; a tensor that `fits_int6`."""
    levels, scale = _rounded(tensor, LEVELS_INT6)
    return _packed((levels.flatten() + OFFSET).to(torch.uint8)), scale


def _rounded(tensor: Float[Tensor, "..."], most: int) -> tuple[Int8[Tensor, "..."], Float32[Tensor, " rows"]]:
    """Levels of -most ... most, and scales."""
    rows = tensor.detach().float().reshape(num_rows(tensor.shape), -1)
    mantissa, exponent = torch.frexp(rows.abs().amax(dim=1) / most)
    scale = torch.ldexp((mantissa * 2**SCALE_BITS).ceil() / 2**SCALE_BITS, exponent)
    scale = scale.where(scale >= torch.finfo(torch.float32).tiny, 0)  # a row below 1e-36 or so is zeros too
    levels = torch.round(rows / scale.where(scale > 0, torch.inf)[:, None])
    return levels.to(torch.int8).reshape(tensor.shape), scale


def _packed(codes: UInt8[Tensor, " codes"]) -> UInt8[Tensor, " codes*3//4"]:
    """Numbers of 6 bits, four in three bytes."""
    a, b, c, d = rearrange(codes, "(group four) -> four group", four=4)
    three = torch.stack([a | (b & 3) << 6, b >> 2 | (c & 15) << 4, c >> 4 | d << 2])
    return rearrange(three, "three group -> (group three)")


def from_int8(levels: Tensor, scale: Tensor, name: str) -> Float32[Tensor, "..."]:
    """The values that were stored; a CheckpointError with the tensor's `name` where the two cannot have been."""
    if levels.dtype != torch.int8 or scale.dtype != torch.float32:
        raise CheckpointError(f"{name} is {levels.dtype} with scales of {scale.dtype}; 8-bit weights are int8, float32")
    return _values(levels, scale, name, LEVELS)


def from_int6(packed: Tensor, scale: Tensor, name: str, shape: tuple[int, ...]) -> Float32[Tensor, "..."]:
    """As `from_int8`, of a tensor with this shape."""
    if packed.dtype != torch.uint8 or scale.dtype != torch.float32:
        raise CheckpointError(
            f"{name} is {packed.dtype} with scales of {scale.dtype}; 6-bit weights are uint8, float32"
        )
    levels = _unpacked(packed).to(torch.int8) - OFFSET
    return _values(levels.reshape(shape), scale, name, LEVELS_INT6)


def _values(levels: Int8[Tensor, "..."], scale: Tensor, name: str, most: int) -> Float32[Tensor, "..."]:
    if not torch.isfinite(scale).all() or (scale < 0).any():
        raise CheckpointError(f"{name}: its scales hold NaN, infinity or negative numbers; the weights are damaged")
    rows = levels.reshape(num_rows(levels.shape), -1)
    if (rows == -most - 1).any() or rows[scale == 0].any():
        raise CheckpointError(
            f"{name} holds {-most - 1}, or values in rows of scale 0, which are not written: it is damaged"
        )
    return (rows * scale[:, None]).reshape(levels.shape)


def _unpacked(three: UInt8[Tensor, " bytes"]) -> UInt8[Tensor, " bytes*4//3"]:
    """What `_packed` packed."""
    x, y, z = rearrange(three, "(group three) -> three group", three=3)
    codes = torch.stack([x & 63, x >> 6 | (y & 15) << 2, y >> 4 | (z & 3) << 4, z >> 2])
    return rearrange(codes, "four group -> (group four)")


def num_rows(shape: tuple[int, ...]) -> int:
    return next((size for size in shape if size != 1), 1)


def stored_as(network: Mapping[str, Tensor], found: set[str]) -> dict[str, Tensor]:
    """What a file with the keys `found` needs for a network's tensors: shapes and kinds, on the meta device."""
    stored: dict[str, Tensor] = {}
    for key, tensor in network.items():
        if fits_int6(tensor) and key + INT6 in found:
            stored[key + INT6] = torch.empty(tensor.numel() * 3 // 4, dtype=torch.uint8, device="meta")
        elif is_large(tensor) and found & {key + INT8, key + SCALE}:
            stored[key + INT8] = torch.empty(tensor.shape, dtype=torch.int8, device="meta")
        else:
            stored[key] = tensor
            continue
        stored[key + SCALE] = torch.empty(num_rows(tensor.shape), device="meta")
    return stored


def is_marked(entry: Any, file: str) -> bool:
    """Whether weights with this value of `MARK` are in 8 or 6 bits; other formats are a CheckpointError."""
    if entry not in (None, ENTRY, ENTRY_INT6):
        raise CheckpointError(
            f"{file}: {MARK} is {entry!r}; this version reads floats, or 8 bits as {dict(ENTRY)}, with 6 bits among "
            f"them as format {ENTRY_INT6['format']}"
        )
    return entry is not None


class _NotForDiffusers(QuantizationConfigMixin):
    """What diffusers' from_pretrained asks for when it meets `METHOD`.

    A quantizer of diffusers would load it, but leave a network that can no more be cast, trained or saved.
    """

    @classmethod
    def from_dict(cls, config_dict: Any, return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        raise CheckpointError(
            "this folder stores its weights in 8 or 6 bits, which from_pretrained of one network does not read; use "
            "infinitemesh.hub.load_network(cls, folder) for a network of floats"
        )


AUTO_QUANTIZATION_CONFIG_MAPPING[METHOD] = _NotForDiffusers  # pyright: ignore[reportArgumentType]
