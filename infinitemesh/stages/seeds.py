"""Randomness is an int: seeds for parts of a run, and noise that depends on nothing else."""

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def derive_seed(seed: int, *path: str | int) -> int:
    """A seed for a part of a run, such as `derive_seed(seed, "main_views", view)`: the same on every machine."""
    text = "/".join(str(part) for part in (seed, *path))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1  # torch takes 63 bits


def noise_per_view(seeds: Sequence[int], shape: Sequence[int]) -> Float[Tensor, "v ..."]:
    """Standard normal noise on the CPU, one generator a view, so neither the batch nor the device changes it."""
    return torch.stack([torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
