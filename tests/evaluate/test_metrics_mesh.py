"""Distances and volumes against scipy on random input, and against formulas on shapes that have one."""

import math

import numpy as np
import pytest
import torch
from evaluation_shapes import box, sphere, square
from scipy.spatial.distance import cdist

from infinitemesh.errors import InputError
from infinitemesh.evaluate.metrics_mesh import (
    SurfaceSamples,
    chamfer_distance,
    f_score,
    normal_consistency,
    sample_surface,
    surface_distances,
    volume_iou,
    volume_iou_exact,
)
from infinitemesh.evaluate.occupancy import occupancy_grid
from infinitemesh.types import Mesh


def random_samples(seed: int, count: int) -> SurfaceSamples:
    generator = torch.Generator().manual_seed(seed)
    normals = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    return SurfaceSamples(torch.randn(count, 3, generator=generator), normals)


def test_distances_equal_the_full_distance_matrix():
    a, b = random_samples(0, 400), random_samples(1, 300)
    matrix = cdist(a.points.numpy().astype(np.float64), b.points.numpy().astype(np.float64))
    forth, back = matrix.min(1), matrix.min(0)
    distances = surface_distances(a, b)
    assert chamfer_distance(distances) == pytest.approx((forth.mean() + back.mean()) / 2, abs=1e-6)
    assert chamfer_distance(distances, "sum") == pytest.approx(forth.mean() + back.mean(), abs=1e-6)
    assert chamfer_distance(distances, "squared") == pytest.approx((forth**2).mean() + (back**2).mean(), abs=1e-6)
    precision, recall = (forth <= 0.4).mean(), (back <= 0.4).mean()
    assert f_score(distances, 0.4) == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-6)
    cosines = np.abs(a.normals.numpy() @ b.normals.numpy().T)
    expected = cosines[np.arange(400), matrix.argmin(1)].mean() + cosines[matrix.argmin(0), np.arange(300)].mean()
    assert normal_consistency(distances) == pytest.approx(expected / 2, abs=1e-6)


def test_a_mesh_against_itself_is_perfect():
    mesh = sphere()
    distances = surface_distances(sample_surface(mesh, 2000), sample_surface(mesh, 2000))
    assert chamfer_distance(distances) == 0
    assert f_score(distances) == 1
    assert normal_consistency(distances) == pytest.approx(1, abs=1e-6)
    grid = occupancy_grid(mesh, 32)
    assert volume_iou(grid, grid) == 1
    assert volume_iou_exact(mesh, mesh) == pytest.approx(1, abs=1e-6)


def test_a_shifted_plane_is_its_shift_away():
    distances = surface_distances(sample_surface(square(), 50_000), sample_surface(square(height=0.1), 50_000))
    assert chamfer_distance(distances) == pytest.approx(0.1, rel=1e-3)
    assert chamfer_distance(distances, "squared") == pytest.approx(0.02, rel=1e-3)
    assert f_score(distances, 0.09) == 0
    assert f_score(distances, 0.11) == 1
    assert normal_consistency(distances) == pytest.approx(1, abs=1e-6)


def test_concentric_spheres_are_the_difference_of_their_radii_apart():
    small, large = sphere(0.4, 5), sphere(0.5, 5)
    distances = surface_distances(sample_surface(small, 30_000), sample_surface(large, 30_000))
    assert chamfer_distance(distances) == pytest.approx(0.1, rel=1e-2)
    assert normal_consistency(distances) == pytest.approx(1, abs=2e-3)


def test_samples_are_uniform_and_the_same_for_a_seed():
    mesh = box((1.0, 0.5, 0.25))
    first, again, other = (sample_surface(mesh, 20_000, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.points, again.points)
    assert not torch.equal(first.points, other.points)
    on_top = (first.normals[:, 1] > 0.5).double().mean()
    area = 2 * (1 * 0.5 + 1 * 0.25 + 0.5 * 0.25)
    assert float(on_top) == pytest.approx(1 * 0.25 / area, abs=2e-3)
    top = first.points[first.normals[:, 1] > 0.5]
    torch.testing.assert_close(top.mean(0), torch.tensor([0.0, 0.25, 0.0]), atol=0.01, rtol=0)
    assert float(top[:, 0].std()) == pytest.approx(1 / math.sqrt(12), rel=0.02)


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.3, 0.7])
def test_overlapping_boxes_have_their_formula(shift):
    a, b = box(), box(shift=(shift, 0, 0))
    overlap = max(0.6 - shift, 0) * 0.36
    expected = overlap / (2 * 0.216 - overlap)
    assert volume_iou_exact(a, b) == pytest.approx(expected, abs=1e-5)
    grids = [occupancy_grid(mesh, 120, half_extent=1.2) for mesh in (a, b)]
    assert volume_iou(*grids) == pytest.approx(expected, abs=0.005)


def test_sampled_and_exact_volume_agree():
    pairs = [(sphere(0.45, 4), sphere(0.4, 4)), (sphere(0.48, 4), box((0.7, 0.7, 0.7))), (box(), sphere(0.35, 4))]
    for a, b in pairs:
        sampled = volume_iou(occupancy_grid(a), occupancy_grid(b))
        assert sampled == pytest.approx(volume_iou_exact(a, b), abs=0.005)


def test_without_area_or_manifold_there_is_advice():
    empty = Mesh(torch.zeros(3, 3), torch.tensor([[0, 1, 2]]))
    with pytest.raises(InputError, match="no area"):
        sample_surface(empty)
    with pytest.raises(InputError, match="use the sampled one"):
        volume_iou_exact(square(), box())
