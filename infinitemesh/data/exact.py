"""Small linear algebra that keeps its precision whatever a training run allows, without a matrix product per row."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor


def mixed(weights: Float[Tensor, "*#p k"], values: Float[Tensor, "*#p k c"]) -> Float[Tensor, "*#p c"]:
    """Sums of k rows of values, one set of weights for each place."""
    return (weights[..., None] * values).sum(-2)


def applied(matrices: Float[Tensor, "*#p i j"], vectors: Float[Tensor, "*#p j"]) -> Float[Tensor, "*#p i"]:
    """matrix @ vector, place by place."""
    return (matrices * vectors[..., None, :]).sum(-1)


@contextmanager
def exact_matmul() -> Iterator[None]:
    """No TF32 inside: its 10 bits of mantissa misplace points by half a thousandth of the field. Also a decorator."""
    matmul = torch.backends.cuda.matmul
    allowed = matmul.fp32_precision
    matmul.fp32_precision = "ieee"
    try:
        yield
    finally:
        matmul.fp32_precision = allowed
