"""Training the reconstruction: a warm-up on points of the field, then Eq. 7 on rendered FlexiCubes meshes.

The warm-up is needed: mesh losses alone do not converge from scratch, since their gradients live on the surface only
(InstantMesh's authors say the same of theirs). True meshes are at hand, so it supervises signed distance and colour at
points directly, which converges in minutes where volume-rendered pixels take hours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from infinitemesh.bundle import open_network
from infinitemesh.convert.checkpoint import read_checkpoint
from infinitemesh.data.degradations import DegradationRanges, degrade_views
from infinitemesh.data.object_pack import ObjectPack
from infinitemesh.data.points import PointBatch, PointCache, draw_points
from infinitemesh.data.replay import ReplayBuffer, RingOptions, RingSamples, as_float, render_rings
from infinitemesh.data.stretch import StretchOptions
from infinitemesh.data.training_views import render_batch
from infinitemesh.data.view_cameras import orbit_cameras
from infinitemesh.errors import CheckpointError, InputError
from infinitemesh.geometry.flexicubes_losses import RegularityWeights
from infinitemesh.geometry.surface_extraction import extract_surface
from infinitemesh.models.lrm import LargeReconstructionModel
from infinitemesh.models.single_view import SingleViewModel
from infinitemesh.render.shading import Rendered, shade
from infinitemesh.stages.surface import TriplaneField
from infinitemesh.train.generated_rings import draw_rings, load_rings
from infinitemesh.train.hollowness import filled, hollowness, in_hull
from infinitemesh.train.loop import Task
from infinitemesh.train.reconstruction_loss import PointLossWeights, RenderLossWeights, point_loss, render_loss
from infinitemesh.train.view_groups import GroupOptions, photograph_samples
from infinitemesh.types import Camera

ADDITIONS = ("projection_lift.mix_spread.", "projection_lift.context.", "semantics.")  # parts that start as no change
VIEWS_OF_12 = {  # which of a ring of twelve a network is shown
    12: tuple(range(12)),
    8: (0, 1, 3, 4, 6, 7, 9, 10),
    6: (0, 2, 4, 6, 8, 10),
    4: (0, 3, 6, 9),
    2: (0, 3),
    1: (0,),
}


@dataclass(frozen=True, kw_only=True)
class PhotographData:
    """What steps of one view are shown instead of a ring's first view: fronts as a pipeline is given them."""

    objects: int = 64  # a step; one view costs little
    replay: int = 8192
    refresh: int = 16
    fronts: GroupOptions = GroupOptions()


@dataclass(frozen=True, kw_only=True)
class ReconstructionData:
    objects: int = 32
    points: int = 4096
    num_views: Sequence[int] = (12, 4, 12, 1, 12, 4, 6, 12)  # taken in turn, a step each
    rings: RingOptions = RingOptions()
    replay: int = 0  # entries kept on the device; 0 renders every batch anew
    refresh: int = 8  # entries rendered anew a step when replaying
    degraded: float = 0.3  # share of steps whose views are degraded like generated ones, each object to its own degree
    degradations: DegradationRanges = DegradationRanges(drop=0.0)
    generated: Path | None = None  # rings that `train.generated_rings` made of these objects,
    generated_share: float = 0.5  # shown in this share of steps, and not degraded further
    photographs: PhotographData | None = None  # None: steps of one view see the front of a ring


@dataclass(frozen=True, kw_only=True)
class SurfaceStage:
    """The mesh stage (Eq. 7): how meshes are made and looked at."""

    resolution: int = 64
    views: int = 4
    size: int = 192
    objects: int = 8
    points: float = 1.0  # weight of the warm-up's loss, which goes on
    render: RenderLossWeights = RenderLossWeights()
    regularity: RegularityWeights = RegularityWeights()


