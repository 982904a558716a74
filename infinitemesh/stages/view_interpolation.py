"""Infinite view interpolation (Sec. 3.2): new views between the ones at hand, each made from its two neighbours.

    ring of views ──▶ plan_targets (Eq. 3) ──▶ synthesize: all gaps in one call ──▶ a denser ring ──▶ ... (levels)

`DiffusedInterpolation` is the paper's way; the ways without diffusion are the baselines of the ablation.
"""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from infinitemesh.errors import GenerationError, InputError
from infinitemesh.stages.base import OnProgress, Stage, counted, silent
from infinitemesh.stages.coarse import CoarseRenderer
from infinitemesh.stages.denoise import Sampling, ViewDiffusion, ViewQuery
from infinitemesh.stages.seeds import derive_seed
from infinitemesh.stages.trajectories import Trajectory, cameras_of, plan_targets
from infinitemesh.stages.view_sets import (
    distinct_views,
    from_rgba,
    join_views,
    rgba,
    same_size,
    sort_ring,
    stack_cameras,
)
from infinitemesh.stages.warp import warp_views, with_carried_colours
from infinitemesh.types import MAIN_AZIMUTHS_DEG, Camera, ViewSet

STAGE = "view_interpolation"


@dataclass(frozen=True)
class Gaps:
    """The views to make for one object: row k of all fields is target k. Rows of a gap stand together."""

    reference: ViewSet
    condition: ViewSet
    cameras: Camera
    gap: tuple[int, ...]
    seed: int


class ViewInterpolation(Stage):
    """Fills the gaps between neighbouring views.

    Subclasses say how views are made from two neighbours (`synthesize`). This class walks the ring, places the new
    cameras and chooses, by Eq. 3, which neighbour is the reference and which the condition. With `levels` 2 it is
    applied to its own output, and so on.
    """

    def __init__(self, *, num_between: int = 2, trajectory: Trajectory = "flat", levels: int = 1):
        super().__init__()
        plan_targets(MAIN_AZIMUTHS_DEG, trajectory, num_between)  # raises now, not after minutes of work
        if levels > 1 and not isinstance(trajectory, str):
            raise InputError(f"a list of poses is interpolated once, not levels={levels} times: name a trajectory")
        self.num_between, self.trajectory, self.levels = num_between, trajectory, levels

    @abstractmethod
    def synthesize(self, reference: ViewSet, condition: ViewSet, cameras: Camera, *, seed: int) -> ViewSet:
        """Row k of the result is the object seen by camera k, made from row k of `reference` and of `condition`.

        All gaps of one object come in one call, so the distinct rows together are the whole ring.
        """

    def synthesize_batch(self, batch: Sequence[Gaps], on_progress: OnProgress) -> list[ViewSet]:
        """`synthesize` for several objects; networks override it to answer in one call, or to report their steps."""
        jobs = counted(STAGE, batch, on_progress)
        return [self.synthesize(gaps.reference, gaps.condition, gaps.cameras, seed=gaps.seed) for gaps in jobs]

    def forward(self, views: ViewSet, *, seed: int = 0, on_progress: OnProgress = silent) -> ViewSet:
        """The given views and the new ones, sorted by azimuth."""
        return self.batch([views], seeds=[seed], on_progress=on_progress)[0]

    @torch.no_grad()
    def batch(
        self, rings: Sequence[ViewSet], *, seeds: Sequence[int], on_progress: OnProgress = silent
    ) -> list[ViewSet]:
        """Several objects, each with the seed that it would have alone."""
        rings = list(rings)
        for level in range(self.levels):
            jobs = [self._gaps(ring, derive_seed(seed, STAGE, level)) for ring, seed in zip(rings, seeds, strict=True)]
            made = self.synthesize_batch(jobs, on_progress)
            rings = [_joined(ring, job, new) for ring, job, new in zip(rings, jobs, made, strict=True)]
        return rings

    def _gaps(self, ring: ViewSet, seed: int) -> Gaps:
        targets = plan_targets(ring.camera.azimuth_deg, self.trajectory, self.num_between)
        return Gaps(
            reference=ring[[t.reference for t in targets]],
            condition=ring[[t.condition for t in targets]],
            cameras=cameras_of(targets, ring.camera),
            gap=tuple(t.gap for t in targets),
            seed=seed,
        )


