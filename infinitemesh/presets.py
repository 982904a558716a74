"""Pipelines of named sizes with fresh, untrained networks: for tests, for timing, and as the start of training."""

import torch
from diffusers import ModelMixin

from infinitemesh.errors import InputError
from infinitemesh.messages import nearest
from infinitemesh.models.autoencoder import ImageAutoencoder, PaperAutoencoder
from infinitemesh.models.image_encoder import ClipImageEncoder, ImageEncoder
from infinitemesh.models.lrm import LargeReconstructionModel
from infinitemesh.models.matting import U2NetP
from infinitemesh.models.multiview_unet import MultiViewUNet
from infinitemesh.models.schedulers import NoiseSchedule
from infinitemesh.pipeline import InfiniteMeshPipeline
from infinitemesh.stages.denoise import Sampling, ViewChannels, ViewDiffusion
from infinitemesh.stages.foreground import AlphaForeground, Foreground, U2NetForeground
from infinitemesh.stages.main_views import DiffusedMainViews
from infinitemesh.stages.reconstruction import TriplaneReconstruction
from infinitemesh.stages.surface import FlexiCubesSurface
from infinitemesh.stages.texturing import BakedTexture
from infinitemesh.stages.view_interpolation import DiffusedInterpolation

PRESETS = ("tiny", "small", "paper")


def fresh_pipeline(preset: str, *, channels: ViewChannels | None = None, seed: int = 0) -> InfiniteMeshPipeline:
    """In `tiny` and `small` one denoiser serves main views and interpolation; `tiny` takes cut-out pictures only.

    `paper` has the published sizes and settings, 2.5 billion parameters; `channels` is not used for it.
    """
    if preset not in PRESETS:
        raise InputError(f"there is no preset {preset!r} to build{nearest(preset, PRESETS)}")
    if preset == "paper":
        return _untrained_paper_pipeline()
    channels = channels or ViewChannels()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        autoencoder = ImageAutoencoder.preset(preset)
        latents = autoencoder.latent_channels
        unet = MultiViewUNet.preset(preset, in_channels=channels.count(latents), out_channels=latents)
        lrm = LargeReconstructionModel.preset(preset, image_size=8 * int(unet.config["sample_size"]))
        image_encoder = ImageEncoder.preset(preset, width=int(unet.config["cross_attention_dim"]))
        matting: ModelMixin | None = None if preset == "tiny" else U2NetP()
    schedule = NoiseSchedule(prediction="v_prediction", zero_terminal_snr=True)
    diffusion = ViewDiffusion(unet, autoencoder, image_encoder, channels=channels, schedule=schedule)
    tiny = preset == "tiny"
    sampling = Sampling(steps=2) if tiny else Sampling()
    foreground: Foreground = AlphaForeground(size=diffusion.size) if matting is None else U2NetForeground(matting)
    return InfiniteMeshPipeline(
        foreground=foreground,
        main_views=DiffusedMainViews(diffusion, sampling=sampling),
        view_interpolation=DiffusedInterpolation(diffusion, sampling=sampling),
        reconstruction=TriplaneReconstruction(lrm),
        surface=FlexiCubesSurface(lrm.decoders, resolution=16 if tiny else 128, target_faces=400 if tiny else 30_000),
        texturing=BakedTexture(lrm.decoders, texture_size=64 if tiny else 1024),
        name=preset,
    ).eval()


def paper_pipeline(
    *,
    autoencoder: PaperAutoencoder,
    image_encoder: ClipImageEncoder,
    main_views: MultiViewUNet,
    interpolation: MultiViewUNet,
    reconstruction: LargeReconstructionModel,
    interpolation_encoder: ClipImageEncoder | None = None,
    matting: U2NetP | None = None,
) -> InfiniteMeshPipeline:
    """Wonder3D's way to four views, IVI by Eq. 1-3, InstantMesh's reconstruction with fusion, of given networks.

    50 steps of DDIM with eta 1, guidance 1 (Wonder3D's shipped setting). `interpolation_encoder` is given where
    interpolation has its own pose projection (Zero123's). `save_pretrained` then makes a folder of converted weights.
    """
    of_main_views, of_interpolation = (
        ViewDiffusion(unet, autoencoder, encoder, channels=ViewChannels.paper(), schedule=NoiseSchedule())
        for unet, encoder in ((main_views, image_encoder), (interpolation, interpolation_encoder or image_encoder))
    )
    sampling = Sampling(sampler="ddim", steps=50, eta=1.0)
    return InfiniteMeshPipeline(
        foreground=U2NetForeground(matting or U2NetP(), size=of_main_views.size),
        main_views=DiffusedMainViews(of_main_views, sampling=sampling, mirror_back=False, front_row=True),
        view_interpolation=DiffusedInterpolation(of_interpolation, sampling=sampling),
        reconstruction=TriplaneReconstruction(reconstruction),
        surface=FlexiCubesSurface(reconstruction.decoders),
        texturing=BakedTexture(reconstruction.decoders),
        name="paper",
    ).eval()


def _untrained_paper_pipeline() -> InfiniteMeshPipeline:
    return paper_pipeline(
        autoencoder=PaperAutoencoder.untrained(),
        image_encoder=ClipImageEncoder.untrained(),
        main_views=MultiViewUNet.preset("paper", cross_domain=False, num_views=4),
        interpolation=MultiViewUNet.preset("paper", cross_domain=False, num_views=2),
        reconstruction=LargeReconstructionModel.preset("paper"),
    )
