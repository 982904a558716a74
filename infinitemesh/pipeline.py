"""One photograph in, one textured mesh out: the six stages in a row, and everything in between on request.

photo ─▶ Foreground ─▶ MainViews ─▶ ViewInterpolation ─▶ Reconstruction ─▶ Surface ─▶ Texturing ─▶ Mesh
         1 view        4 views      4 + 4·n views        triplane          triangles  colour
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, overload

import torch
from diffusers import ModelMixin
from torch import nn

from infinitemesh import __version__
from infinitemesh.bundle import Bundle, Describer, arguments, parameters, rebuilt, save_bundle
from infinitemesh.errors import CheckpointError, InfiniteMeshError, InputError
from infinitemesh.hub import resolve
from infinitemesh.messages import nearest
from infinitemesh.models.field_decoders import FieldDecoders
from infinitemesh.running import Clock, each, kept_on_cpu, reconstructed, workers_on
from infinitemesh.stages.base import OnProgress, silent
from infinitemesh.stages.foreground import Foreground
from infinitemesh.stages.main_views import MainViews
from infinitemesh.stages.reconstruction import Reconstruction
from infinitemesh.stages.surface import Surface
from infinitemesh.stages.texturing import Texturing, VertexColour
from infinitemesh.stages.trajectories import Trajectory
from infinitemesh.stages.view_interpolation import ViewInterpolation
from infinitemesh.stages.view_sets import check_views
from infinitemesh.steps import step
from infinitemesh.trace import Trace
from infinitemesh.types import Mesh, Triplane, ViewSet

STAGES = ("foreground", "main_views", "view_interpolation", "reconstruction", "surface", "texturing")
FRONT_HALF = STAGES[:3]  # what only a photograph needs
Photo = Any  # a path, bytes, PIL image, array or tensor: what `images.load_image` takes


class InfiniteMeshPipeline(nn.Module):
    """Photographs to meshes. Every stage can be exchanged; a pipeline without its front half still takes views."""

    def __init__(
        self,
        *,
        foreground: Foreground | None = None,
        main_views: MainViews | None = None,
        view_interpolation: ViewInterpolation | None = None,
        reconstruction: Reconstruction,
        surface: Surface,
        texturing: Texturing,
        name: str = "custom",
        weights: Mapping[str, str] | None = None,
        absent: Mapping[str, str] | None = None,
    ):
        """`name` and `weights` (a hash a network) go into every mesh; `absent` says why a stage is None."""
        super().__init__()
        self.foreground, self.main_views, self.view_interpolation = foreground, main_views, view_interpolation
        self.reconstruction, self.surface, self.texturing = reconstruction, surface, texturing
        self.name, self.weights, self.absent = name, dict(weights or {}), dict(absent or {})
        self._offload_to: torch.device | None = None

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path = "small",
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        allow_download: bool = False,
        **stages: Any,
    ) -> "InfiniteMeshPipeline":
        """A bundled preset, a pipeline folder or a hub repository; `surface=...` and so on replace its stages.

        A front-half stage whose weights are not there is left out, and missed only when a photograph comes.
        """
        _check_stage_names(stages)
        bundle = Bundle.open(resolve(name_or_path, allow_download=allow_download))
        _check_stage_names(bundle.stages, CheckpointError)
        built: dict[str, Any] = dict(stages)
        absent: dict[str, str] = {}
        for stage in STAGES:
            if stage in stages:
                continue
            missing = [] if stage not in bundle.stages else bundle.absent_networks(stage)
            if stage in FRONT_HALF and (stage not in bundle.stages or missing):
                why = f"weights {', '.join(missing)}" if missing else stage
                absent[stage] = f"{bundle.folder.name} has no {why}"
            elif stage not in bundle.stages:
                raise CheckpointError(f"{bundle.folder} describes no stage {stage!r}; give one by keyword")
            else:
                built[stage] = bundle.build(stage)
        pipeline = cls(**built, name=bundle.preset, weights=bundle.hashes(), absent=absent)
        return pipeline.eval().to(device, dtype)

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        dtype: torch.dtype | None = torch.float16,
        eight_bit: Collection[str] = (),
        six_bit: Mapping[str, Collection[str]] | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Writes pipeline.json and one folder a network, floats as `dtype` (None: as they are).

        `eight_bit` names networks (folders, such as "reconstruction") whose large tensors are stored in 8 bits. Others
        are floats even where they were loaded from 8 bits: networks do not remember how they were stored. `six_bit`,
        such as {"reconstruction": ["semantics.backbone."]}, names those of their tensors for which 6 bits are enough,
        by prefixes.
        """
        stages = {name: stage for name in STAGES if (stage := getattr(self, name)) is not None}
        return save_bundle(
            folder, stages, preset=self.name, dtype=dtype, eight_bit=eight_bit, six_bit=six_bit, overwrite=overwrite
        )

    def forward(
        self, image: Photo | Sequence[Photo], seed: int = 0, *, on_progress: OnProgress = silent
    ) -> Mesh | list[Mesh]:
        """The mesh of a photograph, or the meshes of several in one batch."""
        if isinstance(image, list | tuple):
            return [trace.mesh for trace in self.trace_batch(image, seed, on_progress=on_progress)]
        return self.trace(image, seed, on_progress=on_progress).mesh

    def trace(self, image: Photo, seed: int = 0, *, on_progress: OnProgress = silent) -> Trace:
        """Every intermediate of one photograph. `on_progress(stage, step, total)` may raise to cancel."""
        return self.trace_batch([image], seed, on_progress=on_progress)[0]

    def trace_batch(self, images: Sequence[Photo], seed: int = 0, *, on_progress: OnProgress = silent) -> list[Trace]:
        """Several photographs, each as it would come out alone with this seed; networks see all of them at once."""
        traces = []
        for number, made in enumerate(self.try_batch(images, seed, on_progress=on_progress)):
            if isinstance(made, InfiniteMeshError):
                if len(images) == 1:
                    raise made
                raise type(made)(f"object {number + 1} of {len(images)}: {made}") from made
            traces.append(made)
        return traces

    def try_batch(
        self, images: Sequence[Photo], seed: int = 0, *, on_progress: OnProgress = silent
    ) -> list[Trace | InfiniteMeshError]:
        """As `trace_batch`, with the error in the place of a photograph that cannot be made a mesh of."""
        clock = Clock(len(images))
        fronts = self._foregrounds(images, clock, on_progress)
        usable = [front for front in fronts if isinstance(front, ViewSet)]
        traces = iter(self._traces(usable, seed, clock, on_progress))
        return [next(traces) if isinstance(front, ViewSet) else front for front in fronts]

    def trace_front(self, front: ViewSet, seed: int = 0, *, on_progress: OnProgress = silent) -> Trace:
        """Every intermediate from a front view as `Foreground` makes it: cut out and framed."""
        made = self._traces([check_views(front).to(self.device)], seed, Clock(1), on_progress)[0]
        if isinstance(made, InfiniteMeshError):
            raise made
        return made

    def photo_to_views(self, image: Photo, seed: int = 0, *, on_progress: OnProgress = silent) -> ViewSet:
        """The front half alone: the ring of views that the reconstruction would get.

        `views_to_mesh` takes all of it as true; `__call__` knows which view was the photograph, and may trust it more.
        """
        clock = Clock(1)
        front = self._foregrounds([image], clock, on_progress)[0]
        if isinstance(front, InfiniteMeshError):
            raise front
        return self._rings([front], seed, clock, on_progress)[1][0]

    def views_to_mesh(
        self, views: ViewSet, *, interpolate: bool = False, seed: int = 0, on_progress: OnProgress = silent
    ) -> Mesh:
        """The back half alone: the mesh of at least two posed, cut-out views of one object.

        `interpolate` fills the gaps between them first, as between generated main views.
        """
        return self.trace_views(views, interpolate=interpolate, seed=seed, on_progress=on_progress).mesh

    def trace_views(
        self, views: ViewSet, *, interpolate: bool = False, seed: int = 0, on_progress: OnProgress = silent
    ) -> Trace:
        """Every intermediate of `views_to_mesh`."""
        ring = check_views(views, least=2).to(self.device)
        clock = Clock(1)
        if interpolate:
            if self.view_interpolation is None:
                why = self._why_absent("view_interpolation")
                raise CheckpointError(f"interpolate=True needs the stage view_interpolation: {why}")
            with self._stage("view_interpolation", clock) as interpolation:
                ring = interpolation(ring, seed=seed, on_progress=on_progress)
        made = self._meshes([ring], seed, clock, on_progress, true=[views.to(self.device)] if interpolate else None)[0]
        if isinstance(made, InfiniteMeshError):
            raise made
        return Trace(None, views if interpolate else None, ring, *made, clock.seconds())

    def _foregrounds(
        self, images: Sequence[Photo], clock: Clock, on_progress: OnProgress
    ) -> list[ViewSet | InfiniteMeshError]:
        for stage in FRONT_HALF:
            if getattr(self, stage) is None:
                raise CheckpointError(
                    f"a photograph needs the stage {stage}: {self._why_absent(stage)}. "
                    f"Pass {stage}=... to from_pretrained, or give views of the object (views_to_mesh)"
                )
        with self._stage("foreground", clock) as foreground:
            inputs = [(image,) for image in images]
            fronts = each("foreground", foreground, inputs, on_progress, workers=workers_on(self.device))
        return [front.to(self.device) if isinstance(front, ViewSet) else front for front in fronts]

    def _rings(
        self, fronts: Sequence[ViewSet], seed: int, clock: Clock, on_progress: OnProgress
    ) -> tuple[list[ViewSet], list[ViewSet]]:
        """Main views, and all views."""
        seeds = [seed] * len(fronts)
        with self._stage("main_views", clock) as main_views:
            mains = main_views.batch(fronts, seeds=seeds, on_progress=on_progress)
        with self._stage("view_interpolation", clock) as interpolation:
            return mains, interpolation.batch(mains, seeds=seeds, on_progress=on_progress)

    def _traces(
        self, fronts: Sequence[ViewSet], seed: int, clock: Clock, on_progress: OnProgress
    ) -> list[Trace | InfiniteMeshError]:
        if not fronts:
            return []
        mains, rings = self._rings(fronts, seed, clock, on_progress)
        assert self.main_views is not None  # it made the rings
        true = [self.main_views.true_views(front) for front in fronts]
        made = self._meshes(rings, seed, clock, on_progress, true=true)
        return [
            rest if isinstance(rest, InfiniteMeshError) else Trace(front, main, ring, *rest, clock.seconds())
            for front, main, ring, rest in zip(fronts, mains, rings, made, strict=True)
        ]

    def _meshes(
        self,
        rings: Sequence[ViewSet],
        seed: int,
        clock: Clock,
        on_progress: OnProgress,
        *,
        true: Sequence[ViewSet] | None = None,
    ) -> list[tuple[Triplane, Mesh, Mesh] | InfiniteMeshError]:
        """Triplane, uncoloured and coloured mesh of every ring; `true` are the views that it was made of."""
        with self._stage("reconstruction", clock) as reconstruction:
            on_progress("reconstruction", 0, 1)
            triplanes = reconstructed(reconstruction, rings, true)
            on_progress("reconstruction", 1, 1)
        with self._stage("surface", clock) as surface:
            inputs = [(triplane,) for triplane in triplanes]
            surfaces = each("surface", surface, inputs, on_progress, workers=workers_on(self.device))
        with self._stage("texturing", clock) as texturing:
            inputs = list(zip(surfaces, triplanes, rings, strict=True))
            textured = kept_on_cpu(texturing)
            meshes = each("texturing", textured, inputs, on_progress, workers=workers_on(self.device))
        made_with = {"infinitemesh": self.provenance() | {"seed": seed}}
        return [
            mesh
            if isinstance(mesh, InfiniteMeshError)
            else (triplane, surface, replace(mesh, metadata={**mesh.metadata, **made_with}))
            for triplane, surface, mesh in zip(triplanes, surfaces, meshes, strict=True)
        ]

    @step("provenance")
    def provenance(self) -> dict[str, Any]:
        """Version, preset, weight hashes and settings: what a GLB says about how it was made."""
        settings: dict[str, Any] = {}
        describer = Describer()
        for name in STAGES:
            stage = getattr(self, name)
            try:
                settings[name] = describer.plain(stage)
            except InputError:  # a user's own stage: its name is what can be said
                settings[name] = {"class": type(stage).__name__}
        return {"version": __version__, "preset": self.name, "weights": dict(self.weights), "stages": settings}

    @property
    def device(self) -> torch.device:
        """Where the stages run."""
        if self._offload_to is not None:
            return self._offload_to
        return next((p.device for p in self.parameters()), torch.device("cpu"))

    def networks(self) -> list[ModelMixin]:
        """Every network once."""
        inner: set[int] = set()
        found = [module for module in self.modules() if isinstance(module, ModelMixin)]
        for network in found:
            inner |= {id(m) for m in network.modules() if m is not network}
        return [network for network in found if id(network) not in inner]

    def to(  # pyright: ignore[reportIncompatibleMethodOverride]: the two forms that a pipeline needs
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> "InfiniteMeshPipeline":
        """Moves all stages; casts the large networks, of views and reconstruction.

        The matte and the field's decoders stay float32: signed distances of half precision show as steps.
        """
        if device is not None:
            super().to(torch.device(device))
        if dtype is not None:
            for stage in (self.main_views, self.view_interpolation, self.reconstruction):
                if stage is not None:
                    stage.to(dtype)
            for stage in (self.surface, self.texturing):
                stage.float()
            for module in self.modules():
                if isinstance(module, FieldDecoders):  # the coarse renderers' networks have their own
                    module.float()
        return self

    def compile(self, **options: Any) -> "InfiniteMeshPipeline":  # pyright: ignore[reportIncompatibleMethodOverride]
        """torch.compile for every network; the first run then takes minutes."""
        for network in self.networks():
            network.compile(**options)
        return self

    def enable_offload(self, device: torch.device | str = "cuda") -> "InfiniteMeshPipeline":
        """Keeps weights on the CPU and only the running stage's on `device`: for small GPUs."""
        self._offload_to = torch.device(device)
        super().to(torch.device("cpu"))
        return self

    def with_stages(self, **stages: Any) -> "InfiniteMeshPipeline":
        """A pipeline with some stages exchanged (None: left out) and everything else shared."""
        _check_stage_names(stages)
        parts: dict[str, Any] = {name: getattr(self, name) for name in STAGES} | stages
        changed = type(self)(**parts, name=self.name, weights=self.weights, absent=self.absent)
        changed._offload_to = self._offload_to
        return changed.train(self.training)

    def with_settings(
        self,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        sampler: str | None = None,
        num_between: int | None = None,
        trajectory: Trajectory | None = None,
        levels: int | None = None,
        faces: int | None = None,
        grid: int | None = None,
        level: float | None = None,
        texture_size: int | None = None,
    ) -> "InfiniteMeshPipeline":
        """A pipeline with some settings changed and the networks shared; None keeps a setting.

        `steps`, `guidance` and `sampler` are those of every diffusion; `faces` bounds the mesh, `grid` is the
        resolution it is extracted at and `level` the signed distance (0.0025: thin walls that tear stay whole);
        `texture_size` 0 colours vertices instead.
        """
        sampling = _given(steps=steps, guidance=guidance, sampler=sampler)
        changes: dict[str, dict[str, Any]] = self._resampled(sampling) if sampling else defaultdict(dict)
        changes["view_interpolation"] |= _given(num_between=num_between, trajectory=trajectory, levels=levels)
        changes["surface"] |= _given(target_faces=faces, resolution=grid, level=level)
        changes["texturing"] |= _given(texture_size=texture_size or None)
        changed = {stage: rebuilt(self._present(stage), **values) for stage, values in changes.items() if values}
        if texture_size == 0:
            kept = {k: v for k, v in arguments(self.texturing).items() if k in parameters(VertexColour)}
            changed["texturing"] = VertexColour(**kept)
        return self.with_stages(**changed) if changed else self

    def _resampled(self, sampling: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """The change of `sampling` in every stage that has one."""
        stages = {name: getattr(self, name) for name in ("main_views", "view_interpolation")}
        changes = defaultdict(dict)
        for name, stage in stages.items():
            if stage is not None and "sampling" in parameters(type(stage)):
                changes[name]["sampling"] = replace(arguments(stage)["sampling"], **sampling)
        if not changes:
            raise InputError(f"{', '.join(sampling)}: no stage of this pipeline samples; leave these settings away")
        return changes

    def _why_absent(self, stage: str) -> str:
        return self.absent.get(stage, "this pipeline was built without it")

    def _present(self, stage: str) -> Any:
        if getattr(self, stage) is None:
            raise InputError(f"this pipeline has no {stage} whose settings could be changed")
        return getattr(self, stage)

    @contextmanager
    def _stage(self, name: str, clock: Clock) -> Iterator[Any]:
        """A stage while it runs, on its device."""
        stage = getattr(self, name)
        if self._offload_to is not None:
            stage.to(self._offload_to)
        try:
            with clock.of(name, self.device):
                yield stage
        finally:
            if self._offload_to is not None:
                stage.to("cpu")


@overload
def image_to_mesh(image: list[Photo] | tuple[Photo, ...], **options: Any) -> list[Mesh]: ...


@overload
def image_to_mesh(image: Photo, **options: Any) -> Mesh: ...


def image_to_mesh(
    image: Photo | list[Photo] | tuple[Photo, ...],
    *,
    model: str | Path = "small",
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    on_progress: OnProgress = silent,
    **settings: Any,
) -> Mesh | list[Mesh]:
    """The mesh of a photograph (a path or a PIL image). The pipeline is loaded once and kept.

    A list or tuple of photographs of different objects gives a list of meshes, made together, each as it is alone; the
    first that fails raises its error. `settings` are those of `InfiniteMeshPipeline.with_settings`: steps, guidance,
    num_between, trajectory, faces, ...
    """
    pipeline = _loaded(str(model), str(device), dtype).with_settings(**settings)
    return pipeline(image, seed, on_progress=on_progress)


def views_to_mesh(
    views: ViewSet,
    *,
    model: str | Path = "small",
    interpolate: bool = False,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    on_progress: OnProgress = silent,
    **settings: Any,
) -> Mesh:
    """The mesh of posed, cut-out views of one object, such as `views_from_folder` reads. See `image_to_mesh`."""
    pipeline = _loaded(str(model), str(device), dtype).with_settings(**settings)
    return pipeline.views_to_mesh(views, interpolate=interpolate, seed=seed, on_progress=on_progress)


@lru_cache(maxsize=2)
def _loaded(model: str, device: str, dtype: torch.dtype | None) -> InfiniteMeshPipeline:
    return InfiniteMeshPipeline.from_pretrained(model, device=device, dtype=dtype)


def _given(**settings: Any) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def _check_stage_names(names: Mapping[str, Any], error: type[InfiniteMeshError] = InputError) -> None:
    for name in names:
        if name not in STAGES:
            raise error(f"there is no stage `{name}`{nearest(name, STAGES)}")
