"""From the front view to the main views around the object (Sec. 3.1): front 0, right 90, back 180, left 270.

The front view is the input itself. In orthographic views the back shows the mirrored outline of the front, which every
way of making main views may count on.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from infinitemesh.errors import GenerationError, InputError
from infinitemesh.models.conditioning import Domain
from infinitemesh.stages.base import OnProgress, Stage, counted, silent
from infinitemesh.stages.coarse import CoarseRenderer
from infinitemesh.stages.denoise import Sampling, ViewDiffusion
from infinitemesh.stages.seeds import derive_seed
from infinitemesh.stages.trajectories import cameras_at
from infinitemesh.stages.view_query import ViewQuery, main_query
from infinitemesh.stages.view_sets import (
    check_views,
    from_rgba,
    join_views,
    rgba,
    same_size,
    sort_ring,
    stack_cameras,
)
from infinitemesh.types import MAIN_AZIMUTHS_DEG, Camera, ViewSet

STAGE = "main_views"
AROUND = 5 / 256  # of a view's width: colours that the denoiser can tell apart
UNSEEN = 0.01  # shares and coverages below this are none


@dataclass(frozen=True)
class MainViewsRequest:
    """What is asked for one object."""

    front: ViewSet  # one view
    cameras: Camera
    seed: int


class MainViews(Stage):
    """Looks at the object from around. Subclasses make the views that are not given (`generate`)."""

    def true_views(self, front: ViewSet) -> ViewSet:
        """Those of the main views that no network made, in their frame."""
        return front

    def __init__(self, *, azimuths_deg: Sequence[float] = MAIN_AZIMUTHS_DEG):
        """`azimuths_deg` of the main views in world degrees; the given front is one of them and is not made again."""
        super().__init__()
        self.azimuths_deg = tuple(azimuths_deg)

    @abstractmethod
    def generate(self, front: ViewSet, cameras: Camera, *, seed: int) -> ViewSet:
        """The object of the one view `front` from the other main cameras."""

    def generate_batch(self, batch: Sequence[MainViewsRequest], on_progress: OnProgress) -> list[ViewSet]:
        """`generate` for several objects; networks override it to answer in one call, or to report their steps."""
        requests = counted(STAGE, batch, on_progress)
        return [self.generate(request.front, request.cameras, seed=request.seed) for request in requests]

    def forward(self, front: ViewSet, *, seed: int = 0, on_progress: OnProgress = silent) -> ViewSet:
        """The main views by azimuth, the given front among them."""
        return self.batch([front], seeds=[seed], on_progress=on_progress)[0]

    @torch.no_grad()
    def batch(
        self, fronts: Sequence[ViewSet], *, seeds: Sequence[int], on_progress: OnProgress = silent
    ) -> list[ViewSet]:
        """Several objects, each with the seed that it would have alone."""
        requests = [
            MainViewsRequest(front, self._others(front), derive_seed(seed, STAGE))
            for front, seed in zip(fronts, seeds, strict=True)
        ]
        made = self.generate_batch(requests, on_progress)
        return [_joined(request, views) for request, views in zip(requests, made, strict=True)]

    def _others(self, front: ViewSet) -> Camera:
        if len(front) != 1:
            raise InputError(f"main views are made from one front view, got {len(front)}; GivenViews takes several")
        at = float(front.camera.azimuth_deg[0])
        others = [a for a in self.azimuths_deg if 1e-2 < (a - at) % 360 < 360 - 1e-2]
        return cameras_at([(a, 0.0) for a in others], front.camera)


class DiffusedMainViews(MainViews):
    """Denoises all main views of an object together, as Wonder3D does, with the front in sight.

    The reference of a view is the front, and with `mirror_back` that of the back is the mirrored front, whose outline
    is exact (Wonder3D has none of this); the condition is the front. With a `coarse` renderer, the reconstruction from
    the front alone, seen from the others, is a further condition. With `mirror_share` above 0 the view from behind
    has the mirrored front's outline and this share of its colours: most things look alike from behind. `outline_share`
    is that of the mirrored front's coverage alone, made as steep as an outline is again. `mirror_tolerance` takes the
    mirrored front's pixels where the denoiser's colours agree with it around them, the more the less they differ (in
    sRGB distance, a Gaussian of this deviation): it knows what is alike from behind, and not its detail. `front_row`
    denoises the front along with the others, as Wonder3D does; its picture is not used. `normals` needs a denoiser
    with cross-domain layers; they come out in the world frame, zero for the given front.
    """

    def __init__(
        self,
        diffusion: ViewDiffusion,
        *,
        coarse: CoarseRenderer | None = None,
        sampling: Sampling | None = None,
        mirror_back: bool = True,
        mirror_share: float = 0.0,
        outline_share: float = 0.0,
        mirror_tolerance: float = 0.0,
        front_row: bool = False,
        normals: bool = False,
        azimuths_deg: Sequence[float] = MAIN_AZIMUTHS_DEG,
    ):
        super().__init__(azimuths_deg=azimuths_deg)
        self.diffusion, self.coarse = diffusion, coarse
        self.sampling, self.mirror_back = sampling or Sampling(), mirror_back
        for name, share in {"mirror_share": mirror_share, "outline_share": outline_share}.items():
            if not 0 <= share <= 1:
                raise InputError(f"{name} is a share in [0, 1], got {share}")
        if mirror_tolerance < 0:
            raise InputError(f"mirror_tolerance is a distance of colours, 0 or more, got {mirror_tolerance}")
        self.mirror_share, self.outline_share, self.mirror_tolerance = mirror_share, outline_share, mirror_tolerance
        self.front_row, self.normals = front_row, normals

    def generate(self, front: ViewSet, cameras: Camera, *, seed: int) -> ViewSet:
        return self.generate_batch([MainViewsRequest(front, cameras, seed)], silent)[0]

    def generate_batch(self, batch: Sequence[MainViewsRequest], on_progress: OnProgress) -> list[ViewSet]:
        size = self.diffusion.size
        fronts = [same_size(request.front, size) for request in batch]
        cameras = [r.cameras if not self.front_row else Camera.cat([r.front.camera, r.cameras]) for r in batch]
        first = 1 if self.front_row else 0
        seeds = [[derive_seed(request.seed, row - first) for row in range(len(cameras[0]))] for request in batch]
        domains: tuple[Domain, ...] = ("normal", "colour") if self.normals else ("colour",)
        pictures = self.diffusion.sample(
            self._query(fronts, cameras),
            seeds,
            self.sampling,
            domains=domains,
            on_step=lambda step, total: on_progress(STAGE, step, total),
        )
        made = []
        for number, request in enumerate(batch):
            views = from_rgba(pictures[-1, number, first:], request.cameras, is_main=True)
            if self.normals:
                views = replace(views, normal=world_normals(pictures[0, number, first:, :3], request.front.camera))
            views = same_size(views, request.front.size)
            made.append(self._towards_mirror(views, request.front))
        return made

    def _towards_mirror(self, views: ViewSet, front: ViewSet) -> ViewSet:
        """Views from behind after the mirrored front, by this stage's shares; `mirror_share` takes all of its coverage.
        What only the mirrored front covers has its colour, where any is taken."""
        turned = (views.camera.azimuth_deg - front.camera.azimuth_deg[0]) % 360
        behind = ((turned > 135) & (turned < 225)).nonzero()[:, 0]
        mirror, made = mirrored(front), views[behind]
        if not len(made):
            return views
        other = mirror.alpha.expand_as(made.alpha)
        share = made.alpha.new_full((1, 1, 1, 1), self.mirror_share)
        if self.mirror_tolerance:
            difference = (_around(made) - _around(mirror)).square().sum(1, keepdim=True)
            agrees = torch.exp(-difference / self.mirror_tolerance**2)
            agrees = torch.where(made.alpha < UNSEEN, 1.0, agrees * (agrees > UNSEEN))
            share = torch.maximum(share, agrees * (other > 0))
        layer = torch.lerp(made.rgb * made.alpha, (mirror.rgb * mirror.alpha).expand_as(made.rgb), share)
        covered = torch.lerp(made.alpha, other, share)
        rgb = torch.where(share > 0, (layer / covered.clamp(min=1e-4)).clamp(0, 1), made.rgb)
        outline = 1.0 if self.mirror_share else self.outline_share
        alpha = torch.lerp(made.alpha, other, outline)
        steepness = 1 + 2 * min(outline, 1 - outline)  # the mean of two ramps beside each other is twice as wide
        alpha = ((alpha - 0.5) * steepness + 0.5).clamp(0, 1)
        return replace(views, rgb=views.rgb.index_copy(0, behind, rgb), alpha=views.alpha.index_copy(0, behind, alpha))

    def _query(self, fronts: Sequence[ViewSet], cameras: Sequence[Camera]) -> ViewQuery:
        coarse = None
        if self.coarse is not None:
            coarse = torch.stack([rgba(views) for views in self.coarse.batch(fronts, cameras)])
        return main_query(
            torch.cat([rgba(front) for front in fronts]),
            Camera.cat([front.camera for front in fronts]),
            stack_cameras(cameras),
            mirror_back=self.mirror_back,
            coarse=coarse,
        )


class MirrorMainViews(MainViews):
    """The front again from the sides, mirrored from behind: no network, and what any network must beat."""

    def generate(self, front: ViewSet, cameras: Camera, *, seed: int) -> ViewSet:
        turned = ((cameras.azimuth_deg - front.camera.azimuth_deg[0]) % 360).tolist()
        return join_views([mirrored(front) if 135 < angle < 225 else front for angle in turned])


class CoarseMainViews(MainViews):
    """Renders the reconstruction from the front alone: one network call, the mean of what the unseen sides may be.

    With `mirror_back`, the view from behind is the mirrored front, whose outline is exact.
    """

    def __init__(
        self,
        coarse: CoarseRenderer,
        *,
        mirror_back: bool = True,
        azimuths_deg: Sequence[float] = MAIN_AZIMUTHS_DEG,
    ):
        super().__init__(azimuths_deg=azimuths_deg)
        self.coarse, self.mirror_back = coarse, mirror_back

    def generate(self, front: ViewSet, cameras: Camera, *, seed: int) -> ViewSet:
        return self.generate_batch([MainViewsRequest(front, cameras, seed)], silent)[0]

    def generate_batch(self, batch: Sequence[MainViewsRequest], on_progress: OnProgress) -> list[ViewSet]:
        on_progress(STAGE, 0, 1)
        made = self.coarse.batch([request.front for request in batch], [request.cameras for request in batch])
        on_progress(STAGE, 1, 1)
        if not self.mirror_back:
            return made
        return [self._with_mirrored_back(request, views) for request, views in zip(batch, made, strict=True)]

    def _with_mirrored_back(self, request: MainViewsRequest, views: ViewSet) -> ViewSet:
        turned = ((request.cameras.azimuth_deg - request.front.camera.azimuth_deg[0]) % 360).tolist()
        behind = [135 < angle < 225 for angle in turned]
        return join_views([mirrored(request.front) if is_behind else views[[k]] for k, is_behind in enumerate(behind)])


class GivenViews(MainViews):
    """The user's own pictures as main views; what they leave out is made by `rest`, or stays out."""

    def __init__(
        self, views: ViewSet, *, rest: MainViews | None = None, azimuths_deg: Sequence[float] = MAIN_AZIMUTHS_DEG
    ):
        """`views` stand at their cameras' azimuths, cut out already (`given_views` does it for pictures)."""
        super().__init__(azimuths_deg=azimuths_deg)
        self.views, self.rest = check_views(views), rest

    def true_views(self, front: ViewSet) -> ViewSet:
        return self.views

    def generate(self, front: ViewSet, cameras: Camera, *, seed: int) -> ViewSet:
        raise AssertionError("given views are not generated")

    def batch(
        self, fronts: Sequence[ViewSet], *, seeds: Sequence[int], on_progress: OnProgress = silent
    ) -> list[ViewSet]:
        """The given views, whatever the front; they belong to one object, so the batch has one."""
        if len(fronts) > 1:
            raise InputError(f"GivenViews shows one object, got a batch of {len(fronts)}; call it object by object")
        given = sort_ring(replace(self.views, is_main=torch.ones_like(self.views.is_main)))
        if self.rest is None:
            return [given]
        made = self.rest.batch([given[:1]], seeds=seeds, on_progress=on_progress)[0]
        new = [k for k in range(len(made)) if not _near(made.camera[[k]], given.camera)]
        return [sort_ring(join_views([given, made[new]])) if new else given]


