import json

import numpy as np
import torch
import trimesh
from torch.testing import assert_close

from infinitemesh.geometry.report import mesh_report
from infinitemesh.types import Mesh


def mesh_of(source: trimesh.Trimesh, **fields) -> Mesh:
    return Mesh(torch.tensor(source.vertices).float(), torch.tensor(source.faces), **fields)


SPHERE = mesh_of(trimesh.creation.icosphere(subdivisions=2))
TORUS = mesh_of(trimesh.creation.torus(0.6, 0.25))


def test_a_sphere_and_a_torus():
    for mesh, euler, genus in ((SPHERE, 2, 0), (TORUS, 0, 1)):
        report = mesh_report(mesh)
        assert report.watertight and report.manifold and report.winding_consistent
        assert (report.euler_number, report.genus, report.components) == (euler, genus, 1)
        assert (report.vertices, report.faces) == (len(mesh.vertices), len(mesh.faces))
        source = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
        assert_close([report.volume, report.area], [float(source.volume), float(source.area)], rtol=1e-5, atol=0)
        assert report.texel_coverage is None and report.degenerate_faces == 0


def test_pieces_add_up():
    both = trimesh.util.concatenate(
        trimesh.creation.icosphere(subdivisions=1), trimesh.creation.torus(0.6, 0.2).apply_translation((3, 0, 0))
    )
    report = mesh_report(mesh_of(both))
    assert (report.components, report.euler_number, report.genus) == (2, 2, 1)


def test_a_hole_a_turned_face_and_a_fin_are_told_apart():
    hole = mesh_report(Mesh(SPHERE.vertices, SPHERE.faces[1:]))
    assert not hole.watertight and hole.manifold and hole.winding_consistent
    assert hole.boundary_edges == 3 and hole.genus is None

    turned_faces = SPHERE.faces.clone()
    turned_faces[0] = turned_faces[0].flip(0)
    turned = mesh_report(Mesh(SPHERE.vertices, turned_faces))
    assert not turned.winding_consistent and not turned.watertight and turned.manifold and turned.boundary_edges == 0

    a, b, _ = SPHERE.faces[0].tolist()
    tip = len(SPHERE.vertices)
    fin = torch.tensor([[a, b, tip], [b, a, tip]])
    finned = mesh_report(Mesh(torch.cat([SPHERE.vertices, torch.full((1, 3), 2.0)]), torch.cat([SPHERE.faces, fin])))
    assert finned.watertight and not finned.manifold and finned.non_manifold_edges == 1
    assert not finned.winding_consistent and finned.genus is None


def test_spheres_that_touch_in_a_point_are_not_manifold():
    other = 2 * SPHERE.vertices[0] - SPHERE.vertices  # the mirror image through vertex 0
    faces = torch.cat([SPHERE.faces, SPHERE.faces.flip(1) + len(other)])
    report = mesh_report(Mesh(torch.cat([SPHERE.vertices, other]), faces))
    assert report.watertight and report.winding_consistent and report.non_manifold_edges == 0
    assert report.non_manifold_vertices == 1 and not report.manifold
    assert report.components == 1


def test_vertices_doubled_by_seams_count_once_for_topology():
    split = Mesh(SPHERE.vertices[SPHERE.faces.flatten()], torch.arange(3 * len(SPHERE.faces)).reshape(-1, 3))
    report = mesh_report(split)
    assert report.watertight and report.manifold and report.euler_number == 2 and report.components == 1
    assert report.vertices == 3 * len(SPHERE.faces)


def test_degenerate_faces_are_counted_and_do_not_break_topology():
    collapsed = torch.tensor([[0, 0, 1], [2, 2, 2]])
    report = mesh_report(Mesh(SPHERE.vertices, torch.cat([SPHERE.faces, collapsed])))
    assert report.degenerate_faces == 2 and report.watertight and report.euler_number == 2


def test_coverage_is_the_share_of_the_texture_under_faces():
    square = Mesh(
        torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]),
        torch.tensor([[0, 1, 2], [0, 2, 3]]),
        uv=torch.tensor([[0.0, 0.0], [0.5, 0.0], [0.5, 0.6], [0.0, 0.6]]),
        texture=torch.zeros(3, 8, 8),
    )
    assert_close(mesh_report(square).texel_coverage, 0.3, atol=1e-6, rtol=0)


def test_a_report_is_plain_data_and_reads_well():
    report = mesh_report(TORUS)
    assert json.loads(json.dumps(report.as_dict()))["genus"] == 1
    assert str(report).splitlines()[1:] == [
        "watertight, manifold, consistent winding",
        f"Euler number 0, genus 1; volume {report.volume:.4g}, area {report.area:.4g}",
    ]
    opened = str(mesh_report(Mesh(SPHERE.vertices, SPHERE.faces[1:])))
    assert "open (3 boundary edges), manifold" in opened


def test_an_empty_mesh_has_a_report():
    report = mesh_report(Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.long)))
    assert not report.watertight and report.components == report.euler_number == report.faces == 0
    assert np.isfinite(report.area)
