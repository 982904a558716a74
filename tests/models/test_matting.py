from pathlib import Path

import torch
from safetensors.torch import load_file

from infinitemesh.hub import BUNDLED, load_network
from infinitemesh.models.matting import IMAGENET_MEAN, IMAGENET_STD, U2NetP

FIXTURES = Path(__file__).parents[1] / "fixtures"


def bundled():
    return load_network(U2NetP, BUNDLED / "small" / "matting")


def ball(size, at=(0.45, 0.55), radius=0.25):
    """A shaded ball before a striped wall, and where it is."""
    v, u = torch.meshgrid(*[(torch.arange(size) + 0.5) / size] * 2, indexing="ij")
    x, y = (u - at[0]) / radius, (v - at[1]) / radius
    inside = x**2 + y**2 < 1
    shade = (1 - x**2 - y**2).clamp(0, 1).sqrt() * 0.7 + 0.25
    wall = 0.75 + 0.05 * torch.sin(40 * u)
    colours = (torch.tensor([0.9, 0.3, 0.2]), torch.tensor([0.8, 0.9, 1.0]))
    painted = [c[:, None, None] * s for c, s in zip(colours, (shade, wall), strict=True)]
    return torch.where(inside, *painted)[None], inside


def normalised_picture():
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (ball(320)[0] - mean) / std


@torch.no_grad()
def test_the_bundled_network_equals_the_converted_onnx():
    """Expected values come from a module that equals rembg's u2netp.onnx to 1.4e-6."""
    expected = load_file(FIXTURES / "matting" / "prototype.safetensors")["saliency"]
    found = bundled().double().saliency(normalised_picture().double())[0, 0, ::8, ::8].float()
    assert expected.max() > 0.9 and expected.min() < 0.1
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_object_is_found_at_the_pictures_own_size():
    network = bundled()
    picture, inside = ball(200, at=(0.6, 0.4))
    matte = network(picture[..., 20:])  # 200 x 180
    assert matte.shape == (1, 1, 200, 180) and 0 <= matte.min() and matte.max() <= 1
    found, inside = matte[0, 0] > 0.5, inside[:, 20:]
    assert (found & inside).sum() / (found | inside).sum() > 0.95
    assert network(torch.ones(1, 3, 64, 64)).max() < 0.5
