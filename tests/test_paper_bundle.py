"""The published structure on disk: Stable Diffusion's autoencoder, CLIP and the pose, two denoisers, reconstruction."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from tiny import cut_out
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from infinitemesh.errors import CheckpointError, InputError
from infinitemesh.hub import load_network, save_network
from infinitemesh.models.autoencoder import PaperAutoencoder
from infinitemesh.models.conditioning import PoseProjection
from infinitemesh.models.image_encoder import ClipImageEncoder
from infinitemesh.models.lrm import LargeReconstructionModel
from infinitemesh.models.multiview_unet import MultiViewUNet
from infinitemesh.pipeline import InfiniteMeshPipeline
from infinitemesh.presets import paper_pipeline


@pytest.fixture(scope="module")
def paper() -> InfiniteMeshPipeline:
    """Every class of the published system at a small size; interpolation has its own pose projection."""
    torch.manual_seed(0)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4, 4, 8, 8),
        norm_num_groups=2,
        scaling_factor=0.18215,
    )
    vision = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            projection_dim=16,
            image_size=28,
            patch_size=14,
        )
    )
    sizes = dict(
        sample_size=8, block_out_channels=(8, 8, 8, 8), norm_num_groups=4, attention_head_dim=2, cross_attention_dim=16
    )
    main_views, interpolation = (
        MultiViewUNet.preset("paper", cross_domain=False, num_views=n, layers_per_block=1, **sizes) for n in (4, 2)
    )
    lrm = LargeReconstructionModel.preset(
        "paper", encoder_dim=24, encoder_layers=1, encoder_heads=2, fusion_heads=2, image_size=64, transformer_dim=16,
        transformer_layers=1, transformer_heads=2, triplane_low_res=4, triplane_dim=4, decoder_hidden=8,
    )  # fmt: skip
    return paper_pipeline(
        autoencoder=PaperAutoencoder(vae),
        image_encoder=ClipImageEncoder(vision),
        main_views=main_views,
        interpolation=interpolation,
        interpolation_encoder=ClipImageEncoder(vision, PoseProjection(16, pose_starts_at_zero=False)),
        reconstruction=lrm,
    ).with_settings(steps=2)


@pytest.fixture(scope="module")
def saved(paper: InfiniteMeshPipeline, tmp_path_factory) -> Path:
    return paper.save_pretrained(tmp_path_factory.mktemp("bundle") / "paper", dtype=None)


def test_saved_and_loaded_it_makes_the_same_views_and_planes(paper: InfiniteMeshPipeline, saved: Path):
    loaded = InfiniteMeshPipeline.from_pretrained(saved)
    rings = [pipeline.photo_to_views(cut_out(), seed=3) for pipeline in (paper, loaded)]
    assert len(rings[0]) == 12 and rings[0].rgb.std() > 0.01
    torch.testing.assert_close(rings[1].rgb, rings[0].rgb, rtol=0, atol=1e-4)
    planes = [pipeline.reconstruction(rings[0]).planes for pipeline in (paper, loaded)]
    torch.testing.assert_close(planes[1], planes[0], rtol=0, atol=1e-5)
    assert loaded.provenance()["stages"] == paper.provenance()["stages"]


def test_networks_used_twice_are_stored_and_loaded_once(saved: Path):
    loaded = InfiniteMeshPipeline.from_pretrained(saved)
    one, other = (stage.diffusion for stage in (loaded.main_views, loaded.view_interpolation))
    assert one.autoencoder.vae is other.autoencoder.vae
    assert one.image_encoder.vision is other.image_encoder.vision
    assert one.image_encoder.projection is not other.image_encoder.projection
    assert sorted(path.name for path in saved.iterdir() if path.is_dir()) == [
        "clip_vision",
        "matting",
        "multiview_unet",
        "multiview_unet_2",
        "pose_projection",
        "pose_projection_2",
        "reconstruction",
        "vae",
    ]
    assert set(loaded.weights) == {path.name for path in saved.iterdir() if path.is_dir()}


def test_each_folder_is_also_what_its_own_library_reads(paper: InfiniteMeshPipeline, saved: Path):
    encoder = paper.main_views.diffusion.image_encoder
    read = CLIPVisionModelWithProjection.from_pretrained(saved / "clip_vision", local_files_only=True)
    for key, value in encoder.vision.state_dict().items():
        torch.testing.assert_close(read.state_dict()[key], value, rtol=0, atol=0)
    vae = AutoencoderKL.from_pretrained(saved / "vae", local_files_only=True)
    assert vae.config["scaling_factor"] == 0.18215


def test_and_what_its_own_library_writes_is_read(paper: InfiniteMeshPipeline, tmp_path: Path):
    vision = paper.main_views.diffusion.image_encoder.vision
    vision.save_pretrained(tmp_path / "theirs")
    read = load_network(CLIPVisionModelWithProjection, tmp_path / "theirs")
    assert not read.training and read.config.projection_dim == 16
    for key, value in vision.state_dict().items():
        torch.testing.assert_close(read.state_dict()[key], value, rtol=0, atol=0)


def test_half_precision_files_run(saved: Path, paper: InfiniteMeshPipeline, tmp_path: Path):
    half = paper.save_pretrained(tmp_path / "half")
    for file in half.rglob("*.safetensors"):
        assert all(tensor.dtype == torch.float16 for tensor in load_file(file).values()), file
    for dtype in (None, torch.bfloat16):
        ring = InfiniteMeshPipeline.from_pretrained(half, dtype=dtype).photo_to_views(cut_out(), seed=3)
        assert ring.rgb.dtype == torch.float32 and torch.isfinite(ring.rgb).all()


def change_config(folder: Path, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (dict(hidden_sizes=8), r"no option `hidden_sizes`.*`hidden_size`"),
        (dict(quantization_config={"quant_method": "x"}), r"quantization_config is \{'quant_method': 'x'\}"),
        (dict(auto_map={"AutoModel": "code.Model"}), "no option `auto_map`"),
        (dict(hidden_size="wide"), "does not configure"),
        (dict(num_attention_heads=3), "does not configure"),
        (dict(patch_size=0), "does not configure"),
        (dict(model_type="clip"), "model_type is 'clip'"),
        (dict(projection_dim=4), "visual_projection.weight has shape"),
        (dict(num_hidden_layers=2), r"another architecture: 16 missing"),
        (dict(architectures=["CLIPModel"]), "is of a CLIPModel"),
    ],
)
def test_a_changed_configuration_of_clip_is_refused(paper: InfiniteMeshPipeline, tmp_path: Path, change, says: str):
    folder = save_network(paper.main_views.diffusion.image_encoder.vision, tmp_path / "clip")
    change_config(folder, **change)
    with pytest.raises(CheckpointError, match=says):
        load_network(CLIPVisionModelWithProjection, folder)


def test_a_damaged_clip_in_a_bundle_is_named(paper: InfiniteMeshPipeline, tmp_path: Path):
    folder = paper.save_pretrained(tmp_path / "paper", dtype=None)
    file = folder / "clip_vision" / "model.safetensors"
    tensors = load_file(file)
    save_file({key: value * float("nan") for key, value in tensors.items()}, file)
    with pytest.raises(CheckpointError, match=r"clip_vision.*NaN"):
        InfiniteMeshPipeline.from_pretrained(folder)
    change_config(folder / "clip_vision", architectures=["CLIPModel"])
    with pytest.raises(CheckpointError, match="names the class 'CLIPModel'"):
        InfiniteMeshPipeline.from_pretrained(folder)
    change_config(folder / "clip_vision", architectures=7)
    with pytest.raises(CheckpointError, match="holds no network"):
        InfiniteMeshPipeline.from_pretrained(folder)


def test_a_network_without_a_configuration_is_not_saved(tmp_path: Path):
    with pytest.raises(InputError, match="Linear has no configuration"):
        save_network(torch.nn.Linear(1, 1), tmp_path / "linear")
