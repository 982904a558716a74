import math

import pytest
import torch
import trimesh
from torch import nn

from infinitemesh.errors import InputError
from infinitemesh.models.field_decoders import FieldDecoders
from infinitemesh.render.shading import render_mesh, sample_texture
from infinitemesh.stages.texturing import BakedTexture, VertexColour
from infinitemesh.types import Camera, Mesh, Triplane, ViewSet

RING_DEG = [30.0 * i for i in range(12)]


class Painted(nn.Module):
    """A field whose colour is a formula. `detail` 0 is what remains of it when it is blurred."""

    def __init__(self, detail=1.0, tint=0.0):
        super().__init__()
        self.detail, self.tint = detail, tint

    def colour(self, planes, points):
        smooth = 0.5 + 0.2 * torch.sin(points * 2 + torch.tensor([0.0, 1.0, 2.0]))
        stripes = 0.25 * torch.sin(points @ torch.tensor([14.0, 9.0, 11.0]))[..., None]
        return smooth + self.detail * stripes - self.tint


def empty_triplane(**options):
    return Triplane(torch.zeros(3, 1, 2, 2), **options)


def sphere(subdivisions=3):
    shape = trimesh.creation.icosphere(subdivisions=subdivisions, radius=0.6)
    return Mesh(torch.tensor(shape.vertices, dtype=torch.float32), torch.tensor(shape.faces))


def views_of(mesh, size=128):
    """The stripes as a camera would see them."""
    points = sphere(5).vertices
    true = Mesh(points, sphere(5).faces, vertex_rgb=Painted().colour(None, points / 0.9))
    views = render_mesh(true, Camera.orbit(RING_DEG), size)
    is_main = torch.tensor([azimuth % 90 == 0 for azimuth in RING_DEG])
    return ViewSet(views.rgb, views.alpha, views.camera, is_main)


def psnr(mesh, truth):
    camera = Camera.orbit([15.0, 105.0, 225.0], [0.0, 15.0, 30.0])
    pictures = [render_mesh(each, camera, 128).composite() for each in (mesh, truth)]
    return float(-10 * torch.log10((pictures[0] - pictures[1]).square().mean()))


@pytest.mark.parametrize("frame", ["gltf", "instantmesh"])
def test_a_texture_says_what_the_decoders_say(frame):
    torch.manual_seed(0)
    decoders = FieldDecoders(channels=4, hidden=16).eval()
    triplane = Triplane(torch.randn(3, 4, 6, 6), half_extent=0.8, frame=frame)
    mesh = sphere()
    stage = BakedTexture(decoders, texture_size=256, project_views=False, points_per_query=1000)
    made = stage(mesh, triplane, views_of(mesh, 16))
    at_centres = made.vertices[made.faces].mean(1)
    uv = made.uv[made.faces].mean(1)
    expected = decoders.colour(triplane.planes[None], triplane.field_from_world(at_centres)[None])[0].clamp(0, 1)
    torch.testing.assert_close(sample_texture(made.texture, uv[None, None])[0, 0], expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("stage_class", [BakedTexture, VertexColour])
def test_the_triangles_stay_as_they_were(stage_class):
    mesh = Mesh(sphere().vertices, sphere().faces, metadata={"seed": 3})
    made = stage_class(Painted())(mesh, empty_triplane(), views_of(mesh, 32))
    torch.testing.assert_close(made.vertices[made.faces], mesh.vertices[mesh.faces], atol=0, rtol=0)
    assert made.metadata["seed"] == 3 and made.metadata["texturing"]["seen"] > 0.5


def test_views_sharpen_a_blurred_field_by_several_decibels():
    mesh = sphere(4)
    views, triplane, blurred = views_of(mesh), empty_triplane(), Painted(detail=0.0)
    truth = BakedTexture(Painted(), texture_size=512, project_views=False)(mesh, triplane, views)
    for stage_class, least_gain in ((BakedTexture, 10), (VertexColour, 10)):
        alone = psnr(stage_class(blurred, project_views=False)(mesh, triplane, views), truth)
        sharpened = psnr(stage_class(blurred)(mesh, triplane, views), truth)
        assert sharpened > alone + least_gain


def test_where_no_view_looks_a_tinted_field_is_brought_to_the_views_colour():
    mesh = sphere(4)
    views, triplane = views_of(mesh), empty_triplane()
    unseen = mesh.vertices[:, 1].abs() > 0.595
    expected = Painted(detail=0.0).colour(None, mesh.vertices / 0.9)[unseen].mean(0)
    made = [VertexColour(Painted(0.0, tint=0.2), correct_field=on)(mesh, triplane, views) for on in (True, False)]
    corrected, tinted = ((each.vertex_rgb[unseen].mean(0) - expected).abs().max() for each in made)
    assert tinted > 0.18 and corrected < 0.06


def test_a_field_that_agrees_with_the_views_is_left_alone():
    mesh = sphere(4)
    made = VertexColour(Painted())(mesh, empty_triplane(), views_of(mesh))
    expected = Painted().colour(None, mesh.vertices / 0.9)
    assert (made.vertex_rgb - expected).abs().max() < 0.04


def test_no_views_means_the_field_alone():
    mesh = sphere()
    views = views_of(mesh, 16)
    field_alone = VertexColour(Painted(), project_views=False)(mesh, empty_triplane(), views)
    without = VertexColour(Painted())(mesh, empty_triplane(), views[:0])
    assert torch.equal(field_alone.vertex_rgb, without.vertex_rgb)


def test_the_same_input_gives_the_same_texture():
    mesh = sphere()
    first, second = (
        BakedTexture(Painted(), texture_size=128)(mesh, empty_triplane(), views_of(mesh)) for _ in range(2)
    )
    assert torch.equal(first.texture, second.texture) and torch.equal(first.uv, second.uv)


def test_broken_pictures_are_refused():
    mesh = sphere()
    views = views_of(mesh, 16)
    broken = ViewSet(views.rgb * math.nan, views.alpha, views.camera, views.is_main)
    with pytest.raises(InputError, match="rgb has NaN"):
        VertexColour(Painted())(mesh, empty_triplane(), broken)
