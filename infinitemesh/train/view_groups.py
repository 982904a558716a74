"""Training groups of the front half: what a stage would ask of its denoiser, and the true answer.

    objects ─render─▶ a front, or a ring of main views ─the stage itself─▶ ViewQuery ─render at its cameras─▶ truth

The stages of inference assemble the query: a stand-in takes the place of their diffusion and keeps what it is asked. So
references, conditions, mirrored fronts, coarse renders and cameras are those of inference by construction.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from infinitemesh.data.degradations import DegradationRanges, degrade_views
from infinitemesh.data.lighting import random_lighting
from infinitemesh.data.materials import MaterialChances, Materials, random_materials
from infinitemesh.data.object_pack import ObjectPack
from infinitemesh.data.replay import RingSamples
from infinitemesh.data.rigs import Rig, RigRanges, frame_like_inference, random_rigs
from infinitemesh.data.training_views import draw_objects, render_batch
from infinitemesh.data.view_cameras import orbit_cameras, photograph_cameras
from infinitemesh.models.autoencoder import ImageAutoencoder
from infinitemesh.models.conditioning import Domain
from infinitemesh.stages.coarse import CoarseRenderer
from infinitemesh.stages.denoise import Sampling, ViewDiffusion
from infinitemesh.stages.main_views import DiffusedMainViews
from infinitemesh.stages.trajectories import TRAJECTORIES, Trajectory
from infinitemesh.stages.view_interpolation import DiffusedInterpolation
from infinitemesh.stages.view_query import ViewQuery
from infinitemesh.types import MAIN_AZIMUTHS_DEG, Camera, ViewSet

Kind = Literal["main", "between"]  # main views from the front; interpolated views from the four main ones
KINDS: tuple[Kind, ...] = ("main", "between")

PICTURES_AT_ONCE = 128  # through the autoencoder


@dataclass(frozen=True, kw_only=True)
class GroupOptions:
    """Shares are probabilities an object, except those of trajectories: an object of a batch has its batch's."""

    supersample: int = 2
    photographed: float = 0.6  # fronts by a perspective camera, framed as the pipeline frames a photograph
    fov_deg: tuple[float, float] = (20.0, 60.0)
    lit: float = 0.3  # of the photographed; truth is never lit
    framed: float = 0.5  # of the others, which are orthographic: framed as a photograph; the rest at any size
    worn: float = 0.3  # fronts with a photograph's faults: blur, noise, compression, a matte that is off
    wear: DegradationRanges = DegradationRanges(warp=0.0, coarsen=2.0, gain=0.0, bias=0.0, log_gamma=0.0, drop=0.0)
    degraded: float = 0.5  # rings of main views whose right, back and left are spoilt as generated ones are
    degradations: DegradationRanges = DegradationRanges(drop=0.0)
    flat: float = 0.4  # trajectories of the views between: level ones,
    named: float = 0.3  # one of the others with a name; the rest free poses, two a gap
    max_elevation_deg: float = 30.0
    rigs: RigRanges = RigRanges(tilt_deg=(-15.0, 25.0))  # photographs look down more often than up
    materials: MaterialChances = MaterialChances(new_texture=0.1, recolour=0.3)


@dataclass(frozen=True)
class ViewGroups:
    """g groups of one kind: a `ViewQuery` in 8 bits and latents, and the latents of the truth.

    What the image encoder reads stays a picture; the autoencoder's answers are kept instead of being asked again.
    """

    camera: Camera  # g v
    picture_camera: Camera  # g p
    pictures: UInt8[Tensor, "g p 4 s s"]
    reference: Int[Tensor, "g v"]
    condition: Int[Tensor, "g v"]
    num_known: int
    latents: Float[Tensor, "g p c h w"]  # of the pictures
    coarse: Float[Tensor, "g v c h w"] | None  # of the coarse renders
    clean: Float[Tensor, "g v c h w"]  # of the truth

    def query(self) -> ViewQuery:
        """As the stage asked it; a coarse render is blank, since only its latents were kept."""
        pictures = self.pictures.float() / 255
        blank = pictures.new_zeros(()).expand(*self.reference.shape, *pictures.shape[2:])
        return ViewQuery(
            self.camera,
            pictures,
            self.picture_camera,
            self.reference,
            self.condition,
            self.num_known,
            None if self.coarse is None else blank,
        )

    def codec(self) -> "KnownLatents":
        """What `encode_views` is given with `query()` in the autoencoder's place."""
        return KnownLatents(self.latents, self.coarse)


class KnownLatents:
    """A `PictureCodec` with its answers at hand: latents of a query's pictures, then those of its coarse renders."""

    image_channels = 4

    def __init__(self, pictures: Float[Tensor, "g p c h w"], coarse: Float[Tensor, "g v c h w"] | None):
        self.latent_channels = pictures.shape[2]
        self.answers = [pictures] if coarse is None else [pictures, coarse]

    def encode(self, rgba: Float[Tensor, "n 4 h w"]) -> Float[Tensor, "n c h8 w8"]:
        latents = rearrange(self.answers.pop(0), "g p c h w -> (g p) c h w")
        assert len(latents) == len(rgba), "encode_views asks for a query's pictures first, then for its coarse renders"
        return latents

    def decode(self, latents: Float[Tensor, "n c h8 w8"]) -> Float[Tensor, "n 4 h w"]:
        raise AssertionError("known latents are not decoded")


