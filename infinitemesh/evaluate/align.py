"""Bringing a result into the truth's frame, as far as a protocol allows it. What was done is returned and printed.

Starts (a fixed list of rotations, and of scales) are tried on a few thousand samples; each may be refined by iterative
closest points (ICP); the best by Chamfer distance or by share of inliers wins. `none` leaves the declared frame.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations, product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from infinitemesh.errors import InputError
from infinitemesh.evaluate.metrics_mesh import sample_surface
from infinitemesh.types import Mesh

if TYPE_CHECKING:
    from scipy.spatial import KDTree

Starts = Literal["none", "yaw", "yaw_pitch", "rotations24"]


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Which similarity transforms are tried.

    `yaw`: turns about +Y in steps of `step_deg`; `yaw_pitch`: those at every pitch of `pitches_deg`; `rotations24`: the
    24 rotations of the cube. Every start is combined with every one of `scales`, about the truth's box centre.
    """

    starts: Starts = "none"
    step_deg: float = 15.0
    pitches_deg: tuple[float, ...] = (-60.0, -30.0, 0.0, 30.0, 60.0)
    scales: tuple[float, ...] = (1.0,)
    icp: bool = False
    refine: int | None = None  # ICP starts from this many of the best; None: from all
    icp_scale: bool = False
    choose: Literal["chamfer", "inliers"] = "chamfer"
    inlier_distance: float = 0.02
    samples: int = 1000  # that look for their nearest among `density` times as many of the other surface
    density: int = 20
    iterations: int = 80

    def __post_init__(self) -> None:
        if self.starts not in ("none", "yaw", "yaw_pitch", "rotations24"):
            raise InputError(f"alignment starts are none, yaw, yaw_pitch and rotations24, not {self.starts!r}")


@dataclass(frozen=True)
class Similarity:
    """x -> scale * rotation @ x + shift; `score` is the Chamfer distance on the search's samples, if there was one."""

    rotation: Float[Tensor, "3 3"]
    scale: float
    shift: Float[Tensor, "3"]
    score: float = math.nan

    def apply(self, mesh: Mesh) -> Mesh:
        moved = self.scale * mesh.vertices @ self.rotation.T + self.shift
        normals = None if mesh.normals is None else mesh.normals @ self.rotation.T
        return replace(mesh, vertices=moved, normals=normals)

    @property
    def inverse(self) -> "Similarity":
        back = self.rotation.T / self.scale
        return Similarity(self.rotation.T, 1 / self.scale, -back @ self.shift, self.score)

    def as_dict(self) -> dict[str, Any]:
        return {"rotation": self.rotation.tolist(), "scale": self.scale, "shift": self.shift.tolist()}


def fit_box(mesh: Mesh, truth: Mesh) -> Mesh:
    """Centred on the truth's bounding box, with the same longest side: no rotation."""
    low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
    truth_low, truth_high = truth.vertices.amin(0), truth.vertices.amax(0)
    scale = (truth_high - truth_low).amax() / (high - low).amax().clamp(min=1e-12)
    return replace(mesh, vertices=(mesh.vertices - (low + high) / 2) * scale + (truth_low + truth_high) / 2)


def align(mesh: Mesh, truth: Mesh, how: Alignment, *, seed: int = 0) -> tuple[Mesh, Similarity]:
    """The best of the tried transforms of `mesh`; with starts `none` and no ICP, the mesh itself."""
    search = _Search.of(mesh, truth, how, seed)
    best = search.best()
    if how.starts == "none" and not how.icp:
        return mesh, best
    return best.apply(mesh), best


_Transform = tuple[NDArray[np.float64], float, NDArray[np.float64]]  # rotation, scale, shift