@dataclass(frozen=True, kw_only=True)
class ReconstructionOptions:
    network: Literal["views", "single"] = "views"  # `SingleViewModel` for one; then every step shows one view
    preset: str = "small"
    model: dict[str, Any] = field(default_factory=dict)  # config values that differ from the preset's
    start_from: Path | None = None
    semantics: Path | None = None  # the frozen backbone's weights (`convert.dinov2`), where `model` has semantic layers
    recognition: Path | None = None  # likewise (`convert.efficientnet`), where `model` has a recognition
    hidden_semantics: float = 0.0  # share of views of which the first says nothing, so that the second is listened to
    stage: Literal["points", "surface"] = "points"
    data: ReconstructionData = ReconstructionData()
    loss: PointLossWeights = PointLossWeights()
    surface: SurfaceStage = SurfaceStage()
    stretch: StretchOptions = StretchOptions()
    filled: bool = False  # what no level view sees is taught to be inside: outlines stay, thin walls need no placing
    hollow: float = 0.0  # objects are drawn 1 + hollow x (the empty share of their visual hull) times as often

    def __post_init__(self) -> None:
        if self.network == "single" and set(self.data.num_views) != {1}:
            raise InputError(f"a network of one view is shown one in every step: num_views is {self.data.num_views}")
        if not 0 <= self.hidden_semantics <= 1:
            raise InputError(f"hidden_semantics is a share of views in [0, 1], got {self.hidden_semantics}")


@dataclass(frozen=True)
class ReconstructionBatch:
    """b objects seen in v views, and what is true of their fields (world frame)."""

    rgba: Float[Tensor, "b v 4 s s"]
    camera: Camera
    truth: PointBatch
    targets: "Targets | None" = None


@dataclass(frozen=True)
class Targets:
    """t supervising views of each object, true and undegraded."""

    camera: Camera
    rgb: Float[Tensor, "b t 3 s s"]  # over white
    alpha: Float[Tensor, "b t 1 s s"]
    depth: Float[Tensor, "b t 1 s s"]
    normal: Float[Tensor, "b t 3 s s"]


