"""How training objects stand in the world: turned, scaled and centred, a batch at a time.

The world is the input camera's frame, so the object is turned, not the ring: yaw about its own up axis, then tilt, as
if the input camera stood at that azimuth and elevation around it.

    random_rigs           any size within the field: longest box side 1.08 x U(0.75, 1.05) (< 1.15), diagonal <= 1.6
    frame_like_inference  the front view is framed as a photograph is: its longer side fills 0.6 of the width
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from infinitemesh.data.exact import applied, exact_matmul
from infinitemesh.data.gather import ragged_ranges
from infinitemesh.data.object_pack import ObjectPack
from infinitemesh.types import FIELD_HALF_EXTENT

FRONT_FILL = 0.6  # of the view's width, the longer side of the photographed object after the crop
VIEW_MARGIN = 0.97  # no view of the ring shows the object nearer to its border


@dataclass(frozen=True)
class Rig:
    """world = scale * rotation @ object + offset, for b objects of a pack."""

    rotation: Float[Tensor, "b 3 3"]
    scale: Float[Tensor, " b"]
    offset: Float[Tensor, "b 3"]

    def points(self, points: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n 3"]:
        return self.directions(points) * self.scale[:, None, None] + self.offset[:, None]

    def directions(self, directions: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n 3"]:
        return applied(self.rotation[:, None], directions)

    def distances(self, distances: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
        return distances * self.scale[:, None]


@dataclass(frozen=True, kw_only=True)
class RigRanges:
    """What random rigs are drawn from. Sides below 1.15 and diagonals of 1.6 stay within every view of the ring."""

    yaw_deg: tuple[float, float] = (0.0, 360.0)
    tilt_deg: tuple[float, float] = (-15.0, 15.0)
    roll_deg: tuple[float, float] = (0.0, 0.0)
    level: float = 0.0  # share that is not tilted: objects mostly stand upright before a level camera
    facing: float = 0.0  # share that shows one of its four sides squarely
    broad: float = 0.0  # share that is seen from its broad side, as people take photographs: wider than deep
    longest_side: tuple[float, float] = (1.08 * 0.75, 1.08 * 1.05)
    max_diagonal: float = 1.6
    max_elevation_deg: float = 30.0  # of the views that `frame_like_inference` must fit into


def random_rigs(
    pack: ObjectPack, object_ids: Int[Tensor, " b"], generator: torch.Generator, ranges: RigRanges | None = None
) -> Rig:
    """Boxes are measured after turning, and centred."""
    ranges = ranges or RigRanges()
    rotation = random_rotations(len(object_ids), generator, ranges)
    if ranges.broad:
        chosen = _uniform(len(object_ids), (0.0, 1.0), generator) < ranges.broad
        rotation = torch.where(chosen[:, None, None], _broad_side(pack, object_ids, rotation), rotation)
    low, high = turned_boxes(pack, object_ids, rotation)
    side = high - low
    longest = _uniform(len(object_ids), ranges.longest_side, generator)
    scale = torch.minimum(longest / side.amax(-1), ranges.max_diagonal / side.norm(dim=-1))
    return Rig(rotation, scale, -scale[:, None] * (low + high) / 2)


def frame_like_inference(
    pack: ObjectPack,
    object_ids: Int[Tensor, " b"],
    rotation: Float[Tensor, "b 3 3"],
    *,
    fill: float = FRONT_FILL,
    ranges: RigRanges | None = None,
) -> Rig:
    """The front view's box is centred and its longer side is `fill` of the view; depth is centred by its own box.

    Objects much deeper than wide would leave the ring's other views (elevations up to `ranges.max_elevation_deg`): they
    are shrunk until they fit, which inference cannot do.
    """
    ranges = ranges or RigRanges()
    low, high = turned_boxes(pack, object_ids, rotation)
    centre, side = (low + high) / 2, high - low
    scale = fill * 2 * FIELD_HALF_EXTENT / side[:, :2].amax(-1)
    reach = _reach_in_ring(pack, object_ids, rotation, centre, ranges.max_elevation_deg)
    scale = torch.minimum(scale, VIEW_MARGIN * FIELD_HALF_EXTENT / reach)
    return Rig(rotation, scale, -scale[:, None] * centre)


def plain_rigs(pack: ObjectPack, object_ids: Int[Tensor, " b"]) -> Rig:
    """Objects as they are in the pack: the box frame is the world."""
    b, device = len(object_ids), pack.device
    return Rig(
        torch.eye(3, device=device).expand(b, 3, 3), torch.ones(b, device=device), torch.zeros(b, 3, device=device)
    )


def shaken(rig: Rig, generator: torch.Generator, *, scale: float = 0.03, offset: float = 0.02) -> Rig:
    """The same rig, framed slightly off as a matte's box is: relative scale and world offset (standard deviations)."""
    noise = torch.randn(len(rig.scale), 4, generator=generator, device=generator.device)
    factor = 1 + scale * noise[:, 0].clamp(-2, 2)
    return replace(
        rig,
        scale=rig.scale * factor,
        offset=rig.offset * factor[:, None] + offset * noise[:, 1:].clamp(-2, 2),
    )