class DiffusedInterpolation(ViewInterpolation):
    """Eq. 1 and 2: each new view is denoised with its reference and its condition in sight.

    Views that `attend` to each other: those of a `gap`, as in the paper, or all new views of the `ring`. With a
    `coarse` renderer, the reconstruction from the ring, seen from the new poses, is a further condition. With `carry`
    above 0 this share of the colours comes from the neighbours' pixels, as `WarpInterpolation` has them, where they see
    the surface: a denoiser knows the outline better, neighbours the detail.
    """

    def __init__(
        self,
        diffusion: ViewDiffusion,
        *,
        coarse: CoarseRenderer | None = None,
        sampling: Sampling | None = None,
        attend: Literal["gap", "ring"] = "gap",
        carry: float = 0.0,
        num_between: int = 2,
        trajectory: Trajectory = "flat",
        levels: int = 1,
    ):
        super().__init__(num_between=num_between, trajectory=trajectory, levels=levels)
        if not 0 <= carry <= 1:
            raise InputError(f"carry is a share in [0, 1], got {carry}")
        self.diffusion, self.coarse = diffusion, coarse
        self.sampling, self.attend, self.carry = sampling or Sampling(), attend, carry

    def synthesize(self, reference: ViewSet, condition: ViewSet, cameras: Camera, *, seed: int) -> ViewSet:
        gap = _gaps_of(reference, condition)
        return self.synthesize_batch([Gaps(reference, condition, cameras, gap, seed)], silent)[0]

    def synthesize_batch(self, batch: Sequence[Gaps], on_progress: OnProgress) -> list[ViewSet]:
        """All groups of all objects with equally many views in one call."""
        size = self.diffusion.size
        small = [
            replace(gaps, reference=same_size(gaps.reference, size), condition=same_size(gaps.condition, size))
            for gaps in batch
        ]
        coarse = self._coarse(small)
        alike: dict[tuple[int, int], list[_Group]] = defaultdict(list)
        for number, gaps in enumerate(small):
            for group in _groups(number, gaps, self.attend):
                alike[len(group.rows), len(group.pictures)].append(group)
        made = [torch.zeros(len(gaps.cameras), 4, size, size, device=gaps.reference.rgb.device) for gaps in batch]
        for call, groups in enumerate(alike.values()):

            def step_of_all(step: int, total: int, call: int = call) -> None:
                on_progress(STAGE, call * total + step, len(alike) * total)

            seeds = [[derive_seed(small[g.number].seed, row) for row in g.rows] for g in groups]
            pictures = self.diffusion.sample(_query(groups, small, coarse), seeds, self.sampling, on_step=step_of_all)
            for group, views in zip(groups, pictures[0], strict=True):
                made[group.number][group.rows] = views.to(made[group.number])
        views = [
            same_size(from_rgba(pictures, gaps.cameras, is_main=False), gaps.reference.size)
            for pictures, gaps in zip(made, batch, strict=True)
        ]
        if not self.carry:
            return views
        return [
            with_carried_colours(each, _ring_of(gaps), gaps.reference, gaps.condition, self.carry)
            for each, gaps in zip(views, batch, strict=True)
        ]

    def _coarse(self, batch: Sequence[Gaps]) -> list[ViewSet] | None:
        if self.coarse is None:
            return None
        rings = [_ring_of(gaps) for gaps in batch]
        return self.coarse.batch(rings, [gaps.cameras for gaps in batch])


def _ring_of(gaps: Gaps) -> ViewSet:
    return distinct_views([gaps.reference, gaps.condition])


@dataclass(frozen=True)
class _Group:
    """Rows of an object that are denoised together, and the distinct views they are made from."""

    number: int  # of the object
    rows: list[int]
    pictures: ViewSet


