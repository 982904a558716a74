"""Where interpolated views stand, and which neighbours each one is made from (Sec. 3.2, Eq. 3, Table 4).

A ring is walked once, counter-clockwise seen from above. Between every two neighbours M1, M2 (the last and the first
are neighbours too) stand n new views at equal steps of azimuth:

    ring      M1 ............. M2 ............. M1'          n = 2:  i = 1 -> reference M1, condition M2
    targets       i=1   i=2        i=1   i=2                        i = 2 -> reference M2, condition M1

Eq. 3: the reference is M1 when i <= n/2, else M2. That is the nearer neighbour, and a tie goes to the second; written
by angle it also holds for rings that are not 90 degrees apart and for free lists of poses.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from infinitemesh.errors import InputError
from infinitemesh.types import Camera

TRAJECTORIES: dict[str, tuple[float, ...]] = {
    "flat": (0.0,),
    "+15/-15": (15.0, -15.0),
    "+30/-15": (30.0, -15.0),
    "+30/-30": (30.0, -30.0),
}
"""Table 4: elevations that the new views of a gap take in turn (i = 1, 2, 1, ...). Main views stay where they are."""

Pose = tuple[float, float]  # azimuth and elevation in degrees
Trajectory = str | Sequence[Pose]  # a name of TRAJECTORIES, or every new pose

TIE = 1e-4  # of a gap: single-precision azimuths of a tie differ by about 1e-6


@dataclass(frozen=True)
class Target:
    """One view to make. `reference` and `condition` index the ring's views, in the order in which they were given."""

    azimuth_deg: float  # in [0, 360)
    elevation_deg: float
    reference: int
    condition: int
    gap: int  # which pair of neighbours, counted along the ring from the smallest azimuth


def plan_targets(
    ring_azimuth_deg: Float[Tensor, " views"] | Sequence[float], trajectory: Trajectory = "flat", num_between: int = 2
) -> tuple[Target, ...]:
    """The new views of a ring, gap by gap and by azimuth within a gap.

    A named trajectory puts `num_between` views into every gap. A list of (azimuth, elevation) is taken as it is
    (`num_between` is not used): each pose belongs to the gap that its azimuth falls into.
    """
    given = ring_azimuth_deg.tolist() if isinstance(ring_azimuth_deg, Tensor) else ring_azimuth_deg
    azimuths = [float(a) % 360 for a in given]
    order = sorted(range(len(azimuths)), key=azimuths.__getitem__)
    _check_ring([azimuths[k] for k in order])
    around = [*order, order[0]]
    starts = [azimuths[k] for k in order]
    widths = [(azimuths[b] - azimuths[a]) % 360 for a, b in pairwise(around)]
    if isinstance(trajectory, str):
        placed = _between(starts, widths, _elevations_of(trajectory), num_between)
    else:
        placed = _listed(starts, trajectory)
    return tuple(_target(pose, gap, around, starts, widths) for gap, pose in placed)


def cameras_of(targets: Sequence[Target], like: Camera) -> Camera:
    """Cameras at the targets with the first given camera's projection, intrinsics and distance."""
    return cameras_at([(target.azimuth_deg, target.elevation_deg) for target in targets], like)


def cameras_at(poses: Sequence[Pose], like: Camera) -> Camera:
    """Cameras at (azimuth, elevation) with the first given camera's projection, intrinsics and distance."""
    placed = Camera.orbit(
        torch.tensor([azimuth for azimuth, _ in poses], dtype=torch.float64),
        torch.tensor([elevation for _, elevation in poses], dtype=torch.float64),
        projection=like.projection,
        distance=float(like.position[0].norm()),
        device=like.cam_from_world.device,
    )
    return replace(placed, intrinsics=like.intrinsics[:1].expand_as(placed.intrinsics).clone())


def _check_ring(azimuths: list[float]) -> None:
    if len(azimuths) < 2:
        raise InputError(f"interpolation needs at least 2 views around the object, got {len(azimuths)}")
    for a, b in pairwise([*azimuths, azimuths[0] + 360]):
        if b - a < 1e-3:
            raise InputError(f"two views stand at azimuth {a:.3f}; interpolation walks a ring with one view an azimuth")


def _elevations_of(name: str) -> tuple[float, ...]:
    if name not in TRAJECTORIES:
        raise InputError(
            f"unknown trajectory {name!r}; known are {', '.join(TRAJECTORIES)}, or give a list of (azimuth, elevation)"
        )
    return TRAJECTORIES[name]


def _between(
    starts: list[float], widths: list[float], elevations: tuple[float, ...], num_between: int
) -> list[tuple[int, Pose]]:
    if num_between < 1:
        raise InputError(f"num_between is {num_between}; it must be at least 1 (NoInterpolation makes no views)")
    return [
        (gap, (start + width * i / (num_between + 1), elevations[(i - 1) % len(elevations)]))
        for gap, (start, width) in enumerate(zip(starts, widths, strict=True))
        for i in range(1, num_between + 1)
    ]


def _listed(starts: list[float], poses: Sequence[Pose]) -> list[tuple[int, Pose]]:
    if not poses:
        raise InputError(
            "the trajectory is an empty list; give at least one (azimuth, elevation), or use NoInterpolation"
        )
    placed = []
    for azimuth, elevation in poses:
        if not -90 < elevation < 90:
            raise InputError(f"elevation {elevation} is not between -90 and 90 degrees")
        gap = (bisect_right(starts, azimuth % 360) - 1) % len(starts)
        placed.append((gap, (float(azimuth), float(elevation))))
    return sorted(placed, key=lambda item: (item[0], (item[1][0] - starts[item[0]]) % 360))


def _target(pose: Pose, gap: int, around: list[int], starts: list[float], widths: list[float]) -> Target:
    """Eq. 3: the nearer neighbour is the reference; a tie goes to the second."""
    azimuth, elevation = pose
    first, second = around[gap], around[gap + 1]
    part = ((azimuth - starts[gap]) % 360) / widths[gap]
    reference, condition = (first, second) if part < 0.5 - TIE else (second, first)
    return Target(azimuth % 360, elevation, reference, condition, gap)


def ring_order(camera: Camera) -> Tensor:
    """Indices that sort views by azimuth (and by elevation where azimuths are equal)."""
    azimuth = (camera.azimuth_deg.cpu().double() * 1e3).round() % 360_000  # 359.9999 is front, not the ring's end
    elevation = camera.elevation_deg.cpu().double()
    return torch.argsort(azimuth + (elevation + 90) / 360, stable=True)
