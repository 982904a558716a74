"""Training the autoencoder: pictures with alpha from random places around random objects."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from infinitemesh.data.lighting import random_lighting
from infinitemesh.data.object_pack import ObjectPack
from infinitemesh.data.rigs import random_rigs
from infinitemesh.data.training_views import draw_objects, render_batch
from infinitemesh.data.view_cameras import orbit_cameras
from infinitemesh.models.autoencoder import ImageAutoencoder
from infinitemesh.train.autoencoder_loss import AutoencoderLossWeights, autoencoder_loss
from infinitemesh.train.loop import Task


@dataclass(frozen=True, kw_only=True)
class AutoencoderData:
    objects: int = 32
    views: int = 4  # of each object
    size: int = 256
    lit: float = 0.3  # share of batches under lights, as photographs are
    supersample: int = 2


@dataclass(frozen=True, kw_only=True)
class AutoencoderOptions:
    preset: str = "small"
    model: dict[str, Any] = field(default_factory=dict)  # config values that differ from the preset's
    start_from: Path | None = None
    data: AutoencoderData = AutoencoderData()
    loss: AutoencoderLossWeights = AutoencoderLossWeights()


class AutoencoderTask(Task):
    """Reconstructs pictures through sampled latents; `save` measures the latents' statistics first."""

    name = "autoencoder"

    def __init__(self, pack: ObjectPack, options: AutoencoderOptions, perceptual: nn.Module | None):
        self.pack, self.options = pack, options
        network = (
            ImageAutoencoder.from_pretrained(options.start_from)
            if options.start_from
            else ImageAutoencoder.preset(options.preset, **options.model)
        )
        self.network = network.to(pack.device).train()
        self.perceptual = None if perceptual is None else perceptual.to(pack.device)

    def batch(self, step: int, generator: torch.Generator) -> Float[Tensor, "n 4 s s"]:
        data, device = self.options.data, self.pack.device
        ids = draw_objects(self.pack, data.objects, generator)
        rig = random_rigs(self.pack, ids, generator)
        draws = torch.rand(2, data.objects, data.views, generator=generator, device=device)
        elevation = torch.rad2deg(torch.asin(draws[1] * 1.2 - 0.4))  # -24 to 53 degrees
        lit = step % 100 < 100 * data.lit
        views = render_batch(
            self.pack,
            ids,
            rig,
            orbit_cameras(draws[0] * 360, elevation),
            size=data.size,
            supersample=data.supersample,
            lighting=random_lighting(data.objects, generator) if lit else None,
        )
        rgb = views.shaded if views.shaded is not None else views.rgb
        return rearrange(torch.cat([rgb, views.alpha], dim=2), "b v c h w -> (b v) c h w")

    def loss(self, network: nn.Module, batch: Float[Tensor, "n 4 s s"], step: int) -> dict[str, Tensor]:
        decoded, posterior = network(batch)
        background = torch.rand(len(batch), 3, device=batch.device)
        background[::2] = 1.0  # white is what people see
        return autoencoder_loss(
            decoded, batch, posterior, background, perceptual=self.perceptual, weights=self.options.loss
        )

    @torch.no_grad()
    def save(self, folder: Path) -> None:
        """The latents' mean and deviation, channel by channel, are measured on one batch and written into the config."""
        generator = torch.Generator(self.pack.device).manual_seed(0)
        raw = self.network.posterior(self.batch(99, generator)).mode().float()
        mean, std = raw.mean((0, 2, 3)), raw.std((0, 2, 3))
        self.network.with_latent_statistics(mean.tolist(), std.tolist()).save_pretrained(folder)
