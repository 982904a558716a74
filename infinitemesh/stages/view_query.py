"""What the denoiser is told about the views it makes, in one place for training and sampling.

A query has b groups of v views to make; views of a group see each other. Beside them stand the group's pictures, the
views at hand that they are made from:

    ViewQuery ──encode_views──▶ ViewBatch ──predict──▶ one call of the network: groups x (targets, then the known
    (pictures, cameras,         (latents, rays,        views as clean rows, if wanted)
     who is who)                 tokens, labels)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from infinitemesh.errors import InputError
from infinitemesh.models.conditioning import (
    TRUE_RIG,
    WONDER3D_RIG,
    Conditions,
    Domain,
    camera_label,
    class_labels,
    join_guidance,
    pose4,
    ray_maps,
    relative_angles_deg,
)
from infinitemesh.stages.trajectories import TIE
from infinitemesh.types import Camera


@dataclass(frozen=True, kw_only=True)
class ViewChannels:
    """The denoiser's input channels, in this order; a part that is off takes none.

    noisy latents, then latents of the reference, of the condition and of the coarse render (each as many channels as
    the noisy ones), then ray maps of the target, of the reference and of the condition (6 channels each).
    """

    reference: bool = True
    condition: bool = True
    coarse: bool = False
    target_rays: bool = True
    reference_rays: bool = True
    condition_rays: bool = True
    known_rows: bool = False  # the views at hand join each group as clean rows of their own, at timestep 0
    labels: Literal["true", "wonder3d"] = "true"  # the angles that the class label holds

    @staticmethod
    def paper() -> "ViewChannels":
        """Eq. 1 and 2: the reference's latents; the condition comes as a token, the pose as token and label."""
        return ViewChannels(
            condition=False, target_rays=False, reference_rays=False, condition_rays=False, labels="wonder3d"
        )

    def count(self, latent_channels: int) -> int:
        """What the network's `in_channels` must be."""
        latents = 1 + self.reference + self.condition + self.coarse
        return latents * latent_channels + 6 * (self.target_rays + self.reference_rays + self.condition_rays)


@runtime_checkable
class PictureCodec(Protocol):
    """What is needed of `ImageAutoencoder` and `PaperAutoencoder`."""

    latent_channels: int
    image_channels: int

    def encode(self, rgba: Float[Tensor, "n 4 h w"]) -> Float[Tensor, "n c h8 w8"]: ...

    def decode(self, latents: Float[Tensor, "n c h8 w8"]) -> Float[Tensor, "n channels h w"]: ...


@runtime_checkable
class TokenEncoder(Protocol):
    """What is needed of an image encoder: tokens of a picture that know the pose relative to it."""

    def __call__(self, rgba: Float[Tensor, "n 4 h w"], pose: Float[Tensor, "n 4"]) -> Float[Tensor, "n t d"]: ...


@dataclass(frozen=True)
class ViewQuery:
    """Views to make, and what they are made from. Cameras have axes (group, view)."""

    camera: Camera  # b v
    pictures: Float[Tensor, "b p 4 s s"]  # straight rgb and alpha
    picture_camera: Camera  # b p
    reference: Int[Tensor, "b v"]  # which picture is the reference of a target (Eq. 3)
    condition: Int[Tensor, "b v"]
    num_known: int  # the first pictures are views at hand; the others are made of them (a mirrored front)
    coarse: Float[Tensor, "b v 4 s s"] | None = None


def main_query(
    front: Float[Tensor, "b 4 s s"],
    front_camera: Camera,
    camera: Camera,
    *,
    mirror_back: bool = True,
    coarse: Float[Tensor, "b v 4 s s"] | None = None,
) -> ViewQuery:
    """Main views `camera` (b v) from front views `front_camera` (b). The one known view is the front.

    With `mirror_back` the reference of views from behind is the mirrored front, standing opposite.
    """
    opposite = Camera.orbit(
        front_camera.azimuth_deg.cpu() + 180,
        projection=front_camera.projection,
        distance=float(front_camera.position[0].norm()),
        device=front.device,
    )
    turned = (camera.azimuth_deg - front_camera.azimuth_deg[:, None]) % 360
    behind = (turned > 135) & (turned < 225)
    return ViewQuery(
        camera=camera,
        pictures=torch.stack([front, front.flip(-1)], dim=1),
        picture_camera=Camera(
            torch.stack([front_camera.cam_from_world, opposite.cam_from_world], dim=1),
            torch.stack([front_camera.intrinsics, front_camera.intrinsics], dim=1),
            front_camera.projection,
        ),
        reference=behind.long() * int(mirror_back),
        condition=torch.zeros_like(behind).long(),
        num_known=1,
        coarse=coarse,
    )


