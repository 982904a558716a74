"""What a denoiser is told besides the noisy latents: camera labels, relative poses, rays, and the guidance batch.

Rows of a batch have three named axes, in this order: domain (normal, colour), object, view.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from einops import rearrange, repeat
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from infinitemesh.types import FIELD_HALF_EXTENT, Camera

Domain = Literal["normal", "colour"]
DOMAINS: tuple[Domain, ...] = ("normal", "colour")


@dataclass(frozen=True)
class LabelRig:
    """The world in which Wonder3D measured its camera angles: tilted and turned against the front camera."""

    tilt_deg: float
    yaw_deg: float


WONDER3D_RIG = LabelRig(tilt_deg=29.340815323826952, yaw_deg=58.22004954444013)
"""The one stored pose folder behind the published labels; two constants reproduce all six to fp16."""

TRUE_RIG = LabelRig(tilt_deg=0.0, yaw_deg=0.0)
"""Labels are minus the elevation and the azimuth themselves: for networks trained from scratch."""


def camera_label(
    azimuth_deg: Float[Tensor, " v"], elevation_deg: Float[Tensor, " v"], rig: LabelRig = TRUE_RIG
) -> Float[Tensor, "v 2"]:
    """(polar, azimuth) angle of a view minus the base view's, in radians, azimuth in [0, 2 pi).

    Angles are relative to the base view (the input for main views, the reference for interpolated ones), which is
    level: as `relative_angles_deg` gives them. Positive polar differences look up from below.
    """
    a, e = torch.deg2rad(azimuth_deg.double()), torch.deg2rad(elevation_deg.double())
    front = torch.zeros(1, dtype=torch.float64, device=a.device)
    (theta, phi), (theta_front, phi_front) = _polar(a, e, rig), _polar(front, front, rig)
    turn = torch.remainder(phi - phi_front + 1e-9, 2 * torch.pi) - 1e-9  # a turn of -1e-16 is 0, not 2 pi
    return torch.stack([theta - theta_front, turn], dim=-1).float()


def _polar(a: Tensor, e: Tensor, rig: LabelRig) -> tuple[Tensor, Tensor]:
    g, b = torch.deg2rad(a.new_tensor([rig.tilt_deg, rig.yaw_deg]))
    zero = torch.zeros_like(g)
    front_from_world = torch.stack(
        [
            torch.stack([b.cos(), -b.sin() * g.cos(), b.sin() * g.sin()]),
            torch.stack([zero, g.sin(), g.cos()]),
            torch.stack([-b.sin(), -b.cos() * g.cos(), b.cos() * g.sin()]),
        ]
    )
    in_front = torch.stack([a.sin() * e.cos(), e.sin(), a.cos() * e.cos()], dim=-1)
    x, y, z = (in_front @ front_from_world).unbind(-1)  # the inverse, applied to rows
    return torch.acos(z.clamp(-1, 1)), torch.atan2(y, x)


def class_labels(labels: Float[Tensor, "v 2"], domain: Domain = "colour") -> Float[Tensor, "v 10"]:
    """What Wonder3D's class embedding reads: sines and cosines of (0, polar, azimuth, is normal, is colour).

    Sines and cosines are taken of the two flags as well, as published.
    """
    flags = labels.new_tensor([domain == "normal", domain == "colour"]).expand(len(labels), 2)
    angles = torch.cat([torch.zeros_like(labels[:, :1]), labels, flags], dim=-1)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def released_labels(azimuth_deg: Float[Tensor, " v"], elevation_deg: Float[Tensor, " v"]) -> Float[Tensor, "v 2"]:
    """Wonder3D's labels with the rounding of its fp16 constants."""
    return camera_label(azimuth_deg, elevation_deg, WONDER3D_RIG).half().float()


def relative_angles_deg(target: Camera, base: Camera) -> tuple[Float[Tensor, " v"], Float[Tensor, " v"]]:
    """Azimuth in [0, 360) and elevation of the targets in the base camera's own frame (one base, or one each)."""
    in_base = (base.cam_from_world[..., :3, :3] @ target.backward[..., None])[..., 0]
    azimuth = torch.rad2deg(torch.atan2(in_base[..., 0], in_base[..., 2]))
    return torch.remainder(azimuth + 1e-4, 360) - 1e-4, torch.rad2deg(torch.asin(in_base[..., 1].clamp(-1, 1)))


def pose4(target: Camera, base: Camera) -> Float[Tensor, "v 4"]:
    """Zero123's relative pose: polar difference, sine and cosine of the azimuth difference, change of distance (0)."""
    polar = torch.deg2rad(base.elevation_deg - target.elevation_deg)
    azimuth = torch.deg2rad(target.azimuth_deg - base.azimuth_deg)
    return torch.stack([polar, azimuth.sin(), azimuth.cos(), torch.zeros_like(polar)], dim=-1)


