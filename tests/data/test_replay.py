"""Replayed rings are renderings of their own object, rig and cameras, and the oldest go first."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from infinitemesh.data.materials import MaterialChances
from infinitemesh.data.object_pack import ObjectPack
from infinitemesh.data.replay import ReplayBuffer, RingOptions, RingSamples, as_float, render_rings
from infinitemesh.data.training_views import render_batch
from infinitemesh.types import Camera

CLEAN = RingOptions(num_views=4, size=32, noisy=0.0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(pack: ObjectPack, options: RingOptions = CLEAN, *, num: int = 8) -> RingSamples:
    """From a buffer that has already thrown entries away."""
    buffer = ReplayBuffer(pack, options, 5)
    for seed in range(3):
        buffer.refresh(4, seeded(seed))
    return buffer.draw(num, seeded(9))


def rendered_anew(pack: ObjectPack, rings: RingSamples, options: RingOptions) -> torch.Tensor:
    views = render_batch(
        pack, rings.object_ids, rings.rig, rings.camera, size=options.size, supersample=options.supersample
    )
    return torch.cat([views.rgb, views.alpha], dim=2)


def test_drawn_views_are_renderings_of_their_entry(pack):
    rings = drawn(pack)
    assert len(rings.object_ids.unique()) > 1
    assert_close(as_float(rings.rgba), rendered_anew(pack, rings, CLEAN), atol=0.51 / 255, rtol=0)


@pytest.mark.parametrize("source", [drawn, lambda pack: render_rings(pack, 8, CLEAN, seeded(3))])
def test_cameras_belong_to_the_pictures(source, pack):
    """Vertices land inside the silhouettes, and silhouettes reach no farther than they do."""
    rings = source(pack)
    for i, object_id in enumerate(rings.object_ids.tolist()):
        vertices = torch.as_tensor(pack.mesh(object_id).vertices, dtype=torch.float32)
        world = rings.rig.points(vertices.expand(len(rings.object_ids), -1, -1))[i]
        uv, _ = rings.camera[i].project(world)
        covered = torch.nn.functional.max_pool2d((rings.rgba[i, :, 3:] > 0).float(), 3, 1, 1)
        at = (uv * CLEAN.size).long().clamp(0, CLEAN.size - 1)
        for view in range(CLEAN.num_views):
            assert covered[view, 0, at[view, :, 1], at[view, :, 0]].all()
            rows, columns = (rings.rgba[i, view, 3] > 0).nonzero().unbind(-1)
            for pixels, along in ((columns, uv[view, :, 0]), (rows, uv[view, :, 1])):
                edges = torch.stack([pixels.min(), pixels.max() + 1]) / CLEAN.size
                assert_close(edges, torch.stack([along.min(), along.max()]), atol=1 / CLEAN.size, rtol=0)


def test_noisy_rings_are_taken_elsewhere_than_told_except_the_input_view(pack):
    options = RingOptions(num_views=4, size=32, noisy=1.0)
    rings = render_rings(pack, 8, options, seeded())
    apart = (as_float(rings.rgba) - rendered_anew(pack, rings, options)).abs().amax((2, 3, 4))
    assert apart[:, 0].max() <= 0.51 / 255
    assert (apart[:, 1:] > 0.1).float().mean() > 0.8


def test_the_first_camera_is_the_input_view_and_tilt_is_an_option(pack):
    for tilted in (0.0, 1.0):
        camera = render_rings(pack, 4, RingOptions(num_views=12, size=8, tilted=tilted), seeded()).camera
        main = Camera.orbit([0.0, 90, 180, 270])
        assert_close(camera.cam_from_world[:, ::3], main.cam_from_world.expand(4, 4, 4, 4), atol=1e-6, rtol=0)
        between = camera.elevation_deg[:, [1, 2, 4, 5, 7, 8, 10, 11]].abs()
        assert (between.max() < 1e-3) if tilted == 0 else (between.max() > 5)


def test_framed_rings_show_the_front_as_a_photograph_is_framed(pack):
    rings = render_rings(pack, 8, RingOptions(num_views=1, size=128, framed=1.0, noisy=0.0), seeded())
    for alpha in rings.rgba[:, 0, 3]:
        rows, columns = (alpha > 127).nonzero().unbind(-1)
        longer = max(rows.max() - rows.min(), columns.max() - columns.min()) + 1
        assert longer == pytest.approx(0.6 * 128, abs=2)


def test_the_oldest_entries_are_replaced_first_and_only_filled_ones_are_drawn(pack):
    options = RingOptions(num_views=1, size=8)
    buffer = ReplayBuffer(pack, options, 6)
    buffer.refresh(2, seeded(0))
    assert (buffer.filled, buffer.next) == (2, 2)
    assert (buffer.draw(50, seeded()).rig.scale > 0).all()  # empty ones have scale 0
    buffer.refresh(3, seeded(1))
    kept = buffer.rgba.clone()
    buffer.refresh(2, seeded(2))
    assert (buffer.filled, buffer.next) == (6, 1)
    assert torch.equal(buffer.rgba[1:5], kept[1:5])
    fresh = render_rings(pack, 2, options, seeded(2))
    assert torch.equal(buffer.rgba[[5, 0]], fresh.rgba)
    assert torch.equal(buffer.object_ids[[5, 0]], fresh.object_ids)


def test_a_refresh_beyond_the_capacity_renders_every_place_once(pack):
    buffer = ReplayBuffer(pack, CLEAN, 3)
    buffer.refresh(2, seeded(0))
    buffer.refresh(8, seeded(1))
    fresh = render_rings(pack, 3, CLEAN, seeded(1))
    at = [2, 0, 1]  # the next place is the third
    assert (buffer.filled, buffer.next) == (3, 2)
    assert torch.equal(buffer.rgba[at], fresh.rgba) and torch.equal(buffer.rotation[at], fresh.rig.rotation)
    assert torch.equal(buffer.object_ids[at], fresh.object_ids)


def test_a_seed_gives_the_same_draws(pack):
    one, other, third = drawn(pack), drawn(pack), render_rings(pack, 8, CLEAN, seeded(1))
    assert torch.equal(one.rgba, other.rgba) and torch.equal(one.rig.rotation, other.rig.rotation)
    assert not torch.equal(one.rgba, third.rgba)


def test_painted_rings_keep_what_they_are_painted_with(pack):
    options = replace(CLEAN, materials=MaterialChances(new_texture=1.0))
    rings = drawn(pack, options)
    assert rings.materials is not None
    again = render_batch(
        pack, rings.object_ids, rings.rig, rings.camera, size=options.size, supersample=options.supersample,
        materials=rings.materials,
    )  # fmt: skip
    assert (as_float(rings.rgba)[:, :, :3] - again.rgb).abs().max() < 1 / 255
    own = rendered_anew(pack, rings, options)
    assert (as_float(rings.rgba)[:, :, :3] - own[:, :, :3]).abs().amax((1, 2, 3, 4)).min() > 0.05