def gap_query(
    pictures: Float[Tensor, "b 2 4 s s"],
    picture_camera: Camera,
    camera: Camera,
    *,
    coarse: Float[Tensor, "b v 4 s s"] | None = None,
) -> ViewQuery:
    """Views `camera` (b v) between two neighbours `picture_camera` (b 2), the second further along the ring: Eq. 3."""
    first, second = picture_camera.azimuth_deg[:, :1], picture_camera.azimuth_deg[:, 1:]
    part = ((camera.azimuth_deg - first) % 360) / ((second - first) % 360)
    reference = (part >= 0.5 - TIE).long()
    return ViewQuery(camera, pictures, picture_camera, reference, 1 - reference, num_known=2, coarse=coarse)


@dataclass(frozen=True)
class ViewBatch:
    """Encoded queries. n = domains x groups, domain-major; a group's rows are its targets, then its known views."""

    conditions: Conditions  # rows (n, views)
    known: Float[Tensor, "n k c h w"]  # clean latents of the known rows
    coarse: Float[Tensor, "n v c h w"] | None
    num_targets: int
    num_domains: int = 1

    @property
    def num_views(self) -> int:
        return self.num_targets + self.known.shape[1]

    def dropped(self, *, tokens: Float[Tensor, " n"], appearance: Float[Tensor, " n"]) -> "ViewBatch":
        """Without the tokens, or the pictures, of groups whose flag is 1: guidance dropout in training."""
        views = self.num_views
        conditions = self.conditions.without(
            tokens=tokens.repeat_interleave(views), appearance=appearance.repeat_interleave(views)
        )
        return replace(self, conditions=conditions, known=self.known * (1 - appearance)[:, None, None, None, None])

    def with_unconditional(self) -> "ViewBatch":
        """Both branches of classifier-free guidance, ordered as `join_guidance` orders them."""
        return replace(
            self,
            conditions=self.conditions.with_unconditional(self.num_domains),
            known=join_guidance(torch.zeros_like(self.known), self.known, self.num_domains),
            coarse=None,
        )


