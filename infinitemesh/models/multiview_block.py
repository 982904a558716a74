"""The transformer block in which views of one object, and domains of one view, see each other.

Multi-view attention adds no weights: it is a regrouping of tokens around an unmodified self-attention. The only new
module is the cross-domain attention, named as in the public Wonder3D weights.
"""

from typing import Any, cast

from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn


class MultiViewBlock(BasicTransformerBlock):
    """A BasicTransformerBlock whose rows come domain by domain, object by object, view by view.

    Order: multi-view self-attention, cross-domain attention (optional), cross-attention, feed-forward. The layout of a
    call (`num_views`, `num_domains`) travels in `cross_attention_kwargs`, which diffusers hands down untouched, so a
    block holds no state and attention processors stay replaceable.
    """

    row_attention: bool
    attn_joint_mid: Attention | None
    norm_joint_mid: nn.LayerNorm | None

    @classmethod
    def graft(cls, block: BasicTransformerBlock, *, cross_domain: bool, row_attention: bool) -> "MultiViewBlock":
        """Turns a stock block into this class in place: its tensors keep their names, the cross-domain ones are added.

        `row_attention` keeps self-attention within the same image row of all views: exact epipolar lines where all
        cameras are orthographic at elevation 0, and cheap enough for the finest level.
        """
        block.__class__ = cls
        grafted = cast(MultiViewBlock, block)
        grafted.row_attention = row_attention
        grafted.attn_joint_mid = grafted.norm_joint_mid = None
        if cross_domain:
            heads = block.attn1.heads
            attention = Attention(query_dim=block.dim, heads=heads, dim_head=block.dim // heads)
            nn.init.zeros_(cast(nn.ModuleList, attention.to_out)[0].weight)  # pyright: ignore[reportArgumentType]
            grafted.attn_joint_mid, grafted.norm_joint_mid = attention, nn.LayerNorm(block.dim)
        return grafted

    def forward(
        self,
        hidden_states: Float[Tensor, "rows tokens c"],
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        timestep: Tensor | None = None,
        cross_attention_kwargs: dict[str, Any] | None = None,
        class_labels: Tensor | None = None,
        added_cond_kwargs: dict[str, Tensor] | None = None,
    ) -> Float[Tensor, "rows tokens c"]:
        assert attention_mask is None and cross_attention_kwargs is not None
        norm2, attn2, norm3 = (cast(nn.Module, part) for part in (self.norm2, self.attn2, self.norm3))
        processor_kwargs = dict(cross_attention_kwargs)
        num_views, num_domains = processor_kwargs.pop("num_views"), processor_kwargs.pop("num_domains")

        h = hidden_states
        h = h + self._across_views(self.norm1(h), num_views, processor_kwargs)
        if self.attn_joint_mid is not None and self.norm_joint_mid is not None:
            together = rearrange(self.norm_joint_mid(h), "(d n) l c -> n (d l) c", d=num_domains)
            h = h + rearrange(
                self.attn_joint_mid(together, **processor_kwargs), "n (d l) c -> (d n) l c", d=num_domains
            )
        h = h + attn2(norm2(h), encoder_hidden_states, encoder_attention_mask, **processor_kwargs)
        return h + self.ff(norm3(h))

    def _across_views(self, h: Tensor, num_views: int, processor_kwargs: dict[str, Any]) -> Tensor:
        if self.row_attention:
            side = round(h.shape[1] ** 0.5)  # views are square
            rows = rearrange(h, "(b v) (y x) c -> (b y) (v x) c", v=num_views, y=side)
            return rearrange(
                self.attn1(rows, **processor_kwargs), "(b y) (v x) c -> (b v) (y x) c", v=num_views, y=side
            )
        together = rearrange(h, "(b v) l c -> b (v l) c", v=num_views)
        return rearrange(self.attn1(together, **processor_kwargs), "b (v l) c -> (b v) l c", v=num_views)
