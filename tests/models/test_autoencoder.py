import pytest
import torch
import torch.nn.functional as F

from infinitemesh.errors import InputError
from infinitemesh.hub import load_network, save_network
from infinitemesh.models.autoencoder import ImageAutoencoder, PaperAutoencoder


def pictures(n=2, size=32, seed=0):
    return torch.rand(n, 4, size, size, generator=torch.Generator().manual_seed(seed))


def tiny(**changes):
    torch.manual_seed(0)
    return ImageAutoencoder.preset("tiny", **changes).eval()


def test_latents_are_an_eighth_and_pictures_come_back_whole():
    latents = (net := tiny()).encode(pictures())
    assert latents.shape == (2, 8, 4, 4)
    decoded = net.decode(latents)
    assert decoded.shape == (2, 4, 32, 32) and 0 <= decoded.min() and decoded.max() <= 1


def test_colour_behind_alpha_zero_does_not_reach_the_latents():
    picture = pictures()
    picture[:, 3, :, :16] = 0
    other = picture.clone()
    other[:, :3, :, :16] = 0.123
    net = tiny()
    torch.testing.assert_close(net.encode(picture), net.encode(other), atol=0, rtol=0)


def test_measured_statistics_make_latents_standard_and_travel_with_the_weights(tmp_path):
    net = tiny()
    raw = net.posterior(pictures(8)).mode().detach()
    pictured = net.decode_raw(raw).clamp(0, 1)
    net.with_latent_statistics(raw.mean((0, 2, 3)).tolist(), raw.std((0, 2, 3)).tolist())
    latents = net.encode(pictures(8))
    torch.testing.assert_close(latents.mean((0, 2, 3)), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(latents.std((0, 2, 3)), torch.ones(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(net.decode(latents), pictured, atol=1e-5, rtol=0)
    save_network(net, tmp_path / "autoencoder")
    loaded = load_network(ImageAutoencoder, tmp_path / "autoencoder")
    torch.testing.assert_close(loaded.encode(pictures(8)), latents, atol=0, rtol=0)


def test_a_batch_gives_each_picture_what_it_gets_alone():
    net, batch = tiny(), pictures(3)
    alone = torch.cat([net.decode(net.encode(picture[None])) for picture in batch])
    torch.testing.assert_close(net.decode(net.encode(batch)), alone, atol=1e-5, rtol=0)


def test_it_learns_a_picture_in_a_few_steps():
    net, picture = tiny().train(), F.interpolate(pictures(1, 4), 32, mode="bicubic").clamp(0, 1)
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    errors = []
    for step in range(60):
        result, _ = net(picture, torch.Generator().manual_seed(step))
        loss = F.l1_loss(result, picture)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        errors.append(loss.item())
    assert errors[-1] < 0.4 * errors[0]


def test_the_small_preset_is_small():
    with torch.device("meta"):
        net = ImageAutoencoder.preset("small")
        assert net.decode(net.encode(torch.rand(1, 4, 256, 256))).shape == (1, 4, 256, 256)
    assert 2e6 < sum(p.numel() for p in net.parameters()) < 3e6


def test_bad_sizes_and_statistics_are_refused():
    with pytest.raises(InputError, match="multiples of 8"):
        tiny().encode(pictures(size=33))
    with pytest.raises(InputError, match="8 means"):
        tiny().with_latent_statistics([0.0], [1.0])


def test_the_published_autoencoder_has_its_published_size_and_composites_on_white():
    with torch.device("meta"):
        published = PaperAutoencoder.untrained()
    assert sum(p.numel() for p in published.parameters()) == 83_653_863
    torch.manual_seed(0)
    vae = type(published.vae)(block_out_channels=(4,), norm_num_groups=2, scaling_factor=0.18215)
    paper, picture = PaperAutoencoder(vae.eval()), pictures()
    white = picture[:, :3] * picture[:, 3:] + 1 - picture[:, 3:]
    latents = vae.encode(white * 2 - 1).latent_dist.mode() * 0.18215
    torch.testing.assert_close(paper.encode(picture), latents, atol=1e-6, rtol=0)
    torch.testing.assert_close(paper.encode(white), latents, atol=1e-6, rtol=0)
    expected = (vae.decode(latents / 0.18215).sample / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(paper.decode(latents), expected, atol=1e-6, rtol=0)
