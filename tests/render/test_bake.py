import pytest
import torch
import trimesh

from infinitemesh.errors import InputError
from infinitemesh.geometry.uv import unwrap
from infinitemesh.render.bake import corner_normals, paint, surface_texels, texel_coverage
from infinitemesh.render.shading import sample_texture
from infinitemesh.types import Mesh

MAJOR, MINOR = 0.5, 0.2


def unwrapped(shape, resolution=256):
    vertices, faces = torch.tensor(shape.vertices, dtype=torch.float32), torch.tensor(shape.faces)
    cut = unwrap(vertices, faces, resolution=resolution)
    return Mesh(vertices[cut.vertex_of], cut.faces, uv=cut.uv)


def torus():
    return unwrapped(trimesh.creation.torus(MAJOR, MINOR, major_sections=48, minor_sections=24))


def colour_at(points):
    return 0.5 + 0.4 * torch.sin(points * 5 + torch.tensor([0.0, 1.0, 2.0]))


def points_on(mesh, count=4000):
    generator = torch.Generator().manual_seed(0)
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    area = torch.linalg.cross(b - a, c - a).norm(dim=-1)
    face = torch.multinomial(area, count, replacement=True, generator=generator)
    weights = torch.distributions.Exponential(1.0).expand([count, 3]).sample()
    weights = weights / weights.sum(-1, keepdim=True)
    corner = mesh.faces[face]
    return [(table[corner] * weights[..., None]).sum(1) for table in (mesh.vertices, mesh.uv)]


def test_texels_lie_on_the_surface_and_know_its_normal():
    texels = surface_texels(torus(), 256)
    x, y, z = texels.points.unbind(-1)
    around = torch.hypot(x, y)
    ring = torch.stack([x / around, y / around, torch.zeros_like(z)], dim=-1) * MAJOR
    outward = texels.points - ring
    assert (outward.norm(dim=-1) - MINOR).abs().max() < 0.005
    assert (torch.nn.functional.normalize(outward, dim=-1) * texels.normals).sum(-1).min() > 0.99


def test_a_baked_field_gives_its_colour_at_every_point_of_the_surface():
    torch.manual_seed(0)
    mesh = torus()
    texels = surface_texels(mesh, 256)
    texture = paint(texels, colour_at(texels.points))
    points, uv = points_on(mesh)
    error = (sample_texture(texture, uv[None, None])[0, 0] - colour_at(points)).abs()
    assert error.max() < 0.03 and error.mean() < 0.003


def test_a_painted_texture_has_no_gaps():
    texels = surface_texels(torus(), 256)
    assert (paint(texels, torch.ones_like(texels.points)) == 1).all()


def test_a_texel_outside_the_charts_repeats_a_covered_one_nearby():
    texels = surface_texels(torus(), 64)
    number = torch.arange(len(texels), dtype=torch.float32) / len(texels)
    texture = paint(texels, number[:, None].expand(-1, 3))[0]
    covered = torch.zeros(64 * 64, dtype=torch.bool)
    covered[texels.index] = True
    torch.testing.assert_close(texture.reshape(-1)[covered], number)
    where = torch.stack([texels.index // 64, texels.index % 64], dim=-1).float()
    outside = (~covered).nonzero()[:, 0]
    here = torch.stack([outside // 64, outside % 64], dim=-1).float()
    repeated = where[(texture.reshape(-1)[outside] * len(texels)).round().long()]
    torch.testing.assert_close((repeated - here).norm(dim=-1), torch.cdist(here, where).amin(-1))


def test_colours_outside_the_range_are_clamped():
    texels = surface_texels(torus(), 64)
    texture = paint(texels, texels.points * 10)
    assert texture.min() == 0 and texture.max() == 1


def test_a_box_keeps_flat_normals_across_seams_and_creases():
    mesh = unwrapped(trimesh.creation.box((1, 1, 1)))
    normals = corner_normals(mesh)
    torch.testing.assert_close(normals.abs().amax(-1), torch.ones(12, 3))


def test_coverage_is_the_share_of_texels_under_faces():
    uv = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.25], [0.0, 0.25]])
    vertices = torch.cat([uv, uv[:, :1]], dim=-1)
    mesh = Mesh(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]), uv=uv, texture=torch.zeros(3, 64, 32))
    assert texel_coverage(mesh) == 0.25


def test_a_mesh_without_uv_is_refused():
    mesh = torus()
    bare = Mesh(mesh.vertices, mesh.faces)
    with pytest.raises(InputError, match="unwrap it first"):
        surface_texels(bare, 64)
    with pytest.raises(InputError, match="uv and texture"):
        texel_coverage(bare)
