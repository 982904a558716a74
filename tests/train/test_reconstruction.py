"""Both stages of the reconstruction's training: batches tell the truth, losses vanish there and fall towards it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from infinitemesh.data.object_pack import ObjectPack
from infinitemesh.data.points import PointCache, PointOptions, cache_points
from infinitemesh.data.replay import RingOptions
from infinitemesh.train.loop import LoopConfig, train
from infinitemesh.train.reconstruction import (
    PhotographData,
    ReconstructionBatch,
    ReconstructionData,
    ReconstructionOptions,
    ReconstructionTask,
    SurfaceStage,
)
from infinitemesh.train.reconstruction_loss import PointLossWeights, RenderLossWeights, point_loss, render_loss
from infinitemesh.train.view_groups import GroupOptions

DATA = ReconstructionData(
    objects=3, points=256, num_views=(4,), rings=RingOptions(size=32, noisy=0.0), degraded=0.0, refresh=2
)
SURFACE = SurfaceStage(resolution=12, views=2, size=32, objects=2)
COLOUR_TERMS = ("rgb", "lpips")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def cache(pack: ObjectPack) -> PointCache:
    return cache_points(pack, options=PointOptions(points=1024, surface_samples=1024, directions=24, depth_px=64))


def task(pack: ObjectPack, cache: PointCache, *, stage="points", perceptual=None, **data) -> ReconstructionTask:
    torch.manual_seed(0)
    options = ReconstructionOptions(preset="tiny", stage=stage, data=replace(DATA, **data), surface=SURFACE)
    return ReconstructionTask(pack, cache, options, perceptual)


def test_at_the_truth_the_point_loss_is_zero_and_anywhere_else_it_is_not(pack, cache):
    truth = task(pack, cache).batch(0, seeded()).truth
    weights = replace(PointLossWeights(), occupancy=0.0)  # cross-entropy is least, not zero, at the truth
    assert point_loss(truth.distance, truth.rgb, truth, weights)["loss"] == 0
    for sdf, colour in ((truth.distance + 0.01, truth.rgb), (truth.distance, truth.rgb * 0.9)):
        assert point_loss(sdf, colour, truth, weights)["loss"] > 1e-4
    everything = PointLossWeights()
    least = point_loss(truth.distance, truth.rgb, truth, everything)["loss"]
    for shift in (-0.05, 0.05):
        assert point_loss(truth.distance + shift, truth.rgb, truth, everything)["loss"] > least


def test_objects_without_colour_are_not_asked_for_one(pack, cache):
    truth = task(pack, cache).batch(0, seeded()).truth
    grey = replace(truth, has_colour=torch.zeros(3, dtype=torch.bool))
    assert point_loss(grey.distance, 1 - grey.rgb, grey, PointLossWeights())["colour"] == 0


def test_at_the_truth_eq_7_is_zero(pack, cache):
    targets = task(pack, cache, stage="surface").batch(0, seeded()).targets
    seen = (targets.rgb[0], targets.alpha[0], targets.depth[0], targets.normal[0])
    nothing = torch.zeros(())
    terms = render_loss(*seen, *seen, nothing, nothing, RenderLossWeights())
    assert set(terms) == {"rgb", "lpips", "mask", "depth", "normal", "regularity", "loss"}
    assert all(abs(float(value)) < 1e-6 for value in terms.values())
    moved = [value.roll(2, dims=-1) for value in seen]
    terms = render_loss(*moved, *seen, nothing, nothing, RenderLossWeights())
    assert all(terms[name] > 1e-4 for name in ("rgb", "mask", "depth", "normal"))


@pytest.mark.parametrize("replay", [0, 8])
@pytest.mark.parametrize("stage", ["points", "surface"])
def test_points_and_pictures_are_of_one_world(pack, cache, stage, replay):
    """What is inside is covered in every view; replayed pictures bring their own objects, rigs and cameras."""
    trained = task(pack, cache, stage=stage, replay=replay)
    for step in range(3):
        batch = trained.batch(step, seeded(step))
        pictures = [(batch.camera, batch.rgba[:, :, 3])]
        if stage == "surface":
            pictures.append((batch.targets.camera, batch.targets.alpha[:, :, 0]))
        for camera, alpha in pictures:
            for i in range(len(alpha)):
                inner = batch.truth.points[i, batch.truth.distance[i] < -0.04]
                at = (camera[i].project(inner)[0] * alpha.shape[-1]).long()
                views = torch.arange(alpha.shape[1])[:, None]
                assert (alpha[i][views, at[..., 1], at[..., 0]] > 0.5).all()


@pytest.mark.parametrize("photographed", [0.0, 1.0])
def test_steps_of_one_view_see_fronts_as_a_pipeline_is_given_them(pack, cache, photographed):
    """Of their own objects, told to be level orthographic views; framed photographs fill the frame's 0.6."""
    fronts = GroupOptions(supersample=1, photographed=photographed, framed=1.0, worn=0.0, lit=0.0)
    photographs = PhotographData(objects=5, replay=6, refresh=2, fronts=fronts)
    trained = task(pack, cache, num_views=(4, 1), photographs=photographs, degraded=1.0)
    assert trained.batch(0, seeded()).rgba.shape[:2] == (3, 4)
    for step in (1, 3):
        batch = trained.batch(step, seeded(step))
        assert batch.rgba.shape[:2] == (5, 1) and batch.camera.projection == "orthographic"
        assert_close(batch.camera.azimuth_deg, torch.zeros(5, 1))
        assert_close(batch.camera.elevation_deg, torch.zeros(5, 1))
        for i in range(5):
            rows, columns = (batch.rgba[i, 0, 3] > 0.5).nonzero().unbind(-1)
            longest = max(float(np.ptp(side)) + 1 for side in (rows.numpy(), columns.numpy())) / 32
            assert longest <= 0.6 + 2 / 32
            if photographed:
                assert longest >= 0.6 - 2 / 32
            else:  # what is inside is covered: pictures and points are of one object and rig
                inner = batch.truth.points[i, batch.truth.distance[i] < -0.04]
                at = (batch.camera[i].project(inner)[0] * 32).long()[0]
                assert (batch.rgba[i, 0, 3][at[:, 1], at[:, 0]] > 0.5).all()