@exact_matmul()
def random_rotations(num: int, generator: torch.Generator, ranges: RigRanges | None = None) -> Float[Tensor, "n 3 3"]:
    """The rotation that brings the camera at (yaw, tilt) around the object to the front, rolled about its own axis."""
    ranges = ranges or RigRanges()
    yaw = torch.deg2rad(_uniform(num, ranges.yaw_deg, generator))
    tilt = torch.deg2rad(_uniform(num, ranges.tilt_deg, generator))
    if ranges.facing:
        square = (yaw * 2 / torch.pi).round() * torch.pi / 2
        yaw = torch.where(_uniform(num, (0.0, 1.0), generator) < ranges.facing, square, yaw)
    if ranges.level:
        tilt = torch.where(_uniform(num, (0.0, 1.0), generator) < ranges.level, 0.0, tilt)
    roll = torch.deg2rad(_uniform(num, ranges.roll_deg, generator))
    zero = torch.zeros_like(yaw)
    back = torch.stack([yaw.sin() * tilt.cos(), tilt.sin(), yaw.cos() * tilt.cos()], dim=-1)
    right = torch.stack([yaw.cos(), zero, -yaw.sin()], dim=-1)
    up = torch.linalg.cross(back, right)
    upright = torch.stack([right, up, back], dim=-2)
    about_z = torch.stack(
        [roll.cos(), -roll.sin(), zero, roll.sin(), roll.cos(), zero, zero, zero, zero + 1], dim=-1
    ).reshape(num, 3, 3)
    return about_z @ upright


def turned_boxes(
    pack: ObjectPack, object_ids: Int[Tensor, " b"], rotation: Float[Tensor, "b 3 3"]
) -> tuple[Float[Tensor, "b 3"], Float[Tensor, "b 3"]]:
    """Lowest and highest corner of every object's box after turning."""
    turned, owner = _turned_vertices(pack, object_ids, rotation)
    at = owner[:, None].expand(-1, 3)
    empty = turned.new_zeros(len(object_ids), 3)
    low = empty.scatter_reduce(0, at, turned, "amin", include_self=False)
    high = empty.scatter_reduce(0, at, turned, "amax", include_self=False)
    return low, high


@exact_matmul()
def _broad_side(
    pack: ObjectPack, object_ids: Int[Tensor, " b"], rotation: Float[Tensor, "b 3 3"]
) -> Float[Tensor, "b 3 3"]:
    """Objects that are deeper than wide turn a quarter about their own up axis."""
    low, high = turned_boxes(pack, object_ids, rotation)
    deeper = (high - low)[:, 2] > (high - low)[:, 0]
    quarter = rotation.new_tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    return torch.where(deeper[:, None, None], rotation @ quarter, rotation)


def _turned_vertices(
    pack: ObjectPack, object_ids: Int[Tensor, " b"], rotation: Float[Tensor, "b 3 3"]
) -> tuple[Float[Tensor, "v 3"], Int[Tensor, " v"]]:
    start = pack.vertex_start[object_ids]
    index, owner = ragged_ranges(start, pack.vertex_start[object_ids + 1] - start)
    return applied(rotation[owner], pack.vertices[index]), owner


def _reach_in_ring(
    pack: ObjectPack,
    object_ids: Int[Tensor, " b"],
    rotation: Float[Tensor, "b 3 3"],
    centre: Float[Tensor, "b 3"],
    max_elevation_deg: float,
) -> Float[Tensor, " b"]:
    """How far from the middle any upright orthographic view at an elevation up to the given one shows a vertex."""
    turned, owner = _turned_vertices(pack, object_ids, rotation)
    x, y, z = (turned - centre[owner]).unbind(-1)
    sideways = torch.hypot(x, z)
    steepest = torch.atan2(sideways, y.abs()).clamp(max=torch.pi * max_elevation_deg / 180)
    upwards = y.abs() * steepest.cos() + sideways * steepest.sin()
    reach = torch.maximum(sideways, upwards)
    return reach.new_zeros(len(object_ids)).scatter_reduce(0, owner, reach, "amax").clamp(min=1e-6)


def _uniform(num: int, bounds: tuple[float, float], generator: torch.Generator) -> Float[Tensor, " n"]:
    return torch.rand(num, generator=generator, device=generator.device) * (bounds[1] - bounds[0]) + bounds[0]
