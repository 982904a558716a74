"""The cameras that a protocol looks through, as plain values, and pictures taken with them in 8 bits.

Pictures are compared as files would be: rounded to 8 bits over the protocol's background, so a cached truth and a fresh
one give the same numbers.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from infinitemesh.errors import InputError
from infinitemesh.types import FIELD_HALF_EXTENT, Camera, Mesh, Projection, ViewSet

VIEWS_AT_ONCE = 2  # on a CPU: what a picture passes through then stays in its cache, which takes a third off


@dataclass(frozen=True, kw_only=True)
class Rig:
    """Cameras at every elevation x azimuth (elevations outermost) that look at the origin.

    Orthographic ones span 1.8 world units. Perspective ones stand where a sphere of radius `sphere_radius` fills
    `sphere_fill` of the picture's width, unless `distance` says otherwise.
    """

    azimuths_deg: tuple[float, ...] = (0.0,)
    elevations_deg: tuple[float, ...] = (0.0,)
    size: int = 256
    projection: Projection = "orthographic"
    fov_deg: float = 30.0
    sphere_radius: float = 1.0
    sphere_fill: float = 0.9
    distance: float | None = None
    background: float = 1.0
    supersample: int = 1

    def __post_init__(self) -> None:
        if not self.azimuths_deg or not self.elevations_deg or self.size < 11:
            raise InputError("a rig needs at least one azimuth, one elevation and pictures of 11 pixels")

    @property
    def camera(self) -> Camera:
        """A row of cameras."""
        poses = [(a, e) for e in self.elevations_deg for a in self.azimuths_deg]
        return Camera.orbit(
            [a for a, _ in poses],
            [e for _, e in poses],
            projection=self.projection,
            span=2 * FIELD_HALF_EXTENT,
            fov_deg=self.fov_deg,
            distance=self.camera_distance if self.projection == "perspective" else None,
        )

    @property
    def camera_distance(self) -> float:
        """From the origin, in world units."""
        if self.distance is not None:
            return self.distance
        half_tan = torch.tan(torch.deg2rad(torch.tensor(self.fov_deg / 2, dtype=torch.float64)))
        return float(self.sphere_radius / torch.sin(torch.atan(self.sphere_fill * half_tan)))

    def views(self, mesh: Mesh) -> ViewSet:
        """The mesh as the rig sees it, unlit, straight colour and alpha."""
        return self._rendered(mesh, self.camera)

    def pictures(self, mesh: Mesh, *, straight: bool = False) -> "Pictures":
        """Those views in 8 bits, over the background or (`straight`) with the mesh's own colours."""
        at_once = len(self.camera) if mesh.vertices.is_cuda else VIEWS_AT_ONCE
        parts = []
        for first in range(0, len(self.camera), at_once):
            views = self._rendered(mesh, self.camera[first : first + at_once])
            parts.append(Pictures.straight(views) if straight else Pictures.of(views, self.background))
        return Pictures(torch.cat([part.rgb for part in parts]), torch.cat([part.alpha for part in parts]))

    def _rendered(self, mesh: Mesh, camera: Camera) -> ViewSet:
        from infinitemesh.render.shading import render_mesh

        return render_mesh(mesh, camera, self.size, background=self.background, supersample=self.supersample)


@dataclass(frozen=True)
class Pictures:
    """8-bit pictures over a background, with their coverage."""

    rgb: UInt8[Tensor, "v 3 h w"]
    alpha: UInt8[Tensor, "v 1 h w"]

    @staticmethod
    def of(views: ViewSet, background: float = 1.0) -> "Pictures":
        return Pictures(to_8_bit(views.composite(background)), to_8_bit(views.alpha))

    @staticmethod
    def straight(views: ViewSet) -> "Pictures":
        """The views' own colours, not composited."""
        return Pictures(to_8_bit(views.rgb), to_8_bit(views.alpha))

    def __getitem__(self, index: slice | list[int]) -> "Pictures":
        return Pictures(self.rgb[index], self.alpha[index])

    def to(self, device: torch.device | str) -> "Pictures":
        return Pictures(self.rgb.to(device), self.alpha.to(device))

    @property
    def colours(self) -> Float[Tensor, "v 3 h w"]:
        return self.rgb.float() / 255

    @property
    def coverage(self) -> Float[Tensor, "v 1 h w"]:
        return self.alpha.float() / 255

    def blank(self, background: float = 1.0) -> "Pictures":
        """As many pictures of nothing."""
        return Pictures(torch.full_like(self.rgb, round(255 * background)), torch.zeros_like(self.alpha))


def to_8_bit(images: Float[Tensor, "v c h w"]) -> UInt8[Tensor, "v c h w"]:
    bits = (images.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu()
    return bits.contiguous()  # sums depend on the order in memory, and a cache keeps only this one
