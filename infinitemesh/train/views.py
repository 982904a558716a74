"""Training the front half: one denoiser for main views and for interpolated ones (Eq. 2), from cached groups.

ViewCache ──draw──▶ ViewGroups ──encode_views──▶ ViewBatch ──diffusion_loss──▶ loss
                    (a kind a step, in turn)     with tokens of the image encoder, which is trained along
"""

import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from torch import Tensor, nn

from infinitemesh.bundle import NETWORKS, open_network
from infinitemesh.data.object_pack import ObjectPack
from infinitemesh.errors import CheckpointError, InputError
from infinitemesh.files import write_json
from infinitemesh.hub import Network, load_network, save_network
from infinitemesh.models.autoencoder import ImageAutoencoder
from infinitemesh.models.image_encoder import ImageEncoder
from infinitemesh.models.lrm import LargeReconstructionModel
from infinitemesh.models.multiview_unet import MultiViewUNet
from infinitemesh.models.schedulers import NoiseSchedule
from infinitemesh.models.single_view import SingleViewModel
from infinitemesh.stages.coarse import CoarseRenderer
from infinitemesh.stages.denoise import PIXELS_PER_LATENT, ViewChannels, ViewDiffusion, encode_views
from infinitemesh.train.autoencoder_loss import PerceptualDistance
from infinitemesh.train.diffusion_loss import DiffusionLossOptions, PictureLoss, PictureLossWeights, diffusion_loss
from infinitemesh.train.loop import Task
from infinitemesh.train.view_cache import CacheOptions, ViewCache
from infinitemesh.train.view_groups import GroupMaker, GroupOptions, Kind, ViewGroups

SETTINGS = "views.json"


@dataclass(frozen=True, kw_only=True)
class ViewsOptions:
    """`autoencoder`, `reconstruction`, `single_view` and `start_from` are folders: of networks, and of another run's
    weights. Only the preset `tiny` does without the first two: fresh networks then stand in their place."""

    preset: str = "small"
    unet: dict[str, Any] = field(default_factory=dict)  # config values that differ from the preset's
    image_encoder: dict[str, Any] = field(default_factory=dict)
    autoencoder: Path | None = None
    reconstruction: Path | None = None  # makes the coarse renders,
    single_view: Path | None = None  # joins it for those from the front alone, where it is given
    second_share: float = 0.5  # of the reconstruction in those that both make
    start_from: Path | None = None
    channels: ViewChannels = ViewChannels(coarse=True)
    schedule: NoiseSchedule = NoiseSchedule(prediction="v_prediction", zero_terminal_snr=True)
    loss: DiffusionLossOptions = DiffusionLossOptions()
    pictures: PictureLossWeights = PictureLossWeights()
    kinds: Sequence[Kind] = ("main", "between")  # taken in turn, a step each
    rows: int = 384  # views to make in a step, so 128 groups of main views or 48 of views between
    groups: GroupOptions = GroupOptions()
    cache: CacheOptions = CacheOptions()
    compile: bool = False  # the denoiser alone; two shapes, so minutes before the first steps


@dataclass(frozen=True)
class ViewsBatch:
    """Groups of one kind, and the generator that draws their noise."""

    groups: ViewGroups
    generator: torch.Generator


