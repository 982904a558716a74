import pytest
import torch
import trimesh

from infinitemesh.render import nearest, projection
from infinitemesh.render.projection import ProjectionOptions, project_views
from infinitemesh.render.shading import render_mesh
from infinitemesh.render.spread import spread
from infinitemesh.types import Camera, Mesh, ViewSet

RING_DEG = [0.0, 90.0, 180.0, 270.0]
PROJECTIONS = ["orthographic", "perspective"]
WHITE, MAGENTA = torch.ones(3), torch.tensor([1.0, 0.0, 1.0])


def mesh_of(*shapes):
    shape = trimesh.util.concatenate(shapes)
    return Mesh(torch.tensor(shape.vertices, dtype=torch.float32), torch.tensor(shape.faces))


def sphere():
    return mesh_of(trimesh.creation.icosphere(subdivisions=4, radius=0.6))


def box(extents, at):
    return trimesh.creation.box(extents, trimesh.transformations.translation_matrix(at))


def samples(shape, count=5000):
    points, face = trimesh.sample.sample_surface(shape, count, seed=0)
    return torch.tensor(points, dtype=torch.float32), torch.tensor(shape.face_normals[face], dtype=torch.float32)


def views_of(mesh, camera, size=128):
    views = render_mesh(mesh, camera, size)
    return ViewSet(views.rgb, views.alpha, camera, torch.ones(len(camera), dtype=torch.bool))


def filled(views, colours, background=None):
    """The same pictures, each object in one colour, with another where nothing is."""
    rgb = colours[:, :, None, None].expand_as(views.rgb)
    if background is not None:
        rgb = torch.where(views.alpha > 0.9, rgb, background[:, None, None])
    return ViewSet(rgb, views.alpha, views.camera, views.is_main)


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_each_side_takes_its_colour_from_the_view_that_faces_it(projection):
    mesh = sphere()
    camera = Camera.orbit(RING_DEG, projection=projection)
    colours = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [1.0, 1.0, 0]])
    views = filled(views_of(mesh, camera), colours)
    points, normals = mesh.vertices, torch.nn.functional.normalize(mesh.vertices, dim=-1)
    seen = project_views(points, normals, mesh, views)
    facing = normals @ camera.backward.T
    for view in range(4):
        on_side = facing[:, view] > 0.95
        assert (seen.trust[on_side] == 1).all()
        assert (seen.rgb[on_side] - colours[view]).abs().max() < 0.1
    assert (seen.trust[normals[:, 1].abs() > 0.99] == 0).all()  # the poles face no view


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_a_picture_on_the_surface_is_read_where_it_lies(projection):
    mesh = sphere()
    colour = 0.5 + 0.4 * torch.sin(mesh.vertices * 4)
    camera = Camera.orbit(RING_DEG, projection=projection)
    views = views_of(Mesh(mesh.vertices, mesh.faces, vertex_rgb=colour), camera)
    seen = project_views(mesh.vertices, torch.nn.functional.normalize(mesh.vertices, dim=-1), mesh, views)
    assert (seen.trust > 0.99).float().mean() > 0.6
    assert (seen.rgb - colour)[seen.trust > 0.5].abs().max() < 0.03


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_what_is_behind_never_takes_the_colour_of_what_is_in_front(projection):
    front, back = box((0.4, 0.4, 0.1), (0, 0, 0.4)), box((0.9, 0.9, 0.1), (0, 0, -0.2))
    mesh = mesh_of(front, back)
    camera = Camera.orbit([0.0, 25.0], projection=projection)
    red, white = torch.tensor([1.0, 0, 0]), torch.ones(3)
    vertex_rgb = torch.where((mesh.vertices[:, 2] > 0.1)[:, None], red, white)
    views = views_of(Mesh(mesh.vertices, mesh.faces, vertex_rgb=vertex_rgb), camera)
    points, normals = samples(back)
    seen = project_views(points, normals, mesh, views)
    used = seen.trust > 0
    torch.testing.assert_close(seen.rgb[used], white.expand(int(used.sum()), 3), atol=0.02, rtol=0)  # bicubic's reach
    hidden = (points[:, :2].abs() < 0.15).all(-1) & (normals[:, 2] > 0.9)
    only_front = project_views(points, normals, mesh, views[:1])
    assert hidden.any() and (only_front.trust[hidden] == 0).all()
    aside = (
        (points[:, 0].abs() > 0.35) & (points[:, 0].abs() < 0.4) & (points[:, 1].abs() < 0.4) & (normals[:, 2] > 0.9)
    )
    assert aside.any() and (only_front.trust[aside] == 1).all()


