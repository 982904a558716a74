"""Recognition in training: its weights come from a file and stay, and what it is joined to starts as it was."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from infinitemesh.data.object_pack import ObjectPack
from infinitemesh.data.points import PointCache, PointOptions, cache_points
from infinitemesh.data.replay import RingOptions
from infinitemesh.errors import CheckpointError, InputError
from infinitemesh.hub import load_network, save_network
from infinitemesh.models.efficientnet import EfficientNetLite
from infinitemesh.models.lrm import LargeReconstructionModel
from infinitemesh.models.single_view import SingleViewModel
from infinitemesh.train.average import averaged
from infinitemesh.train.loop import LoopConfig, train
from infinitemesh.train.reconstruction import (
    ReconstructionData,
    ReconstructionOptions,
    ReconstructionTask,
    SurfaceStage,
    started,
)
from infinitemesh.train.view_cache import CacheOptions
from infinitemesh.train.views import ViewsOptions, ViewsTask, coarse_renderers
from infinitemesh.types import Camera

SEMANTICS = {"semantic_layers": 2, "semantic_dim": 16, "semantic_heads": 2, "semantic_size": 28}
RECOGNITION = {"recognition": "tiny"}
DATA = ReconstructionData(
    objects=2, points=64, num_views=(1,), rings=RingOptions(size=32, noisy=0.0), degraded=0.0, refresh=2
)
FROZEN = ("semantics.backbone.", "semantics.recognition.")


@dataclass(frozen=True)
class Files:
    backbone: Path
    recognition: Path


@pytest.fixture
def files(tmp_path) -> Files:
    found = Files(tmp_path / "backbone.safetensors", tmp_path / "recognition.safetensors")
    save_file(SingleViewModel.preset("tiny", **SEMANTICS).semantics.backbone.state_dict(), found.backbone)
    half = {name: value.half() for name, value in EfficientNetLite("tiny").state_dict().items()}
    save_file(half, found.recognition)  # as convert.efficientnet writes it
    return found


def options(**changes) -> ReconstructionOptions:
    return ReconstructionOptions(**{"network": "single", "preset": "tiny", "data": DATA, **changes})


def tensors_of(file: Path, part: torch.nn.Module) -> bool:
    """Whether a part has the tensors of a file and is not trained."""
    stored, own = load_file(file), part.state_dict()
    equal = stored.keys() == own.keys() and all(torch.equal(own[name], value.float()) for name, value in stored.items())
    return equal and not any(p.requires_grad for p in part.parameters())


def front(objects: int = 1) -> tuple[torch.Tensor, Camera]:
    camera = Camera.orbit([0.0])
    return torch.rand(objects, 1, 4, 32, 32), Camera(camera.cam_from_world[None], camera.intrinsics[None])


def test_a_fresh_network_takes_what_is_frozen_from_its_files(files):
    model = started(
        options(
            model=SEMANTICS | RECOGNITION,
            semantics=files.backbone,
            recognition=files.recognition,
            hidden_semantics=0.25,
        )
    )
    assert tensors_of(files.backbone, model.semantics.backbone)
    assert tensors_of(files.recognition, model.semantics.recognition)
    assert model.semantics.hidden == 0.25 and model.config["recognition"] == "tiny"


def test_a_recognition_without_a_file_and_a_file_without_a_recognition_are_refused(files, tmp_path):
    with pytest.raises(CheckpointError, match=r"recognition\.\* is never trained.* convert\.efficientnet makes"):
        started(options(model=SEMANTICS | RECOGNITION, semantics=files.backbone))
    with pytest.raises(CheckpointError, match=r"set model\.recognition"):
        started(options(model=SEMANTICS, semantics=files.backbone, recognition=files.recognition))
    with pytest.raises(CheckpointError, match=r"set model\.recognition"):
        started(options(recognition=files.recognition))
    with pytest.raises(CheckpointError, match=r"backbone\.safetensors does not fit"):
        started(options(model=SEMANTICS | RECOGNITION, semantics=files.backbone, recognition=files.backbone))
    with pytest.raises(InputError, match="set semantic_layers"):
        started(options(model=RECOGNITION, recognition=files.recognition))
    with pytest.raises(InputError, match="hidden_semantics makes a network listen"):
        started(options(model=SEMANTICS, semantics=files.backbone, hidden_semantics=0.5))
    for share in (-0.1, 1.5):
        with pytest.raises(InputError, match="hidden_semantics is a share"):
            options(hidden_semantics=share)


@pytest.mark.parametrize("had_semantics", [True, False])
def test_weights_without_a_recognition_go_on_with_one(had_semantics, files, tmp_path):
    trained = SingleViewModel.preset("tiny", **SEMANTICS if had_semantics else {}).eval()
    if had_semantics:
        torch.nn.init.normal_(trained.semantics.to_tokens.weight)
    folder = save_network(trained, tmp_path / "trained")
    new = RECOGNITION if had_semantics else SEMANTICS | RECOGNITION
    with pytest.raises(CheckpointError, match="never trained"):
        started(options(start_from=folder, model=new))
    given = {"recognition": files.recognition} | ({} if had_semantics else {"semantics": files.backbone})
    model = started(options(start_from=folder, model=new, **given)).eval()
    assert tensors_of(files.recognition, model.semantics.recognition)
    before, after = trained.state_dict(), model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    added = after.keys() - before.keys()
    assert added and all(name.startswith("semantics.") for name in added)
    assert all(name.split(".")[1] in ("recognition", "recognised") for name in added) or not had_semantics
    views = front()
    assert torch.equal(model(*views), trained(*views))

    saved, told_again = save_network(model, tmp_path / "with"), SEMANTICS | RECOGNITION
    again = started(options(start_from=saved, model=told_again, hidden_semantics=0.5))  # it has them: no files
    assert tensors_of(files.recognition, again.semantics.recognition) and again.semantics.hidden == 0.5
    assert all(torch.equal(again.state_dict()[name], value) for name, value in after.items())


def test_new_semantics_of_trained_weights_need_their_file_too(files, tmp_path):
    folder = save_network(SingleViewModel.preset("tiny"), tmp_path / "trained")
    with pytest.raises(CheckpointError, match=r"backbone\.\* is never trained.* convert\.dinov2 makes"):
        started(options(start_from=folder, model=SEMANTICS))


@pytest.fixture(scope="module")
def cache(pack) -> PointCache:
    return cache_points(pack, options=PointOptions(points=512, surface_samples=256, directions=12, depth_px=32))


def task(pack: ObjectPack, cache: PointCache, files: Files, **changes) -> ReconstructionTask:
    frozen = {"semantics": files.backbone, "recognition": files.recognition}
    return ReconstructionTask(pack, cache, options(model=SEMANTICS | RECOGNITION, **frozen, **changes))


def test_a_run_teaches_the_ways_in_and_leaves_what_is_frozen(files, pack, cache, tmp_path):
    asked = task(pack, cache, files, hidden_semantics=1.0)
    before = {name: value.clone() for name, value in asked.model.state_dict().items()}
    loop = LoopConfig(steps=3, learning_rate=1e-2, warmup_steps=1, precision="no", ema_decay=0.5, weight_decay=0.0)
    train(asked, loop, tmp_path / "run")
    written = load_network(SingleViewModel, tmp_path / "run" / "weights")
    assert tensors_of(files.backbone, written.semantics.backbone)
    assert tensors_of(files.recognition, written.semantics.recognition)
    for name, value in written.state_dict().items():
        hidden = name in ("semantics.to_tokens.weight", "semantics.to_pixels.weight")
        if hidden or name.startswith(FROZEN):
            assert torch.equal(value, before[name]), name
        elif name.startswith("semantics.recognised.to_"):
            assert not torch.equal(value, before[name]), name


def test_mixed_precision_is_told_the_same(files, pack, cache):
    """As the loop runs by default."""
    asked = task(pack, cache, files)
    torch.nn.init.normal_(asked.model.semantics.recognised.to_tokens.weight)
    asked.model.semantics.recognised.boiled[1].p = 0.0
    batch = asked.batch(0, torch.Generator().manual_seed(0))
    exact = asked.loss(asked.network, batch, 0)["loss"]
    with torch.autocast("cpu", torch.bfloat16):
        mixed = asked.loss(asked.network, batch, 0)["loss"]
    assert_close(mixed.float(), exact, atol=0, rtol=0.03)
    mixed.backward()
    grad = asked.model.semantics.recognised.boiled[2].weight.grad
    assert grad is not None and grad.isfinite().all() and grad.abs().max() > 0


def test_the_mesh_stage_leaves_it_frozen(files, pack, cache):
    surface = SurfaceStage(resolution=8, views=2, size=32, objects=2)
    model = task(pack, cache, files, stage="surface", surface=surface).model
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {name for name, _ in model.named_parameters() if name.startswith(FROZEN)}


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("first_has", ["nothing", "semantics", "recognition"])
def test_an_average_has_the_seconds_frozen_parts_and_the_mean_of_all_others(first_has, share, tmp_path):
    parts = {"nothing": {}, "semantics": SEMANTICS, "recognition": SEMANTICS | RECOGNITION}[first_has]
    first = LargeReconstructionModel.preset("tiny", **parts)
    second = LargeReconstructionModel.preset("tiny", **SEMANTICS, **RECOGNITION)
    for way_in in (second.semantics.to_tokens, second.semantics.recognised.to_tokens):
        torch.nn.init.normal_(way_in.weight)
    mean = averaged(save_network(first, tmp_path / "1"), save_network(second, tmp_path / "2"), share)
    before, after = first.state_dict(), second.state_dict()
    assert mean.state_dict().keys() == after.keys()
    for name, value in mean.state_dict().items():
        if name.startswith(FROZEN) or (name not in before and ".boiled." in name):
            assert torch.equal(value, after[name]), name
        else:
            other = before.get(name, torch.zeros_like(value))
            assert_close(value, other + share * (after[name] - other), msg=name)
    if first_has == "semantics":  # what is new says `share` of what it says in the second
        named = torch.rand(3, second.semantics.recognition.dim)
        added = [each.semantics.recognised.eval() for each in (mean, second)]
        ours, theirs = (each.to_tokens(each(named)) for each in added)
        assert_close(ours, share * theirs)
    if first_has == "recognition":
        with pytest.raises(CheckpointError, match="was not trained on from"):
            averaged(tmp_path / "2", save_network(LargeReconstructionModel.preset("tiny", **SEMANTICS), tmp_path / "3"))


@pytest.mark.parametrize("has_single", [True, False])
def test_coarse_renders_of_a_front_alone_are_made_as_the_options_say(has_single, pack, tmp_path):
    several_network = LargeReconstructionModel.preset("tiny", image_size=64)
    reconstruction = save_network(several_network, tmp_path / "reconstruction")
    single = save_network(SingleViewModel.preset("tiny", image_size=64), tmp_path / "single") if has_single else None
    alone, several = coarse_renderers(reconstruction, single, second_share=0.2)
    assert alone.second_share == 0.2
    assert alone.second is several.network if has_single else alone.network is several.network
    assert several.second is None
    with pytest.raises(InputError, match="second_share"):
        coarse_renderers(reconstruction, single, second_share=2.0)


def test_a_trained_denoiser_sees_the_renders_of_its_options(pack, tmp_path):
    folders = {
        "reconstruction": save_network(LargeReconstructionModel.preset("tiny"), tmp_path / "reconstruction"),
        "single_view": save_network(SingleViewModel.preset("tiny"), tmp_path / "single"),
    }
    task = ViewsTask(
        pack,
        ViewsOptions(preset="tiny", cache=CacheOptions(entries=1, at_once=1), second_share=0.2, **folders),
    )
    front_coarse = task.cache.maker.front_coarse
    assert front_coarse.second_share == 0.2 and front_coarse.second is task.cache.maker.coarse.network