def encode_views(
    query: ViewQuery,
    autoencoder: PictureCodec,
    channels: ViewChannels,
    *,
    image_encoder: TokenEncoder | None = None,
    token_width: int = 1,
    domains: Sequence[Domain] = ("colour",),
    dtype: torch.dtype = torch.float32,
) -> ViewBatch:
    """What the denoiser is told, for training and sampling alike. Without an image encoder the token is zero."""
    latents = _encoded(autoencoder, query.pictures, dtype)
    size = latents.shape[-1]
    groups = torch.arange(len(latents), device=latents.device)[:, None]
    references, conditions = (query.picture_camera[groups, index] for index in (query.reference, query.condition))
    k = query.num_known if channels.known_rows else 0
    known = latents[:, :k]
    known_camera = query.picture_camera[:, :k]
    coarse = None if query.coarse is None else _encoded(autoencoder, query.coarse, dtype)
    if channels.coarse and coarse is None:
        raise InputError("this denoiser reads a coarse render of its targets: pass a CoarseRenderer to the stage")

    def rows(of_targets: Tensor, of_known: Tensor) -> Tensor:
        return torch.cat([of_targets, of_known], dim=1)

    appearance = [
        rows(part, known)
        for part, on in (
            (latents[groups, query.reference], channels.reference),
            (latents[groups, query.condition], channels.condition),
            (coarse, channels.coarse),
        )
        if on and part is not None
    ]
    rays = [
        rows(_rays(camera, size), _rays(known_camera, size)).to(dtype)
        for camera, on in (
            (query.camera, channels.target_rays),
            (references, channels.reference_rays),
            (conditions, channels.condition_rays),
        )
        if on
    ]
    labels = rows(_labels(query.camera, references, channels), _labels(known_camera, known_camera, channels))
    tokens = latents.new_zeros(len(latents), query.camera.cam_from_world.shape[1] + k, 1, token_width)
    if image_encoder is not None:
        seen = rows(query.pictures[groups, query.condition], query.pictures[:, :k])
        pose = rows(_flat(pose4, query.camera, conditions), _flat(pose4, known_camera, known_camera))
        tokens = image_encoder(
            rearrange(seen, "b u c h w -> (b u) c h w").to(dtype), rearrange(pose, "b u c -> (b u) c")
        )
        tokens = rearrange(tokens, "(b u) t d -> b u t d", b=len(latents))
    empty = latents.new_zeros(*labels.shape[:2], 0, size, size)
    d = len(domains)
    return ViewBatch(
        conditions=Conditions(
            appearance=repeat(torch.cat([empty, *appearance], dim=2), "b u c h w -> (d b u) c h w", d=d),
            geometry=repeat(torch.cat([empty, *rays], dim=2), "b u c h w -> (d b u) c h w", d=d),
            tokens=repeat(tokens, "b u t c -> (d b u) t c", d=d),
            labels=torch.cat([class_labels(rearrange(labels, "b u c -> (b u) c"), domain) for domain in domains]).to(
                dtype
            ),
        ),
        known=repeat(known, "b k c h w -> (d b) k c h w", d=d),
        coarse=None if coarse is None else repeat(coarse, "b v c h w -> (d b) v c h w", d=d),
        num_targets=query.camera.cam_from_world.shape[1],
        num_domains=d,
    )


def predict(
    unet: nn.Module, batch: ViewBatch, noisy: Float[Tensor, "n v c h w"], timestep: Int[Tensor, " n"]
) -> Float[Tensor, "n v c h w"]:
    """One call of the denoiser; known rows go in clean at timestep 0, and their answer is left out."""
    every = rearrange(torch.cat([noisy, batch.known.to(noisy)], dim=1), "n u c h w -> (n u) c h w")
    times = torch.cat([repeat(timestep, "n -> n v", v=batch.num_targets), timestep.new_zeros(batch.known.shape[:2])], 1)
    conditions = batch.conditions
    answer = unet(
        conditions.inputs(every),
        rearrange(times, "n u -> (n u)"),
        conditions.tokens,
        conditions.labels,
        num_views=batch.num_views,
        num_domains=batch.num_domains,
        return_dict=False,
    )[0]
    return rearrange(answer, "(n u) c h w -> n u c h w", u=batch.num_views)[:, : batch.num_targets]


def _encoded(autoencoder: PictureCodec, pictures: Float[Tensor, "b p 4 s s"], dtype: torch.dtype) -> Tensor:
    flat = rearrange(pictures, "b p c h w -> (b p) c h w").to(dtype)
    return rearrange(autoencoder.encode(flat), "(b p) c h w -> b p c h w", b=len(pictures)).to(dtype)


def _flat(function: Callable[[Camera, Camera], Tensor], target: Camera, base: Camera) -> Tensor:
    """A function of rows of cameras, applied to cameras with axes (group, view)."""
    b, v = target.cam_from_world.shape[:2]
    flat = [Camera(c.cam_from_world.flatten(0, 1), c.intrinsics.flatten(0, 1), c.projection) for c in (target, base)]
    return function(*flat).unflatten(0, (b, v))


def _rays(camera: Camera, size: int) -> Float[Tensor, "b v 6 s s"]:
    return _flat(lambda target, base: ray_maps(target, size), camera, camera)


def _labels(target: Camera, reference: Camera, channels: ViewChannels) -> Float[Tensor, "b v 2"]:
    rig = WONDER3D_RIG if channels.labels == "wonder3d" else TRUE_RIG
    on_cpu = target.to("cpu"), reference.to("cpu")  # in double precision, which not every device has
    labels = _flat(lambda of, base: camera_label(*relative_angles_deg(of, base), rig), *on_cpu)
    return labels.to(target.cam_from_world.device)