def _groups(number: int, gaps: Gaps, attend: str) -> list[_Group]:
    together = defaultdict(list)
    for row, gap in enumerate(gaps.gap):
        together[gap if attend == "gap" else 0].append(row)
    return [
        _Group(number, rows, distinct_views([gaps.reference[rows], gaps.condition[rows]])) for rows in together.values()
    ]


def _query(groups: Sequence[_Group], batch: Sequence[Gaps], coarse: Sequence[ViewSet] | None) -> ViewQuery:
    references, conditions = (
        torch.stack([_where(getattr(batch[g.number], name)[g.rows], g.pictures) for g in groups])
        for name in ("reference", "condition")
    )
    return ViewQuery(
        camera=stack_cameras([batch[g.number].cameras[g.rows] for g in groups]),
        pictures=torch.stack([rgba(g.pictures) for g in groups]),
        picture_camera=stack_cameras([g.pictures.camera for g in groups]),
        reference=references,
        condition=conditions,
        num_known=len(groups[0].pictures),
        coarse=None if coarse is None else torch.stack([rgba(coarse[g.number][g.rows]) for g in groups]),
    )


def _where(rows: ViewSet, pictures: ViewSet) -> Int[Tensor, " rows"]:
    """Which picture each row is: the one with its camera."""
    same = rows.camera.cam_from_world[:, None] == pictures.camera.cam_from_world[None]
    return same.flatten(2).all(-1).int().argmax(-1)


def _gaps_of(reference: ViewSet, condition: ViewSet) -> tuple[int, ...]:
    """Numbers rows by their pair of neighbours."""
    ring = distinct_views([reference, condition])
    pairs = [
        tuple(sorted(pair)) for pair in zip(*(_where(v, ring).tolist() for v in (reference, condition)), strict=True)
    ]
    return tuple(sorted(set(pairs)).index(pair) for pair in pairs)


class NoInterpolation(ViewInterpolation):
    """Hands the views on as they are: the chain without Sec. 3.2."""

    def __init__(self):
        super().__init__(levels=0)

    def synthesize(self, reference: ViewSet, condition: ViewSet, cameras: Camera, *, seed: int) -> ViewSet:
        raise AssertionError("no level asks for new views")


class NearestView(ViewInterpolation):
    """Shows the reference again under the new camera: what any interpolation must beat."""

    def synthesize(self, reference: ViewSet, condition: ViewSet, cameras: Camera, *, seed: int) -> ViewSet:
        return reference


class WarpInterpolation(ViewInterpolation):
    """Carries both neighbours' pixels over a proxy shape, the rounded visual hull of the ring: no network at all."""

    def synthesize(self, reference: ViewSet, condition: ViewSet, cameras: Camera, *, seed: int) -> ViewSet:
        return warp_views(distinct_views([reference, condition]), reference, condition, cameras)


class CoarseInterpolation(ViewInterpolation):
    """Renders the reconstruction from the ring at the new poses: consistent and blurred."""

    def __init__(
        self,
        coarse: CoarseRenderer,
        *,
        num_between: int = 2,
        trajectory: Trajectory = "flat",
        levels: int = 1,
    ):
        super().__init__(num_between=num_between, trajectory=trajectory, levels=levels)
        self.coarse = coarse

    def synthesize(self, reference: ViewSet, condition: ViewSet, cameras: Camera, *, seed: int) -> ViewSet:
        return self.coarse(distinct_views([reference, condition]), cameras)

    def synthesize_batch(self, batch: Sequence[Gaps], on_progress: OnProgress) -> list[ViewSet]:
        on_progress(STAGE, 0, 1)
        rings = [_ring_of(gaps) for gaps in batch]
        made = self.coarse.batch(rings, [gaps.cameras for gaps in batch])
        on_progress(STAGE, 1, 1)
        return made


def _joined(ring: ViewSet, gaps: Gaps, made: ViewSet) -> ViewSet:
    if len(made) != len(gaps.cameras) or made.size != ring.size:
        raise GenerationError(
            f"`synthesize` made {len(made)} views of {made.size} px; asked were {len(gaps.cameras)} of {ring.size} px"
        )
    new = replace(made, camera=gaps.cameras, is_main=torch.zeros_like(made.is_main))
    return sort_ring(join_views([ring, new]))