class QueryRecorder(ViewDiffusion):
    """Stands where a stage has its diffusion: keeps the query that the stage asks, and makes empty views."""

    def __init__(self, size: int):
        nn.Module.__init__(self)
        self.side = size
        self.queries: list[ViewQuery] = []

    @property
    def size(self) -> int:
        return self.side

    def sample(
        self,
        query: ViewQuery,
        seeds: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        domains: Sequence[Domain] = ("colour",),
        on_step: Callable[[int, int], None] = lambda step, total: None,
    ) -> Float[Tensor, "d b v 4 s s"]:
        self.queries.append(query)
        shape = (len(domains), *query.reference.shape, *query.pictures.shape[2:])
        return query.pictures.new_zeros(()).expand(shape)


def asked_by(stage: Any, views: Sequence[ViewSet]) -> ViewQuery:
    """What the stage, whose diffusion is a `QueryRecorder`, asks for these objects: one group each."""
    stage.batch(views, seeds=[0] * len(views))
    (query,) = stage.diffusion.queries
    return query


class SceneMaker:
    """Random objects and the pictures that a pipeline would be given of them, on the pack's device."""

    def __init__(self, pack: ObjectPack, size: int, options: GroupOptions = GroupOptions()):
        self.pack, self.size, self.options = pack, size, options

    def scene(self, num: int, generator: torch.Generator) -> "Scene":
        """Random objects, turned and painted at random."""
        options, ids = self.options, draw_objects(self.pack, num, generator)
        loose = random_rigs(self.pack, ids, generator, options.rigs)
        framed = frame_like_inference(self.pack, ids, loose.rotation, ranges=options.rigs)
        is_photographed = _coin(num, options.photographed, generator)
        is_framed = is_photographed | _coin(num, options.framed, generator)
        rig = replace(
            loose,
            scale=torch.where(is_framed, framed.scale, loose.scale),
            offset=torch.where(is_framed[:, None], framed.offset, loose.offset),
        )
        materials = random_materials(self.pack, ids, generator, options.materials)
        return Scene(ids, rig, materials, is_photographed)

    def fronts(self, scene: "Scene", generator: torch.Generator) -> Float[Tensor, "b 1 4 s s"]:
        """Photographs, or orthographic views; some worn."""
        options, num = self.options, len(scene.object_ids)
        camera = photograph_cameras(self.pack, scene.object_ids, scene.rig, generator, fov_deg=options.fov_deg)
        lights = random_lighting(num, generator)
        seen = render_batch(
            self.pack, scene.object_ids, scene.rig, camera, size=self.size, supersample=options.supersample,
            materials=scene.materials, lighting=lights,
        )  # fmt: skip
        assert seen.shaded is not None
        lit = _coin(num, options.lit, generator)
        photograph = torch.cat([_where(lit, seen.shaded, seen.rgb), seen.alpha], dim=2)
        level = self.render(scene, self._cameras(num, MAIN_AZIMUTHS_DEG[:1]))
        front = _where(scene.is_photographed, photograph, level)
        return _spoilt(front, _coin(num, options.worn, generator), options.wear, generator)

    def rings(self, scene: "Scene", generator: torch.Generator) -> Float[Tensor, "b 4 4 s s"]:
        """The front as above, and the other main views, true or as if generated."""
        options, num = self.options, len(scene.object_ids)
        others = self.render(scene, self._cameras(num, MAIN_AZIMUTHS_DEG[1:]))
        others = _spoilt(others, _coin(num, options.degraded, generator), options.degradations, generator)
        return torch.cat([self.fronts(scene, generator), others], dim=1)

    def render(self, scene: "Scene", camera: Camera) -> Float[Tensor, "b v 4 s s"]:
        """Unlit."""
        views = render_batch(
            self.pack, scene.object_ids, scene.rig, camera, size=self.size, supersample=self.options.supersample,
            materials=scene.materials,
        )  # fmt: skip
        return torch.cat([views.rgb, views.alpha], dim=2)

    def _cameras(self, num: int, azimuths_deg: Sequence[float]) -> Camera:
        ring = Camera.orbit(azimuths_deg, device=self.pack.device)
        return Camera(ring.cam_from_world.expand(num, -1, -1, -1), ring.intrinsics.expand(num, -1, -1, -1))

    def view_sets(self, rgba: Float[Tensor, "b v 4 s s"], azimuths_deg: Sequence[float]) -> list[ViewSet]:
        """What a stage is given of each object: pictures in 8 bits, so that what is stored is what the stage saw."""
        rgba = to_8_bit(rgba).float() / 255
        camera = Camera.orbit(azimuths_deg, device=self.pack.device)
        main = torch.ones(len(azimuths_deg), dtype=torch.bool, device=self.pack.device)
        return [ViewSet(each[:, :3], each[:, 3:], camera, main) for each in rgba]


