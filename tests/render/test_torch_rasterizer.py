import pytest
import torch
from einops import rearrange
from render_shapes import box, bumpy, clip_of, icosphere, torus

from infinitemesh.render.torch_rasterizer import (
    TorchRasterizer,
    antialias_packed,
    interpolate_packed,
    rasterize_packed,
)
from infinitemesh.types import Camera, Projection

SIZE = (48, 64)


def four_cameras(projection: Projection = "perspective") -> Camera:
    return Camera.orbit([0.0, 50.0, 140.0, 260.0], [0.0, 20.0, -30.0, 60.0], projection=projection)


@pytest.mark.parametrize("projection", ["orthographic", "perspective"])
def test_interpolated_positions_lie_on_the_rays_of_their_pixels(projection):
    vertices, faces = bumpy(3)
    camera = four_cameras(projection)
    rasterizer = TorchRasterizer()
    fragments = rasterizer.rasterize(clip_of(vertices, camera), faces, (64, 64))
    points = rasterizer.interpolate(vertices[None], fragments, faces)
    origins, directions = camera.rays(64)
    corner = vertices[faces]
    normal = torch.linalg.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    hit = fragments.triangle >= 0
    at = fragments.triangle[hit]
    o, d = origins[hit], directions[hit]
    along = ((corner[at, 0] - o) * normal[at]).sum(-1) / (d * normal[at]).sum(-1)
    grazing = (d * torch.nn.functional.normalize(normal[at], dim=-1)).sum(-1).abs() < 0.05
    assert hit.float().mean() > 0.1
    torch.testing.assert_close(points[hit][~grazing], (o + along[:, None] * d)[~grazing], atol=2e-5, rtol=0)
    assert (points[~hit] == 0).all()


def test_packed_meshes_equal_the_same_meshes_one_by_one():
    shapes, cameras = [icosphere(2), torus(), box(), bumpy(2)], four_cameras()
    vertices = [v for v, _ in shapes]
    clips = [clip_of(v, cameras[[i]])[0] for i, v in enumerate(vertices)]
    first_vertex = torch.tensor([0] + [len(v) for v in vertices]).cumsum(0)
    packed_faces = torch.cat([f + first for (_, f), first in zip(shapes, first_vertex, strict=False)])
    first_face = torch.tensor([0] + [len(f) for _, f in shapes]).cumsum(0)
    image_of_face = torch.repeat_interleave(torch.tensor([3, 1, 0, 4]), torch.tensor([len(f) for _, f in shapes]))
    clip, attributes = torch.cat(clips), torch.cat(vertices)
    fragments = rasterize_packed(clip, packed_faces, image_of_face, 5, SIZE)
    picture = antialias_packed(
        interpolate_packed(attributes, fragments, packed_faces), fragments, clip, packed_faces, image_of_face
    )
    rasterizer = TorchRasterizer()
    for i, image in enumerate([3, 1, 0, 4]):
        v, f = shapes[i]
        alone = rasterizer.rasterize(clips[i][None], f, SIZE)
        expected = torch.where(alone.triangle >= 0, alone.triangle + first_face[i], -1)[0]
        assert torch.equal(fragments.triangle[image], expected)
        assert torch.equal(fragments.barycentric[image], alone.barycentric[0])
        assert torch.equal(fragments.depth[image], alone.depth[0])
        shown = rasterizer.antialias(rasterizer.interpolate(v[None], alone, f), alone, clips[i][None], f)
        torch.testing.assert_close(picture[image], shown[0], atol=1e-6, rtol=0)
    assert (fragments.triangle[2] == -1).all() and (picture[2] == 0).all()


def test_a_batch_of_views_equals_single_views_bit_for_bit_in_any_chunking():
    (vertices, faces), camera = bumpy(3), four_cameras()
    clip = clip_of(vertices, camera)
    whole = TorchRasterizer().rasterize(clip, faces, SIZE)
    chunked = TorchRasterizer(fragments_per_chunk=1000).rasterize(clip, faces, SIZE)
    singles = [TorchRasterizer().rasterize(clip[[i]], faces, SIZE) for i in range(len(camera))]
    for name in ("triangle", "barycentric", "depth"):
        assert torch.equal(getattr(whole, name), getattr(chunked, name))
        assert torch.equal(getattr(whole, name), torch.cat([getattr(s, name) for s in singles]))


def test_the_order_of_faces_changes_only_their_names():
    (vertices, faces), camera = torus(), four_cameras()
    order = torch.randperm(len(faces), generator=torch.Generator().manual_seed(0))
    clip = clip_of(vertices, camera)
    plain, shuffled = (TorchRasterizer().rasterize(clip, f, SIZE) for f in (faces, faces[order]))
    assert torch.equal(plain.depth, shuffled.depth)
    renamed = torch.where(shuffled.triangle >= 0, order[shuffled.triangle.clamp(min=0)], -1)
    assert (renamed != plain.triangle).sum() <= 2  # equal depths at shared edges


