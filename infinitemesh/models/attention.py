"""Multi-head attention on flat tokens through torch's fused kernels."""

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor


def attend(
    query: Float[Tensor, "b q d"], key: Float[Tensor, "b k d"], value: Float[Tensor, "b k d"], heads: int
) -> Float[Tensor, "b q d"]:
    """softmax(q k / sqrt(d / heads)) v, heads split from the last axis."""
    query, key, value = (rearrange(x, "b n (h d) -> b h n d", h=heads) for x in (query, key, value))
    return rearrange(F.scaled_dot_product_attention(query, key, value), "b h n d -> b n (h d)")
