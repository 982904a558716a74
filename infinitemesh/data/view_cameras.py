"""The cameras of training views, a batch at a time: rings with trajectories and noise, and photograph-like ones."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from infinitemesh.data.exact import applied, exact_matmul
from infinitemesh.data.gather import ragged_ranges
from infinitemesh.data.object_pack import ObjectPack
from infinitemesh.data.rigs import FRONT_FILL, Rig
from infinitemesh.types import FIELD_HALF_EXTENT, MAIN_AZIMUTHS_DEG, ORBIT_DISTANCE, Camera

Trajectory = Literal["flat", "named", "free"]
NAMED_ELEVATIONS_DEG = ((0.0, 0.0), (15.0, -15.0), (30.0, -15.0), (30.0, -30.0))  # of alternating interpolated views


def orbit_cameras(
    azimuth_deg: Float[Tensor, "b v"],
    elevation_deg: Float[Tensor, "b v"],
    *,
    span: float = 2 * FIELD_HALF_EXTENT,
    offset: Float[Tensor, "b v 2"] | None = None,
) -> Camera:
    """Orthographic cameras around the origin, made on the angles' device; `offset` slides each to its right and up."""
    matrix = _look_at_origin(azimuth_deg, elevation_deg, torch.full_like(azimuth_deg, ORBIT_DISTANCE))
    if offset is not None:
        matrix[..., :2, 3] -= offset
    intrinsics = matrix.new_tensor([[1 / span, 0, 0.5], [0, 1 / span, 0.5], [0, 0, 1]])
    return Camera(matrix, intrinsics.expand(*matrix.shape[:2], 3, 3), "orthographic")


def ring_angles(
    num_objects: int,
    generator: torch.Generator,
    *,
    num_views: int = 12,
    trajectory: Trajectory = "free",
    max_elevation_deg: float = 30.0,
) -> tuple[Float[Tensor, "b v"], Float[Tensor, "b v"]]:
    """Azimuths of an even ring from the front, and elevations: 0 for main views (multiples of 90 degrees).

    Other views by `trajectory`: `flat` 0, `named` one of the four named pairs an object, `free` uniform for each view.
    """
    device = generator.device
    azimuth = (torch.arange(num_views, device=device) * (360 / num_views)).expand(num_objects, -1)
    is_main = torch.isin(azimuth, torch.tensor(MAIN_AZIMUTHS_DEG, device=device))
    if trajectory == "flat":
        elevation = torch.zeros(num_objects, num_views, device=device)
    elif trajectory == "named":
        pairs = torch.tensor(NAMED_ELEVATIONS_DEG, device=device)
        pair = pairs[torch.randint(len(pairs), (num_objects,), generator=generator, device=device)]
        within_gap = (~is_main).long().cumsum(-1) - 1
        elevation = pair.gather(1, within_gap.clamp(min=0) % 2)
    else:
        elevation = torch.rand(num_objects, num_views, generator=generator, device=device) * 2 - 1
        elevation = elevation * max_elevation_deg
    return azimuth.clone(), elevation.masked_fill(is_main, 0.0)


def noisy_orbit_cameras(
    azimuth_deg: Float[Tensor, "b v"],
    elevation_deg: Float[Tensor, "b v"],
    generator: torch.Generator,
    *,
    angle_deg: float = 2.0,
    offset: float = 0.01,
    keep_first: bool = True,
) -> Camera:
    """Where the pictures are really taken when the network is told the clean angles (standard deviations, cut at 2).

    `keep_first` leaves the input view exact: the world is its frame.
    """
    noise = torch.randn(*azimuth_deg.shape, 4, generator=generator, device=generator.device).clamp(-2, 2)
    if keep_first:
        noise[:, 0] = 0
    return orbit_cameras(
        azimuth_deg + angle_deg * noise[..., 0],
        elevation_deg + angle_deg * noise[..., 1],
        offset=offset * noise[..., 2:],
    )