def test_a_closed_mesh_has_no_pinholes_where_edges_pass_through_pixel_centres():
    """A wall of squares whose edges and diagonals run exactly through pixel centres, tilted by its w."""
    count = 16
    at = (torch.arange(count + 1) * 2 + 1) / 32 - 1 + 14 / 32
    y, x = torch.meshgrid(at, at, indexing="ij")
    w = 1 + 0.5 * rearrange(
        torch.rand((count + 1) ** 2, generator=torch.Generator().manual_seed(1)), "(a b) -> a b", a=count + 1
    )
    clip = torch.stack([x * w, y * w, torch.zeros_like(x), w], dim=-1).reshape(1, -1, 4)
    i, j = torch.meshgrid(torch.arange(count), torch.arange(count), indexing="ij")
    corner = (i * (count + 1) + j).reshape(-1)
    faces = torch.cat(
        [
            torch.stack([corner, corner + 1, corner + count + 2], -1),
            torch.stack([corner, corner + count + 2, corner + count + 1], -1),
        ]
    )
    hit = TorchRasterizer().rasterize(clip, faces, (32, 32)).triangle[0] >= 0
    assert hit.sum() in range(count**2, (count + 1) ** 2 + 1)
    rows, columns = hit.any(1).nonzero(), hit.any(0).nonzero()
    assert hit[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()


def test_a_floor_that_passes_under_the_camera_is_cut_at_the_near_plane():
    camera = Camera.orbit([0.0], [0.0], projection="perspective", distance=1.0, fov_deg=90.0)
    vertices = torch.tensor([[-50.0, -0.2, -15.0], [50.0, -0.2, -15.0], [50.0, -0.2, 50.0], [-50.0, -0.2, 50.0]])
    faces = torch.tensor([[0, 2, 1], [0, 3, 2]])
    rasterizer = TorchRasterizer()
    fragments = rasterizer.rasterize(clip_of(vertices, camera), faces, (32, 32))
    origins, directions = camera.rays(32)
    along = (-0.2 - origins[..., 1]) / directions[..., 1]
    expected = origins + along[..., None] * directions
    depth = 1.0 - expected[..., 2]
    seen = (along > 0) & (depth > 0.05) & (depth < 15.9)
    assert torch.equal(fragments.triangle >= 0, seen)
    points = rasterizer.interpolate(vertices[None], fragments, faces)
    torch.testing.assert_close(points[seen], expected[seen], atol=1e-3, rtol=1e-3)
    behind = rasterizer.rasterize(clip_of(vertices + torch.tensor([0, 0, 100.0]), camera), faces, (32, 32))
    assert (behind.triangle == -1).all()


def test_the_nearer_of_two_squares_is_seen_from_either_side():
    square = torch.tensor([[-0.5, -0.5, 0.0], [0.5, -0.5, 0.0], [0.5, 0.5, 0.0], [-0.5, 0.5, 0.0]])
    vertices = torch.cat([square + torch.tensor([0, 0, 0.3]), square - torch.tensor([0, 0, 0.3])])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    camera = Camera.orbit([0.0, 180.0])
    fragments = TorchRasterizer().rasterize(clip_of(vertices, camera), faces, (16, 16))
    assert set(fragments.triangle[0].unique().tolist()) == {-1, 0, 1}
    assert set(fragments.triangle[1].unique().tolist()) == {-1, 2, 3}


def test_broken_triangles_cover_nothing_and_leave_the_others_alone():
    vertices, faces = icosphere(1)
    broken = torch.cat([vertices, torch.tensor([[torch.nan, 0, 0], [torch.inf, 0, 0]])])
    extra = torch.tensor([[len(vertices), 0, 1], [len(vertices) + 1, 2, 3], [0, 0, 1], [5, 5, 5]])
    camera = Camera.orbit([10.0])
    plain = TorchRasterizer().rasterize(clip_of(vertices, camera), faces, SIZE)
    with_broken = TorchRasterizer().rasterize(clip_of(broken, camera), torch.cat([faces, extra]), SIZE)
    assert torch.equal(plain.triangle, with_broken.triangle)


def test_no_faces_give_an_empty_picture():
    fragments = TorchRasterizer().rasterize(torch.rand(2, 3, 4), torch.zeros(0, 3, dtype=torch.int64), (4, 5))
    assert fragments.triangle.shape == (2, 4, 5) and (fragments.triangle == -1).all() and (fragments.depth == 1).all()
