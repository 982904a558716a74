"""Finished ways to measure the front half: one stage alone, a pipeline's views, and the baselines they must beat.

mainviews, orbit12   a photograph is given        `PipelineViews`, `MainViewsAlone(stage)`
ivi                  the true main views          `InterpolationAlone(stage)`
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch

from infinitemesh.errors import InfiniteMeshError
from infinitemesh.evaluate.protocol import Protocol
from infinitemesh.evaluate.systems import PipelineSystem, ViewSystem, check_stages
from infinitemesh.evaluate.truth import Case
from infinitemesh.running import each
from infinitemesh.stages.base import silent
from infinitemesh.stages.main_views import MainViews, MirrorMainViews
from infinitemesh.stages.view_interpolation import NearestView, ViewInterpolation, WarpInterpolation
from infinitemesh.stages.view_sets import join_views
from infinitemesh.types import MAIN_AZIMUTHS_DEG, Camera, Mesh, ViewSet

if TYPE_CHECKING:
    from infinitemesh.pipeline import InfiniteMeshPipeline


class CopyFront(MainViews):
    """The front view again from every side: what any network must beat on right and left."""

    def generate(self, front: ViewSet, cameras: Camera, *, seed: int) -> ViewSet:
        return join_views([front] * len(cameras))


class InterpolationAlone(ViewSystem):
    """One interpolation stage, given the true main views."""

    def __init__(self, stage: ViewInterpolation, *, name: str, version: str = "", seed: int = 0) -> None:
        self.stage, self.name, self.version, self.seed = stage, name, version, seed

    def views_of(self, case: Case) -> ViewSet:
        return self.stage(case.given_views(), seed=self.seed)

    def fingerprint(self, case: Case) -> str:
        return f"{self.name} {self.version} {self.seed}"


Front = Literal["true", "photo"]


class MainViewsAlone(ViewSystem):
    """One main-view stage without a matte.

    `front` true: it is given the true orthographic front view, which no photograph is. `photo`: the protocol's
    photograph, cut out and framed as a pipeline's `Foreground` does it.
    """

    def __init__(
        self,
        stage: MainViews,
        *,
        name: str,
        version: str = "",
        seed: int = 0,
        size: int = 256,
        front: Front = "true",
    ) -> None:
        self.stage, self.name, self.version, self.seed, self.size = stage, name, version, seed, size
        self.front: Front = front

    def views_of(self, case: Case) -> ViewSet:
        return self.stage(front_of(case, self.front, self.size), seed=self.seed)

    def fingerprint(self, case: Case) -> str:
        what = "" if self.front == "true" else f" {self.front}"  # stored results are older than the choice
        return f"{self.name} {self.version} {self.seed} {self.size}{what}"


def front_of(case: Case, front: Front, size: int = 256) -> ViewSet:
    """What main views are made of: the true orthographic front, or the framed photograph."""
    from infinitemesh.evaluate.rigs import Rig
    from infinitemesh.stages.foreground import AlphaForeground

    if front == "photo":
        return AlphaForeground(size=size)(case.photo())
    return case.true_views(Rig(size=size, supersample=2))


class PipelineViews(ViewSystem):
    """The views that a whole pipeline makes of the photograph, or its interpolation of given true main views."""

    def __init__(
        self,
        pipeline: str = "small",
        overrides: Mapping[str, Any] | None = None,
        *,
        device: str = "cpu",
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        self.whole = PipelineSystem(pipeline, overrides, device=device, seed=seed, name=name)
        self.name, self.device, self.seed = self.whole.name, device, seed
        self.parallel = self.whole.parallel

    @cached_property
    def pipeline(self) -> "InfiniteMeshPipeline":
        return self.whole.pipeline

    def check(self, protocol: Protocol) -> None:
        if protocol.given is not None:
            check_stages(self.pipeline, ("view_interpolation",), f"{protocol.label} gives the main views")
            return
        stages = (
            ("foreground", "main_views") if only_main(protocol) else ("foreground", "main_views", "view_interpolation")
        )
        check_stages(self.pipeline, stages, f"{protocol.label} gives a photograph")

    def views_of(self, case: Case) -> ViewSet:
        made = self.views_of_all([case])[0]
        if isinstance(made, InfiniteMeshError):
            raise made
        return made

    @torch.no_grad()
    def views_of_all(self, cases: Sequence[Case]) -> list[ViewSet | InfiniteMeshError]:
        """The front half alone, so that the cost is that of the views; only main views where no others count."""
        pipeline, protocol = self.pipeline, cases[0].protocol
        seeds = [self.seed] * len(cases)
        if protocol.given is not None:
            assert pipeline.view_interpolation is not None
            main = [case.given_views().to(self.device) for case in cases]
            return [views.to("cpu") for views in pipeline.view_interpolation.batch(main, seeds=seeds)]
        assert pipeline.foreground is not None
        assert pipeline.main_views is not None
        fronts = each("foreground", pipeline.foreground, [(case.photo(),) for case in cases], silent)
        usable = [front.to(self.device) for front in fronts if isinstance(front, ViewSet)]
        made = pipeline.main_views.batch(usable, seeds=seeds[: len(usable)]) if usable else []
        if not only_main(protocol) and usable:
            assert pipeline.view_interpolation is not None
            made = pipeline.view_interpolation.batch(made, seeds=seeds[: len(usable)])
        rest = iter(made)
        return [next(rest).to("cpu") if isinstance(front, ViewSet) else front for front in fronts]

    def mesh_from(self, views: ViewSet) -> Mesh | None:
        return self.pipeline.views_to_mesh(views, seed=self.seed)

    def fingerprint(self, case: Case) -> str:
        return self.whole.fingerprint(case)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "pipeline"}


def only_main(protocol: Protocol) -> bool:
    """Whether no view between the main views is compared."""
    return protocol.views is not None and set(protocol.views.azimuths_deg) <= set(MAIN_AZIMUTHS_DEG)


def baselines(protocol: str) -> list[ViewSystem]:
    """The ways without a network that a protocol's front half is compared with.

    Of a photograph: those that have nothing but the photograph either, and those that are given the true orthographic
    front, which shows outlines that no photograph has: a bound, not a rival.
    """
    if protocol == "ivi":
        stages = {"nearest view": NearestView(), "warp": WarpInterpolation()}
        return [InterpolationAlone(stage, name=name) for name, stage in stages.items()]
    if protocol == "mainviews":
        return [
            MainViewsAlone(CopyFront(), name="copy photograph", front="photo"),
            MainViewsAlone(MirrorMainViews(), name="mirror photograph (back)", front="photo"),
            MainViewsAlone(CopyFront(), name="copy front"),
            MainViewsAlone(MirrorMainViews(), name="mirror front (back)"),
        ]
    if protocol == "orbit12":
        return [RingBaseline("mirrored photograph, warp", front="photo"), RingBaseline("mirrored front, warp")]
    return []


class RingBaseline(ViewSystem):
    """Mirrored front as main views, warped in between: a whole orbit without a network."""

    def __init__(self, name: str, *, front: Front = "true") -> None:
        self.name = name
        self.front: Front = front

    def views_of(self, case: Case) -> ViewSet:
        main = MainViewsAlone(MirrorMainViews(), name=self.name, front=self.front).views_of(case)
        return WarpInterpolation()(main)
