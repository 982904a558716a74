import sys
import warnings

import pytest
import torch
from render_shapes import bumpy, clip_of

from infinitemesh.errors import InputError, MissingBackend
from infinitemesh.render import get_rasterizer
from infinitemesh.render.fragments import Rasterizer
from infinitemesh.types import Camera


def test_rasterisers_are_chosen_by_name():
    assert isinstance(get_rasterizer(), Rasterizer)
    with pytest.raises(InputError, match="'torch' or 'nvdiffrast'"):
        get_rasterizer("opengl")


def test_nvdiffrast_without_cuda_or_package_says_what_to_do(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MissingBackend, match="CUDA"):
        get_rasterizer("nvdiffrast")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "nvdiffrast.torch", None)
    with pytest.raises(MissingBackend, match=r"infinitemesh\[nvdiffrast\]"):
        get_rasterizer("nvdiffrast")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_nvdiffrast_and_torch_see_the_same_forwards_and_backwards():
    pytest.importorskip("nvdiffrast.torch")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        rasterizers = [get_rasterizer("torch"), get_rasterizer("nvdiffrast")]
    assert any("commercial" in str(w.message) for w in said)
    vertices, faces = (x.cuda() for x in bumpy(2))
    camera = Camera.orbit([0.0, 70.0], [20.0, -10.0], projection="perspective")
    clip = clip_of(vertices.cpu(), camera).cuda()
    pictures, gradients, ids = [], [], []
    for rasterizer in rasterizers:
        leaf = clip.clone().requires_grad_()
        fragments = rasterizer.rasterize(leaf, faces, (256, 256))
        picture = rasterizer.interpolate(vertices[None], fragments, faces)
        picture.square().sum().backward()
        ids.append(fragments.triangle)
        pictures.append(rasterizer.antialias(picture, fragments, leaf, faces))
        gradients.append(leaf.grad)
    assert (ids[0] == ids[1]).float().mean() > 0.999
    assert (pictures[0] - pictures[1]).abs().mean() < 1e-3
    assert (gradients[0] - gradients[1])[..., [0, 1, 3]].norm() < 0.05 * gradients[0].norm()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_sees_what_the_cpu_sees():
    vertices, faces = bumpy(4)
    clip = clip_of(vertices, Camera.orbit([0.0, 70.0, 200.0], [20.0, -10.0, 50.0], projection="perspective"))
    rasterizer, answers = get_rasterizer(), []
    for device in ("cpu", "cuda"):
        leaf, corners = clip.to(device).requires_grad_(), faces.to(device)
        fragments = rasterizer.rasterize(leaf, corners, (128, 128))
        picture = rasterizer.interpolate(vertices[None].to(device), fragments, corners)
        picture = rasterizer.antialias(picture, fragments, leaf, corners)
        (gradient,) = torch.autograd.grad(picture.square().sum(), leaf)
        answers.append([x.cpu() for x in (fragments.triangle, picture, gradient)])
    assert (answers[0][0] == answers[1][0]).float().mean() > 0.9999
    assert (answers[0][1] - answers[1][1]).abs().mean() < 1e-4
    assert (answers[0][2] - answers[1][2]).norm() < 0.02 * answers[0][2].norm()