@pytest.mark.parametrize("projection", PROJECTIONS)
@pytest.mark.parametrize("tilt_deg", [0.0, 60.0, 75.0])
def test_a_steep_plane_does_not_hide_itself_but_a_sheet_close_before_it_does(tilt_deg, projection):
    size, grid = 128, torch.linspace(-0.6, 0.6, 40)
    v, u = (each.flatten() for each in torch.meshgrid(grid, grid, indexing="ij"))
    camera = Camera.orbit([tilt_deg], projection=projection)
    front, normals = torch.stack([u, v, torch.zeros_like(u)], dim=-1), torch.tensor([[0.0, 0.0, 1.0]]).expand(1600, 3)
    gap = 2.5 * 1.8 / size
    corners = torch.tensor([[-0.7, -0.7, 0.0], [0.7, -0.7, 0.0], [0.7, 0.7, 0.0], [-0.7, 0.7, 0.0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    mesh = Mesh(torch.cat([corners, corners - torch.tensor([0, 0, gap])]), torch.cat([faces, faces + 4]))
    views = filled(views_of(mesh, camera, size), torch.ones(1, 3))
    assert (project_views(front, normals, mesh, views).trust > 0).all()
    behind = front - torch.tensor([0, 0, gap])
    hidden = (camera.project(behind)[0][0, :, 0] - 0.5).abs() < 0.1  # seen through the middle of the front sheet
    assert hidden.any() and (project_views(behind, normals, mesh, views).trust[hidden] == 0).all()


@pytest.mark.parametrize("swell", [0.0, 0.05])
def test_the_background_never_bleeds(swell):
    """Also where the mesh is larger than the object in the picture."""
    mesh = sphere()
    views = views_of(mesh, Camera.orbit(RING_DEG))
    views = filled(views, torch.ones(4, 3), background=MAGENTA)
    larger = Mesh(mesh.vertices * (1 + swell), mesh.faces)
    normals = torch.nn.functional.normalize(mesh.vertices, dim=-1)
    seen = project_views(larger.vertices, normals, larger, views)
    used = seen.trust > 0
    assert used.float().mean() > 0.5
    torch.testing.assert_close(seen.rgb[used], WHITE.expand(int(used.sum()), 3), atol=1e-5, rtol=0)


def test_trust_has_no_steps():
    mesh = sphere()
    views = views_of(mesh, Camera.orbit(RING_DEG), size=256)
    longitude = torch.deg2rad(torch.arange(0, 360, 0.25))
    latitude = torch.deg2rad(torch.tensor([0.0, 30.0, 60.0, 70.0, 80.0]))[:, None]
    y = latitude.sin().expand(-1, len(longitude))
    normals = torch.stack([latitude.cos() * longitude.sin(), y, latitude.cos() * longitude.cos()], dim=-1)
    flat = normals.reshape(-1, 3)
    trust = project_views(flat * 0.6, flat, mesh, views).trust.reshape(y.shape)
    assert trust.diff(dim=-1).abs().max() < 0.1


def test_the_photograph_counts_more_than_main_and_main_more_than_interpolated_views():
    mesh = sphere()
    camera = Camera.orbit([-20.0, 0.0, 20.0])
    views = filled(views_of(mesh, camera), torch.eye(3))
    views = ViewSet(views.rgb, views.alpha, camera, torch.tensor([False, True, True]))
    point = torch.tensor([[0.0, 0.0, 0.6]])
    rgb = project_views(point, torch.tensor([[0.0, 0.0, 1.0]]), mesh, views).rgb[0]
    options = ProjectionOptions()
    beside = torch.deg2rad(torch.tensor(20.0)).cos() ** options.sharpness
    weights = torch.stack([beside, torch.tensor(options.front_weight), beside * options.main_weight])
    torch.testing.assert_close(rgb, weights / weights.sum(), atol=1e-3, rtol=0)


def test_the_same_input_gives_the_same_colours():
    mesh = sphere()
    views = views_of(mesh, Camera.orbit(RING_DEG))
    normals = torch.nn.functional.normalize(mesh.vertices, dim=-1)
    first, second = (project_views(mesh.vertices, normals, mesh, views) for _ in range(2))
    assert torch.equal(first.rgb, second.rgb) and torch.equal(first.trust, second.trust)


def test_spread_keeps_a_constant_and_fades_between_two_values():
    points = torch.rand(2000, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    points = points[points[:, 0].abs() > 0.3]
    at = torch.tensor([[-0.4, 0.0, 0.0], [0.0, 0.0, 0.0], [0.4, 0.0, 0.0]])
    torch.testing.assert_close(
        spread(points, torch.full((len(points), 1), 0.3), at), torch.full((3, 1), 0.3), atol=0.01, rtol=0
    )
    left, middle, right = spread(points, points[:, :1].sign(), at)[:, 0].tolist()
    assert left < -0.7 and abs(middle) < 0.2 and right > 0.7


def test_spread_of_nothing_is_zero():
    assert (spread(torch.zeros(0, 3), torch.zeros(0, 2), torch.rand(5, 3)) == 0).all()


@pytest.mark.parametrize("feather_px", [0.5, 4.0, 12.0])
def test_how_far_a_gpu_looks_for_usable_pixels_changes_no_colour(feather_px, monkeypatch):
    shape = trimesh.util.concatenate([box((0.5, 0.5, 0.5), (-0.2, 0, 0)), box((0.1, 0.9, 0.1), (0.3, 0.05, 0.3))])
    mesh = mesh_of(shape)
    views = views_of(mesh, Camera.orbit(RING_DEG, [10.0]), 96)
    views = filled(views, torch.rand(4, 3), background=MAGENTA)
    points, normals = samples(shape)
    options = ProjectionOptions(feather_px=feather_px)
    seen = {}
    for how in ("all", "reach"):
        near = {} if how == "all" else {"within": projection._reach(options)}
        ways = {"nearest_true": nearest._nearest, "distance_to_false": nearest._torch_distance_to_false}
        for name, way in ways.items():
            monkeypatch.setattr(projection, name, lambda masks, within, way=way, near=near: way(masks, **near))
        seen[how] = project_views(points, normals, mesh, views, options=options)
    assert 0.2 < seen["all"].trust.mean() < 0.9
    assert torch.equal(seen["all"].rgb, seen["reach"].rgb) and torch.equal(seen["all"].trust, seen["reach"].trust)