class PoseProjection(ModelMixin, ConfigMixin):
    """Joins an image token and a relative pose into one token (Zero123's `cc_projection`: 768 + 4 -> 768).

    It starts as the identity on the token. With `pose_starts_at_zero` the pose has no effect at first, so a network
    that never saw a pose starts unchanged; Zero123 leaves those four columns at their random start.
    """

    @register_to_config
    def __init__(self, width: int = 768, *, pose_starts_at_zero: bool = True):
        super().__init__()
        self.linear = nn.Linear(width + 4, width)
        with torch.no_grad():
            self.linear.weight[:, :width] = torch.eye(width)
            if pose_starts_at_zero:
                self.linear.weight[:, width:] = 0
            self.linear.bias.zero_()

    def forward(self, tokens: Float[Tensor, "rows t c"], pose: Float[Tensor, "rows 4"]) -> Float[Tensor, "rows t c"]:
        return self.linear(
            torch.cat([tokens, repeat(pose.to(tokens.dtype), "r p -> r t p", t=tokens.shape[1])], dim=-1)
        )


def ray_maps(camera: Camera, size: int) -> Float[Tensor, "v 6 s s"]:
    """Plücker rays (direction, origin x direction) of the latents' pixels, in units of the field's half extent."""
    origin, direction = camera.rays(size)
    moment = torch.linalg.cross(origin / FIELD_HALF_EXTENT, direction)
    return rearrange(torch.cat([direction, moment], dim=-1), "v h w c -> v c h w")


@dataclass(frozen=True)
class Conditions:
    """Everything a denoiser knows about each row besides noise and time.

    `appearance` (latents of the reference and the like) and `geometry` (rays, known alpha) are concatenated to the
    noisy latents in this order. Guidance drops appearance and tokens; geometry and labels always stay.
    """

    appearance: Float[Tensor, "rows a h w"]
    geometry: Float[Tensor, "rows g h w"]
    tokens: Float[Tensor, "rows t d"]
    labels: Float[Tensor, "rows l"]

    def inputs(self, noisy: Float[Tensor, "rows c h w"]) -> Float[Tensor, "rows i h w"]:
        """The denoiser's input channels."""
        return torch.cat([noisy, self.appearance, self.geometry], dim=1)

    def without(
        self, *, tokens: Float[Tensor, " rows"] | None = None, appearance: Float[Tensor, " rows"] | None = None
    ) -> "Conditions":
        """Zeros in the tokens and the appearance of rows whose flag is 1."""
        kept_tokens = self.tokens if tokens is None else self.tokens * (1 - tokens)[:, None, None]
        kept = self.appearance if appearance is None else self.appearance * (1 - appearance)[:, None, None, None]
        return Conditions(kept, self.geometry, kept_tokens, self.labels)

    def unconditional(self) -> "Conditions":
        """The same rows with zero tokens and zero appearance; cameras stay known."""
        everywhere = self.tokens.new_ones(len(self.tokens))
        return self.without(tokens=everywhere, appearance=everywhere)

    def with_unconditional(self, num_domains: int) -> "Conditions":
        """Rows for classifier-free guidance, ordered as `join_guidance` orders them."""
        without = self.unconditional()
        return Conditions(
            *(
                join_guidance(getattr(without, field.name), getattr(self, field.name), num_domains)
                for field in fields(self)
            )
        )

    @staticmethod
    def cat(parts: "Sequence[Conditions]") -> "Conditions":
        """The rows of several conditions one after the other."""
        return Conditions(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Conditions)))

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Conditions":
        return Conditions(*(getattr(self, field.name).to(device, dtype) for field in fields(self)))


def join_guidance(
    without: Shaped[Tensor, "rows *rest"], conditioned: Shaped[Tensor, "rows *rest"], num_domains: int
) -> Shaped[Tensor, "both *rest"]:
    """One batch of both branches, domain-major: [normal without, normal with, colour without, colour with].

    Cross-domain layers pair the first with the second half of a batch, so the branches must lie within each domain.
    """
    return rearrange(torch.stack([without, conditioned]), "g (d n) ... -> (d g n) ...", d=num_domains)


def split_guidance(
    both: Float[Tensor, "both *rest"], num_domains: int
) -> tuple[Float[Tensor, "rows *rest"], Float[Tensor, "rows *rest"]]:
    """The inverse of `join_guidance`: (without, with)."""
    without, conditioned = rearrange(both, "(d g n) ... -> g (d n) ...", d=num_domains, g=2)
    return without, conditioned
