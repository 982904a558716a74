"""The reconstruction from one photograph alone: what main views are drawn after.

What lies behind a photograph is a matter of knowing things, not of triangulation, and takes far more examples than the
reconstruction from many views. So this network is made to be trained fast: a quarter of the plane tokens, one view, no
fusion.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from infinitemesh.errors import CheckpointError, InputError
from infinitemesh.messages import nearest
from infinitemesh.models.lrm import LargeReconstructionModel
from infinitemesh.types import Camera

ROUNDED = 0.1  # relative; storing in 6 bits moves a matrix by up to 0.09, in 8 bits by less than 0.01


class SingleViewModel(LargeReconstructionModel):
    """A `LargeReconstructionModel` of one view; its semantics may be those of another network (`share_backbone`)."""

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> "SingleViewModel":
        """A freshly initialised network of a named size: `tiny` or `small`."""
        if name not in PRESETS:
            raise InputError(f"there is no single-view network of size {name!r}{nearest(name, PRESETS)}")
        return cls(**{**PRESETS[name], **overrides})

    def forward(self, rgba: Float[Tensor, "b v 4 h w"], camera: Camera) -> Float[Tensor, "b 3 c r r"]:
        """As `LargeReconstructionModel`; InputError for more than one view."""
        if rgba.shape[1] != 1:
            raise InputError(f"this reconstruction takes one view of an object, got {rgba.shape[1]}")
        return super().forward(rgba, camera)


def share_backbone(network: SingleViewModel, other: LargeReconstructionModel) -> None:
    """Makes the frozen backbone of `other` that of `network`, so that both are stored and held once.

    They must be the same but for how they were rounded: CheckpointError where they differ by more.
    """
    if network.semantics is None or other.semantics is None or network.semantics.backbone is other.semantics.backbone:
        return
    for name in ("semantic_layers", "semantic_dim", "semantic_heads", "semantic_size"):
        if network.config[name] != other.config[name]:
            raise CheckpointError(f"the two networks cannot share a backbone: {name} differs")
    own, given = network.semantics.backbone.state_dict(), other.semantics.backbone.state_dict()
    alike = own.keys() == given.keys() and all(
        own[key].shape == given[key].shape
        and torch.linalg.vector_norm(own[key] - given[key]) <= ROUNDED * torch.linalg.vector_norm(given[key])
        for key in own
    )
    if not alike:
        raise CheckpointError("the two networks were trained over different backbones, so they cannot share one")
    network.semantics.backbone = other.semantics.backbone


PRESETS: dict[str, dict[str, Any]] = {
    "tiny": dict(
        encoder_dim=32, encoder_layers=1, encoder_heads=2, position_grid=2, image_size=32, camera_modulation=False,
        ray_maps=True, fusion_reading=None, transformer_dim=32, transformer_layers=1, transformer_heads=2,
        triplane_low_res=4, triplane_dim=8, plane_upsampling=4, decoder_hidden=16, lift=True, lift_pixel_channels=8,
        lift_volume_channels=8, lift_hull=4, plane_padding="border",
    ),
    "small": dict(
        encoder_dim=320, encoder_layers=3, encoder_heads=5, position_grid=12, image_size=192, camera_modulation=False,
        ray_maps=True, fusion_reading=None, transformer_dim=384, transformer_layers=4, transformer_heads=6,
        triplane_low_res=16, triplane_dim=32, plane_upsampling=4, decoder_hidden=64, lift=True, lift_context=32,
        lift_hull=4, plane_padding="border",
    ),
}  # fmt: skip
