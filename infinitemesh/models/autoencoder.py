"""From pictures to the latents that are denoised, and back.

`ImageAutoencoder` is this project's own: RGBA in, RGBA out, eight times smaller, fast on a CPU. `PaperAutoencoder` is
Stable Diffusion's, RGB over white. Both have `encode`, `decode`, `latent_channels` and `image_channels`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from jaxtyping import Float
from torch import Tensor, nn

from infinitemesh.errors import InputError

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "tiny": {"encoder_channels": (8, 8, 16), "decoder_channels": (16, 8, 8), "norm_groups": 4, "full_size_channels": 4},
    "small": {},
}


class ImageAutoencoder(ModelMixin, ConfigMixin):
    """Pictures with alpha to latents of an eighth of the size, lightly KL-regularised.

    Pictures are straight sRGB and alpha in [0, 1]; colour behind alpha 0 is not stored: the network sees
    (2 rgb - 1) alpha. Latents are shifted and scaled to mean 0 and deviation 1, channel by channel, by `latents_mean`
    and `latents_std` of the config (None: 0 and 1), which `with_latent_statistics` sets after training.
    `encoder_channels` and `decoder_channels` are per level, in the order of the forward pass (1/2, 1/4, 1/8 and back).
    """

    image_channels = 4

    @register_to_config
    def __init__(
        self,
        *,
        latent_channels: int = 8,
        encoder_channels: Sequence[int] = (48, 96, 128),
        decoder_channels: Sequence[int] = (160, 96, 64),
        encoder_blocks: Sequence[int] = (1, 2, 2),
        decoder_blocks: Sequence[int] = (2, 2, 2),
        full_size_channels: int = 16,
        norm_groups: int = 8,
        latents_mean: Sequence[float] | None = None,
        latents_std: Sequence[float] | None = None,
    ):
        super().__init__()
        self.latent_channels = latent_channels
        self.encoder = _Encoder(encoder_channels, encoder_blocks, 2 * latent_channels, norm_groups)
        self.decoder = _Decoder(latent_channels, decoder_channels, decoder_blocks, full_size_channels, norm_groups)

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "ImageAutoencoder":
        """A fresh network of a named size (`tiny`, `small`), with some config values changed."""
        if name not in PRESETS:
            raise InputError(f"ImageAutoencoder has no preset {name!r}; there are {', '.join(PRESETS)}")
        return cls(**{**PRESETS[name], **changes})

    def encode(self, rgba: Float[Tensor, "n 4 h w"]) -> Float[Tensor, "n c h8 w8"]:
        """The most likely latents, normalised. Height and width are multiples of 8."""
        return self.normalise(self.posterior(rgba).mode())

    def decode(self, latents: Float[Tensor, "n c h8 w8"]) -> Float[Tensor, "n 4 h w"]:
        """Pictures in [0, 1] from normalised latents."""
        return self.decode_raw(self.denormalise(latents)).clamp(0, 1)

    def forward(
        self, rgba: Float[Tensor, "n 4 h w"], generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "n 4 h w"], DiagonalGaussianDistribution]:
        """For training: the picture of sampled latents, and the distribution they came from."""
        posterior = self.posterior(rgba)
        return self.decode_raw(posterior.sample(generator)), posterior

    def posterior(self, rgba: Float[Tensor, "n 4 h w"]) -> DiagonalGaussianDistribution:
        """Of latents as the network knows them, before normalisation."""
        if rgba.shape[-1] % 8 or rgba.shape[-2] % 8:
            raise InputError(f"the autoencoder needs sides that are multiples of 8, got {tuple(rgba.shape[-2:])}")
        rgb, alpha = rgba[:, :3], rgba[:, 3:]
        return DiagonalGaussianDistribution(self.encoder(torch.cat([(2 * rgb - 1) * alpha, 2 * alpha - 1], dim=1)))

    def decode_raw(self, latents: Float[Tensor, "n c h8 w8"]) -> Float[Tensor, "n 4 h w"]:
        """Like `decode`, from latents that are not normalised, without the clamp that would stop gradients."""
        return self.decoder(latents) / 2 + 0.5

    def normalise(self, latents: Float[Tensor, "n c h8 w8"]) -> Float[Tensor, "n c h8 w8"]:
        mean, std = self._statistics(latents)
        return (latents - mean) / std

    def denormalise(self, latents: Float[Tensor, "n c h8 w8"]) -> Float[Tensor, "n c h8 w8"]:
        mean, std = self._statistics(latents)
        return latents * std + mean

    def with_latent_statistics(self, mean: Sequence[float], std: Sequence[float]) -> "ImageAutoencoder":
        """Writes what was measured over raw latents, channel by channel, into the config (saved with the weights)."""
        if not len(mean) == len(std) == self.latent_channels or min(std) <= 0:
            raise InputError(f"needs {self.latent_channels} means and positive deviations, got {mean} and {std}")
        self.register_to_config(latents_mean=tuple(map(float, mean)), latents_std=tuple(map(float, std)))
        return self

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = self.config["latents_mean"], self.config["latents_std"]
        column = (1, self.latent_channels, 1, 1)
        zeros, ones = (0.0,) * self.latent_channels, (1.0,) * self.latent_channels
        return like.new_tensor(mean or zeros).reshape(column), like.new_tensor(std or ones).reshape(column)


class PaperAutoencoder(nn.Module):
    """Stable Diffusion's autoencoder behind the same two methods; alpha is composited on white and not returned.

    Wonder3D scales the condition latent too, so `encode` is used for targets and for conditions alike.
    """

    image_channels = 3

    def __init__(self, vae: AutoencoderKL):
        super().__init__()
        self.vae = vae
        self.latent_channels = int(vae.config["latent_channels"])

    @classmethod
    def untrained(cls) -> "PaperAutoencoder":
        """The published sizes (SD 1.x, 83.7 M parameters) with random weights."""
        config = {
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
            "block_out_channels": (128, 256, 512, 512),
            "layers_per_block": 2,
            "latent_channels": 4,
            "sample_size": 512,
            "scaling_factor": 0.18215,
        }
        return cls(cast(AutoencoderKL, AutoencoderKL.from_config(config)))

    def encode(self, rgba: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n c h8 w8"]:
        """RGB or RGBA in [0, 1] to the mode of the latents times the scaling factor (0.18215)."""
        rgb = rgba[:, :3] if rgba.shape[1] == 3 else rgba[:, :3] * rgba[:, 3:] + (1 - rgba[:, 3:])
        return self.vae.encode(2 * rgb - 1, return_dict=False)[0].mode() * self.vae.config["scaling_factor"]

    def decode(self, latents: Float[Tensor, "n c h8 w8"]) -> Float[Tensor, "n 3 h w"]:
        signed = self.vae.decode(latents / self.vae.config["scaling_factor"], return_dict=False)[0]
        return (signed / 2 + 0.5).clamp(0, 1)


class _Encoder(nn.Module):
    def __init__(self, channels: Sequence[int], blocks: Sequence[int], out_channels: int, groups: int):
        super().__init__()
        layers: list[nn.Module] = [nn.PixelUnshuffle(2)]
        previous = 4 * ImageAutoencoder.image_channels
        for level, (width, count) in enumerate(zip(channels, blocks, strict=True)):
            layers.append(nn.Conv2d(previous, width, 3, stride=1 if level == 0 else 2, padding=1))
            layers.extend(_ResBlock(width, groups) for _ in range(count))
            previous = width
        layers += [nn.GroupNorm(groups, previous), nn.SiLU(), nn.Conv2d(previous, out_channels, 3, padding=1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class _Decoder(nn.Module):
    """Most of the work is done at half size and below: a convolution at full size costs four times one at half size."""

    def __init__(self, latents: int, channels: Sequence[int], blocks: Sequence[int], full_size: int, groups: int):
        super().__init__()
        layers: list[nn.Module] = []
        previous = latents
        for level, (width, count) in enumerate(zip(channels, blocks, strict=True)):
            if level:
                layers.append(nn.Upsample(scale_factor=2))
            layers.append(nn.Conv2d(previous, width, 3, padding=1))
            layers.extend(_ResBlock(width, groups) for _ in range(count))
            previous = width
        layers += [nn.GroupNorm(groups, previous), nn.SiLU(), nn.Conv2d(previous, 4 * full_size, 3, padding=1)]
        layers += [nn.PixelShuffle(2), nn.SiLU(), nn.Conv2d(full_size, ImageAutoencoder.image_channels, 3, padding=1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, latents: Tensor) -> Tensor:
        return self.layers(latents)


class _ResBlock(nn.Module):
    def __init__(self, width: int, groups: int):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups, width), nn.Conv2d(width, width, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(groups, width), nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(h)))
