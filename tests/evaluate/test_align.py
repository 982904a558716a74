"""Alignment finds the transform that was applied, and does nothing that its protocol does not allow."""

import numpy as np
import pytest
import torch
from evaluation_shapes import box, mesh_of

from infinitemesh.evaluate.align import Alignment, align, fit_box, matched_similarity, start_rotations
from infinitemesh.evaluate.synthetic import synthetic_objects
from infinitemesh.types import Camera, Mesh


@pytest.fixture(scope="module")
def lobes() -> Mesh:
    return synthetic_objects()["lobes"]


def turned(mesh: Mesh, azimuth_deg: float, elevation_deg: float = 0.0) -> Mesh:
    rotation = Camera.orbit(azimuth_deg, elevation_deg).world_from_cam[:3, :3]
    return Mesh(mesh.vertices @ rotation.T, mesh.faces)


def test_there_are_24_proper_rotations_and_the_first_is_none():
    rotations = torch.stack([torch.from_numpy(r) for r in start_rotations(Alignment(starts="rotations24"))])
    assert len(rotations.round().unique(dim=0)) == 24
    torch.testing.assert_close(torch.linalg.det(rotations), torch.ones(24, dtype=torch.float64))
    torch.testing.assert_close(rotations[0], torch.eye(3, dtype=torch.float64))


def test_none_leaves_the_mesh_where_it_is(lobes):
    moved = turned(lobes, 90)
    aligned, found = align(moved, lobes, Alignment())
    assert aligned is moved
    assert found.score > 0.02


def test_yaw_finds_a_turn_about_the_vertical(lobes):
    aligned, found = align(turned(lobes, 75), lobes, Alignment(starts="yaw", step_deg=15.0))
    torch.testing.assert_close(aligned.vertices, lobes.vertices, atol=1e-4, rtol=0)
    assert found.scale == 1


def test_icp_refines_any_rotation_and_scale(lobes):
    moved = turned(lobes, 100, 80)
    moved = Mesh(moved.vertices * 0.8 + torch.tensor([0.1, -0.2, 0.3]), moved.faces)
    how = Alignment(starts="rotations24", icp=True, icp_scale=True, samples=400)
    aligned, found = align(fit_box(moved, lobes), lobes, how)
    assert float((aligned.vertices - lobes.vertices).norm(dim=-1).max()) < 0.02
    assert torch.linalg.det(found.rotation) == pytest.approx(1, abs=1e-4)


def test_refining_the_best_starts_alone_finds_the_same(lobes):
    moved = turned(lobes, 95, 10)
    every = align(moved, lobes, Alignment(starts="yaw", step_deg=30.0, icp=True, samples=300))[1]
    few = align(moved, lobes, Alignment(starts="yaw", step_deg=30.0, icp=True, refine=2, samples=300))[1]
    torch.testing.assert_close(few.rotation, every.rotation, atol=5e-3, rtol=0)


def test_a_mirror_image_is_never_made_equal(lobes):
    mirrored = Mesh(lobes.vertices * torch.tensor([-1.0, 1.0, 1.0]), lobes.faces.flip(1))
    how = Alignment(starts="rotations24", icp=True, samples=400)
    _, found = align(mirrored, lobes, how)
    _, right = align(turned(lobes, 90), lobes, how)
    assert found.score > 1.2 * right.score


def test_the_best_similarity_of_matched_points_is_no_mirror():
    generator = np.random.default_rng(0)
    source = generator.normal(size=(50, 3))
    rotation, scale, _ = matched_similarity(source, source * (-1, 1, 1), with_scale=True, scale=1.0)
    assert np.linalg.det(rotation) == pytest.approx(1)
    turn = start_rotations(Alignment(starts="yaw"))[3]
    rotation, scale, shift = matched_similarity(source, 1.7 * source @ turn.T + 2, with_scale=True, scale=1.0)
    np.testing.assert_allclose(rotation, turn, atol=1e-9)
    np.testing.assert_allclose(shift, [2, 2, 2], atol=1e-9)
    assert scale == pytest.approx(1.7)


def test_fit_box_equals_boxes_without_turning():
    import trimesh

    shape = trimesh.creation.box((0.2, 0.1, 0.05))
    shape.apply_translation((3, 2, 1))
    fitted = fit_box(mesh_of(shape), box((1.0, 0.7, 0.7)))
    torch.testing.assert_close(fitted.vertices.amax(0), torch.tensor([0.5, 0.25, 0.125]), atol=1e-5, rtol=0)
    torch.testing.assert_close(fitted.vertices.amin(0), -torch.tensor([0.5, 0.25, 0.125]), atol=1e-5, rtol=0)
