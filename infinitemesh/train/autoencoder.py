"""Training the autoencoder: pictures with alpha from random places around random objects.

Rendering costs as much as learning from what was rendered, so pictures are kept on the device, in 8 bits, and used
again. Half of the steps look at crops of the object, where the detail is; the others at whole pictures, as it is used.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from infinitemesh.data.lighting import random_lighting
from infinitemesh.data.materials import random_materials
from infinitemesh.data.object_pack import ObjectPack
from infinitemesh.data.rigs import random_rigs
from infinitemesh.data.training_views import draw_objects, render_batch
from infinitemesh.data.view_cameras import orbit_cameras
from infinitemesh.errors import InputError
from infinitemesh.hub import load_network
from infinitemesh.models.autoencoder import ImageAutoencoder
from infinitemesh.stages.seeds import derive_seed
from infinitemesh.train.autoencoder_loss import AutoencoderLossWeights, autoencoder_loss
from infinitemesh.train.loop import Task

CELL_PX = 8  # crops are centred on cells of this size, the more likely the more of the object is in it


@dataclass(frozen=True, kw_only=True)
class AutoencoderData:
    size: int = 256
    pictures: int = 32  # whole ones in a step, or crops of as many pixels
    crop: int = 128  # pixels a side, in every other step; `size` never crops
    objects: int = 32  # rendered at once,
    views: int = 4  # each from so many places,
    every: int = 4  # once in so many steps,
    first: int = 1024  # after so many pictures at the start
    kept: int = 4096  # pictures on the device, a quarter of a megabyte each; the oldest go first
    lit: float = 0.3  # share of objects under lights, as photographs are
    supersample: int = 2

    def __post_init__(self) -> None:
        if self.kept < self.objects * self.views:
            raise InputError(f"kept={self.kept} pictures do not hold one rendering of {self.objects * self.views}")
        if self.crop % 8 or self.crop > self.size:
            raise InputError(f"crop={self.crop} must be a multiple of 8 up to the size {self.size}")


@dataclass(frozen=True, kw_only=True)
class AutoencoderOptions:
    preset: str = "small"
    model: dict[str, Any] = field(default_factory=dict)  # config values that differ from the preset's
    start_from: Path | None = None
    data: AutoencoderData = AutoencoderData()
    loss: AutoencoderLossWeights = AutoencoderLossWeights()
    perceptual_share: float = 0.25  # of a step's pictures, the perceptual distance being the dearest term


class AutoencoderTask(Task):
    """Reconstructs pictures through sampled latents; `save` measures the latents' statistics first."""

    name = "autoencoder"

    def __init__(
        self,
        pack: ObjectPack,
        options: AutoencoderOptions,
        perceptual: Callable[[Tensor, Tensor], Tensor] | None,
        *,
        seed: int = 0,
    ):
        self.pack, self.options, self.perceptual, self.seed = pack, options, perceptual, seed
        network = (
            load_network(ImageAutoencoder, options.start_from)
            if options.start_from
            else ImageAutoencoder.preset(options.preset, **options.model)
        )
        nn.Module.to(network, pack.device)
        if pack.device.type == "cuda":
            nn.Module.to(network, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.network = self.autoencoder = network.train()
        data = options.data
        self.batches_kept = data.kept // (data.objects * data.views)
        self.pictures = torch.zeros(
            self.batches_kept * data.objects * data.views,
            4,
            data.size,
            data.size,
            dtype=torch.uint8,
            device=pack.device,
        )
        self.rendered = 0  # batches so far

    def batch(self, step: int, generator: torch.Generator) -> Float[Tensor, "n 4 s s"]:
        data = self.options.data
        self._render_until(step)
        cropped = step % 2 == 0 and data.crop < data.size
        num = data.pictures * (data.size // data.crop) ** 2 if cropped else data.pictures
        per_batch = data.objects * data.views
        filled = min(self.rendered, self.batches_kept) * per_batch
        chosen = self.pictures[torch.randint(filled, (num,), generator=generator, device=generator.device)]
        if cropped:
            chosen = crops_of_objects(chosen, data.crop, generator)
        pictures = chosen.float() / 255
        return pictures.contiguous(memory_format=torch.channels_last) if pictures.is_cuda else pictures

    def loss(self, network: nn.Module, batch: Float[Tensor, "n 4 s s"], step: int) -> dict[str, Tensor]:
        decoded, posterior = network(batch)
        background = torch.rand(len(batch), 3, device=batch.device)
        background[::2] = 1.0  # white is what people see
        some = max(1, round(len(batch) * self.options.perceptual_share))
        perceptual = self.perceptual

        def of_some(seen: Tensor, wanted: Tensor) -> Tensor:
            assert perceptual is not None
            return perceptual(seen[:some], wanted[:some])

        return autoencoder_loss(
            decoded,
            batch,
            posterior,
            background,
            perceptual=None if perceptual is None else of_some,
            weights=self.options.loss,
        )

    @torch.no_grad()
    def save(self, folder: Path) -> None:
        """With the latents' mean and deviation, channel by channel, over one batch of unlit pictures."""
        generator = torch.Generator(self.pack.device).manual_seed(0)
        raw = self.autoencoder.posterior(self._render(generator, lit=0.0).float() / 255).mode().float()
        mean, std = raw.mean((0, 2, 3)), raw.std((0, 2, 3))
        self.autoencoder.with_latent_statistics(mean.tolist(), std.tolist()).save_pretrained(folder)

    def _render_until(self, step: int) -> None:
        """Batch k of pictures is a function of (seed, k), and their number of the step: resumed runs see the same."""
        data = self.options.data
        per_batch = data.objects * data.views
        wanted = min(-(-data.first // per_batch), self.batches_kept) + step // data.every
        for k in range(max(self.rendered, wanted - self.batches_kept), wanted):
            generator = torch.Generator(self.pack.device).manual_seed(derive_seed(self.seed, "pictures", k))
            begin = k % self.batches_kept * per_batch
            self.pictures[begin : begin + per_batch] = self._render(generator, lit=data.lit)
        self.rendered = max(self.rendered, wanted)

    def _render(self, generator: torch.Generator, *, lit: float) -> UInt8[Tensor, "n 4 s s"]:
        data, device = self.options.data, self.pack.device
        ids = draw_objects(self.pack, data.objects, generator)
        draws = torch.rand(2, data.objects, data.views, generator=generator, device=device)
        elevation = torch.rad2deg(torch.asin(draws[1] * 1.2 - 0.4))  # -24 to 53 degrees
        views = render_batch(
            self.pack,
            ids,
            random_rigs(self.pack, ids, generator),
            orbit_cameras(draws[0] * 360, elevation),
            size=data.size,
            supersample=data.supersample,
            materials=random_materials(self.pack, ids, generator),
            lighting=random_lighting(data.objects, generator),
        )
        assert views.shaded is not None
        under_lights = torch.rand(data.objects, generator=generator, device=device) < lit
        rgb = torch.where(rearrange(under_lights, "b -> b 1 1 1 1"), views.shaded, views.rgb)
        rgba = rearrange(torch.cat([rgb, views.alpha], dim=2), "b v c h w -> (b v) c h w")
        return (rgba * 255).round().to(torch.uint8)


def crops_of_objects(
    pictures: UInt8[Tensor, "n 4 s s"], size: int, generator: torch.Generator
) -> UInt8[Tensor, "n 4 c c"]:
    """One square of each picture, `size` pixels a side, around a random part of its object."""
    cells = F.avg_pool2d(pictures[:, 3:].float() / 255, CELL_PX)
    side = cells.shape[-1]
    cell = torch.multinomial(cells.flatten(1) + 1e-3, 1, generator=generator)[:, 0]
    within = torch.randint(CELL_PX, (2, len(pictures)), generator=generator, device=pictures.device)
    centre = torch.stack([cell // side, cell % side]) * CELL_PX + within
    begin = (centre - size // 2).clamp(0, pictures.shape[-1] - size)
    row, column = begin[:, :, None] + torch.arange(size, device=pictures.device)
    picture = torch.arange(len(pictures), device=pictures.device)
    cut = pictures[picture[:, None, None], :, row[:, :, None], column[:, None, :]]
    return rearrange(cut, "n h w c -> n c h w")
