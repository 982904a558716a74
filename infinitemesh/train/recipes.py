"""What `infinitemesh train` can train. A recipe holds choices; with objects and a device it becomes a `Task`.

To train something of your own, subclass `Recipe` and name it in the configuration (`recipe.class_path`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from infinitemesh.data.object_pack import ObjectPack
from infinitemesh.data.points import PointOptions, cache_points
from infinitemesh.data.replay import RingOptions
from infinitemesh.data.stretch import stretched
from infinitemesh.train.autoencoder import AutoencoderData, AutoencoderOptions, AutoencoderTask
from infinitemesh.train.loop import Task
from infinitemesh.train.reconstruction import (
    ReconstructionData,
    ReconstructionOptions,
    ReconstructionTask,
    SurfaceStage,
)
from infinitemesh.train.view_cache import CacheOptions
from infinitemesh.train.views import ViewsOptions, ViewsTask


@dataclass(frozen=True)
class Ingredients:
    """What every recipe is given: objects on the device, and a perceptual distance where one was named."""

    pack: ObjectPack
    perceptual: Callable[[Tensor, Tensor], Tensor] | None
    seed: int


class Recipe(ABC):
    """A named set of choices."""

    @abstractmethod
    def task(self, ingredients: Ingredients) -> Task:
        """The task, its networks on the objects' device."""

    @abstractmethod
    def smoke(self) -> "Recipe":
        """The same recipe at a size that runs on a CPU in seconds."""


class ReconstructionRecipe(Recipe):
    """The reconstruction, stage `points` or `surface`."""

    def __init__(self, options: ReconstructionOptions = ReconstructionOptions(), points: PointOptions = PointOptions()):
        self.options, self.points = options, points

    def task(self, ingredients: Ingredients) -> ReconstructionTask:
        pack = stretched(ingredients.pack, self.options.stretch, seed=ingredients.seed)
        cache = cache_points(pack, seed=ingredients.seed, options=self.points)
        return ReconstructionTask(pack, cache, self.options, ingredients.perceptual)

    def smoke(self) -> "ReconstructionRecipe":
        photographs = self.options.data.photographs
        num_views = (1,) if self.options.network == "single" else (4, 1)
        data = ReconstructionData(
            objects=2, points=256, num_views=num_views, rings=RingOptions(size=32),
            replay=min(self.options.data.replay, 4), refresh=2,
            photographs=photographs and replace(photographs, objects=2, replay=4, refresh=2),
        )  # fmt: skip
        surface = SurfaceStage(resolution=12, views=2, size=32, objects=2)
        options = replace(
            self.options,
            preset="tiny",
            model={},
            start_from=None,
            semantics=None,
            recognition=None,
            hidden_semantics=0.0,
            data=data,
            surface=surface,
        )
        few = PointOptions(points=512, surface_samples=256, directions=12, depth_px=32)
        return ReconstructionRecipe(options, few)


class AutoencoderRecipe(Recipe):
    """The autoencoder."""

    def __init__(self, options: AutoencoderOptions = AutoencoderOptions()):
        self.options = options

    def task(self, ingredients: Ingredients) -> AutoencoderTask:
        return AutoencoderTask(ingredients.pack, self.options, ingredients.perceptual, seed=ingredients.seed)

    def smoke(self) -> "AutoencoderRecipe":
        data = AutoencoderData(size=64, pictures=2, crop=32, objects=2, views=2, first=4, kept=8)
        return AutoencoderRecipe(replace(self.options, preset="tiny", model={}, start_from=None, data=data))


class ViewsRecipe(Recipe):
    """The front half: one denoiser for main and interpolated views."""

    def __init__(self, options: ViewsOptions = ViewsOptions()):
        self.options = options

    def task(self, ingredients: Ingredients) -> ViewsTask:
        return ViewsTask(ingredients.pack, self.options, ingredients.perceptual, seed=ingredients.seed)

    def smoke(self) -> "ViewsRecipe":
        groups = replace(self.options.groups, supersample=1)
        cache = CacheOptions(entries=4, at_once=2, first=2, every=1, folder=self.options.cache.folder)
        none = dict.fromkeys(("autoencoder", "reconstruction", "single_view", "start_from"))
        pictures = replace(self.options.pictures, views=min(self.options.pictures.views, 2))
        return ViewsRecipe(
            replace(
                self.options,
                preset="tiny",
                unet={},
                image_encoder={},
                **none,
                rows=8,
                groups=groups,
                cache=cache,
                pictures=pictures,
                compile=False,
            )
        )


def smoke_loop(loop: Any) -> Any:
    """A loop of three steps."""
    return replace(loop, steps=3, minutes=None, warmup_steps=1, log_every=1, precision="no", compile=False)
