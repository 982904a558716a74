import pytest
import torch
import trimesh
from scipy.spatial import cKDTree
from torch.testing import assert_close

from infinitemesh.errors import InputError
from infinitemesh.geometry.cleanup import decimate, drop_small_components
from infinitemesh.geometry.flexicubes import flexicubes
from infinitemesh.geometry.report import mesh_report
from infinitemesh.geometry.topology import components
from infinitemesh.geometry.voxel_grid import VoxelGrid
from infinitemesh.types import Mesh

Triangles = tuple[torch.Tensor, torch.Tensor]


def sphere(radius: float = 1.0, centre=(0.0, 0.0, 0.0), *, subdivisions: int = 3, inwards: bool = False) -> Triangles:
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    faces = torch.tensor(mesh.faces)
    return torch.tensor(mesh.vertices).float() + torch.tensor(centre), faces.flip(1) if inwards else faces


def together(*parts: Triangles) -> Triangles:
    starts = torch.tensor([0, *(len(vertices) for vertices, _ in parts)]).cumsum(0)
    return (
        torch.cat([vertices for vertices, _ in parts]),
        torch.cat([faces + start for (_, faces), start in zip(parts, starts[:-1], strict=True)]),
    )


@pytest.fixture(scope="module")
def torus() -> Triangles:
    grid = VoxelGrid(48)
    points = grid.points()
    x, y, z = points.unbind(-1)
    sdf = torch.hypot(torch.hypot(x, y) - 0.6, z) - 0.25
    mesh = flexicubes(points, sdf, grid.cubes(), 48)
    return mesh.vertices, mesh.faces


def test_components_have_the_areas_and_signed_volumes_of_their_shapes():
    pieces = components(*together(sphere(), sphere(0.5, (3.0, 0.0, 0.0), inwards=True)))
    alone = [components(*sphere()), components(*sphere(0.5, inwards=True))]
    assert_close(pieces.area, torch.cat([one.area for one in alone]))
    assert_close(pieces.volume, torch.cat([one.volume for one in alone]), atol=1e-6, rtol=1e-5)
    assert pieces.volume[0] > 4 and -0.53 < pieces.volume[1] < -0.5


def test_small_pieces_go_and_the_rest_is_untouched():
    large, middle, speck = sphere(), sphere(0.4, (2.0, 0.0, 0.0)), sphere(0.03, (0.0, 2.0, 0.0))
    vertices, faces = drop_small_components(*together(speck, large, middle), min_fraction=0.01)
    expected = together(large, middle)
    assert torch.equal(vertices, expected[0]) and torch.equal(faces, expected[1])


def test_a_thin_piece_stays_by_its_area_and_a_compact_one_by_its_volume():
    body, sheet = sphere(), trimesh.creation.box((0.8, 0.8, 0.001))
    thin = torch.tensor(sheet.vertices).float() + 3, torch.tensor(sheet.faces)
    assert len(components(*drop_small_components(*together(body, thin), min_fraction=0.05)).area) == 2


def test_the_largest_piece_stays_whatever_is_asked():
    vertices, faces = drop_small_components(*together(sphere(0.1, (2.0, 0.0, 0.0)), sphere()), min_fraction=1.0)
    assert torch.equal(vertices, sphere()[0]) and torch.equal(faces, sphere()[1])
    inside_out = drop_small_components(*sphere(inwards=True))
    assert torch.equal(inside_out[1], sphere(inwards=True)[1])


def test_cavities_go_unless_asked_for():
    hollow = together(sphere(), sphere(0.7, inwards=True))
    assert torch.equal(drop_small_components(*hollow)[1], sphere()[1])
    assert torch.equal(drop_small_components(*hollow, drop_cavities=False)[1], hollow[1])


def test_an_empty_mesh_stays_empty():
    empty = torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.long)
    assert len(drop_small_components(*empty)[1]) == len(decimate(*empty, 100)[1]) == 0


def test_a_share_outside_0_to_1_is_an_error():
    with pytest.raises(InputError, match="share of the mesh"):
        drop_small_components(*sphere(), min_fraction=1.5)


@pytest.mark.parametrize("target", [4000, 1000, 300])
def test_decimation_meets_its_budget_and_keeps_a_closed_manifold(torus, target):
    vertices, faces = decimate(*torus, target)
    assert 0.85 * target <= len(faces) <= target
    report = mesh_report(Mesh(vertices, faces))
    assert report.watertight and report.manifold and report.winding_consistent
    assert report.genus == 1 and report.components == 1
    assert_close(report.volume, mesh_report(Mesh(*torus)).volume, rtol=0.03, atol=0)
    distance, _ = cKDTree(vertices).query(torus[0])
    assert distance.max() < 0.35


def test_decimation_keeps_the_surface_where_it_was(torus):
    vertices, _ = decimate(*torus, 2000)
    x, y, z = vertices.unbind(-1)
    assert (torch.hypot(torch.hypot(x, y) - 0.6, z) - 0.25).abs().max() < 0.5 * VoxelGrid(48).cell


def test_a_mesh_within_its_budget_is_untouched(torus):
    vertices, faces = decimate(*torus, len(torus[1]))
    assert vertices is torus[0] and faces is torus[1]


def test_a_mesh_that_is_not_manifold_is_decimated_too(torus):
    open_torus = torus[0], torus[1][:-40]
    vertices, faces = decimate(*open_torus, 2000)
    assert 1500 < len(faces) <= 2000
    assert faces.max() < len(vertices) and vertices.dtype == torch.float32 and faces.dtype == torch.long


def test_a_budget_that_no_mesh_can_have_is_an_error():
    with pytest.raises(InputError, match="at least 4 faces, got 3"):
        decimate(*sphere(), 3)