class ReconstructionTask(Task):
    """One of the two stages, by `options.stage`. `cache` holds the points of `pack`'s objects."""

    name = "reconstruction"

    def __init__(
        self,
        pack: ObjectPack,
        cache: PointCache,
        options: ReconstructionOptions,
        perceptual: Callable[[Tensor, Tensor], Tensor] | None = None,
    ):
        if options.hollow:
            pack = replace(pack, weights=pack.weights * (1 + options.hollow * hollowness(pack, cache)))
        if options.filled:
            cache = filled(pack, cache)
        self.pack, self.cache, self.options, self.perceptual = pack, cache, options, perceptual
        model = started(options)
        wrapper = SurfaceSupervised(model, options.surface) if options.stage == "surface" else PointSupervised(model)
        self.model, self.network = model, wrapper.to(pack.device).train()
        replay = options.data.replay
        self.buffer = ReplayBuffer(pack, options.data.rings, replay) if replay else None
        self.generated = load_rings(options.data.generated, pack) if options.data.generated else None
        self.photographs = _photographs(pack, options.data) if options.data.photographs else None

    def batch(self, step: int, generator: torch.Generator) -> ReconstructionBatch:
        data, surface = self.options.data, self.options.stage == "surface"
        shown = list(VIEWS_OF_12[data.num_views[step % len(data.num_views)]])
        rings, degradable = self._seen(len(shown), generator)
        num, rgba = len(rings.object_ids), as_float(rings.rgba[:, shown])
        if degradable and torch.rand((), generator=generator, device=generator.device) < data.degraded:
            strength = torch.rand(num, generator=generator, device=generator.device)
            spoilt = degrade_views(
                rgba[:, :, :3], rgba[:, :, 3:], generator, strength=strength, ranges=data.degradations
            )
            rgba = torch.cat([spoilt.rgb, spoilt.alpha], dim=2)
        truth = draw_points(
            self.cache, self.pack, rings.object_ids, rings.rig, data.points, generator, materials=rings.materials
        )
        targets = self._targets(rings, generator) if surface else None
        return ReconstructionBatch(rgba, rings.camera[:, shown], truth, targets)

    def loss(self, network: nn.Module, batch: ReconstructionBatch, step: int) -> dict[str, Tensor]:
        if batch.targets is None:
            sdf, colour = network(batch)
            return self._point_loss(sdf, colour, batch)
        sdf, colour, surfaces = network(batch)
        points = self._point_loss(sdf, colour, batch)
        seen = [self._surface_loss(batch, i, *surface) for i, surface in enumerate(surfaces)]
        terms = {name: torch.stack([terms[name] for terms in seen]).mean() for name in seen[0]}
        loss = terms.pop("loss") + self.options.surface.points * points.pop("loss")
        return {"loss": loss, **terms, **{f"point_{name}": value for name, value in points.items()}}

    def _point_loss(self, sdf: Tensor, colour: Tensor, batch: ReconstructionBatch) -> dict[str, Tensor]:
        weights = self.options.loss
        cavity = None if weights.cavity == 1 else self._in_hull(batch) & (batch.truth.distance > 0)
        if batch.rgba.shape[1] > 1:
            weights = replace(weights, inside=1.0)
        return point_loss(sdf, colour, batch.truth, weights, cavity=cavity)

    def _in_hull(self, batch: ReconstructionBatch) -> Bool[Tensor, "b n"]:
        return in_hull(batch.truth.points, batch.camera, batch.rgba[:, :, 3:])

    def save(self, folder: Path) -> None:
        self.model.save_pretrained(folder)

    def _seen(self, num_views: int, generator: torch.Generator) -> tuple[RingSamples, bool]:
        """Objects as they are seen in this step, and whether their views may be degraded further."""
        data, surface = self.options.data, self.options.stage == "surface"
        num = self.options.surface.objects if surface else data.objects
        if num_views == 1 and data.photographs is not None and self.photographs is not None:
            num = num if surface else data.photographs.objects
            return _replayed(self.photographs, num, data.photographs.refresh, generator), False
        if self.generated is not None:
            chosen = torch.rand((), generator=generator, device=generator.device) < data.generated_share
            if chosen:
                return draw_rings(self.generated, num, generator), False
        if self.buffer is None:
            return render_rings(self.pack, num, data.rings, generator), True
        return _replayed(self.buffer, num, data.refresh, generator), True

    def _targets(self, rings: RingSamples, generator: torch.Generator) -> Targets:
        stage = self.options.surface
        draws = torch.rand(2, len(rings.object_ids), stage.views, generator=generator, device=generator.device)
        camera = orbit_cameras(draws[0] * 360, torch.rad2deg(torch.asin(draws[1] * 1.1 - 0.35)))
        views = render_batch(self.pack, rings.object_ids, rings.rig, camera, size=stage.size, materials=rings.materials)
        white = views.rgb * views.alpha + (1 - views.alpha)
        return Targets(camera, white, views.alpha, views.depth, views.normal)

    def _surface_loss(
        self, batch: ReconstructionBatch, i: int, rendered: Rendered, regularity: Tensor
    ) -> dict[str, Tensor]:
        targets = batch.targets
        assert targets is not None
        ours, truth = rendered.rgb, targets.rgb[i]
        if not batch.truth.has_colour[i]:
            ours = truth
        distance = ours.new_zeros(()) if self.perceptual is None else self.perceptual(ours, truth).mean()
        return render_loss(
            ours,
            rendered.alpha,
            rendered.depth,
            rendered.normal,
            truth,
            targets.alpha[i],
            targets.depth[i],
            targets.normal[i],
            distance,
            regularity,
            self.options.surface.render,
        )


def _photographs(pack: ObjectPack, data: ReconstructionData) -> ReplayBuffer:
    photographs = data.photographs
    assert photographs is not None
    size = data.rings.size

    def render(num: int, generator: torch.Generator) -> RingSamples:
        return photograph_samples(pack, num, size, photographs.fronts, generator)

    return ReplayBuffer(pack, replace(data.rings, num_views=1), photographs.replay, render)


def _replayed(buffer: ReplayBuffer, num: int, refresh: int, generator: torch.Generator) -> RingSamples:
    buffer.refresh(refresh if buffer.filled else min(16 * num, buffer.capacity), generator)
    return buffer.draw(num, generator)


def started(options: ReconstructionOptions) -> LargeReconstructionModel:
    """A fresh network, or a trained one; `options.model` may add parts to a trained one that it starts without."""
    model, missing = _continued(options)
    semantics = model.semantics
    backbone = None if semantics is None else semantics.backbone
    recognition = None if semantics is None else semantics.recognition
    for part, name, file, setting, maker in (
        (backbone, "semantics.backbone.", options.semantics, "semantic_layers", "dinov2"),
        (recognition, "semantics.recognition.", options.recognition, "recognition", "efficientnet"),
    ):
        if file is not None:
            _take_frozen(part, file, setting)
        elif any(key.startswith(name) for key in missing):
            raise CheckpointError(f"{name}* is never trained: give a file for it, which convert.{maker} makes")
    if semantics is not None:
        semantics.hidden = options.hidden_semantics
    if options.hidden_semantics and recognition is None:
        raise InputError("hidden_semantics makes a network listen to its recognition, and there is none: leave it at 0")
    return model


