"""Weights in 8 bits: half of half precision, to be stored and carried; networks compute with floats as ever.

A large matrix or kernel `x` is two tensors of the safetensors file: `x..int8`, whole numbers of -127 ... 127, and
`x..scale`, float32, one for each row; x = int8 * scale. A row has one index on the first axis that is longer than 1: an
output of a linear layer or convolution, a position of an embedding. torch allows no empty names, so a network has no
tensor called so, and a reader that does not know the format misses x rather than take integers for weights.

config.json has `ENTRY` where diffusers looks for such things, so that its own from_pretrained refuses the folder.
"""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING
from diffusers.quantizers.quantization_config import QuantizationConfigMixin
from jaxtyping import Float, Float32, Int8
from torch import Tensor

from infinitemesh.errors import CheckpointError

INT8, SCALE = "..int8", "..scale"
MARK = "quantization_config"  # the key of config.json that diffusers looks at
METHOD = "infinitemesh-int8, which infinitemesh.hub.load_network reads"  # diffusers' own message repeats it
ENTRY: Mapping[str, Any] = {"quant_method": METHOD, "format": 1}
LARGEST_KEPT = 4096  # values: below, 8 bits would save little
LEVELS = 127
SCALE_BITS = 16


def is_large(tensor: Tensor) -> bool:
    """Whether a tensor is worth 8 bits: matrices, kernels and tables, not biases and norms."""
    return tensor.is_floating_point() and tensor.ndim >= 2 and tensor.numel() > LARGEST_KEPT


def to_int8(tensor: Float[Tensor, "..."]) -> tuple[Int8[Tensor, "..."], Float32[Tensor, " rows"]]:
    """Symmetric, to the nearest level: no value moves by more than half its row's scale; zeros stay zeros.

    Scales are max|row| / 127 rounded up to 16 bits. With 7 bits of the integers a product then fits the 24 of float32:
    what is stored comes back exactly, on any device, and storing it again gives the same bytes.
    """
    rows = tensor.detach().float().reshape(num_rows(tensor.shape), -1)
    mantissa, exponent = torch.frexp(rows.abs().amax(dim=1) / LEVELS)
    scale = torch.ldexp((mantissa * 2**SCALE_BITS).ceil() / 2**SCALE_BITS, exponent)
    scale = scale.where(scale >= torch.finfo(torch.float32).tiny, 0)  # a row below 1e-36 is zeros too
    levels = torch.round(rows / scale.where(scale > 0, torch.inf)[:, None])
    return levels.to(torch.int8).reshape(tensor.shape), scale


def from_int8(levels: Tensor, scale: Tensor, name: str) -> Float32[Tensor, "..."]:
    """The values that were stored; a CheckpointError with the tensor's `name` where the two cannot have been."""
    if levels.dtype != torch.int8 or scale.dtype != torch.float32:
        raise CheckpointError(f"{name} is {levels.dtype} with scales of {scale.dtype}; 8-bit weights are int8, float32")
    if not torch.isfinite(scale).all() or (scale < 0).any():
        raise CheckpointError(f"{name}: its scales hold NaN, infinity or negative numbers; the weights are damaged")
    rows = levels.reshape(num_rows(levels.shape), -1)
    if (rows == -LEVELS - 1).any() or rows[scale == 0].any():
        raise CheckpointError(f"{name} holds -128, or values in rows of scale 0, which are not written: it is damaged")
    return (rows * scale[:, None]).reshape(levels.shape)


def num_rows(shape: tuple[int, ...]) -> int:
    return next((size for size in shape if size != 1), 1)


def stored_as(network: Mapping[str, Tensor], found: set[str]) -> dict[str, Tensor]:
    """What a file with the keys `found` needs for a network's tensors: shapes and kinds, on the meta device."""
    stored: dict[str, Tensor] = {}
    for key, tensor in network.items():
        if is_large(tensor) and found & {key + INT8, key + SCALE}:
            stored[key + INT8] = torch.empty(tensor.shape, dtype=torch.int8, device="meta")
            stored[key + SCALE] = torch.empty(num_rows(tensor.shape), device="meta")
        else:
            stored[key] = tensor
    return stored


def is_marked(entry: Any, file: str) -> bool:
    """Whether a config.json with this value of `MARK` is of weights in 8 bits; other formats are a CheckpointError."""
    if entry is not None and entry != ENTRY:
        raise CheckpointError(f"{file}: {MARK} is {entry!r}; this version reads floats, or 8 bits as {dict(ENTRY)}")
    return entry is not None


class _NotForDiffusers(QuantizationConfigMixin):
    """What diffusers' from_pretrained asks for when it meets `METHOD`.

    A quantizer of diffusers would load it, but leave a network that can no more be cast, trained or saved.
    """

    @classmethod
    def from_dict(cls, config_dict: Any, return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        raise CheckpointError(
            "this folder stores its weights in 8 bits, which from_pretrained of one network does not read; use "
            "infinitemesh.hub.load_network(cls, folder) for a network of floats"
        )


AUTO_QUANTIZATION_CONFIG_MAPPING[METHOD] = _NotForDiffusers  # pyright: ignore[reportArgumentType]