@exact_matmul()
def photograph_cameras(
    pack: ObjectPack,
    object_ids: Int[Tensor, " b"],
    rig: Rig,
    generator: torch.Generator,
    *,
    fov_deg: tuple[float, float] = (20.0, 60.0),
    elevation_deg: tuple[float, float] = (0.0, 0.0),
    fill: float = FRONT_FILL,
) -> Camera:
    """One perspective camera an object ("b 1"), at azimuth 0, cropped as the pipeline crops a photograph.

    The field of view is drawn before the crop, at the distance where the ring's span would fill the picture; then the
    picture is cut so that the object's box is centred and its longer side is `fill` of the width.
    """
    draws = torch.rand(2, len(object_ids), 1, generator=generator, device=generator.device)
    fov = draws[0] * (fov_deg[1] - fov_deg[0]) + fov_deg[0]
    elevation = draws[1] * (elevation_deg[1] - elevation_deg[0]) + elevation_deg[0]
    distance = FIELD_HALF_EXTENT / torch.tan(torch.deg2rad(fov / 2))
    matrix = _look_at_origin(torch.zeros_like(elevation), elevation, distance)
    low, high = _projected_boxes(pack, object_ids, rig, matrix[:, 0])
    focal = fill / (high - low).amax(-1)
    intrinsics = torch.zeros(len(object_ids), 1, 3, 3, device=matrix.device)
    intrinsics[:, 0, 0, 0] = intrinsics[:, 0, 1, 1] = focal
    intrinsics[:, 0, 0, 2] = 0.5 - focal * (low[:, 0] + high[:, 0]) / 2
    intrinsics[:, 0, 1, 2] = 0.5 + focal * (low[:, 1] + high[:, 1]) / 2
    intrinsics[:, 0, 2, 2] = 1
    return Camera(matrix, intrinsics, "perspective")


def _look_at_origin(
    azimuth_deg: Float[Tensor, "b v"], elevation_deg: Float[Tensor, "b v"], distance: Float[Tensor, "b v"]
) -> Float[Tensor, "b v 4 4"]:
    a, e = torch.deg2rad(azimuth_deg), torch.deg2rad(elevation_deg)
    back = torch.stack([a.sin() * e.cos(), e.sin(), a.cos() * e.cos()], dim=-1)
    right = torch.stack([a.cos(), torch.zeros_like(a), -a.sin()], dim=-1)
    matrix = torch.zeros(*a.shape, 4, 4, device=a.device)
    matrix[..., :3, :3] = torch.stack([right, torch.linalg.cross(back, right), back], dim=-2)
    matrix[..., 2, 3] = -distance
    matrix[..., 3, 3] = 1
    return matrix


def _projected_boxes(
    pack: ObjectPack, object_ids: Int[Tensor, " b"], rig: Rig, cam_from_world: Float[Tensor, "b 4 4"]
) -> tuple[Float[Tensor, "b 2"], Float[Tensor, "b 2"]]:
    """Box of every object in x / depth and y / depth (upwards)."""
    start = pack.vertex_start[object_ids]
    index, owner = ragged_ranges(start, pack.vertex_start[object_ids + 1] - start)
    cam_from_object = cam_from_world[:, :3, :3] @ rig.rotation * rig.scale[:, None, None]
    origin = (cam_from_world[:, :3, :3] @ rig.offset[..., None])[..., 0] + cam_from_world[:, :3, 3]
    in_cam = applied(cam_from_object[owner], pack.vertices[index]) + origin[owner]
    on_plane = in_cam[:, :2] / (-in_cam[:, 2:]).clamp(min=1e-3)
    at = owner[:, None].expand(-1, 2)
    empty = on_plane.new_zeros(len(object_ids), 2)
    low = empty.scatter_reduce(0, at, on_plane, "amin", include_self=False)
    high = empty.scatter_reduce(0, at, on_plane, "amax", include_self=False)
    return low, high
