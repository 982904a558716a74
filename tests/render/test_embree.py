import sys

import pytest
import torch
from render_shapes import box

from infinitemesh.errors import MissingBackend
from infinitemesh.render.bench import bumpy_torus
from infinitemesh.render.embree import embree_hits
from infinitemesh.render.shading import clip_positions
from infinitemesh.render.torch_rasterizer import TorchRasterizer
from infinitemesh.types import Camera


@pytest.mark.parametrize("projection", ["orthographic", "perspective"])
def test_a_dense_mesh_shows_the_triangles_that_embree_finds(projection):
    pytest.importorskip("embreex")
    vertices, faces = bumpy_torus(152)
    camera = Camera.orbit([30.0], [25.0], projection=projection)
    fragments = TorchRasterizer().rasterize(clip_positions(vertices, camera), faces, (512, 512))
    origins, directions = (x[0] for x in camera.rays(512))
    triangle, barycentric, distance = embree_hits(vertices, faces, origins, directions)
    same = triangle == fragments.triangle[0]
    assert same.float().mean() >= 0.9999
    assert (triangle >= 0).float().mean() > 0.2
    hit = same & (triangle >= 0)
    corners = vertices[faces[triangle[hit]]]
    on_rays = origins[hit] + distance[hit][:, None] * directions[hit]
    torch.testing.assert_close((barycentric[hit][..., None] * corners).sum(1), on_rays, atol=5e-4, rtol=0)
    ours = (fragments.barycentric[0][hit][..., None] * corners).sum(1)
    assert ((ours - on_rays).norm(dim=-1) < 1e-4).float().mean() > 0.999


def test_rays_that_miss_are_marked_and_shapes_are_kept():
    pytest.importorskip("embreex")
    vertices, faces = box()
    origins = torch.tensor([[[0.1, 0.05, 2.0], [5.0, 0.0, 2.0]]])
    directions = torch.tensor([0.0, 0.0, -2.0]).expand(1, 2, 3)
    triangle, barycentric, distance = embree_hits(vertices, faces, origins, directions)
    assert triangle.shape == (1, 2) and triangle[0, 0] >= 0 and triangle[0, 1] == -1
    torch.testing.assert_close(distance, torch.tensor([[0.8, torch.inf]]))
    torch.testing.assert_close(barycentric.sum(-1), torch.tensor([[1.0, 0.0]]))


def test_a_missing_embreex_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "embreex.mesh_construction", None)
    vertices, faces = box()
    with pytest.raises(MissingBackend, match=r"infinitemesh\[embree\]"):
        embree_hits(vertices, faces, vertices, vertices)
