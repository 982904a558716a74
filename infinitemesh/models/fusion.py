"""Cross-attention fusion of the views' tokens (Eq. 4-6): f = p + A(p, V(X)).

The paper leaves open which tokens X each query sees; the readings are options:

    joint      every token of every view attends to all tokens of all views (default)
    neighbour  a view attends to itself and its neighbours on the ring up to the next main views
    per_view   a view attends to its own tokens only
    channel    as neighbour, but the views' tokens of one patch are concatenated along channels

p is the token stream with a learned patch embedding, zero at the start, and the output projection starts
at zero: an untrained fusion returns its input bit for bit, so public reconstruction weights keep their function.
"""

from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from infinitemesh.models.attention import attend

FusionReading = Literal["joint", "neighbour", "per_view", "channel"]


class ViewFusion(nn.Module):
    """Eq. 4-6 in zero-initialised residual form. Views are in ring order; their number is free except for `channel`."""

    def __init__(
        self, dim: int, num_heads: int, *, reading: FusionReading = "joint", per_gap: int = 2, num_patches: int = 401
    ):
        super().__init__()
        self.reading, self.heads, self.per_gap = reading, num_heads, per_gap
        key_dim = dim * (2 * per_gap + 1) if reading == "channel" else dim
        self.patch_embedding = nn.Parameter(torch.zeros(1, 1, num_patches, dim))
        self.norm_query, self.norm_key = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.to_query = nn.Linear(dim, dim, bias=False)
        self.to_key = nn.Linear(key_dim, dim, bias=False)
        self.to_value = nn.Linear(key_dim, dim, bias=False)
        self.to_out = nn.Linear(dim, dim, bias=False)
        nn.init.zeros_(self.to_out.weight)

    def forward(self, tokens: Float[Tensor, "b v p d"]) -> Float[Tensor, "b v p d"]:
        views, patches = tokens.shape[1:3]
        queries = tokens + self.patch_embedding[:, :, :patches]
        seen = self._seen(self.norm_key(tokens))
        q = self.to_query(self.norm_query(queries))
        k, v = self.to_key(seen), self.to_value(seen)
        if self.reading == "joint":
            q = rearrange(q, "b v p d -> b (v p) d")
        else:
            q = rearrange(q, "b v p d -> (b v) p d")
        mixed = attend(q, k, v, self.heads).reshape(-1, views, patches, q.shape[-1])
        return queries + self.to_out(mixed)

    def _seen(self, tokens: Tensor) -> Tensor:
        """Keys in the layout of the queries: joint b (v p); the others (b v) n."""
        if self.reading == "joint":
            return rearrange(tokens, "b v p d -> b (v p) d")
        if self.reading == "per_view":
            return rearrange(tokens, "b v p d -> (b v) p d")
        reach = min(self.per_gap, (tokens.shape[1] - 1) // 2) if self.reading == "neighbour" else self.per_gap
        ring = torch.stack([tokens.roll(-step, dims=1) for step in range(-reach, reach + 1)], dim=2)
        pattern = "b v n p d -> (b v) (n p) d" if self.reading == "neighbour" else "b v n p d -> (b v) p (n d)"
        return rearrange(ring, pattern)
