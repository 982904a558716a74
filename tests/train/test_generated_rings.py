"""Generated rings come back with their objects, and the reconstruction is trained on them."""

from dataclasses import replace

import pytest
import torch

from infinitemesh.data.gather import take_objects
from infinitemesh.data.points import PointOptions, cache_points
from infinitemesh.data.replay import RingOptions, RingSamples
from infinitemesh.errors import InputError
from infinitemesh.stages.denoise import Sampling
from infinitemesh.train.generated_rings import FRONTS, draw_rings, generate_rings, load_rings, main, save_rings
from infinitemesh.train.reconstruction import ReconstructionData, ReconstructionOptions, ReconstructionTask
from infinitemesh.train.view_cache import CacheOptions
from infinitemesh.train.views import ViewsOptions, ViewsTask, load_diffusion

PLAIN = replace(FRONTS, supersample=1)


@pytest.fixture(scope="module")
def weights(pack, tmp_path_factory):
    torch.manual_seed(0)
    options = ViewsOptions(preset="tiny", kinds=("main",), cache=CacheOptions(entries=1, at_once=1))
    options = replace(options, channels=replace(options.channels, coarse=False))
    folder = tmp_path_factory.mktemp("views") / "weights"
    ViewsTask(pack, options).save(folder)
    return folder


@pytest.fixture(scope="module")
def rings(pack, weights) -> RingSamples:
    return generate_rings(load_diffusion(weights), None, pack, 4, seed=3, sampling=Sampling(steps=1), options=PLAIN)


def test_a_ring_is_twelve_views_in_order_with_the_given_front_first(rings):
    assert rings.rgba.shape == (4, 12, 4, 64, 64) and rings.rgba.dtype == torch.uint8
    azimuth, elevation = rings.camera.azimuth_deg, rings.camera.elevation_deg
    torch.testing.assert_close(azimuth, (torch.arange(12) * 30.0).expand(4, -1), atol=1e-3, rtol=0)
    torch.testing.assert_close(elevation[:, ::3], torch.zeros(4, 4), atol=1e-3, rtol=0)
    assert (elevation.abs() > 1).any(), "seed 3 names a trajectory with elevations"
    fronts = (rings.rgba[:, 0, 3] > 127).flatten(1).float().mean(1)
    assert (fronts > 0.02).all() and (fronts < 0.4).all()


def test_rings_find_their_objects_again_in_any_part_of_the_pack(rings, pack, tmp_path):
    save_rings(rings, pack, tmp_path / "rings-000003.safetensors")
    whole = load_rings(tmp_path, pack)
    for ours, theirs in ((whole.object_ids, rings.object_ids), (whole.rgba, rings.rgba)):
        assert torch.equal(ours, theirs)
    assert torch.equal(whole.rig.rotation, rings.rig.rotation)
    chosen = int(rings.object_ids[0])
    part = take_objects(pack, torch.tensor([chosen]))
    alone = load_rings(tmp_path, part)
    assert torch.equal(alone.rgba, rings.rgba[rings.object_ids == chosen]) and (alone.object_ids == 0).all()
    with pytest.raises(InputError, match="rings of the 1 objects"):
        load_rings(tmp_path / "empty", part)
    (tmp_path / "rings-000004.safetensors").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="rings-000004"):
        load_rings(tmp_path, pack)


def test_the_reconstruction_sees_generated_rings_and_true_points(rings, pack, tmp_path):
    save_rings(rings, pack, tmp_path / "rings-000003.safetensors")
    few = PointOptions(points=256, surface_samples=128, directions=12, depth_px=32)
    data = ReconstructionData(
        objects=2, points=64, num_views=(4,), rings=RingOptions(size=64), degraded=1.0, generated=tmp_path,
        generated_share=1.0,
    )  # fmt: skip
    task = ReconstructionTask(pack, cache_points(pack, options=few), ReconstructionOptions(preset="tiny", data=data))
    batch = task.batch(0, torch.Generator().manual_seed(0))
    stored = rings.rgba[:, [0, 3, 6, 9]].float() / 255
    for views, camera in zip(batch.rgba, batch.camera.cam_from_world, strict=True):
        same = (stored == views).flatten(1).all(1)
        assert same.sum() == 1, "a ring as it was generated, not degraded"
        assert torch.equal(camera, rings.camera.cam_from_world[int(same.int().argmax()), [0, 3, 6, 9]])
    assert torch.isfinite(task.loss(task.network, batch, 0)["loss"])


def test_drawing_repeats_and_keeps_rows_together(rings):
    drawn = draw_rings(rings, 9, torch.Generator().manual_seed(1))
    for row in range(9):
        origin = int((rings.rgba == drawn.rgba[row]).flatten(1).all(1).int().argmax())
        assert drawn.object_ids[row] == rings.object_ids[origin] and drawn.rig.scale[row] == rings.rig.scale[origin]


def test_the_command_writes_files_that_load(weights, pack_folder, pack, tmp_path):
    arguments = [str(weights), str(pack_folder), str(tmp_path), "--entries", "2", "--at-once", "1", "--steps", "1"]
    main([*arguments, "--device", "cpu"])
    assert len(load_rings(tmp_path, pack).object_ids) == 2
    with pytest.raises(InputError, match="exists already"):
        main([*arguments, "--device", "cpu"])
