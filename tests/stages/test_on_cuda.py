"""On a GPU the back half makes what it makes on a CPU."""

import pytest
import torch
from tiny import tiny_pipeline

from infinitemesh.bench import _from_views, rendered_views
from infinitemesh.geometry.box_charts import box_charts
from infinitemesh.geometry.topology import components, connected, topology
from infinitemesh.geometry.uv import unwrap
from infinitemesh.render.bake import paint, surface_texels
from infinitemesh.render.bench import bumpy_torus
from infinitemesh.render.nearest import distance_to_false, nearest_true
from infinitemesh.render.outlines import Outlines
from infinitemesh.render.projection import project_views
from infinitemesh.stages.thin_parts import thin_parts
from infinitemesh.types import Camera, Mesh, ViewSet

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture(scope="module")
def torus() -> tuple[torch.Tensor, torch.Tensor]:
    return bumpy_torus(40)


def test_pieces_edges_and_charts_are_the_same(torus):
    vertices, faces = torus
    on_gpu = vertices.cuda(), faces.cuda()
    assert topology(on_gpu[1]) == topology(faces)
    here, there = components(*torus), components(*on_gpu)
    torch.testing.assert_close(there.area.cpu(), here.area)
    torch.testing.assert_close(there.volume.cpu(), here.volume)
    pairs = torch.randint(2000, (1500, 2), generator=torch.Generator().manual_seed(0))
    assert torch.equal(connected(2000, pairs.cuda()).cpu(), connected(2000, pairs))
    for mine, other in zip(box_charts(*torus), box_charts(*on_gpu), strict=True):
        torch.testing.assert_close(other.cpu(), mine)


def test_nearest_cells_are_as_near():
    masks = torch.rand(3, 200, 150, generator=torch.Generator().manual_seed(0)) < 0.01
    torch.testing.assert_close(distance_to_false(~masks.cuda()).cpu(), distance_to_false(~masks))
    row, column = torch.arange(200)[:, None], torch.arange(150)
    squares = [
        (i // 150 - row) ** 2 + (i % 150 - column) ** 2 for i in (nearest_true(masks), nearest_true(masks.cuda()).cpu())
    ]
    assert torch.equal(*squares)


def test_texels_and_projected_colours_agree(torus):
    vertices, faces = torus
    cut = unwrap(vertices, faces, resolution=256, padding=4)
    mesh = Mesh(vertices[cut.vertex_of], cut.faces, uv=cut.uv)
    views = rendered_views(4, 64)
    found = []
    for device in ("cpu", "cuda"):
        placed, seen_by = mesh.to(device), views.to(device)
        texels = surface_texels(placed, 256)
        seen = project_views(texels.points, texels.normals, placed, seen_by)
        found.append((len(texels), seen.trust.mean().cpu(), paint(texels, seen.rgb).cpu()))
    (count, trust, texture), (other_count, other_trust, other_texture) = found
    assert abs(count - other_count) <= 3
    torch.testing.assert_close(other_trust, trust, atol=1e-3, rtol=0)
    assert ((other_texture - texture).abs().amax(0) > 0.02).float().mean() < 0.01  # ties of nearest texels


def test_a_pipeline_gives_the_same_mesh():
    pipeline = tiny_pipeline()
    views = rendered_views(4, 32)
    here = pipeline.views_to_mesh(views)
    try:
        there = pipeline.to("cuda").views_to_mesh(views)
    finally:
        pipeline.to("cpu")
    assert there.vertices.device.type == "cpu" and there.texture is not None
    assert abs(len(there.faces) - len(here.faces)) <= 0.05 * len(here.faces)
    for mine, other in zip(
        (here.vertices.amin(0), here.vertices.amax(0)), (there.vertices.amin(0), there.vertices.amax(0)), strict=True
    ):
        torch.testing.assert_close(other, mine, atol=1e-2, rtol=0)


def test_objects_that_take_turns_are_what_they_are_one_after_another(monkeypatch):
    views = rendered_views(4, 32)
    try:
        pipeline = tiny_pipeline().to("cuda")
        in_turns, _ = _from_views(pipeline, views, 5)
        monkeypatch.setattr("infinitemesh.pipeline.workers_on", lambda device: 1)
        one_by_one, _ = _from_views(pipeline, views, 5)  # the same batch: products of another size round otherwise
    finally:
        tiny_pipeline().to("cpu")
    for mesh, alone in zip(in_turns, one_by_one, strict=True):
        assert torch.equal(mesh.faces, alone.faces) and mesh.texture.device.type == "cpu"
        torch.testing.assert_close(mesh.vertices, alone.vertices, atol=1e-4, rtol=0)
        torch.testing.assert_close(mesh.uv, alone.uv, atol=1e-4, rtol=0)
        assert (mesh.texture - alone.texture).abs().mean() < 1e-3


def test_outlines_and_thin_parts_are_those_of_the_cpu():
    camera = Camera.orbit([0.0, 60.0, 150.0])
    radius = torch.hypot(*torch.meshgrid(*[torch.linspace(-1, 1, 96)] * 2, indexing="ij"))
    alpha = ((0.5 - radius) * 48 + 0.5).clamp(0, 1).expand(3, 1, -1, -1)
    views = ViewSet(alpha.expand(-1, 3, -1, -1), alpha, camera, torch.ones(3, dtype=torch.bool))
    points = torch.rand(5000, 3) * 1.2 - 0.6
    here, there = Outlines.of(views), Outlines.of(views.to("cuda"))
    torch.testing.assert_close(there.distances.cpu(), here.distances, atol=0.5 / 96, rtol=0)
    torch.testing.assert_close(there.distance(points.cuda()).cpu(), here.distance(points), atol=0.01, rtol=0)
    assert there.agree and here.agree
    sheets = [
        thin_parts(lambda at: at.norm(dim=-1) - 0.3, Outlines.of(some[:1]), chunk=4096)
        for some in (views, views.to("cuda"))
    ]
    assert sheets[0] is not None and sheets[1] is not None
    torch.testing.assert_close(sheets[1].distance(points.cuda()).cpu(), sheets[0].distance(points), atol=0.01, rtol=0)
