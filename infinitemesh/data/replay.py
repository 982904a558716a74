"""Rendered rings that are used more than once: rendering is a good part of a step, and a GPU's memory holds thousands.

A buffer of (object, rig, ring of views) is refreshed a few entries at a time and drawn from at random. With a refresh
of a quarter of the batch, an entry is seen four times on average, each time with other points, views and degradations.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from infinitemesh.data.materials import MaterialChances, Materials, random_materials
from infinitemesh.data.object_pack import ObjectPack
from infinitemesh.data.rigs import Rig, RigRanges, frame_like_inference, random_rigs
from infinitemesh.data.training_views import draw_objects, render_batch
from infinitemesh.data.view_cameras import noisy_orbit_cameras, orbit_cameras, ring_angles
from infinitemesh.types import Camera

ENTRIES_PER_RENDER = 32


@dataclass(frozen=True)
class RingSamples:
    """b objects of a pack as rings of v views; `camera` (axes b, v) is what the network is told."""

    object_ids: Int[Tensor, " b"]
    rig: Rig
    camera: Camera
    rgba: UInt8[Tensor, "b v 4 s s"]
    materials: Materials | None = None  # None: the objects' own colours


@dataclass(frozen=True, kw_only=True)
class RingOptions:
    """What rings are rendered. Shares are probabilities an entry."""

    num_views: int = 12
    size: int = 256
    supersample: int = 2
    tilted: float = 0.5  # share with interpolated views at elevations within max_elevation_deg
    max_elevation_deg: float = 30.0
    framed: float = 0.5  # share framed as a photograph is; the others stand at any size within the field
    noisy: float = 0.3  # share taken from slightly other places than the network is told
    rigs: RigRanges = RigRanges()
    materials: MaterialChances | None = None  # None: the objects' own colours


def render_rings(
    pack: ObjectPack, num: int, options: RingOptions, generator: torch.Generator, *, object_ids: Tensor | None = None
) -> RingSamples:
    """New entries: objects by the pack's weights, rigs, cameras and pictures from `generator`."""
    device = pack.device
    ids = draw_objects(pack, num, generator) if object_ids is None else object_ids
    loose = random_rigs(pack, ids, generator, options.rigs)
    framed = frame_like_inference(pack, ids, loose.rotation, ranges=options.rigs)
    rig = _choose(_coin(num, options.framed, generator), framed, loose)
    azimuth, elevation = ring_angles(
        num, generator, num_views=options.num_views, max_elevation_deg=options.max_elevation_deg
    )
    elevation = elevation * _coin(num, options.tilted, generator)[:, None]
    told = orbit_cameras(azimuth, elevation)
    taken = noisy_orbit_cameras(azimuth, elevation, generator)
    noisy = _coin(num, options.noisy, generator)[:, None, None, None]
    taken = Camera(torch.where(noisy, taken.cam_from_world, told.cam_from_world), told.intrinsics)
    materials = None if options.materials is None else random_materials(pack, ids, generator, options.materials)
    views = render_batch(pack, ids, rig, taken, size=options.size, supersample=options.supersample, materials=materials)
    rgba = (torch.cat([views.rgb, views.alpha], dim=2) * 255).round().to(torch.uint8)
    return RingSamples(ids, rig, told.to(device), rgba, materials)


class ReplayBuffer:
    """`capacity` entries; the oldest are replaced first. `render(num, generator)` makes them, by default as rings."""

    def __init__(
        self,
        pack: ObjectPack,
        options: RingOptions,
        capacity: int,
        render: Callable[[int, torch.Generator], RingSamples] | None = None,
    ):
        self.device, self.capacity = pack.device, capacity
        self.render = render or (lambda num, generator: render_rings(pack, num, options, generator))
        self.filled, self.next = 0, 0
        device, v, s = pack.device, options.num_views, options.size
        self.object_ids = torch.zeros(capacity, dtype=torch.int64, device=device)
        self.rotation = torch.zeros(capacity, 3, 3, device=device)
        self.scale = torch.zeros(capacity, device=device)
        self.offset = torch.zeros(capacity, 3, device=device)
        self.cam_from_world = torch.zeros(capacity, v, 4, 4, device=device)
        self.intrinsics = torch.zeros(capacity, v, 3, 3, device=device)
        self.rgba = torch.zeros(capacity, v, 4, s, s, dtype=torch.uint8, device=device)
        self.materials: dict[str, Tensor] = {}

    def refresh(self, num: int, generator: torch.Generator) -> None:
        """Renders `num` new entries over the oldest ones, and no more than have a place."""
        num = min(num, self.capacity)
        for first in range(0, num, ENTRIES_PER_RENDER):
            count = min(ENTRIES_PER_RENDER, num - first)
            fresh = self.render(count, generator)
            slots = (torch.arange(count, device=self.device) + self.next) % self.capacity
            self.object_ids[slots] = fresh.object_ids
            self.rotation[slots], self.scale[slots], self.offset[slots] = (
                fresh.rig.rotation, fresh.rig.scale, fresh.rig.offset,
            )  # fmt: skip
            self.cam_from_world[slots], self.intrinsics[slots] = fresh.camera.cam_from_world, fresh.camera.intrinsics
            self.rgba[slots] = fresh.rgba
            for name, column in ({} if fresh.materials is None else vars(fresh.materials)).items():
                if name not in self.materials:
                    self.materials[name] = column.new_zeros(self.capacity, *column.shape[1:])
                self.materials[name][slots] = column
            self.next = (self.next + count) % self.capacity
            self.filled = min(self.capacity, self.filled + count)

    def draw(self, num: int, generator: torch.Generator) -> RingSamples:
        """`num` entries with repetition."""
        at = torch.randint(self.filled, (num,), generator=generator, device=self.device)
        return RingSamples(
            self.object_ids[at],
            Rig(self.rotation[at], self.scale[at], self.offset[at]),
            Camera(self.cam_from_world[at], self.intrinsics[at]),
            self.rgba[at],
            Materials(**{name: column[at] for name, column in self.materials.items()}) if self.materials else None,
        )


def as_float(rgba: UInt8[Tensor, "b v 4 s s"]) -> Float[Tensor, "b v 4 s s"]:
    return rgba.float() / 255


def _coin(num: int, share: float, generator: torch.Generator) -> Tensor:
    return torch.rand(num, generator=generator, device=generator.device) < share


def _choose(first: Tensor, a: Rig, b: Rig) -> Rig:
    return Rig(
        torch.where(rearrange(first, "b -> b 1 1"), a.rotation, b.rotation),
        torch.where(first, a.scale, b.scale),
        torch.where(first[:, None], a.offset, b.offset),
    )
