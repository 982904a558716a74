import subprocess
import sys

import numpy as np
import pytest
import torch
import trimesh
from scipy.ndimage import distance_transform_cdt

from infinitemesh.errors import InputError
from infinitemesh.geometry.box_charts import cells_inside
from infinitemesh.geometry.uv import unwrap

METHODS = ["box", "xatlas"]


def tensors(mesh):
    return torch.tensor(mesh.vertices, dtype=torch.float32), torch.tensor(mesh.faces)


def torus():
    return tensors(trimesh.creation.torus(0.5, 0.2, major_sections=24, minor_sections=12))


def ramp(turns=6, per_turn=16):
    """A spiral staircase without steps: one connected piece that faces +y and lies over itself `turns` times."""
    angle = torch.linspace(0, turns * 2 * torch.pi, turns * per_turn + 1)
    height = torch.linspace(-0.5, 0.5, len(angle))
    rings = [torch.stack([r * angle.sin(), height, r * angle.cos()], dim=-1) for r in (0.2, 0.5)]
    inner = torch.arange(len(angle) - 1)
    outer = inner + len(angle)
    return torch.cat(rings), torch.cat(
        [torch.stack([inner, outer, outer + 1], dim=1), torch.stack([inner, outer + 1, inner + 1], dim=1)]
    )


def texels_covered_twice(unwrapped, resolution):
    _, column, row = cells_inside(unwrapped.uv[unwrapped.faces].double() * resolution)
    return int((np.bincount(row * resolution + column) > 1).sum())


def area(corners):
    edges = corners[:, 1:] - corners[:, :1]
    if corners.shape[-1] == 2:
        edges = torch.cat([edges, torch.zeros_like(edges[..., :1])], dim=-1)
    return torch.linalg.cross(edges[:, 0], edges[:, 1]).norm(dim=-1) / 2


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [torus, ramp])
def test_triangles_stay_the_same_and_share_no_texel(shape, method):
    vertices, faces = shape()
    unwrapped = unwrap(vertices, faces, resolution=256, method=method)
    assert torch.equal(unwrapped.vertex_of[unwrapped.faces], faces)
    assert set(unwrapped.faces.flatten().tolist()) == set(range(len(unwrapped.uv)))
    assert 0 <= unwrapped.uv.min() and unwrapped.uv.max() <= 1
    assert texels_covered_twice(unwrapped, 256) == 0


@pytest.mark.parametrize("method", METHODS)
def test_every_face_gets_its_share_of_the_texture(method):
    vertices, faces = torus()
    unwrapped = unwrap(vertices, faces, resolution=256, method=method)
    share = area(unwrapped.uv[unwrapped.faces])
    density = share / area(vertices[faces])
    assert share.sum() > 0.35
    assert density.max() / density.min() < 1 / 0.3 + 0.1


@pytest.mark.parametrize("method", METHODS)
def test_charts_keep_their_distance(method):
    vertices, faces = torus()
    padding, resolution = 4, 256
    unwrapped = unwrap(vertices, faces, resolution=resolution, padding=padding, method=method)
    graph = trimesh.graph.connected_component_labels(
        trimesh.graph.face_adjacency(unwrapped.faces.numpy()), node_count=len(faces)
    )
    face, column, row = cells_inside(unwrapped.uv[unwrapped.faces].double() * resolution)
    chart = np.full((resolution, resolution), -1)
    chart[row, column] = graph[face]
    charts = np.unique(graph)
    away = [distance_transform_cdt(chart != i, metric="chessboard") for i in charts[:4]]  # 1 is next to it
    gaps = [distance[(chart >= 0) & (distance > 0)].min() for distance in away]
    assert len(charts) > 3 and min(gaps) > padding


def test_the_same_mesh_gives_the_same_atlas():
    first, second = (unwrap(*torus(), resolution=128) for _ in range(2))
    assert torch.equal(first.uv, second.uv) and torch.equal(first.vertex_of, second.vertex_of)


@pytest.mark.parametrize("method", METHODS)
def test_faces_without_area_do_not_spread_over_the_atlas(method):
    vertices, faces = torus()
    flat = torch.tensor([[0, 0, 1], [5, 200, 200], [100, 7, 7], [7, 100, 7]])
    unwrapped = unwrap(vertices, torch.cat([faces, flat]), resolution=256, method=method)
    assert torch.equal(unwrapped.vertex_of[unwrapped.faces], torch.cat([faces, flat]))
    sound = area(unwrapped.uv[unwrapped.faces[: len(faces)]])
    assert (area(unwrapped.uv[unwrapped.faces[len(faces) :]]) < sound.max() * 0.01).all()
    assert texels_covered_twice(unwrapped, 256) == 0


@pytest.mark.parametrize("method", METHODS)
def test_a_sliver_stays_beside_its_edge(method):
    """Its third corner is the middle of a box side's diagonal and belongs to no other face."""
    vertices, faces = tensors(trimesh.creation.box((1, 1, 1)))
    corners = vertices[faces[0]]
    longest = max(range(3), key=lambda i: (corners[i] - corners[i - 1]).norm())
    ends = faces[0, [longest, longest - 1]]
    sliver = torch.cat([ends, torch.tensor([len(vertices)])])[None]
    vertices = torch.cat([vertices, vertices[ends].mean(0, keepdim=True)])
    unwrapped = unwrap(vertices, torch.cat([faces, sliver]), resolution=256, method=method)
    a, b, c = unwrapped.uv[unwrapped.faces[-1]]
    diagonal = (a - b).norm()
    assert (a - c).norm() <= diagonal and (b - c).norm() <= diagonal


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_the_unit_of_length_does_not_matter(scale, method):
    vertices, faces = torus()
    first, second = (unwrap(each, faces, resolution=256, method=method) for each in (vertices, vertices * scale))
    covered = [area(each.uv[each.faces]) for each in (first, second)]
    assert covered[1].min() > 0.2 * covered[0].min()
    assert covered[1].sum() > 0.7 * covered[0].sum()


def test_bad_meshes_are_refused():
    vertices, faces = torus()
    with pytest.raises(InputError, match="without faces"):
        unwrap(vertices, faces[:0])
    with pytest.raises(InputError, match="NaN"):
        unwrap(vertices / 0, faces)
    with pytest.raises(InputError, match="16 texels"):
        unwrap(vertices, faces, resolution=4)


MANY_PACKINGS = """
import numpy as np
from infinitemesh.geometry.packing import pack
corner = np.random.default_rng(0).random((40, 1, 2)) * 50
flat = (corner + np.array([[0, 0], [2, 0], [2, 3], [0, 3]])).reshape(-1, 2).astype(np.float32)
first = np.arange(0, 160, 4)[:, None]
faces = np.concatenate([first + [0, 1, 2], first + [0, 2, 3]])
for _ in range(800):
    pack(flat, faces, 256, 2)
"""


def test_thousands_of_packings_in_four_processes_come_to_an_end():
    """Atlases that are destroyed right after their last use wait forever, one in a few thousand: half of the runs."""
    running = [subprocess.Popen([sys.executable, "-c", MANY_PACKINGS]) for _ in range(4)]
    try:
        assert [process.wait(timeout=250) for process in running] == [0] * 4
    finally:
        for process in running:
            process.kill()
