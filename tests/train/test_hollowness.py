"""A cup has a cavity that no level view sees; a ball has none."""

import numpy as np
import pytest
import torch
import trimesh

from infinitemesh.data.object_pack import load_packs
from infinitemesh.data.packs import pack_objects
from infinitemesh.data.points import PointOptions, cache_points
from infinitemesh.train.hollowness import filled, hollowness


@pytest.fixture(scope="module")
def cup_and_ball(tmp_path_factory):
    """A cup with walls of 0.1 and a ball, as a pack with its points."""
    folder = tmp_path_factory.mktemp("hollow")
    outline = np.array([[0, -0.5], [0.5, -0.5], [0.5, 0.5], [0.4, 0.5], [0.4, -0.4], [0, -0.4]])
    cup = trimesh.creation.revolve(outline, sections=48)
    upright = trimesh.transformations.rotation_matrix(-np.pi / 2, (1, 0, 0))
    cup.apply_transform(upright).export(folder / "a_cup.glb")
    trimesh.creation.icosphere(subdivisions=3, radius=0.5).export(folder / "b_ball.glb")
    (folder / "index.csv").write_text("path,source,tier\na_cup.glb,test,A\nb_ball.glb,test,A\n")
    pack_objects(folder / "index.csv", folder / "packs", texture_px=16)
    pack = load_packs(folder / "packs")
    return pack, cache_points(pack, options=PointOptions(points=6000, surface_samples=4000, depth_px=96))


def test_a_cup_is_hollow_by_the_volume_of_its_cavity(cup_and_ball):
    pack, cache = cup_and_ball
    cup_share, ball_share = hollowness(pack, cache).tolist()
    assert abs(cup_share - 0.4**2 * 0.9 / 0.5**2) < 0.06
    assert ball_share < 0.08
    assert hollowness(pack, cache, at_once=1).equal(torch.tensor([cup_share, ball_share]))


def test_a_filled_cup_is_a_cylinder_and_nothing_else_changes(cup_and_ball):
    pack, cache = cup_and_ball
    full = filled(pack, cache)
    x, y, z = cache.points[0].float().unbind(-1)
    radius = torch.hypot(x, z)
    within = (radius < 0.47) & (y.abs() < 0.47)
    outside = (radius > 0.52) | (y.abs() > 0.52)
    assert (cache.distance[0, within] > 0).float().mean() > 0.4  # of the cup: its cavity
    assert bool((full.distance[0, within] < 0).all()) and bool((full.distance[0, outside] > 0).all())
    torch.testing.assert_close(full.distance.abs(), cache.distance.abs(), rtol=0, atol=0)
    flipped = (full.distance != cache.distance)[1]
    assert bool((cache.distance[1, flipped].abs() < 0.02).all())  # a ball: at most what a pixel cannot tell
    assert filled(pack, cache, at_once=1).distance.equal(full.distance)
