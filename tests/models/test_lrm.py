"""The reconstruction network: published tensors, published numbers, and laws of the options."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file
from torch.testing import assert_close

from infinitemesh.models.fusion import ViewFusion
from infinitemesh.models.lrm import LargeReconstructionModel
from infinitemesh.types import Camera

FIXTURES = Path(__file__).parents[1] / "fixtures"
ORACLE = FIXTURES / "lrm"


def ring(views: int, batch: int = 1, **options) -> Camera:
    camera = Camera.orbit(torch.arange(views) * 360.0 / views, **options)
    return Camera(
        camera.cam_from_world.expand(batch, -1, 4, 4), camera.intrinsics.expand(batch, -1, 3, 3), camera.projection
    )


def npz(name: str) -> dict[str, torch.Tensor]:
    return {k: torch.from_numpy(v) for k, v in np.load(ORACLE / f"{name}.npz").items()}


@pytest.fixture(scope="module")
def published() -> LargeReconstructionModel:
    """The published architecture at the oracle's reduced size, holding the oracle's tensors."""
    config = json.loads((ORACLE / "meta.json").read_text())["mesh_config"]
    model = LargeReconstructionModel.preset(
        "paper",
        encoder_dim=48,
        encoder_layers=2,
        encoder_heads=3,
        fusion_reading=None,
        transformer_dim=config["transformer_dim"],
        transformer_layers=config["transformer_layers"],
        transformer_heads=config["transformer_heads"],
        triplane_low_res=config["triplane_low_res"],
        triplane_dim=config["triplane_dim"],
    )
    model.load_state_dict(load_file(ORACLE / "mesh_state.safetensors"), strict=True)
    return model.eval()


def oracle_images(views: int) -> torch.Tensor:
    spec = importlib.util.spec_from_file_location("inputs", ORACLE / "inputs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return torch.from_numpy(module.images(views, 320))


@pytest.mark.parametrize(("preset", "manifest"), [("paper", "large"), ("paper-base", "base")])
def test_paper_presets_have_exactly_the_published_tensors(preset, manifest):
    published = json.loads((FIXTURES / "manifests" / f"instantmesh_{manifest}.json").read_text())["state_dict"]
    with torch.device("meta"):
        ours = LargeReconstructionModel.preset(preset, fusion_reading=None).state_dict()
    assert {k: list(v.shape) for k, v in ours.items()} == {k: v[0] for k, v in published.items()}


def test_encoder_computes_the_published_function(published):
    expected = npz("encoder")
    white = oracle_images(6)
    rgba = torch.cat([white, torch.ones(6, 1, 320, 320)], dim=1)[None]
    pixels = published.pixels(rgba, ring(6, projection="perspective"))
    with torch.no_grad():
        tokens = published.encoder(pixels[0], expected["cameras"][0])
    assert_close(rearrange(tokens, "v p d -> 1 (v p) d"), expected["image_feats"], atol=1e-4, rtol=0)


def test_triplane_transformer_and_decoders_compute_the_published_function(published):
    expected, at = npz("triplane"), npz("points")
    with torch.no_grad():
        planes = published.transformer(npz("encoder")["image_feats"])
        assert_close(planes, expected["planes"], atol=1e-4, rtol=0)
        sdf, colour = published.decoders.sdf_and_colour(expected["planes"], at["points"])
        assert_close(sdf[..., None], at["sdf"], atol=1e-5, rtol=0)
        assert_close(colour, at["rgb"], atol=1e-5, rtol=0)
        grid, cubes = at["grid_verts"][None], at["grid_cubes"].long()
        sdf, deformation = published.decoders.sdf_and_deformation(expected["planes"], grid)
        assert_close(sdf[..., None], at["grid_sdf"], atol=1e-5, rtol=0)
        assert_close(deformation, at["grid_deformation_raw"], atol=1e-5, rtol=0)
        weights = published.decoders.weights(expected["planes"], grid[:, cubes])
        assert_close(weights, at["grid_weight"], atol=1e-5, rtol=0)


def test_published_camera_code_of_an_orbit():
    """InstantMesh's rig (radius 4, fov 30, z up, front on +x) from our cameras, at the azimuths of its input grid."""
    model = LargeReconstructionModel.preset(
        "paper", encoder_dim=16, encoder_layers=1, encoder_heads=1, transformer_dim=16, transformer_layers=1,
        transformer_heads=1, fusion_reading=None,
    )  # fmt: skip
    azimuths, elevations = [30.0, 90, 150, 210, 270, 330], [20.0, -10, 20, -10, 20, -10]
    radius = 4.0 * model.config.half_extent
    camera = Camera.orbit(azimuths, elevations, projection="perspective", fov_deg=30.0, distance=radius)
    code = model.camera_code(Camera(camera.cam_from_world[None], camera.intrinsics[None], "perspective"))
    assert_close(code, npz("cameras")["zero123plus_radius4_fov30"], atol=1e-5, rtol=0)
    orthographic = Camera.orbit(azimuths, elevations)
    code = model.camera_code(Camera(orthographic.cam_from_world[None], orthographic.intrinsics[None]))
    assert_close(code, npz("cameras")["zero123plus_radius4_fov30"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("reading", ["joint", "neighbour", "per_view", "channel"])
def test_untrained_fusion_is_the_identity_and_learns_from_the_first_step(reading):
    fusion = ViewFusion(16, 2, reading=reading, num_patches=5)
    tokens = torch.randn(2, 12, 5, 16)
    fused = fusion(tokens)
    assert torch.equal(fused, tokens)
    fused.square().sum().backward()
    assert fusion.to_out.weight.grad.abs().max() > 0


def test_fusion_adds_to_the_position_embedded_tokens():
    """p of Eq. 4 is the residual, its embedding included."""
    fusion = ViewFusion(16, 2, num_patches=5)
    torch.nn.init.normal_(fusion.patch_embedding)
    tokens = torch.randn(2, 4, 5, 16)
    assert torch.equal(fusion(tokens), tokens + fusion.patch_embedding)


@pytest.mark.parametrize(
    ("reading", "reached"),
    [("per_view", {3}), ("neighbour", {1, 2, 3, 4, 5}), ("channel", {1, 2, 3, 4, 5}), ("joint", set(range(12)))],
)
def test_fusion_readings_reach_the_views_they_name(reading, reached):
    fusion = ViewFusion(8, 2, reading=reading, num_patches=4)
    torch.nn.init.normal_(fusion.to_out.weight)
    tokens = torch.randn(1, 12, 4, 8)
    before = fusion(tokens)
    changed = set()
    for view in range(12):
        other = tokens.clone()
        other[:, view] += 1.0 * torch.randn(4, 8)
        if not torch.allclose(fusion(other)[:, 3], before[:, 3], atol=1e-6):
            changed.add(view)
    assert changed == reached


@pytest.mark.parametrize("views", [1, 4, 12])
def test_any_number_of_views_gives_planes_and_every_parameter_a_gradient(views):
    model = LargeReconstructionModel.preset("tiny")
    planes = model(torch.rand(2, views, 4, 32, 32), ring(views, 2))
    assert planes.shape == (2, 3, 8, 12, 12)
    torch.nn.init.normal_(model.fusion.to_out.weight, std=0.1)
    planes = model(torch.rand(2, views, 4, 32, 32), ring(views, 2))
    points = torch.rand(2, 50, 3) * 2 - 1
    sdf, colour = model.decoders.sdf_and_colour(planes, points)
    corners = rearrange(torch.rand(2, 24, 3), "b (n c) xyz -> b n c xyz", c=8)
    weights = model.decoders.weights(planes, corners)
    deformation = model.decoders.sdf_and_deformation(planes, points)[1]
    (sdf.sum() + colour.sum() + weights.sum() + deformation.sum()).backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None]
    assert not missing


def test_lift_sees_the_visual_hull_where_it_is():
    """Lighting one pixel changes only the tokens whose column of voxels stands behind it."""
    model = LargeReconstructionModel.preset("tiny")
    lift = model.projection_lift
    empty = torch.zeros(1, 1, 4, 32, 32)
    lit = empty.clone()
    lit[..., 3, 2:6, 26:30] = 1.0  # top right corner of the front view: +x, +y
    camera = ring(1)
    with torch.no_grad():
        lift.pixels.requires_grad_(False)
        for conv in (*lift.pixels, *lift.mix):
            if isinstance(conv, torch.nn.Conv2d | torch.nn.Conv3d):
                conv.weight.zero_()
                conv.bias.zero_()
        difference = (lift(lit, camera) - lift(empty, camera)).abs().sum(-1)[0]
    xy, xz, zy = rearrange(difference, "(plane row column) -> plane row column", plane=3, row=6)
    rows, columns = xy.nonzero().unbind(-1)
    assert len(rows) and rows.min() >= 4 and columns.min() >= 4  # row is y, column is x
    assert xz.nonzero()[:, 1].min() >= 4  # (x, z): only columns at large x
    assert zy.nonzero()[:, 0].min() >= 4  # (z, y): only rows at large y


def test_saved_networks_come_back_equal(tmp_path):
    model = LargeReconstructionModel.preset("tiny").eval()
    model.save_pretrained(tmp_path)
    again = LargeReconstructionModel.from_pretrained(tmp_path).eval()
    views = torch.rand(1, 4, 4, 32, 32)
    assert torch.equal(model(views, ring(4)), again(views, ring(4)))


def test_views_of_any_size_are_resized_in_half_precision_too():
    from infinitemesh.models.lrm import resize

    views = torch.rand(1, 2, 4, 48, 48)
    assert_close(resize(views.bfloat16(), 32).float(), resize(views, 32), atol=0.02, rtol=0)