class GroupMaker(SceneMaker):
    """Makes groups of random objects. The networks are frozen and may be in half precision."""

    def __init__(
        self,
        pack: ObjectPack,
        autoencoder: ImageAutoencoder,
        coarse: CoarseRenderer | None,
        size: int,
        options: GroupOptions = GroupOptions(),
        *,
        front_coarse: CoarseRenderer | None = None,
    ):
        """`front_coarse` makes the coarse renders from a front alone; without it `coarse` does."""
        super().__init__(pack, size, options)
        self.autoencoder, self.coarse, self.front_coarse = autoencoder, coarse, front_coarse or coarse

    @torch.no_grad()
    def make(self, kind: Kind, num: int, generator: torch.Generator) -> ViewGroups:
        """`num` groups, each of its own object, seen from the same places."""
        scene = self.scene(num, generator)
        if kind == "main":
            views = self.view_sets(self.fronts(scene, generator), MAIN_AZIMUTHS_DEG[:1])
            query = asked_by(DiffusedMainViews(QueryRecorder(self.size), coarse=self.front_coarse), views)
        else:
            views = self.view_sets(self.rings(scene, generator), MAIN_AZIMUTHS_DEG)
            stage = DiffusedInterpolation(
                QueryRecorder(self.size), coarse=self.coarse, attend="ring", trajectory=self._trajectory(generator)
            )
            query = asked_by(stage, views)
        return ViewGroups(
            query.camera,
            query.picture_camera,
            to_8_bit(query.pictures),
            query.reference,
            query.condition,
            query.num_known,
            latents=self._encode(query.pictures),
            coarse=None if query.coarse is None else self._encode(query.coarse),
            clean=self._encode(self.render(scene, query.camera)),
        )

    def _trajectory(self, generator: torch.Generator) -> Trajectory:
        options, device = self.options, generator.device
        draws = torch.rand(2 + 4 * 2 * 2, generator=generator, device=device).tolist()
        if draws[0] < options.flat:
            return "flat"
        if draws[0] < options.flat + options.named:
            names = [name for name in TRAJECTORIES if name != "flat"]
            return names[int(draws[1] * len(names))]
        halves = [(main + 45 * half, 45) for main in MAIN_AZIMUTHS_DEG for half in (0, 1)]
        places = zip(halves, draws[2:10], draws[10:], strict=True)
        return [
            (start + width * (0.05 + 0.9 * along), (2 * up - 1) * options.max_elevation_deg)
            for (start, width), along, up in places
        ]

    def _encode(self, rgba: Float[Tensor, "b v 4 s s"]) -> Float[Tensor, "b v c h w"]:
        flat = rearrange(rgba, "b v c h w -> (b v) c h w").to(self.autoencoder.dtype)
        latents = torch.cat([self.autoencoder.encode(some) for some in flat.split(PICTURES_AT_ONCE)])
        return rearrange(latents, "(b v) c h w -> b v c h w", b=len(rgba)).float()


@dataclass(frozen=True)
class Scene:
    """b objects as they stand and what they wear; the photographed ones are framed as a photograph is."""

    object_ids: Int[Tensor, " b"]
    rig: Rig
    materials: Materials
    is_photographed: Bool[Tensor, " b"]


@torch.no_grad()
def photograph_samples(
    pack: ObjectPack, num: int, size: int, options: GroupOptions, generator: torch.Generator
) -> RingSamples:
    """Fronts as `GroupMaker` makes them, told to be level orthographic views: what coarse renders are made from."""
    maker = SceneMaker(pack, size, options)
    scene = maker.scene(num, generator)
    rgba = to_8_bit(maker.fronts(scene, generator))
    zero = torch.zeros(num, 1, device=pack.device)
    return RingSamples(scene.object_ids, scene.rig, orbit_cameras(zero, zero), rgba, scene.materials)


def to_8_bit(rgba: Float[Tensor, "*n"]) -> UInt8[Tensor, "*n"]:
    return (rgba * 255).round().to(torch.uint8)


def _spoilt(
    rgba: Float[Tensor, "b v 4 s s"], chosen: Bool[Tensor, " b"], ranges: DegradationRanges, generator: torch.Generator
) -> Float[Tensor, "b v 4 s s"]:
    strength = torch.rand(len(rgba), generator=generator, device=generator.device) * chosen
    views = degrade_views(rgba[:, :, :3], rgba[:, :, 3:], generator, strength=strength, ranges=ranges)
    return torch.cat([views.rgb, views.alpha], dim=2)


def _where(chosen: Bool[Tensor, " b"], a: Float[Tensor, "b *n"], b: Float[Tensor, "b *n"]) -> Float[Tensor, "b *n"]:
    return torch.where(chosen.reshape(-1, *[1] * (a.ndim - 1)), a, b)


def _coin(num: int, share: float, generator: torch.Generator) -> Bool[Tensor, " n"]:
    return torch.rand(num, generator=generator, device=generator.device) < share
