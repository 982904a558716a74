"""What the denoiser is trained on is what the stages ask at inference; it learns; a resumed run is the same run."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from infinitemesh.errors import CheckpointError, InputError
from infinitemesh.models.autoencoder import ImageAutoencoder
from infinitemesh.models.lrm import LargeReconstructionModel
from infinitemesh.models.single_view import SingleViewModel
from infinitemesh.stages import denoise
from infinitemesh.stages.coarse import CoarseRenderer
from infinitemesh.stages.denoise import Sampling, ViewChannels, ViewDiffusion, encode_views
from infinitemesh.stages.main_views import DiffusedMainViews
from infinitemesh.stages.view_interpolation import DiffusedInterpolation
from infinitemesh.train.diffusion_loss import DiffusionLossOptions, PictureLossWeights
from infinitemesh.train.loop import LoopConfig, train
from infinitemesh.train.view_cache import CacheOptions, ViewCache
from infinitemesh.train.view_groups import GroupMaker, GroupOptions
from infinitemesh.train.views import ViewsOptions, ViewsTask, denoiser_networks, load_diffusion
from infinitemesh.types import MAIN_AZIMUTHS_DEG, Camera, ViewSet

SIZE = 64
FLAT = GroupOptions(supersample=1, flat=1.0)
FEW = CacheOptions(entries=4, at_once=2, first=2, every=1, half=False)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def networks() -> tuple[ImageAutoencoder, CoarseRenderer]:
    torch.manual_seed(0)
    lrm = LargeReconstructionModel.preset("tiny", image_size=SIZE).eval()
    return ImageAutoencoder.preset("tiny").eval(), CoarseRenderer(_solid(lrm), resolution=16)


def _solid(lrm: LargeReconstructionModel) -> LargeReconstructionModel:
    """A fresh field has no surface to see: let it be a ball that the planes disturb."""
    random, camera = seeded(), Camera.orbit(torch.tensor([[0.0, 90.0, 180.0, 270.0]]))
    optimiser = torch.optim.Adam(lrm.parameters(), lr=3e-3)
    for _ in range(40):
        points = torch.rand(1, 1024, 3, generator=random) * 2 - 1
        views = torch.rand(1, 4, 4, SIZE, SIZE, generator=random) * torch.rand(1, generator=random)
        distance = lrm.decoders.sdf(lrm(views, camera), points)
        loss = (distance - points.norm(dim=-1) + 0.6).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return lrm.eval()


@pytest.fixture(scope="module")
def maker(pack, networks) -> GroupMaker:
    return GroupMaker(pack, networks[0], networks[1], SIZE, FLAT)


@pytest.mark.parametrize("known_rows", [False, True])
@pytest.mark.parametrize("kind", ["main", "between"])
def test_cached_conditions_are_those_that_the_stages_assemble(maker, networks, monkeypatch, kind, known_rows):
    """The law of this module: the same pictures, through cache and training or through a stage, tell the same."""
    autoencoder, coarse = networks
    options = ViewsOptions(preset="tiny", channels=ViewChannels(coarse=True, known_rows=known_rows))
    unet, image_encoder = denoiser_networks(options, autoencoder.latent_channels)
    cache = ViewCache(maker, FEW, seed=0)
    cache.advance(1)
    drawn = cache.draw(kind, 3, seeded())
    trained = encode_views(
        drawn.query(), drawn.codec(), options.channels, image_encoder=image_encoder.eval(), token_width=16
    )

    diffusion = ViewDiffusion(unet, autoencoder, image_encoder, channels=options.channels, schedule=options.schedule)
    sampling = Sampling(steps=1)
    azimuths = MAIN_AZIMUTHS_DEG[:1] if kind == "main" else MAIN_AZIMUTHS_DEG
    views = [view_set(drawn.pictures[row, : len(azimuths)].float() / 255, azimuths) for row in range(3)]
    stage = (
        DiffusedMainViews(diffusion, coarse=coarse, sampling=sampling)
        if kind == "main"
        else DiffusedInterpolation(diffusion, coarse=coarse, sampling=sampling, attend="ring")
    )
    told = []
    monkeypatch.setattr(denoise, "encode_views", lambda *a, **k: told.append(encode_views(*a, **k)) or told[-1])
    stage.batch(views, seeds=[0, 1, 2])
    (asked,) = told

    assert asked.num_targets == trained.num_targets == (3 if kind == "main" else 8)
    assert drawn.coarse.std() > 0.05, "the coarse renders show nothing"
    for name in ("appearance", "geometry", "tokens", "labels"):
        torch.testing.assert_close(
            getattr(trained.conditions, name), getattr(asked.conditions, name), atol=1e-5, rtol=1e-5, msg=name
        )
    torch.testing.assert_close(trained.known, asked.known, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(trained.coarse, asked.coarse, atol=1e-5, rtol=1e-5)


def test_main_views_are_trained_after_the_single_view_network_and_the_others_are_not(maker, networks):
    torch.manual_seed(5)
    single = CoarseRenderer(SingleViewModel.preset("tiny", image_size=SIZE).eval(), resolution=8)
    with torch.no_grad():
        single.network.decoders.net_sdf[-1].bias.fill_(-0.5)  # all of the cube
    both = GroupMaker(maker.pack, networks[0], networks[1], SIZE, FLAT, front_coarse=single)
    for kind in ("main", "between"):
        one, two = (each.make(kind, 2, seeded(1)) for each in (maker, both))
        assert torch.equal(one.pictures, two.pictures)
        assert torch.equal(one.coarse, two.coarse) == (kind == "between")
    assert ViewCache(maker, FEW, seed=0).fingerprint() != ViewCache(both, FEW, seed=0).fingerprint()


def test_a_kept_cache_is_of_one_way_to_mix_coarse_renders(maker, networks):
    single = SingleViewModel.preset("tiny", image_size=SIZE).eval()
    names = set()
    for settings in ({}, {"second_share": 0.2}, {"resolution": 8}):
        renderer = CoarseRenderer(single, second=networks[1].network, **settings)
        mixed = GroupMaker(maker.pack, networks[0], networks[1], SIZE, FLAT, front_coarse=renderer)
        names.add(ViewCache(mixed, FEW, seed=0).fingerprint())
    assert len(names) == 3


def view_set(rgba, azimuths) -> ViewSet:
    return ViewSet(rgba[:, :3], rgba[:, 3:], Camera.orbit(azimuths), torch.ones(len(rgba), dtype=torch.bool))


def test_the_truth_of_a_group_shows_its_object_from_the_cameras_that_are_asked_for(maker):
    """Unspoilt orthographic main views are the very pictures whose latents would be the truth."""
    plain = GroupOptions(supersample=1, photographed=0.0, worn=0.0, degraded=0.0, named=0.0, flat=0.0)
    same = GroupMaker(maker.pack, maker.autoencoder, None, SIZE, plain)
    groups = same.make("between", 2, seeded(1))
    assert groups.coarse is None
    assert (groups.camera.elevation_deg.abs() > 1).any(), "free poses leave the ring"
    scene = same.scene(2, seeded(1))
    of_main_views = same._encode(same.render(scene, groups.picture_camera))
    torch.testing.assert_close(of_main_views, groups.latents, atol=2e-2, rtol=0)  # 8 bits
    torch.testing.assert_close(same._encode(same.render(scene, groups.camera)), groups.clean)


def test_half_precision_is_all_that_storing_loses(maker):
    exact, halved = (ViewCache(maker, replace(FEW, half=half), seed=3) for half in (False, True))
    for cache in (exact, halved):
        cache.advance(0)
    a, b = exact.draw("main", 2, seeded()), halved.draw("main", 2, seeded())
    assert torch.equal(a.pictures, b.pictures)
    torch.testing.assert_close(a.clean, b.clean, atol=0, rtol=1e-3)
    assert not torch.equal(a.clean, b.clean)


def test_a_cache_depends_on_the_step_and_not_on_how_it_got_there(maker):
    walked, jumped = (ViewCache(maker, FEW, seed=0) for _ in range(2))
    for step in range(4):
        walked.advance(step)
    jumped.advance(3)
    for kind in walked.kinds:
        for name, column in walked.stores[kind].columns.items():
            assert torch.equal(column, jumped.stores[kind].columns[name]), (kind, name)
    before = walked.stores["main"].columns["clean"].clone()
    walked.advance(4)
    changed = (walked.stores["main"].columns["clean"] != before).flatten(1).any(1)
    assert changed.tolist() == [True, True, False, False], "a new batch takes the place of the oldest"


def test_a_folder_spares_making_the_first_entries_again(maker, tmp_path, monkeypatch):
    options = replace(FEW, every=0, folder=tmp_path / "cache", half=True)
    first = ViewCache(maker, options, seed=0)
    first.advance(0)
    monkeypatch.setattr(maker, "make", lambda *a: pytest.fail("made again"))
    second = ViewCache(maker, options, seed=0)
    second.advance(5)
    a, b = (cache.draw("between", 4, seeded()) for cache in (first, second))
    assert torch.equal(a.clean, b.clean) and torch.equal(a.pictures, b.pictures) and torch.equal(a.coarse, b.coarse)
    assert ViewCache(maker, options, seed=1).fingerprint() != first.fingerprint()


def test_processes_that_share_a_folder_make_the_files_of_one(maker, tmp_path, monkeypatch):
    monkeypatch.setattr("infinitemesh.train.view_cache.ENTRIES_PER_FILE", 2)
    options = replace(FEW, every=0, first=None, folder=tmp_path / "shared")
    for part in (1, 0):
        ViewCache(maker, options, seed=0).keep(part, 2)
    files = sorted(path.name for path in (tmp_path / "shared").iterdir())
    assert len(files) == 4, "two batches of two entries, of two kinds"
    alone = ViewCache(maker, replace(options, folder=None), seed=0)
    alone.advance(0)
    (tmp_path / "shared" / files[-1]).unlink()
    made = []
    make = maker.make
    monkeypatch.setattr(maker, "make", lambda kind, *rest: made.append(kind) or make(kind, *rest))
    together = ViewCache(maker, options, seed=0)
    together.advance(0)
    assert made == [files[-1].split("-")[1]], "only what is missing is made"
    assert sorted(path.name for path in (tmp_path / "shared").iterdir()) == files
    for kind in alone.kinds:
        for name, column in alone.stores[kind].columns.items():
            assert torch.equal(column, together.stores[kind].columns[name]), (kind, name)
    with pytest.raises(InputError, match="part 2 of 2"):
        together.keep(2, 2)


def test_fewer_entries_of_the_views_between_are_the_first_of_them(maker):
    whole, fewer = (ViewCache(maker, replace(FEW, first=None, every=0, between=n), seed=3) for n in (None, 2))
    for cache in (whole, fewer):
        cache.advance(0)
    assert fewer.made == {"main": 2, "between": 1}
    for kind, count in (("main", 4), ("between", 2)):
        rows = torch.arange(count)
        assert torch.equal(fewer.stores[kind].rows(rows).clean, whole.stores[kind].rows(rows).clean)
    assert fewer.draw("between", 64, seeded()).clean.shape[0] == 64


def test_cache_counts_must_fit_together():
    with pytest.raises(InputError, match="multiple of 32"):
        CacheOptions(entries=100)
    with pytest.raises(InputError, match="first=64"):
        CacheOptions(entries=32, first=64)


def tiny(**changes) -> ViewsOptions:
    return ViewsOptions(**{"preset": "tiny", "rows": 8, "groups": FLAT, "cache": FEW, **changes})


def loop(steps: int, **changes) -> LoopConfig:
    return LoopConfig(
        **{"steps": steps, "learning_rate": 3e-3, "warmup_steps": 5, "precision": "no", "log_every": 5, **changes}
    )


def test_one_object_is_learnt_in_seconds(pack, tmp_path):
    """Its error falls for both kinds of views, and the log tells of both."""
    torch.manual_seed(0)
    fixed = CacheOptions(entries=2, at_once=2, half=False)
    plain = {"channels": ViewChannels(), "loss": DiffusionLossOptions(dropout=0.0)}
    task = ViewsTask(pack.first(1), tiny(cache=fixed, rows=16, **plain))
    before = errors(task)
    train(task, loop(60, learning_rate=1e-2), tmp_path)
    for was, now in zip(before, errors(task), strict=True):
        assert now < 0.7 * was
    logged = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert {"error_main", "error_between"} <= set(logged)


def errors(task: ViewsTask) -> list[float]:
    """Of both kinds, over noise that is the same in every call."""
    with torch.no_grad():
        found = [[float(task.denoiser(task.batch(kind, seeded(k)))["error"]) for k in range(6)] for kind in (0, 1)]
    return [sum(each) / len(each) for each in found]


def test_every_condition_reaches_the_denoiser_and_no_parameter_is_idle(pack):
    """Idle parameters stop a run on several devices; an idle channel is a condition that cannot be learnt from."""
    task = ViewsTask(pack, tiny(loss=DiffusionLossOptions(dropout=0.0)))
    for step in (0, 1):
        task.network.zero_grad()
        task.loss(task.network, task.batch(step, seeded(step)), step)["loss"].backward()
        for name, value in task.network.named_parameters():
            assert value.grad is not None and value.grad.abs().sum() > 0, name
        by_channel = task.denoiser.unet.conv_in.weight.grad.abs().sum((0, 2, 3))
        assert len(by_channel) == task.options.channels.count(8) == 50
        orthographic = by_channel[:32].bool().all()  # rays of level views have constant parts: latents have none
        assert orthographic and by_channel[32:].bool().any()


def test_pictures_train_the_denoiser_through_the_frozen_autoencoder(pack):
    options = tiny(loss=DiffusionLossOptions(terminal=1.0), pictures=PictureLossWeights(views=2))
    task = ViewsTask(pack, options, lambda a, b: (a - b).abs().mean((1, 2, 3)))
    terms = task.denoiser(task.batch(0, seeded()))
    terms["picture"].backward()
    assert terms["perceptual"] > 0
    assert all(value.grad is None for value in task.autoencoder.parameters())
    assert task.denoiser.unet.conv_in.weight.grad.abs().sum() > 0
    assert {"picture_main", "terminal_main"} <= set(task.loss(task.network, task.batch(0, seeded()), 0))


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(pack, tmp_path):
    def task() -> ViewsTask:
        torch.manual_seed(0)
        return ViewsTask(pack, tiny(cache=replace(FEW, every=2), channels=ViewChannels()))

    train(task(), loop(4), tmp_path / "whole")
    train(task(), loop(4), tmp_path / "parts", stop_after=2)
    train(task(), loop(4), tmp_path / "parts")
    for network in ("multiview_unet", "image_encoder"):
        file = f"weights/{network}/diffusion_pytorch_model.safetensors"
        whole, parts = (load_file(tmp_path / run / file) for run in ("whole", "parts"))
        for name, value in whole.items():
            assert torch.equal(value, parts[name]), name


def test_saved_views_load_as_the_stages_take_them_and_train_on(pack, tmp_path):
    task = ViewsTask(pack, tiny(channels=ViewChannels(known_rows=True)))
    task.save(tmp_path / "weights")
    task.save(tmp_path / "weights")  # a later checkpoint takes its place
    diffusion = load_diffusion(tmp_path / "weights")
    assert diffusion.channels == task.options.channels and diffusion.schedule == task.options.schedule
    for name, value in task.denoiser.unet.state_dict().items():
        assert torch.equal(value, diffusion.unet.state_dict()[name]), name
    on = ViewsTask(pack, replace(task.options, start_from=tmp_path / "weights"))
    for name, value in task.network.state_dict().items():
        assert torch.equal(value, on.network.state_dict()[name]), name
    with pytest.raises(CheckpointError, match=r"views\.json"):
        load_diffusion(tmp_path)


def test_what_is_missing_is_named(pack, tmp_path):
    with pytest.raises(InputError, match="autoencoder"):
        ViewsTask(pack, ViewsOptions())
    with pytest.raises(InputError, match="reconstruction"):
        ViewsTask(pack, replace(ViewsOptions(), autoencoder=saved_autoencoder(tmp_path)))


def saved_autoencoder(folder):
    ImageAutoencoder.preset("tiny").save_pretrained(folder / "autoencoder")
    return folder / "autoencoder"
