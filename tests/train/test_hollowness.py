"""A cup has a cavity that no level view sees; a ball has none."""

import numpy as np
import torch
import trimesh

from infinitemesh.data.object_pack import load_packs
from infinitemesh.data.packs import pack_objects
from infinitemesh.data.points import PointOptions, cache_points
from infinitemesh.train.hollowness import hollowness


def test_a_cup_is_hollow_by_the_volume_of_its_cavity(tmp_path):
    outline = np.array([[0, -0.5], [0.5, -0.5], [0.5, 0.5], [0.4, 0.5], [0.4, -0.4], [0, -0.4]])
    cup = trimesh.creation.revolve(outline, sections=48)
    upright = trimesh.transformations.rotation_matrix(-np.pi / 2, (1, 0, 0))
    cup.apply_transform(upright).export(tmp_path / "a_cup.glb")
    trimesh.creation.icosphere(subdivisions=3, radius=0.5).export(tmp_path / "b_ball.glb")
    (tmp_path / "index.csv").write_text("path,source,tier\na_cup.glb,test,A\nb_ball.glb,test,A\n")
    pack_objects(tmp_path / "index.csv", tmp_path / "packs", texture_px=16)
    pack = load_packs(tmp_path / "packs")
    cache = cache_points(pack, options=PointOptions(points=6000, surface_samples=4000, depth_px=96))
    cup_share, ball_share = hollowness(pack, cache).tolist()
    assert abs(cup_share - 0.4**2 * 0.9 / 0.5**2) < 0.06
    assert ball_share < 0.08
    assert hollowness(pack, cache, at_once=1).equal(torch.tensor([cup_share, ball_share]))
