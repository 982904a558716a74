import pytest
import torch
from render_shapes import box, bumpy, clip_of, icosphere, torus
from torch import Tensor

from infinitemesh.render.antialias import mesh_edges
from infinitemesh.render.torch_rasterizer import TorchRasterizer
from infinitemesh.types import Camera

RASTERIZER = TorchRasterizer()
CAMERA = Camera.orbit([20.0], [15.0], projection="perspective")


def coverage(vertices: Tensor, faces: Tensor, size: int, camera: Camera = CAMERA, *, smooth: bool = True) -> Tensor:
    """The picture's covered area in pixels."""
    clip = clip_of(vertices, camera)
    fragments = RASTERIZER.rasterize(clip, faces, (size, size))
    mask = (fragments.triangle >= 0).float()[..., None]
    return (RASTERIZER.antialias(mask, fragments, clip, faces) if smooth else mask).sum()


SHAPES = {"80": icosphere(1), "1280": icosphere(3), "20480": icosphere(5), "bumpy": bumpy(5), "box": box()}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("size", [96, 256])
def test_the_gradient_of_the_area_agrees_with_finite_differences_at_every_density(name, size):
    vertices, faces = SHAPES[name]
    scale = torch.tensor(1.0, requires_grad=True)
    (gradient,) = torch.autograd.grad(coverage(vertices * scale, faces, size), scale)
    step, fine = 0.02, 1024
    bigger, smaller = (coverage(vertices * (1 + s), faces, fine, smooth=False) for s in (step, -step))
    expected = (bigger - smaller) / (2 * step) * (size / fine) ** 2
    torch.testing.assert_close(gradient, expected, rtol=0.02, atol=0)


@pytest.mark.parametrize("shape", [icosphere(4), torus(), bumpy(4)])
def test_the_antialiased_area_is_the_true_area(shape):
    expected = coverage(*shape, 1024, smooth=False) * (64 / 1024) ** 2
    torch.testing.assert_close(coverage(*shape, 64), expected, rtol=1e-3, atol=0)


def test_a_box_seen_exactly_face_on_has_the_area_of_its_square_to_the_last_digit():
    """Its sides are edge-on: no area, no orientation. The outline must be closed all the same."""
    vertices, faces = box()
    scale = torch.tensor(0.97, requires_grad=True)
    area = coverage(vertices * scale, faces, 128, Camera.orbit([0.0]))
    expected = (0.8 * 0.97 / 1.8 * 128) ** 2
    torch.testing.assert_close(area, torch.tensor(expected), rtol=1e-5, atol=0)
    (gradient,) = torch.autograd.grad(area, scale)
    torch.testing.assert_close(gradient, torch.tensor(2 * expected / 0.97), rtol=1e-4, atol=0)


def test_area_moves_with_the_pixels_a_triangle_gains():
    """An upright edge at x = 10.3 px: the pixel it enters holds 0.3 less a half more or less than before."""
    clip = torch.tensor([[[-1.0, -1, 0, 1], [10.3 / 8 - 1, -1, 0, 1], [10.3 / 8 - 1, 1, 0, 1], [-1, 1, 0, 1]]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    fragments = RASTERIZER.rasterize(clip, faces, (16, 16))
    mask = (fragments.triangle >= 0).float()[..., None]
    row = RASTERIZER.antialias(mask, fragments, clip, faces)[0, 8, :, 0]
    torch.testing.assert_close(row[8:13], torch.tensor([1.0, 1.0, 0.3, 0.0, 0.0]), atol=1e-5, rtol=0)


def test_a_hidden_silhouette_changes_nothing():
    """A triangle inside a ball, whose surface shows another triangle at every pixel."""
    ball, ball_faces = icosphere(4)
    hidden = torch.tensor([[-0.3, -0.3, 0.0], [0.3, -0.3, 0.0], [0.0, 0.3, 0.0]])
    vertices = torch.cat([ball, hidden])
    faces = torch.cat([ball_faces, torch.tensor([[0, 1, 2]]) + len(ball)])
    clip = clip_of(vertices, Camera.orbit([0.0]))
    fragments = RASTERIZER.rasterize(clip, faces, (32, 32))
    colour = torch.rand(1, 32, 32, 2, generator=torch.Generator().manual_seed(0))
    with_hidden = RASTERIZER.antialias(colour, fragments, clip, faces)
    alone = RASTERIZER.antialias(colour, fragments, clip, ball_faces)
    assert torch.equal(with_hidden, alone)
    assert not torch.equal(alone, colour)


def test_edges_of_a_closed_mesh_have_two_faces_that_run_opposite_ways():
    _, faces = torus()
    edges = mesh_edges(faces)
    assert len(edges.vertices) == 3 * len(faces) // 2  # closed: every edge has two faces
    assert (edges.faces >= 0).all() and (edges.forward[:, 0] != edges.forward[:, 1]).all()
    for k in (0, 1):
        of_face = faces[edges.faces[:, k]]
        assert (of_face[:, :, None] == edges.vertices[:, None, :]).any(1).all()
    assert (mesh_edges(faces[:1]).faces[:, 1] == -1).all()
    assert mesh_edges(faces[:0]).vertices.shape == (0, 2)