def _class_of(options: ReconstructionOptions) -> type[LargeReconstructionModel]:
    return LargeReconstructionModel if options.network == "views" else SingleViewModel


def _continued(options: ReconstructionOptions) -> tuple[LargeReconstructionModel, list[str]]:
    """A network, and the names of its tensors that are not trained yet."""
    cls = _class_of(options)
    if options.start_from is None:
        fresh = cls.preset(options.preset, **options.model)
        return fresh, list(fresh.state_dict())
    trained = open_network(cls, options.start_from)
    if not options.model:
        return trained, []
    values = {name: value for name, value in trained.config.items() if not name.startswith("_")}
    model = cls(**{**values, **options.model})  # from_config forgets values new to the file
    missing, unexpected = model.load_state_dict(trained.state_dict(), strict=False)
    other = [name for name in missing if not name.startswith(ADDITIONS)] + unexpected
    if other:
        raise CheckpointError(
            f"{options.start_from} cannot be continued with {options.model}: {', '.join(other[:5])} do not fit; "
            f"only {' and '.join(ADDITIONS)} can be added to trained weights"
        )
    return model, missing


def _take_frozen(part: nn.Module | None, file: Path, setting: str) -> None:
    """Weights that are never trained, into the part of the network that is for them."""
    if part is None:
        raise CheckpointError(f"{file} is for a network with {setting}: set model.{setting} in the recipe")
    state = {name: value.float() for name, value in read_checkpoint(file).items()}
    try:
        part.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{file} does not fit the {setting} of this network: {error}") from error


class PointSupervised(nn.Module):
    """The model from views to answers at points, as one forward for DDP."""

    def __init__(self, model: LargeReconstructionModel):
        super().__init__()
        self.model = model
        model.decoders.net_deformation.requires_grad_(False)  # the mesh stage's; DDP wants no idle parameters
        model.decoders.net_weight.requires_grad_(False)

    def forward(self, batch: ReconstructionBatch) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n 3"]]:
        planes = self.model(batch.rgba, batch.camera)
        return self.model.decoders.sdf_and_colour(planes, batch.truth.points / self.model.config["half_extent"])


class SurfaceSupervised(nn.Module):
    """The model from views to rendered meshes (and answers at points), as one forward for DDP."""

    def __init__(self, model: LargeReconstructionModel, stage: SurfaceStage):
        super().__init__()
        self.model, self.stage = model.requires_grad_(True), stage
        if model.semantics is not None:
            model.semantics.freeze()

    def forward(
        self, batch: ReconstructionBatch
    ) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n 3"], list[tuple[Rendered, Float[Tensor, ""]]]]:
        targets = batch.targets
        assert targets is not None
        planes = self.model(batch.rgba, batch.camera).float()
        half_extent = self.model.config["half_extent"]
        with torch.autocast(planes.device.type, enabled=False):  # positions and silhouettes want full precision
            sdf, colour = self.model.decoders.sdf_and_colour(planes, batch.truth.points / half_extent)
            surfaces = [self._render(planes[i], targets.camera[i]) for i in range(len(planes))]
        return sdf, colour, surfaces

    def _render(self, planes: Float[Tensor, "3 c r r"], camera: Camera) -> tuple[Rendered, Float[Tensor, ""]]:
        half_extent, decoders = self.model.config["half_extent"], self.model.decoders
        surface = extract_surface(
            TriplaneField(decoders, planes), self.stage.resolution, training=True, chunk=1 << 18, device=planes.device
        )
        assert surface.regularity is not None
        rendered = shade(
            surface.vertices * half_extent,
            surface.faces,
            camera,
            self.stage.size,
            colour_at=lambda points: decoders.colour(planes[None], points[None] / half_extent)[0],
        )
        return rendered, surface.regularity.total(self.stage.regularity)