@dataclass(frozen=True)
class _Search:
    """Samples of both surfaces. Trees are built once: truth's points look into the result's own frame."""

    how: Alignment
    result: NDArray[np.float64]
    truth: NDArray[np.float64]
    result_tree: "KDTree"
    truth_tree: "KDTree"
    centre: NDArray[np.float64]

    @staticmethod
    def of(mesh: Mesh, truth: Mesh, how: Alignment, seed: int) -> "_Search":
        from scipy.spatial import KDTree

        count = how.samples * how.density
        dense = [sample_surface(m, count, seed=seed + k).points.double().numpy() for k, m in enumerate((mesh, truth))]
        box = truth.vertices.detach().cpu().double()
        centre = ((box.amin(0) + box.amax(0)) / 2).numpy()
        few = [points[how.density // 2 :: how.density] for points in dense]
        return _Search(how, few[0], few[1], KDTree(dense[0]), KDTree(dense[1]), centre)

    def best(self) -> Similarity:
        scales = self.how.scales if self.how.starts != "none" else (1.0,)
        starts = [
            (rotation, scale, self.centre - scale * rotation @ self.centre)
            for rotation, scale in product(start_rotations(self.how), scales)
        ]
        if self.how.icp and self.how.refine is not None:
            starts = sorted(starts, key=self._rank)[: self.how.refine]
        tried = [self._refined(start) for start in starts] if self.how.icp else starts
        best = min(tried, key=self._rank)
        rotation, scale, shift = best
        _, chamfer = self._rank(best)
        return Similarity(torch.from_numpy(rotation).float(), float(scale), torch.from_numpy(shift).float(), chamfer)

    def _rank(self, transform: _Transform) -> tuple[float, float]:
        """What decides (small is good), then the Chamfer distance."""
        forth, back, _, _ = self._matched(transform)
        chamfer, near = float(forth.mean() + back.mean()) / 2, self.how.inlier_distance
        inliers = float((forth < near).mean() + (back < near).mean()) / 2
        return (chamfer if self.how.choose == "chamfer" else -inliers), chamfer

    def _matched(self, transform: _Transform) -> tuple[NDArray[np.float64], ...]:
        """Distances of the result's and of the truth's samples, and the points they found (truth's, result's own)."""
        rotation, scale, shift = transform
        forth, truth_index = self.truth_tree.query(scale * self.result @ rotation.T + shift)
        back, result_index = self.result_tree.query((self.truth - shift) @ rotation / scale)
        return forth, back * scale, self.truth_tree.data[truth_index], self.result_tree.data[result_index]

    def _refined(self, transform: _Transform) -> _Transform:
        """Point-to-point ICP with matches both ways, so that a part cannot shrink into a dense region."""
        last = np.inf
        for _ in range(self.how.iterations):
            forth, back, found_truth, found_result = self._matched(transform)
            source, target = np.concatenate([self.result, found_result]), np.concatenate([found_truth, self.truth])
            transform = matched_similarity(source, target, with_scale=self.how.icp_scale, scale=transform[1])
            error = float(forth.mean() + back.mean())
            if last - error < 1e-5 * last:
                break
            last = error
        return transform


def start_rotations(how: Alignment) -> Sequence[NDArray[np.float64]]:
    if how.starts == "none":
        return [np.eye(3)]
    if how.starts == "rotations24":
        return _cube_rotations()
    turns = [_about_y(a) for a in np.arange(0, 360, how.step_deg)]
    if how.starts == "yaw":
        return turns
    return [_about_x(p) @ turn for p in how.pitches_deg for turn in turns]


def matched_similarity(
    source: NDArray[np.float64], target: NDArray[np.float64], *, with_scale: bool, scale: float
) -> _Transform:
    """The least-squares similarity (Umeyama 1991), never a mirror; without `with_scale` at the given scale."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    u, stretch, vt = np.linalg.svd((target - target_mean).T @ (source - source_mean) / len(source))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u * signs @ vt
    if with_scale:
        scale = float((stretch * signs).sum() / max(((source - source_mean) ** 2).sum(1).mean(), 1e-30))
    return rotation, scale, target_mean - scale * rotation @ source_mean


def _cube_rotations() -> list[NDArray[np.float64]]:
    """The identity first."""
    signed = [
        np.eye(3)[list(order)] * np.array(signs)[:, None]
        for order in permutations(range(3))
        for signs in product((1.0, -1.0), repeat=3)
    ]
    return [matrix for matrix in signed if np.linalg.det(matrix) > 0]


def _about_y(degrees: float) -> NDArray[np.float64]:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _about_x(degrees: float) -> NDArray[np.float64]:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