def test_what_is_uncertain_is_filled_sooner_when_the_inside_weighs_more(pack, cache):
    """One distance for points of which a third is inside: the best is outside, and inside if they weigh three times."""
    truth = task(pack, cache).batch(0, seeded()).truth
    distance = torch.where(torch.arange(truth.distance.shape[1]) % 3 == 0, -0.05, 0.05).expand_as(truth.distance)
    truth = replace(truth, distance=distance)

    def best(inside: float) -> float:
        weights = PointLossWeights(inside=inside)
        values = torch.linspace(-0.06, 0.06, 25)
        losses = [point_loss(torch.full_like(distance, v), truth.rgb, truth, weights)["loss"] for v in values]
        return float(values[torch.stack(losses).argmin()])

    assert best(1.0) > 0.01 and best(3.0) < -0.01, (best(1.0), best(3.0))


def test_steps_take_the_numbers_of_views_in_turn(pack, cache):
    trained = task(pack, cache, num_views=(12, 4, 1))
    assert [trained.batch(step, seeded()).rgba.shape[1] for step in range(4)] == [12, 4, 1, 12]
    four = trained.batch(1, seeded()).camera
    assert_close(four.azimuth_deg[0], torch.tensor([0.0, 90, 180, 270]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("replay", [0, 8])
def test_degraded_views_are_spoilt_and_everything_else_is_not(pack, cache, replay):
    clean, spoilt = (task(pack, cache, degraded=share, replay=replay).batch(0, seeded()) for share in (0.0, 1.0))
    assert torch.equal(clean.camera.cam_from_world, spoilt.camera.cam_from_world)
    assert spoilt.rgba.shape == clean.rgba.shape and 0 <= spoilt.rgba.min() and spoilt.rgba.max() <= 1
    assert (clean.rgba - spoilt.rgba).abs().amax() > 0.05
    assert (clean.rgba - spoilt.rgba).abs().mean() < 0.1


def test_batches_are_functions_of_their_seed(pack, cache):
    one, again, other = (task(pack, cache, stage="surface", degraded=0.5).batch(0, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.rgba, again.rgba) and torch.equal(one.truth.points, again.truth.points)
    assert torch.equal(one.targets.normal, again.targets.normal)
    assert not torch.equal(one.truth.points, other.truth.points)


def test_the_loss_falls_when_one_object_is_learnt(pack, cache, tmp_path):
    trained = task(pack.first(1), cache, num_views=(4, 12))
    held: ReconstructionBatch = trained.batch(0, seeded(99))

    def loss() -> dict[str, float]:
        with torch.no_grad():
            return {name: float(value) for name, value in trained.loss(trained.network, held, 0).items()}

    before = loss()
    config = LoopConfig(steps=60, learning_rate=4e-3, warmup_steps=5, precision="no", log_every=20)
    train(trained, config, tmp_path)
    after = loss()
    assert after["loss"] < 0.7 * before["loss"], (before, after)
    assert after["distance"] < before["distance"] and after["colour"] < before["colour"], (before, after)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [20, 40, 60] and rows[-1]["loss"] < rows[0]["loss"]


@pytest.mark.parametrize("stage", ["points", "surface"])
def test_every_trained_parameter_gets_a_finite_gradient(pack, cache, stage):
    trained = task(pack, cache, stage=stage)
    trained.loss(trained.network, trained.batch(0, seeded()), 0)["loss"].backward()
    missing = [name for name, p in trained.network.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing
    assert all(torch.isfinite(p.grad).all() for p in trained.network.parameters() if p.grad is not None)
    for network in (trained.model.decoders.net_deformation, trained.model.decoders.net_weight):
        for parameter in network.parameters():
            assert parameter.requires_grad == (stage == "surface")
        if stage == "surface":  # these shape the mesh and nothing else
            assert network[0].weight.grad.abs().max() > 0


def test_silhouettes_and_normals_shape_the_mesh(pack, cache):
    """Eq. 7's own terms reach what only the mesh stage trains, without help from the regularisers."""
    trained = task(pack, cache, stage="surface")
    decoders = trained.model.decoders
    terms = trained.loss(trained.network, trained.batch(0, seeded()), 0)
    wanted = [net[0].weight for net in (decoders.net_sdf, decoders.net_deformation, decoders.net_weight)]
    for name in ("mask", "depth", "normal"):
        for gradient in torch.autograd.grad(terms[name], wanted, retain_graph=True):
            assert torch.isfinite(gradient).all() and gradient.abs().max() > 0, name
    (of_colour,) = torch.autograd.grad(terms["rgb"], [decoders.net_rgb[0].weight])
    assert of_colour.abs().max() > 0


def test_the_surface_stage_leaves_colour_alone_where_there_is_none(pack, cache):
    def distance(ours, truth):
        return (ours - truth).abs().mean((1, 2, 3))

    trained = task(pack, cache, stage="surface", perceptual=distance)
    batch = trained.batch(0, seeded())
    terms = trained.loss(trained.network, batch, 0)
    assert set(terms) == {
        "loss", "rgb", "lpips", "mask", "depth", "normal", "regularity", "point_distance", "point_occupancy",
        "point_colour",
    }  # fmt: skip
    coloured = replace(batch, truth=replace(batch.truth, has_colour=torch.ones(2, dtype=torch.bool)))
    grey = replace(batch, truth=replace(batch.truth, has_colour=torch.zeros(2, dtype=torch.bool)))
    asked, left = (trained.loss(trained.network, some, 0) for some in (coloured, grey))
    assert all(asked[name] > 0 and left[name] == 0 for name in (*COLOUR_TERMS, "point_colour"))
    assert_close(asked["mask"], left["mask"])


@pytest.mark.parametrize("stage", ["points", "surface"])
def test_a_stopped_and_resumed_run_is_the_uninterrupted_one(pack, cache, stage, tmp_path):
    config = LoopConfig(steps=4, precision="no", log_every=1, warmup_steps=1)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(task(pack, cache, stage=stage, degraded=0.5), config, whole)
    train(task(pack, cache, stage=stage, degraded=0.5), config, parts, stop_after=2)
    train(task(pack, cache, stage=stage, degraded=0.5), config, parts)
    one, other = (_weights(folder) for folder in (whole, parts))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert _losses(whole) == _losses(parts)


def _weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "weights" / "diffusion_pytorch_model.safetensors")


def _losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "log.jsonl").read_text().splitlines()]
