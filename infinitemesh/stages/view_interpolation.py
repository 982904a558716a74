"""Infinite view interpolation (Sec. 3.2): new views between the ones at hand, each made from its two neighbours.

    ring of views ──▶ plan_targets (Eq. 3) ──▶ synthesize: all gaps in one call ──▶ a denser ring ──▶ ... (levels)

`DiffusedInterpolation` is the paper's way and lives in `diffused_interpolation`; here are the base and the ways without
diffusion, which are the baselines of the ablation.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from infinitemesh.errors import GenerationError
from infinitemesh.stages.base import OnProgress, Stage, silent
from infinitemesh.stages.coarse import CoarseRenderer
from infinitemesh.stages.seeds import derive_seed
from infinitemesh.stages.trajectories import Trajectory, cameras_of, plan_targets
from infinitemesh.stages.view_sets import distinct_views, join_views, sort_ring
from infinitemesh.stages.warp import warp_views
from infinitemesh.types import Camera, ViewSet

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
        self.num_between, self.trajectory, self.levels = num_between, trajectory, levels

    @abstractmethod
    def synthesize(self, reference: ViewSet, condition: ViewSet, cameras: Camera, *, seed: int) -> ViewSet:
        """Row k of the result is the object seen by camera k, made from row k of `reference` and of `condition`.

        All gaps of one object come in one call, so the distinct rows together are the whole ring.
        """

    def synthesize_batch(self, batch: Sequence[Gaps], on_progress: OnProgress) -> list[ViewSet]:
        """`synthesize` for several objects; networks override it to answer in one call, or to report their steps."""
        made = []
        for done, gaps in enumerate(batch):
            on_progress(STAGE, done, len(batch))
            made.append(self.synthesize(gaps.reference, gaps.condition, gaps.cameras, seed=gaps.seed))
        on_progress(STAGE, len(batch), len(batch))
        return made

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
            jobs = [self._gaps(ring, derive_seed(seed, level)) for ring, seed in zip(rings, seeds, strict=True)]
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
        rings = [distinct_views([gaps.reference, gaps.condition]) for gaps in batch]
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
