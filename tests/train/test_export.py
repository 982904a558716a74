"""What a run wrote, carried home in small files and joined into a pipeline, is what the run wrote."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from infinitemesh.eight_bit import INT6, INT8, from_int6, from_int8, is_large, to_int6, to_int8
from infinitemesh.errors import CheckpointError, InputError
from infinitemesh.hub import WEIGHTS, load_network, save_network, verified
from infinitemesh.models.autoencoder import ImageAutoencoder
from infinitemesh.models.lrm import LargeReconstructionModel
from infinitemesh.models.single_view import SingleViewModel
from infinitemesh.pipeline import InfiniteMeshPipeline
from infinitemesh.presets import fresh_pipeline
from infinitemesh.train.export import assemble, export_weights, main, unpack
from infinitemesh.train.view_cache import CacheOptions
from infinitemesh.train.view_groups import GroupOptions
from infinitemesh.train.views import ViewsOptions, ViewsTask, load_diffusion


@pytest.fixture(scope="module")
def run(pack, tmp_path_factory):
    torch.manual_seed(0)
    few = CacheOptions(entries=1, at_once=1)
    task = ViewsTask(pack, ViewsOptions(preset="tiny", cache=few, groups=GroupOptions(supersample=1), kinds=("main",)))
    folder = tmp_path_factory.mktemp("run") / "weights"
    task.save(folder)
    return folder


@pytest.fixture(scope="module")
def reconstruction(tmp_path_factory):
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("reconstruction") / "weights"
    return save_network(LargeReconstructionModel.preset("tiny", image_size=64), folder)


def halves(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.half().float() for key, value in network.state_dict().items()}


def test_an_export_comes_back_whole_in_files_below_the_limit(run, tmp_path):
    paths = export_weights(run, tmp_path / "out", max_shard_mib=0.3)
    assert len(paths) > 1 and all(path.stat().st_size < 0.3 * 2**20 for path in paths)
    before, after = load_diffusion(run), load_diffusion(unpack(tmp_path / "out", tmp_path / "back"))
    assert (after.channels, after.schedule) == (before.channels, before.schedule)
    assert dict(after.unet.config) == dict(before.unet.config)
    for key, value in halves(before).items():
        assert torch.equal(after.state_dict()[key], value), key


def test_one_networks_folder_is_exported_too(reconstruction, tmp_path):
    export_weights(reconstruction, tmp_path / "out")
    assert (unpack(tmp_path / "out", tmp_path / "back") / "reconstruction" / "config.json").is_file()


def test_parts_that_are_missing_or_damaged_are_named(run, tmp_path):
    paths = export_weights(run, tmp_path / "out", max_shard_mib=0.3)
    with pytest.raises(InputError, match="overwrite"):
        export_weights(run, tmp_path / "out", max_shard_mib=0.3)
    paths[0].write_bytes(paths[0].read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=paths[0].name):
        unpack(tmp_path / "out", tmp_path / "back")
    paths[0].unlink()
    with pytest.raises(CheckpointError, match=f"missing {paths[0].name}"):
        unpack(tmp_path / "out", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_weights_that_do_not_fit_are_refused(run, tmp_path):
    with pytest.raises(InputError, match="raise max_shard_mib"):
        export_weights(run, tmp_path / "out", max_shard_mib=0.07)
    autoencoder = ImageAutoencoder.preset("tiny")
    torch.nn.init.constant_(autoencoder.decoder.layers[0].weight, 1e6)
    save_network(autoencoder, tmp_path / "large")
    with pytest.raises(CheckpointError, match="not finite in half precision"):
        export_weights(tmp_path / "large", tmp_path / "out")


def test_assembling_joins_runs_into_a_pipeline_with_checksums(run, reconstruction, tmp_path, capsys):
    """The command of the module's first lines: all networks are the runs', shared where stages share them."""
    home, base = tmp_path / "home", tmp_path / "base"
    fresh_pipeline("tiny").with_stages(main_views=None, view_interpolation=None).save_pretrained(base)
    main([str(run), str(home), "--max-shard-mib", "0.3"])
    home_folder = tmp_path / "pipeline"
    home_folder.mkdir()
    (home_folder / "MODEL_CARD.md").write_text("stays")
    parts = ["--parts", str(home), str(reconstruction)]
    chosen = ["--preset", "tiny", "--overwrite", "--set", "steps=3"]
    main(["assemble", str(home_folder), *parts, "--base", str(base), *chosen])
    assert "MB" in capsys.readouterr().out
    assert (home_folder / "MODEL_CARD.md").read_text() == "stays"
    pipeline = InfiniteMeshPipeline.from_pretrained(verified(home_folder))
    main_views, between = pipeline.main_views, pipeline.view_interpolation
    assert main_views.sampling.steps == between.sampling.steps == 3
    assert between.attend == "ring" and main_views.diffusion is not None
    assert main_views.coarse.network is pipeline.reconstruction.network is between.coarse.network
    assert pipeline.surface.decoders is pipeline.reconstruction.network.decoders
    assert len(pipeline.networks()) == 4  # denoiser, autoencoder, image encoder, reconstruction
    for key, value in halves(load_diffusion(run)).items():
        assert torch.equal(main_views.diffusion.state_dict()[key], value), key
    stored = load_file(reconstruction / "diffusion_pytorch_model.safetensors")
    for key, value in stored.items():
        assert torch.equal(pipeline.reconstruction.network.state_dict()[key], value.half().float()), key


SEMANTICS = dict(semantic_layers=3, semantic_dim=12, semantic_heads=2, semantic_size=28)


def test_a_single_view_network_draws_the_main_views_with_the_reconstruction(run, tmp_path):
    torch.manual_seed(2)
    many = LargeReconstructionModel.preset("tiny", image_size=64, **SEMANTICS)
    single = SingleViewModel.preset("tiny", image_size=64, **SEMANTICS)
    single.semantics.backbone.load_state_dict(many.semantics.backbone.state_dict())
    parts = [run, save_network(many, tmp_path / "many"), save_network(single, tmp_path / "single")]
    folder = assemble(tmp_path / "pipeline", parts, base=None, preset="tiny")
    for again in (folder, assemble(tmp_path / "later", [parts[1]], base=folder, preset="tiny")):
        pipeline = InfiniteMeshPipeline.from_pretrained(verified(again))
        coarse, network = pipeline.main_views.coarse, pipeline.reconstruction.network
        assert type(coarse.network) is SingleViewModel and coarse.second is network
        assert coarse.network.semantics.backbone is network.semantics.backbone
        assert pipeline.view_interpolation.coarse.network is network
        assert pipeline.view_interpolation.coarse.second is None


def test_a_base_keeps_how_its_two_networks_are_mixed(run, tmp_path):
    """Whether a single-view network, a reconstruction or another denoiser is what comes."""
    torch.manual_seed(2)
    many = save_network(LargeReconstructionModel.preset("tiny", image_size=64), tmp_path / "many")
    single = save_network(SingleViewModel.preset("tiny", image_size=64), tmp_path / "single")
    share = ["main_views.coarse.second_share=0.125"]
    base = assemble(tmp_path / "base", [run, many, single], base=None, preset="tiny", settings=share)
    for number, part in enumerate((run, many, single)):
        again = assemble(tmp_path / str(number), [part], base=base, preset="tiny")
        assert InfiniteMeshPipeline.from_pretrained(again).main_views.coarse.second_share == 0.125


def test_named_networks_are_stored_in_8_bits_and_carried_on_as_floats(run, reconstruction, tmp_path):
    """Rounded once, from the weights that the run wrote; an export of them is in half precision again."""
    chosen = ["--base", "none", "--preset", "tiny", "--eight-bit", "reconstruction", "multiview_unet"]
    main(["assemble", str(tmp_path / "eight"), "--parts", str(run), str(reconstruction), *chosen])
    in_8_bits = [
        name
        for name in ("multiview_unet", "autoencoder", "image_encoder", "reconstruction")
        if any(key.endswith(INT8) for key in load_file(tmp_path / "eight" / name / WEIGHTS))
    ]
    assert in_8_bits == ["multiview_unet", "reconstruction"]
    lrm = InfiniteMeshPipeline.from_pretrained(verified(tmp_path / "eight")).reconstruction.network
    for key, value in load_file(reconstruction / WEIGHTS).items():
        expected = from_int8(*to_int8(value), key) if is_large(value) else value.half().float()
        assert torch.equal(lrm.state_dict()[key], expected), key
    export_weights(tmp_path / "eight", tmp_path / "out")
    back = load_network(LargeReconstructionModel, unpack(tmp_path / "out", tmp_path / "back") / "reconstruction")
    for key, value in halves(lrm).items():
        assert torch.equal(back.state_dict()[key], value), key
    again = assemble(tmp_path / "again", [reconstruction], base=tmp_path / "eight", preset="tiny", eight_bit=in_8_bits)
    assert (again / "SHA256SUMS").read_bytes() == (tmp_path / "eight" / "SHA256SUMS").read_bytes()
    with pytest.raises(InputError, match="no network 'lrm' to store in 8 bits"):
        assemble(tmp_path / "other", [reconstruction], base=None, preset="tiny", eight_bit=["lrm"])


def test_a_backbone_in_6_bits_is_shared_and_carried_on(run, tmp_path):
    """As the command line names it: with the larger of the networks that share it, at these sizes the single-view."""
    torch.manual_seed(2)
    wide = SEMANTICS | dict(semantic_dim=48)
    many = LargeReconstructionModel.preset("tiny", image_size=64, **wide)
    single = SingleViewModel.preset("tiny", image_size=64, **wide)
    single.semantics.backbone.load_state_dict(many.semantics.backbone.state_dict())
    parts = [run, save_network(many, tmp_path / "many"), save_network(single, tmp_path / "single")]
    chosen = ["--base", "none", "--preset", "tiny", "--eight-bit", "reconstruction", "single_view"]
    command = ["assemble", str(tmp_path / "six"), "--parts", *map(str, parts), *chosen]
    prefixes = ["semantics.backbone.encoder.layer.0.", "semantics.backbone.encoder.layer.2."]
    main([*command, "--six-bit", *(f"single_view/{prefix}" for prefix in prefixes)])
    stored = load_file(tmp_path / "six" / "single_view" / WEIGHTS)
    before = single.state_dict()
    asked = {key for key, value in before.items() if key.startswith(tuple(prefixes)) and is_large(value)}
    assert asked and {key.removesuffix(INT6) for key in stored if key.endswith(INT6)} == asked
    assert not any(key.endswith(INT6) for key in load_file(tmp_path / "six" / "reconstruction" / WEIGHTS))
    pipeline = InfiniteMeshPipeline.from_pretrained(verified(tmp_path / "six"))
    lrm, coarse = pipeline.reconstruction.network, pipeline.main_views.coarse
    assert coarse.network.semantics.backbone is lrm.semantics.backbone
    for key, value in before.items():
        if key in asked:
            expected = from_int6(*to_int6(value), key, value.shape)
        else:
            expected = from_int8(*to_int8(value), key) if is_large(value) else value.half().float()
        assert torch.equal(coarse.network.state_dict()[key], expected), key
    in_8_bits, six_bit = ["reconstruction", "single_view"], {"single_view": prefixes}
    how = dict(base=tmp_path / "six", preset="tiny", eight_bit=in_8_bits)
    again = assemble(tmp_path / "again", [run], **how, six_bit=six_bit)
    assert (again / "SHA256SUMS").read_bytes() == (tmp_path / "six" / "SHA256SUMS").read_bytes()
    for place, message in [
        ("single_view", "write NETWORK/PREFIX, such as reconstruction/semantics"),
        (
            "multiview_unet/up_blocks.",
            "'multiview_unet' is for 6 bits, but .* are reconstruction, single_view: name it",
        ),
        ("reconstruction/semantics.backbone.", r"this LargeReconstructionModel stores no tensor semantics.backbone.\*"),
    ]:
        with pytest.raises(InputError, match=message):
            main([*command, "--overwrite", "--six-bit", place])
    assert (verified(tmp_path / "six") / "SHA256SUMS").read_bytes() == (again / "SHA256SUMS").read_bytes()


def test_a_later_reconstruction_takes_the_place_of_the_coarse_one_too(run, reconstruction, tmp_path):
    first = assemble(tmp_path / "first", [run, reconstruction], base=None, preset="tiny")
    torch.manual_seed(2)
    newer = save_network(LargeReconstructionModel.preset("tiny", image_size=64), tmp_path / "newer")
    second = InfiniteMeshPipeline.from_pretrained(assemble(tmp_path / "second", [newer], base=first, preset="tiny"))
    assert second.main_views.coarse.network is second.reconstruction.network
    assert second.foreground is None, "nothing brought a matte"
    for key, value in load_file(newer / "diffusion_pytorch_model.safetensors").items():
        assert torch.equal(second.reconstruction.network.state_dict()[key], value.half().float()), key


def test_nothing_untrained_is_shipped(run, reconstruction, tmp_path):
    with pytest.raises(CheckpointError, match="no reconstruction"):
        assemble(tmp_path / "pipeline", [run], base=None, preset="tiny")
    with pytest.raises(InputError, match="its own autoencoder"):
        assemble(tmp_path / "pipeline", [run / "autoencoder", reconstruction], base=None, preset="tiny")
    alone = assemble(tmp_path / "pipeline", [reconstruction], base=None, preset="tiny")
    stages = json.loads((alone / "pipeline.json").read_text())["stages"]
    assert set(stages) == {"reconstruction", "surface", "texturing"}


def test_other_files_are_no_export(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "part-001-of-001.safetensors")
    with pytest.raises(CheckpointError, match="no part of an export"):
        unpack(tmp_path, tmp_path / "back")