def given_views(pictures: Mapping[float, ViewSet], *, same_height: bool = True) -> ViewSet:
    """Single cut-out views, each as it comes from a `Foreground`, placed at their azimuths in degrees (0: front).

    Each picture was framed by itself; `same_height` scales them to one height of the object, which level orthographic
    views of one object have. None grows, so nothing leaves its picture.
    """
    if not pictures:
        raise InputError("no views given: name at least one picture and its azimuth")
    heights = {azimuth: _height(view) for azimuth, view in pictures.items()}
    placed = []
    for azimuth, view in sorted(pictures.items()):
        if len(view) != 1:
            raise InputError(f"azimuth {azimuth:g} has {len(view)} views; give one for each azimuth")
        factor = min(heights.values()) / heights[azimuth] if same_height else 1.0
        placed.append(replace(_shrunk(view, factor), camera=cameras_at([(azimuth, 0.0)], view.camera)))
    return join_views(placed)


def mirrored(view: ViewSet) -> ViewSet:
    """Left and right swapped: in orthographic views, the outline seen from behind."""
    return replace(view, rgb=view.rgb.flip(-1), alpha=view.alpha.flip(-1), normal=None)


def _around(view: ViewSet) -> Float[Tensor, "v 3 h w"]:
    """The object's mean colour about each pixel."""
    width = 2 * round(view.size * AROUND / 2) + 1
    layers = torch.cat([view.rgb * view.alpha, view.alpha], dim=1)
    means = F.avg_pool2d(layers, width, stride=1, padding=width // 2)
    return means[:, :3] / means[:, 3:].clamp(min=1e-3)


def world_normals(picture: Float[Tensor, "v 3 h w"], front: Camera) -> Float[Tensor, "v 3 h w"]:
    """Wonder3D's normal pictures (n / 2 + 0.5 in the front camera's axes) as unit normals of the world."""
    world_from_front = front.world_from_cam[0, :3, :3].to(picture)
    return F.normalize(einsum(world_from_front, picture * 2 - 1, "i j, v j h w -> v i h w"), dim=1)


def _near(camera: Camera, others: Camera) -> bool:
    turned = (others.azimuth_deg - camera.azimuth_deg[0] + 180) % 360 - 180
    return bool((turned.abs() < 30).any())  # a given view this close makes a generated one superfluous


def _joined(request: MainViewsRequest, made: ViewSet) -> ViewSet:
    if len(made) != len(request.cameras) or made.size != request.front.size:
        raise GenerationError(
            f"`generate` made {len(made)} views of {made.size} px; "
            f"asked were {len(request.cameras)} of {request.front.size} px"
        )
    made = replace(made, camera=request.cameras)
    ring = sort_ring(join_views([request.front, made]))
    return replace(ring, is_main=torch.ones_like(ring.is_main))


def _height(view: ViewSet) -> float:
    """Of the object, as a share of the picture."""
    rows = (view.alpha > 0.5).any(dim=-1).nonzero()[:, -1]
    if not len(rows):
        raise InputError("a given view shows no object: its alpha is empty; cut the object out first")
    return float(rows.max() - rows.min() + 1) / view.size


def _shrunk(view: ViewSet, factor: float) -> ViewSet:
    """The object made smaller about the middle of the picture; premultiplied while colours mix."""
    if factor > 1 - 1e-6:
        return view
    theta = view.rgb.new_tensor([[[1 / factor, 0, 0], [0, 1 / factor, 0]]])
    grid = F.affine_grid(theta, [1, 1, view.size, view.size], align_corners=False)
    layers = torch.cat([view.rgb * view.alpha, view.alpha], dim=1)
    layers = F.grid_sample(layers, grid, align_corners=False)
    alpha = layers[:, 3:]
    return ViewSet((layers[:, :3] / alpha.clamp(min=1e-4)).clamp(0, 1), alpha, view.camera, view.is_main)
