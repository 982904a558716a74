"""Winding numbers: the scan with coned holes is the plain sum over all faces, on closed, open and broken meshes."""

import pytest
import torch
import trimesh

from infinitemesh.evaluate.occupancy import occupancy_grid
from infinitemesh.evaluate.winding import grid_points, winding_at, winding_grid
from infinitemesh.types import Mesh

R = 16


def mesh_of(shape: trimesh.Trimesh) -> Mesh:
    return Mesh(torch.tensor(shape.vertices, dtype=torch.float32), torch.tensor(shape.faces))


def sphere(keep=slice(None), *, subdivisions: int = 3, scale: float = 0.4) -> Mesh:
    shape = trimesh.creation.icosphere(subdivisions=subdivisions, radius=scale)
    return mesh_of(trimesh.Trimesh(shape.vertices, shape.faces[keep], process=False))


def open_soup(seed: int, count: int = 300) -> Mesh:
    """Triangles that share no vertex, in no order: the worst input there is."""
    generator = torch.Generator().manual_seed(seed)
    middle = torch.rand(count, 1, 3, generator=generator) - 0.5
    corners = middle + 0.08 * torch.randn(count, 3, 3, generator=generator)
    return Mesh(corners.reshape(-1, 3), torch.arange(3 * count).reshape(-1, 3))


@pytest.mark.parametrize(
    "mesh",
    [
        sphere(),
        sphere(slice(0, 900)),  # a large hole
        sphere(slice(None, None, 2)),  # as many boundary edges as there can be
        open_soup(1),
        mesh_of(trimesh.creation.box((0.5, 0.5, 0.5))),  # faces exactly on grid lines
        mesh_of(trimesh.util.concatenate([trimesh.creation.icosphere(radius=0.3)] * 2)),  # covered twice
    ],
    ids=["closed", "hole", "every other face", "soup", "box on the grid", "twice"],
)
def test_the_grid_equals_the_plain_sum(mesh):
    grid, plain = winding_grid(mesh, R).flatten(), winding_at(mesh, grid_points(R).reshape(-1, 3))
    error = (grid - plain).abs()
    assert float(error.max()) < 0.02
    agree = ((grid > 0.5) == (plain > 0.5)) | (plain.sub(0.5).abs() < 5e-3)
    assert float(agree.float().mean()) >= 0.999


def test_a_closed_mesh_has_whole_numbers_and_its_volume():
    grid = winding_grid(sphere(subdivisions=4), 64)
    assert set(grid.unique().tolist()) == {0.0, 1.0}
    expected = trimesh.creation.icosphere(subdivisions=4, radius=0.4).volume
    assert abs(float(grid.mean()) / expected - 1) < 0.01


def test_there_is_one_point_in_every_cell():
    cells = ((grid_points(8, 0.5) + 0.5) * 8).floor().long()
    at = torch.arange(8)
    torch.testing.assert_close(cells, torch.stack(torch.meshgrid(at, at, at, indexing="ij"), dim=-1))


def test_boxes_along_the_axes_keep_their_volume():
    for side in (0.3, 0.41, 0.55, 0.7, 0.93):
        grid = winding_grid(mesh_of(trimesh.creation.box((side, 0.8 * side, 0.6 * side))), 64)
        assert float(grid.mean()) == pytest.approx(0.48 * side**3, rel=3e-3)


def test_seams_are_no_holes():
    mesh = sphere()
    seamed = Mesh(mesh.vertices[mesh.faces].reshape(-1, 3), torch.arange(3 * len(mesh.faces)).reshape(-1, 3))
    torch.testing.assert_close(winding_grid(seamed, R), winding_grid(mesh, R), atol=0, rtol=0)


def test_inside_out_is_minus_one():
    mesh = sphere()
    flipped = Mesh(mesh.vertices, mesh.faces.flip(1))
    torch.testing.assert_close(winding_grid(flipped, R), -winding_grid(mesh, R), atol=0, rtol=0)
    assert not occupancy_grid(flipped, R).any()
    assert occupancy_grid(flipped, R, definition="visibility").any()


def test_both_definitions_agree_on_a_solid():
    mesh = sphere(subdivisions=4)
    winding, visible = (occupancy_grid(mesh, 32, definition=name) for name in ("winding", "visibility"))
    assert float((winding == visible).float().mean()) > 0.995


def test_a_bowl_is_filled_by_winding_where_it_sees_more_bowl_than_sky():
    shape = trimesh.creation.icosphere(subdivisions=4, radius=0.4)
    below = shape.vertices[shape.faces][..., 1].mean(-1) < 0.2  # a sphere with its cap cut off
    bowl = mesh_of(trimesh.Trimesh(shape.vertices, shape.faces[below], process=False))
    centre = winding_at(bowl, torch.zeros(1, 3))
    torch.testing.assert_close(centre, torch.tensor([0.75]), atol=0.02, rtol=0)  # the share of directions it covers
    assert occupancy_grid(bowl, R)[R // 2, R // 2, R // 2]


def test_an_empty_mesh_has_no_inside():
    empty = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.long))
    assert not occupancy_grid(empty, 8).any()
