"""The large reconstruction model (Sec. 3.3): posed views -> triplane, decoded by small MLPs.

    rgba views ──▶ CameraViT ──▶ ViewFusion (Eq. 4-6) ──▶ TriplaneTransformer ──▶ planes ──▶ FieldDecoders
          ├────────────────────▶ ProjectionLift (option) ──────────┘
          └─▶ SemanticFeatures (option): joins the tokens of the ViT and the pixels of the lift

One class serves every size. The `paper` preset has InstantMesh's tensors under InstantMesh's names, plus `fusion.*`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from infinitemesh.errors import InputError
from infinitemesh.models.camera_vit import CameraViT
from infinitemesh.models.efficientnet import EfficientNetName
from infinitemesh.models.field_decoders import FieldDecoders
from infinitemesh.models.fusion import FusionReading, ViewFusion
from infinitemesh.models.lift import ProjectionLift
from infinitemesh.models.semantics import IMAGENET_MEAN, IMAGENET_STD, SemanticFeatures, SemanticMaps
from infinitemesh.models.triplane_transformer import TriplaneTransformer
from infinitemesh.types import FIELD_HALF_EXTENT, Camera

PERSPECTIVE_HALF_EXTENT = (
    4.0 * 0.2679491924311227
)  # InstantMesh's input rig: radius 4, fov 30 shows +-1.072 at the origin


class LargeReconstructionModel(ModelMixin, ConfigMixin):
    """Views to planes; `decoders` reads the planes.

    `frame` names the field's own axes: "gltf" is the library's world, "instantmesh" is z up with the front on +x.
    `half_extent` is the world length that plane coordinate 1 stands for. `ray_maps` gives each pixel its Plücker ray
    (6 channels) and its alpha beside its colour; without it, views are composited on white and normalised for DINO.
    `plane_smoothing` in [0, 1] is the share of a 3x3 binomial filter over the planes, 0 for public weights.
    `plane_upsampling` cells a side are made by each token of the transformer, and `lift_hull` voxels a side of the
    finest hull are read by it.
    `semantic_layers` > 0 adds frozen features of so many layers of a pretrained ViT (DINOv2-S has 12; 11 are used), and
    `recognition` beside them what a frozen EfficientNet-lite makes of the object.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        encoder_dim: int = 768,
        encoder_layers: int = 12,
        encoder_heads: int = 12,
        position_grid: int = 14,
        image_size: int = 320,
        camera_modulation: bool = True,
        ray_maps: bool = False,
        fusion_reading: FusionReading | None = "joint",
        fusion_heads: int = 12,
        transformer_dim: int = 1024,
        transformer_layers: int = 16,
        transformer_heads: int = 16,
        triplane_low_res: int = 32,
        triplane_dim: int = 80,
        plane_upsampling: int = 2,
        decoder_hidden: int = 64,
        lift: bool = False,
        lift_pixel_channels: int = 32,
        lift_volume_channels: int = 32,
        lift_spread: bool = False,
        lift_context: int = 0,
        lift_hull: int = 2,
        semantic_layers: int = 0,
        semantic_dim: int = 384,
        semantic_heads: int = 6,
        semantic_size: int = 224,
        recognition: EfficientNetName | None = None,
        plane_padding: str = "zeros",
        plane_smoothing: float = 0.0,
        half_extent: float = FIELD_HALF_EXTENT,
        frame: Literal["gltf", "instantmesh"] = "gltf",
    ):
        super().__init__()
        if recognition is not None and not semantic_layers:
            raise InputError(
                f"recognition={recognition!r} joins semantics, and there are none: set semantic_layers too"
            )
        self.encoder = CameraViT(
            dim=encoder_dim,
            num_layers=encoder_layers,
            num_heads=encoder_heads,
            in_channels=10 if ray_maps else 3,
            position_grid=position_grid,
            camera_modulation=camera_modulation,
        )
        self.fusion = None
        if fusion_reading is not None:
            num_patches = (image_size // 16) ** 2 + 1
            self.fusion = ViewFusion(encoder_dim, fusion_heads, reading=fusion_reading, num_patches=num_patches)
        self.transformer = TriplaneTransformer(
            dim=transformer_dim,
            num_layers=transformer_layers,
            num_heads=transformer_heads,
            image_dim=encoder_dim,
            low_res=triplane_low_res,
            channels=triplane_dim,
            upsampling=plane_upsampling,
        )
        self.synthesizer = _Synthesizer(
            FieldDecoders(channels=triplane_dim, hidden=decoder_hidden, padding=plane_padding)
        )
        self.projection_lift = None
        if lift:
            self.projection_lift = ProjectionLift(
                dim=transformer_dim,
                low_res=triplane_low_res,
                pixel_channels=lift_pixel_channels,
                volume_channels=lift_volume_channels,
                spread=lift_spread,
                context_channels=lift_context,
                hull_per_token=lift_hull,
                half_extent=half_extent,
            )
        self.semantics = None
        if semantic_layers:
            self.semantics = SemanticFeatures(
                token_dim=encoder_dim,
                pixel_channels=lift_pixel_channels if lift else 0,
                dim=semantic_dim,
                layers=semantic_layers,
                heads=semantic_heads,
                size=semantic_size,
                recognition=recognition,
            )

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> "LargeReconstructionModel":
        """A freshly initialised network of a named size: `tiny`, `small` or `paper`."""
        if name not in PRESETS:
            raise ValueError(f"reconstruction preset {name!r} is unknown: choose one of {', '.join(PRESETS)}")
        return cls(**{**PRESETS[name], **overrides})

    @property
    def decoders(self) -> FieldDecoders:
        return self.synthesizer.decoder

    def forward(self, rgba: Float[Tensor, "b v 4 h w"], camera: Camera) -> Float[Tensor, "b 3 c r r"]:
        """Planes of b objects from v views each: straight rgb and alpha in [0, 1], camera axes (b, v), ring order."""
        seen = None if self.semantics is None else self.semantics(rgba)
        tokens, lifted = self.encode(rgba, camera, seen), None
        if self.projection_lift is not None:
            lifted = self.projection_lift(rgba, camera, self._pixel_semantics(seen))
        planes = self.transformer(rearrange(tokens, "b v p d -> b (v p) d"), lifted)
        share = self.config["plane_smoothing"]
        return planes if share == 0 else torch.lerp(planes, binomial(planes), share)

    def encode(
        self, rgba: Float[Tensor, "b v 4 h w"], camera: Camera, seen: SemanticMaps | None = None
    ) -> Float[Tensor, "b v p d"]:
        """Image tokens, fused over the views when the network has a fusion; `seen` is what its semantics say."""
        pixels = rearrange(self.pixels(rgba, camera), "b v c h w -> (b v) c h w")
        code = rearrange(self.camera_code(camera), "b v c -> (b v) c").to(pixels.dtype)
        added = None
        if seen is not None:
            assert self.semantics is not None
            added = self.semantics.tokens(seen, pixels.shape[-1] // self.encoder.model.embeddings.patch)
        tokens = rearrange(self.encoder(pixels, code, added), "(b v) p d -> b v p d", b=len(rgba))
        return tokens if self.fusion is None else self.fusion(tokens)

    def _pixel_semantics(self, seen: SemanticMaps | None) -> Callable[[int], Tensor] | None:
        if seen is None:
            return None
        assert self.semantics is not None
        return partial(self.semantics.pixels, seen)

    def pixels(self, rgba: Float[Tensor, "b v 4 h w"], camera: Camera) -> Float[Tensor, "b v c s s"]:
        """What the encoder sees: resized, normalised colour, and with `ray_maps` alpha and rays."""
        size = self.config["image_size"]
        rgb, alpha = rgba[:, :, :3], rgba[:, :, 3:]
        if not self.config["ray_maps"]:
            white = resize(rgb * alpha + (1 - alpha), size)
            mean, std = (white.new_tensor(x)[:, None, None] for x in (IMAGENET_MEAN, IMAGENET_STD))
            return (white - mean) / std
        colour = (rgb - 0.5) * 2 * alpha
        return torch.cat(
            [resize(torch.cat([colour, alpha], dim=2), size), self._ray_maps(camera).to(rgba.dtype)], dim=2
        )

    def _ray_maps(self, camera: Camera) -> Float[Tensor, "b v 6 s s"]:
        """Plücker rays (direction, origin x direction) in units of half_extent."""
        origin, direction = camera.rays(self.config["image_size"])
        moment = torch.linalg.cross(origin / self.config["half_extent"], direction)
        return rearrange(torch.cat([direction, moment], dim=-1), "b v h w c -> b v c h w")

    def camera_code(self, camera: Camera) -> Float[Tensor, "b v 16"]:
        """Camera-to-field 3x4, row-major, and fx, fy, cx, cy in image widths.

        In the InstantMesh frame an orthographic view is coded as the perspective camera of its rig that shows the
        same square at the origin (radius 4, fov 30).
        """
        world_from_cam = camera.world_from_cam
        k = camera.intrinsics
        fxfycxcy = torch.stack([k[..., 0, 0], k[..., 1, 1], k[..., 0, 2], k[..., 1, 2]], dim=-1)
        if self.config["frame"] == "instantmesh":
            rotation, position = world_from_cam[..., [2, 0, 1], :3], world_from_cam[..., [2, 0, 1], 3]
            if camera.projection == "orthographic":
                position = 4.0 * F.normalize(rotation[..., 2], dim=-1)
                fxfycxcy = fxfycxcy.new_tensor([1.8660254, 1.8660254, 0.5, 0.5]).expand_as(fxfycxcy)
            else:
                position = position / self.config["half_extent"]
            matrix = torch.cat([rotation, position[..., None]], dim=-1)
        else:
            matrix = world_from_cam[..., :3, :]
        return torch.cat([rearrange(matrix, "b v i j -> b v (i j)"), fxfycxcy], dim=-1)


def binomial(planes: Float[Tensor, "b 3 c r r"]) -> Float[Tensor, "b 3 c r r"]:
    """Planes under a 3x3 binomial filter: each token makes its 2x2 cells alone, which leaves steps between tokens."""
    padded = F.pad(rearrange(planes, "b plane c h w -> (b plane) c h w"), (1, 1, 1, 1), mode="replicate")
    rows = (padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]) / 4
    smooth = (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 4
    return rearrange(smooth, "(b plane) c h w -> b plane c h w", plane=3)


class _Synthesizer(nn.Module):
    """The published name of what holds the decoders."""

    def __init__(self, decoder: FieldDecoders):
        super().__init__()
        self.decoder = decoder


def resize(images: Float[Tensor, "b v c h w"], size: int) -> Float[Tensor, "b v c s s"]:
    """Bicubic with antialiasing, clamped to the range of its input's colours; the identity at the same size."""
    if images.shape[-1] == size and images.shape[-2] == size:
        return images
    flat = rearrange(images, "b v c h w -> (b v) c h w")
    flat = F.interpolate(flat.float(), (size, size), mode="bicubic", antialias=True, align_corners=False)
    flat = flat.to(images.dtype)  # there is no antialiased bicubic in bf16 on a CPU
    return rearrange(flat.clamp(images.amin(), images.amax()), "(b v) c h w -> b v c h w", b=len(images))


PRESETS: dict[str, dict[str, Any]] = {
    "tiny": dict(
        encoder_dim=32, encoder_layers=1, encoder_heads=2, position_grid=2, image_size=32, camera_modulation=False,
        ray_maps=True, fusion_reading="joint", fusion_heads=2, transformer_dim=32, transformer_layers=1,
        transformer_heads=2, triplane_low_res=6, triplane_dim=8, decoder_hidden=16, lift=True, lift_pixel_channels=8,
        lift_volume_channels=8, plane_padding="border",
    ),
    "small": dict(
        encoder_dim=320, encoder_layers=6, encoder_heads=5, position_grid=12, image_size=192, camera_modulation=False,
        ray_maps=True, fusion_reading="joint", fusion_heads=5, transformer_dim=384, transformer_layers=6,
        transformer_heads=6, triplane_low_res=32, triplane_dim=40, decoder_hidden=64, lift=True, plane_padding="border",
    ),
    # InstantMesh large; `paper-base` is its smaller sibling.
    "paper": dict(frame="instantmesh", half_extent=FIELD_HALF_EXTENT / PERSPECTIVE_HALF_EXTENT),
    "paper-base": dict(
        transformer_layers=12, triplane_dim=40, frame="instantmesh",
        half_extent=FIELD_HALF_EXTENT / PERSPECTIVE_HALF_EXTENT,
    ),
}  # fmt: skip
