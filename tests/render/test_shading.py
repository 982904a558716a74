import pytest
import torch
from render_shapes import box, bumpy, icosphere, torus

from infinitemesh.errors import InputError
from infinitemesh.geometry.normals import same_point, vertex_normals
from infinitemesh.render.shading import pack_views, render_mesh, sample_texture, shade, shade_packed
from infinitemesh.types import Camera, Mesh

CAMERAS = Camera.orbit([0.0, 90.0, 200.0], [0.0, 10.0, -35.0])
RED, GREEN, BLUE = torch.eye(3).tolist()


def split(vertices: torch.Tensor, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same surface, no vertex shared between faces."""
    return vertices[faces].reshape(-1, 3), torch.arange(3 * len(faces)).reshape(-1, 3)


def sided_box(width: float = 1.0) -> Mesh:
    """Red where it faces +X, green where +Y, blue where +Z, grey elsewhere."""
    vertices, faces = box()
    corners, corner_faces = split(vertices * torch.tensor([width, 1.0, 1.0]), faces)
    normal = torch.linalg.cross(corners[1::3] - corners[::3], corners[2::3] - corners[::3])
    side = torch.nn.functional.normalize(normal, dim=-1).clamp(min=0).round()
    colour = torch.where(side.sum(-1, keepdim=True) > 0, side, 0.5)
    return Mesh(corners, corner_faces, vertex_rgb=colour.repeat_interleave(3, 0))


def test_pictures_are_not_mirrored_or_upside_down():
    views = sided_box().render(Camera.orbit([45.0, 0.0, 90.0], [25.0, 0.0, 0.0], projection="perspective"), 64)
    assert views.rgb[0, :, 36, 42].tolist() == RED  # right
    assert views.rgb[0, :, 19, 32].tolist() == GREEN  # top: row 0 is up
    assert views.rgb[0, :, 36, 22].tolist() == BLUE  # the front
    assert views.rgb[1, :, 32, 32].tolist() == BLUE
    assert views.rgb[2, :, 32, 32].tolist() == RED
    assert not views.is_main.any()


def test_parts_on_the_right_and_above_are_seen_there():
    parts = [(torch.tensor([0.6, 0, 0]), RED), (torch.tensor([0, 0.6, 0]), GREEN), (torch.tensor([0, 0, 0.6]), BLUE)]
    ball, faces = icosphere(2, 0.2)
    mesh = Mesh(
        torch.cat([ball + at for at, _ in parts]),
        torch.cat([faces + i * len(ball) for i in range(3)]),
        vertex_rgb=torch.cat([torch.tensor(c).expand(len(ball), 3) for _, c in parts]),
    )
    front, right = mesh.render(Camera.orbit([0.0, 90.0]), 90).composite()
    assert front[:, 45, 75].tolist() == RED and front[:, 15, 45].tolist() == GREEN and front[:, 45, 45].tolist() == BLUE
    assert right[:, 45, 45].tolist() == RED and right[:, 45, 15].tolist() == BLUE and right[:, 15, 45].tolist() == GREEN


def test_straight_colour_does_not_mix_with_the_background_at_silhouettes():
    vertices, faces = bumpy(3)
    mesh = Mesh(vertices, faces, vertex_rgb=torch.tensor(RED).expand(len(vertices), 3))
    views = render_mesh(mesh, CAMERAS, 48, background=(0.0, 1.0, 0.5))
    inside = views.alpha[:, 0] > 0
    assert ((views.alpha > 0) & (views.alpha < 1)).sum() > 200
    expected = torch.where(inside[..., None], torch.tensor(RED), torch.tensor([0.0, 1.0, 0.5]))
    torch.testing.assert_close(views.rgb, expected.permute(0, 3, 1, 2), atol=1e-4, rtol=0)


def test_a_ball_has_its_analytic_normals_depth_and_outline():
    vertices, faces = icosphere(5)
    rendered = shade(vertices, faces, CAMERAS, 96)
    origins, directions = CAMERAS.rays(96)
    along = -(origins * directions).sum(-1)
    half_chord = 0.36 - (origins**2).sum(-1) + along**2
    inner = half_chord > 0.02
    assert rendered.mask[:, 0][inner].all() and not rendered.mask[:, 0][half_chord < 0].any()
    depth = along - half_chord.clamp(min=0).sqrt()  # orthographic: the ray is parallel to the view
    torch.testing.assert_close(rendered.depth[:, 0][inner], depth[inner], atol=2e-3, rtol=0)
    normal = (origins + depth[..., None] * directions) / 0.6
    torch.testing.assert_close(rendered.normal.permute(0, 2, 3, 1)[inner], normal[inner], atol=2e-2, rtol=0)
    assert (rendered.depth[~rendered.mask] == 0).all()
    assert (rendered.rgb.permute(0, 2, 3, 1)[half_chord < -0.05] == 1).all()
    views = Mesh(vertices, faces).render(CAMERAS, 96)
    torch.testing.assert_close(views.alpha, rendered.alpha, atol=1e-3, rtol=0)
    torch.testing.assert_close(views.composite(), rendered.rgb, atol=1e-3, rtol=0)


def test_a_perspective_depth_is_minus_z_of_the_camera_frame():
    vertices, faces = icosphere(4)
    camera = Camera.orbit([30.0], [20.0], projection="perspective")
    rendered = shade(vertices, faces, camera, 64)
    origins, directions = camera.rays(64)
    towards = -(origins * directions).sum(-1)
    half_chord = 0.36 - (origins**2).sum(-1) + towards**2
    inner = half_chord > 0.02
    distance = towards - half_chord.clamp(min=0).sqrt()
    depth = distance * -(directions * camera.backward[:, None, None]).sum(-1)
    torch.testing.assert_close(rendered.depth[:, 0][inner], depth[inner], atol=4e-3, rtol=0)


def test_depth_and_colour_follow_the_surface_as_finite_differences_say():
    """Shifting the mesh changes what each pixel sees: the gradient goes through the barycentrics."""
    vertices, faces = icosphere(2)
    camera = Camera.orbit([40.0], [10.0], projection="perspective")
    outside = ~shade(vertices, faces, camera, 48).mask
    inner = torch.nn.functional.max_pool2d(outside.float(), 5, 1, 2) == 0
    weight = torch.rand(1, 4, 48, 48, generator=torch.Generator().manual_seed(0)) * inner

    def seen(shift: torch.Tensor) -> torch.Tensor:
        rendered = shade(vertices + shift, faces, camera, 48, colour_at=lambda p: (9 * p).sin() * 0.5 + 0.5)
        return (weight * torch.cat([rendered.rgb, rendered.depth], dim=1)).double().sum()

    shift = torch.zeros(3, requires_grad=True)
    (gradient,) = torch.autograd.grad(seen(shift), shift)
    step = 2e-3 * torch.eye(3)
    expected = torch.stack([seen(s) - seen(-s) for s in step]) / 4e-3
    assert expected.abs().min() > 5
    torch.testing.assert_close(gradient.double(), expected, rtol=0.02, atol=0.1)


def test_packed_images_equal_single_ones():
    meshes = [icosphere(2), torus(), bumpy(2)]
    colour_at = lambda p: p.abs()  # noqa: E731
    shown = [2, 0, 2, 1]
    camera = Camera.orbit([0.0, 50.0, 120.0, 260.0], 15.0, projection="perspective")
    images = []

    def packed_colour(points, image):
        images.append(image)
        return colour_at(points)

    packed = shade_packed(*pack_views(meshes, shown), camera, 40, colour_at=packed_colour)
    for i, m in enumerate(shown):
        alone = shade(*meshes[m], camera[[i]], 40, colour_at=colour_at)
        assert torch.equal(packed.mask[i], alone.mask[0])
        for name in ("rgb", "alpha", "depth", "normal"):
            torch.testing.assert_close(getattr(packed, name)[i], getattr(alone, name)[0], atol=2e-5, rtol=0)
    assert torch.equal(images[0].bincount(), packed.mask.flatten(1).sum(1))


def test_low_precision_training_does_not_move_the_picture():
    vertices, faces = bumpy(2)
    exact = shade(vertices, faces, CAMERAS, 32, colour_at=lambda p: p.abs())
    with torch.autocast("cpu", torch.bfloat16):
        cast = shade(vertices, faces, CAMERAS, 32, colour_at=lambda p: p.abs())
        packed = shade_packed(*pack_views([(vertices, faces)], [0, 0, 0]), CAMERAS, 32, colour_at=lambda p, _: p.abs())
    for name in ("rgb", "alpha", "depth", "normal", "mask"):
        assert torch.equal(getattr(exact, name), getattr(cast, name))
        assert torch.equal(getattr(exact, name), getattr(packed, name))


def test_a_row_of_views_equals_single_views_and_itself_again():
    mesh = sided_box(1.3)
    row = mesh.render(CAMERAS, 40)
    singles = [mesh.render(CAMERAS[i], 40) for i in range(3)]
    again = mesh.render(CAMERAS, 40)
    for name in ("rgb", "alpha", "normal"):
        assert torch.equal(getattr(row, name), torch.cat([getattr(s, name) for s in singles]))
        assert torch.equal(getattr(row, name), getattr(again, name))


def test_seams_leave_no_trace():
    vertices, faces = bumpy(3)
    corners, corner_faces = split(vertices, faces)
    whole = Mesh(vertices, faces, vertex_rgb=(vertices + 0.8) / 1.6).render(CAMERAS, 40)
    torn = Mesh(corners, corner_faces, vertex_rgb=(corners + 0.8) / 1.6).render(CAMERAS, 40)
    for name in ("rgb", "alpha", "normal"):
        torch.testing.assert_close(getattr(torn, name), getattr(whole, name), atol=1e-4, rtol=0)


def test_a_texture_shows_its_first_row_at_the_top():
    square = torch.tensor([[-0.9, 0.9, 0.0], [0.9, 0.9, 0.0], [0.9, -0.9, 0.0], [-0.9, -0.9, 0.0]])
    uv = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    texture = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    mesh = Mesh(square, torch.tensor([[0, 2, 1], [0, 3, 2]]), uv=uv, texture=texture)
    views = mesh.render(Camera.orbit([0.0]), 16)
    torch.testing.assert_close(views.rgb[0], texture, atol=1e-4, rtol=0)
    averaged = render_mesh(mesh, Camera.orbit([0.0]), 4, supersample=4)
    torch.testing.assert_close(averaged.rgb, torch.nn.functional.avg_pool2d(texture[None], 4), atol=1e-4, rtol=0)
    repeated = sample_texture(texture, torch.tensor([[[[1.25, -0.75]]], [[[0.25, 0.25]]]]))
    torch.testing.assert_close(repeated[0], repeated[1], atol=1e-5, rtol=0)


def test_a_mesh_that_cannot_be_drawn_is_refused():
    vertices, faces = box()
    with pytest.raises(InputError, match="uv"):
        Mesh(vertices, faces, texture=torch.rand(3, 4, 4)).render(Camera.orbit([0.0]), 8)
    with pytest.raises(InputError, match="size"):
        Mesh(vertices, faces).render(Camera.orbit([0.0]), 0)
    empty = Mesh(vertices, faces[:0]).render(Camera.orbit([0.0]), 8)
    assert (empty.alpha == 0).all() and (empty.rgb == 1).all()


def test_normals_weigh_faces_by_area_and_know_points_that_were_split():
    vertices, faces = icosphere(3)
    torch.testing.assert_close(vertex_normals(vertices, faces), vertices / 0.6, atol=2e-2, rtol=0)
    corners, _ = split(vertices, faces)
    first = same_point(corners)
    assert torch.equal(corners[first], corners) and (first <= torch.arange(len(corners))).all()
    assert len(first.unique()) == len(vertices)
    assert same_point(torch.tensor([[0.0, 1, 2], [-0.0, 1, 2], [0, 1, 3]])).tolist() == [0, 0, 2]