class ViewsTask(Task):
    """The denoiser and its image encoder; autoencoder and reconstruction are frozen."""

    name = "views"

    def __init__(
        self,
        pack: ObjectPack,
        options: ViewsOptions,
        perceptual: PerceptualDistance | None = None,
        *,
        seed: int = 0,
    ):
        self.pack, self.options = pack, options
        self.latest: dict[str, Tensor] = {}
        device = pack.device
        self.autoencoder = _autoencoder(options)
        unet, image_encoder = denoiser_networks(options, self.autoencoder.latent_channels)
        pictures = self._picture_loss(device, perceptual) if options.pictures.views else None
        self.network = self.denoiser = ViewDenoiser(unet, image_encoder, options, pictures).to(device).train()
        if device.type == "cuda":
            nn.Module.to(unet, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if options.compile:
            unet.compile(dynamic=False)
        self.cache = view_cache(pack, options, seed=seed, autoencoder=self.autoencoder, unet=unet)
        self.cache.advance(0)  # before the loop's clock starts

    def batch(self, step: int, generator: torch.Generator) -> ViewsBatch:
        self.cache.advance(step)
        kind = self.options.kinds[step % len(self.options.kinds)]
        num_views = self.cache.stores[kind].columns["reference"].shape[1]
        groups = self.cache.draw(kind, max(1, self.options.rows // num_views), generator)
        return ViewsBatch(groups, generator)

    def loss(self, network: nn.Module, batch: ViewsBatch, step: int) -> dict[str, Tensor]:
        """With the latest terms of every kind, so that a log that looks at every tenth step tells of all."""
        terms = network(batch)
        kind = self.options.kinds[step % len(self.options.kinds)]
        self.latest |= {f"{name}_{kind}": term.detach() for name, term in terms.items() if name != "loss"}
        return {"loss": terms["loss"], **self.latest}

    def _picture_loss(self, device: torch.device, perceptual: PerceptualDistance | None) -> PictureLoss:
        autoencoder = deepcopy(self.autoencoder).requires_grad_(False)
        nn.Module.to(autoencoder, device)
        return PictureLoss(
            lambda latents: autoencoder.decode_raw(autoencoder.denormalise(latents)), self.options.pictures, perceptual
        )

    def save(self, folder: Path) -> None:
        """The denoiser, the image encoder and the autoencoder in folders of their own, and what they agree on."""
        folder.mkdir(parents=True, exist_ok=True)
        networks: tuple[ModelMixin, ...] = (self.denoiser.unet, self.denoiser.image_encoder, self.autoencoder)
        for network in networks:
            save_network(network, folder / NETWORKS[type(network).__name__][1], overwrite=True)
        settings = {"channels": asdict(self.options.channels), "schedule": asdict(self.options.schedule)}
        write_json(folder / SETTINGS, settings, overwrite=True)


class ViewDenoiser(nn.Module):
    """From groups to the loss in one forward, so that DDP sees it."""

    def __init__(
        self,
        unet: MultiViewUNet,
        image_encoder: ImageEncoder,
        options: ViewsOptions,
        pictures: PictureLoss | None = None,
    ):
        super().__init__()
        self.unet, self.image_encoder, self.options, self.pictures = unet, image_encoder, options, pictures

    def forward(self, batch: ViewsBatch) -> dict[str, Tensor]:
        groups, options = batch.groups, self.options
        views = encode_views(
            groups.query(),
            groups.codec(),
            options.channels,
            image_encoder=self.image_encoder,
            token_width=int(self.unet.config["cross_attention_dim"]),
        )
        return diffusion_loss(
            self.unet, options.schedule, views, groups.clean, batch.generator, options.loss, self.pictures
        )


def view_cache(
    pack: ObjectPack,
    options: ViewsOptions,
    *,
    seed: int,
    autoencoder: ImageAutoencoder | None = None,
    unet: MultiViewUNet | None = None,
) -> ViewCache:
    """The groups that `ViewsTask` learns from, still empty; the networks are read where they are not at hand."""
    device, encoder = pack.device, deepcopy(autoencoder or _autoencoder(options))
    unet = unet or denoiser_networks(options, encoder.latent_channels)[0]
    size = PIXELS_PER_LATENT * int(unet.config["sample_size"])
    nn.Module.to(encoder, device, torch.float16 if device.type == "cuda" else torch.float32)
    front_coarse, coarse = _coarse(options, size, device)
    maker = GroupMaker(pack, encoder, coarse, size, options.groups, front_coarse=front_coarse)
    return ViewCache(maker, options.cache, seed=seed, kinds=options.kinds)


def denoiser_networks(options: ViewsOptions, latent_channels: int) -> tuple[MultiViewUNet, ImageEncoder]:
    """Fresh, or those of `start_from`."""
    if options.start_from is not None:
        return _stored(MultiViewUNet, options.start_from), _stored(ImageEncoder, options.start_from)
    unet = MultiViewUNet.preset(
        options.preset,
        **{
            "in_channels": options.channels.count(latent_channels),
            "out_channels": latent_channels,
            **options.unet,
        },
    )
    width = int(unet.config["cross_attention_dim"])
    return unet, ImageEncoder.preset(options.preset, **{"width": width, **options.image_encoder})


def load_diffusion(folder: Path, *, device: torch.device | str = "cpu") -> ViewDiffusion:
    """What `ViewsTask.save` wrote, ready for the stages."""
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        channels, schedule = ViewChannels(**settings["channels"]), NoiseSchedule(**settings["schedule"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder} holds no trained views: {SETTINGS} cannot be read ({error})") from error
    return ViewDiffusion(
        _stored(MultiViewUNet, folder),
        _stored(ImageAutoencoder, folder),
        _stored(ImageEncoder, folder),
        channels=channels,
        schedule=schedule,
    ).to(device)


def _stored(cls: type[Network], folder: Path) -> Network:
    return load_network(cls, folder / NETWORKS[cls.__name__][1])


def _autoencoder(options: ViewsOptions) -> ImageAutoencoder:
    if options.autoencoder is not None:
        return load_network(ImageAutoencoder, options.autoencoder)
    if options.preset != "tiny":
        raise InputError("views are trained in the latents of an autoencoder: give options.autoencoder, its folder")
    return ImageAutoencoder.preset("tiny").eval()


def _coarse(
    options: ViewsOptions, size: int, device: torch.device
) -> tuple[CoarseRenderer | None, CoarseRenderer | None]:
    """Of a front alone and of several views, frozen."""
    if not options.channels.coarse:
        return None, None
    if options.reconstruction is not None or options.single_view is not None:
        pair = coarse_renderers(
            options.reconstruction,
            options.single_view,
            second_share=options.second_share,
            device=device,
        )
    elif options.preset == "tiny":
        renderer = CoarseRenderer(LargeReconstructionModel.preset("tiny", image_size=size).eval()).to(device)
        pair = renderer, renderer
    else:
        raise InputError(
            "coarse renders are made by a trained reconstruction: give options.reconstruction, its folder, "
            "or set options.channels.coarse to false"
        )
    for renderer in pair:
        assert renderer is not None
        halve(renderer.requires_grad_(False))
    return pair


def coarse_renderers(
    reconstruction: Path | None,
    single_view: Path | None,
    *,
    second_share: float = 0.5,
    device: torch.device | str = "cpu",
) -> tuple[CoarseRenderer | None, CoarseRenderer | None]:
    """Of a front alone and of several views, from folders of networks, as a pipeline has them."""
    if reconstruction is None:
        if single_view is not None:
            raise InputError("a single-view network draws along with a reconstruction: give that one's folder too")
        return None, None
    several = CoarseRenderer(open_network(LargeReconstructionModel, reconstruction))
    network, second = several.network, None
    if single_view is not None:
        network, second = open_network(SingleViewModel, single_view), several.network
    alone = CoarseRenderer(network, second=second, second_share=second_share)
    return alone.to(device), several.to(device)


def halve(renderer: CoarseRenderer) -> None:
    """On CUDA: trunks in half precision, the fields' decoders in full, as a pipeline of half precision has them."""
    networks = [network for network in (renderer.network, renderer.second) if network is not None]
    if networks[0].device.type == "cuda":
        for network in networks:
            nn.Module.to(network, dtype=torch.bfloat16)
            network.decoders.float()
