import numpy as np
import pytest
import torch
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from infinitemesh.errors import InputError
from infinitemesh.hub import load_network, save_network
from infinitemesh.models.conditioning import pose4
from infinitemesh.models.image_encoder import ClipImageEncoder, ImageEncoder
from infinitemesh.models.multiview_unet import MultiViewUNet
from infinitemesh.types import Camera


def picture(n=2, size=64, seed=0):
    return torch.rand(n, 4, size, size, generator=torch.Generator().manual_seed(seed))


def pose():
    return pose4(Camera.orbit([30.0, 60.0], 0.0), Camera.orbit([90.0, 0.0], 0.0))


@torch.no_grad()
def test_tokens_know_the_picture_the_pose_and_nothing_behind_the_object():
    torch.manual_seed(0)
    encoder = ImageEncoder.preset("tiny").eval()
    rgba = picture()
    rgba[:, 3, :20] = 0
    tokens = encoder(rgba, pose())
    assert tokens.shape == (2, 4, 16)
    assert (tokens - encoder(rgba, pose().flip(0))).abs().max() > 1e-3
    assert (tokens - encoder(picture(seed=1), pose())).abs().max() > 1e-3
    hidden = rgba.clone()
    hidden[:, :3, :20] = 0.5
    torch.testing.assert_close(encoder(hidden, pose()), tokens, atol=0, rtol=0)
    torch.testing.assert_close(encoder(rgba[1:], pose()[1:]), tokens[1:], atol=1e-5, rtol=0)


def test_the_small_preset_fits_the_small_denoiser_and_is_small(tmp_path):
    encoder = ImageEncoder.preset("small")
    assert sum(p.numel() for p in encoder.parameters()) < 1e6
    tokens = encoder(picture(1, 256), pose()[:1])
    with torch.device("meta"):
        assert tokens.shape[-1] == MultiViewUNet.preset("small").config["cross_attention_dim"]
    save_network(encoder, tmp_path / "encoder")
    torch.testing.assert_close(load_network(ImageEncoder, tmp_path / "encoder")(picture(1, 256), pose()[:1]), tokens)
    with pytest.raises(InputError, match="no preset"):
        ImageEncoder.preset("large")


def test_clip_has_its_published_size():
    with torch.device("meta"):
        encoder = ClipImageEncoder.untrained()
    assert sum(p.numel() for p in encoder.vision.parameters()) == 303_966_208
    assert encoder.projection.linear.weight.shape == (768, 772)


@torch.no_grad()
def test_clip_sees_what_its_own_processor_prepares():
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        projection_dim=12,
        image_size=224,
        patch_size=56,
    )
    encoder = ClipImageEncoder(CLIPVisionModelWithProjection(config).eval())
    smooth = torch.nn.functional.interpolate(picture(1, 8), 256, mode="bicubic").clamp(0, 1)
    smooth = (smooth * 255).round() / 255
    smooth[:, 3] = 1
    as_array = np.asarray((smooth[0, :3] * 255).byte().permute(1, 2, 0))
    expected = CLIPImageProcessor()(as_array, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(encoder.pixels(smooth), expected, atol=0.03, rtol=0)
    token = encoder(smooth, pose()[:1])
    assert token.shape == (1, 1, 12)
    torch.testing.assert_close(token[:, 0], encoder.vision(pixel_values=encoder.pixels(smooth)).image_embeds)
