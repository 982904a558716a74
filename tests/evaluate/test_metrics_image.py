"""Picture metrics against torchmetrics and scikit-image on random pictures."""

import pytest
import torch
from safetensors.torch import save_file
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import peak_signal_noise_ratio as torch_psnr
from torchmetrics.functional.image import structural_similarity_index_measure as torch_ssim
from torchmetrics.functional.image.lpips import _LPIPS, _normalize_tensor, _spatial_average

from infinitemesh.errors import CheckpointError, InputError, MissingBackend
from infinitemesh.evaluate.lpips import SqueezeLpips, load_lpips, net_or_file
from infinitemesh.evaluate.metrics_image import mask_iou, psnr, psnr_within, ssim


def pictures(seed: int, height: int = 40, width: int = 52) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(3, 3, height // 8, width // 8, generator=generator)
    a = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return a, (a + 0.15 * torch.randn(a.shape, generator=generator)).clamp(0, 1)


def test_psnr_equals_torchmetrics_and_skimage():
    a, b = pictures(0)
    for k, value in enumerate(psnr(a, b)):
        torch.testing.assert_close(value, torch_psnr(a[k], b[k], data_range=1.0), atol=1e-4, rtol=0)
        expected = peak_signal_noise_ratio(b[k].numpy(), a[k].numpy(), data_range=1)
        assert float(value) == pytest.approx(expected, abs=1e-4)
    assert psnr(a, a).tolist() == [100.0] * 3


def test_ssim_equals_torchmetrics():
    a, b = pictures(1)
    b[1, :, 20:] = a[1, :, 20:]  # where nothing differs nothing is filtered: the value must not show it
    b[2] = a[2]
    b[2, :, 5, 7] = 0
    expected = torch.stack([torch_ssim(x[None], y[None], data_range=1.0) for x, y in zip(a, b, strict=True)])
    torch.testing.assert_close(ssim(a, b), expected, atol=1e-5, rtol=0)
    assert ssim(a, a).tolist() == [1.0] * 3


def test_ssim_differs_from_skimage_by_its_border_alone():
    a, b = pictures(2)
    _, full = structural_similarity(
        a[0].numpy(),
        b[0].numpy(),
        channel_axis=0,
        data_range=1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    white = torch.nn.functional.pad
    padded_a, padded_b = (white(x[:1], (40,) * 4, value=1.0) for x in (a, b))
    wide = structural_similarity(
        padded_a[0].numpy(),
        padded_b[0].numpy(),
        channel_axis=0,
        data_range=1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    height, width = padded_a.shape[-2:]
    inner = (height - 10) * (width - 10) / (height * width)  # skimage's mean leaves five pixels of white out
    assert float(ssim(padded_a, padded_b)) == pytest.approx(1 - (1 - wide) * inner, abs=1e-4)
    assert full.shape == a[0].shape


def test_psnr_of_the_object_does_not_depend_on_the_background():
    a, b = pictures(3)
    everywhere = torch.ones(3, 1, *a.shape[-2:], dtype=torch.bool)
    torch.testing.assert_close(psnr_within(a, b, everywhere), psnr(a, b))
    wide_a, wide_b = (torch.nn.functional.pad(x, (30,) * 4, value=1.0) for x in (a, b))
    mask = torch.nn.functional.pad(everywhere, (30,) * 4, value=False)
    torch.testing.assert_close(psnr_within(wide_a, wide_b, mask), psnr(a, b))


def test_mask_iou_counts_pixels():
    a, b = torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)
    a[0, :, :4], b[0, :, 2:6] = 0.9, 0.6
    torch.testing.assert_close(mask_iou(a, b), torch.tensor([2 / 6, 1.0]))


def test_lpips_squeeze_is_torchmetrics_network_with_the_same_weights(tmp_path):
    torch.manual_seed(0)
    ours = SqueezeLpips().eval()
    for head in ours.heads:
        head.weight.data.abs_()
    stored = {k: v.contiguous() for k, v in ours.state_dict().items() if k.startswith("features")}
    stored |= {f"lin{k}.model.1.weight": head.weight.data for k, head in enumerate(ours.heads)}
    save_file(stored, tmp_path / "lpips.safetensors")
    loaded = load_lpips("squeeze", weights=tmp_path / "lpips.safetensors")
    a, b = pictures(4, 64, 72)
    torch.testing.assert_close(loaded(a, b), ours(a, b))
    scaling = _scaled(a), _scaled(b)
    taps_a, taps_b = (_trunk(ours, image) for image in scaling)
    expected = sum(
        _spatial_average(head((_normalize_tensor(x) - _normalize_tensor(y)) ** 2), keep_dim=False)
        for head, x, y in zip(ours.heads, taps_a, taps_b, strict=True)
    )
    torch.testing.assert_close(loaded(a, b), expected.reshape(-1), atol=1e-5, rtol=1e-4)
    assert issubclass(_LPIPS, torch.nn.Module)
    torch.testing.assert_close(loaded(a, a), torch.zeros(3))


@pytest.mark.parametrize("size", [(64, 72), (97, 150), (200, 131)])
def test_lpips_of_what_is_shown_is_lpips_of_the_whole_picture(size):
    """Objects in the middle, at a border, in a corner, everywhere and nowhere, over white and over grey."""
    torch.manual_seed(0)
    network = SqueezeLpips().eval().requires_grad_(False)
    for head in network.heads:
        head.weight.abs_()
    height, width = size
    a, b = torch.ones(7, 3, *size), torch.ones(7, 3, *size)
    for k, (top, left) in enumerate([(20, 30), (0, 11), (height - 9, width - 12), (5, width - 1)]):
        a[k, :, top : top + 15, left : left + 20] = torch.rand(a[k, :, top : top + 15, left : left + 20].shape)
        b[k, :, top + 3 : top + 17, left : left + 9] = 0.2
    a[4], b[4] = torch.rand(2, 3, *size)
    a[5], b[5] = 0.5, 0.5
    b[5, :, 30:40, 20:50] = torch.rand(3, 10, 30)
    windowed = network(a, b)
    torch.testing.assert_close(windowed, network.in_full(a, b), atol=1e-7, rtol=1e-5)
    assert (windowed[[0, 1, 2, 4, 5]] > 0).all()  # a stride may leave the last column, the fourth, unseen
    assert windowed[6] == 0
    torch.testing.assert_close(network(a[[2]], b[[2]]), windowed[[2]], atol=0, rtol=0)  # whatever stands beside it


def test_lpips_has_gradients():
    network = SqueezeLpips().eval().requires_grad_(False)
    a, b = pictures(5, 64, 72)
    network(a.requires_grad_(), b).sum().backward()
    assert a.grad is not None
    assert bool((a.grad != 0).any())


def test_lpips_is_asked_for_by_its_trunk_or_by_a_file(tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"")
    assert net_or_file(None) == (None, None)
    assert [net_or_file(net) for net in ("squeeze", "alex", "vgg")] == [
        ("squeeze", None),
        ("alex", None),
        ("vgg", None),
    ]
    assert net_or_file(str(tmp_path / "weights.safetensors")) == ("squeeze", tmp_path / "weights.safetensors")
    with pytest.raises(InputError, match="takes squeeze, alex, vgg or a weights file"):
        net_or_file("alexnet")


def test_lpips_errors_say_what_to_do(tmp_path):
    with pytest.raises(CheckpointError, match="no LPIPS weights"):
        load_lpips("squeeze", weights=tmp_path / "absent.safetensors")
    save_file({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "part.safetensors")
    with pytest.raises(CheckpointError, match="missing"):
        load_lpips("squeeze", weights=tmp_path / "part.safetensors")
    with pytest.raises(InputError, match="LPIPS-squeeze only"):
        load_lpips("vgg", weights=tmp_path / "part.safetensors")
    try:
        import torchvision  # noqa: F401
    except ImportError:
        with pytest.raises(MissingBackend, match="torchvision"):
            load_lpips("alex")


def _scaled(image: torch.Tensor) -> torch.Tensor:
    shift = torch.tensor([-0.030, -0.088, -0.188]).reshape(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).reshape(1, 3, 1, 1)
    return (image * 2 - 1 - shift) / scale


def _trunk(network: SqueezeLpips, x: torch.Tensor) -> list[torch.Tensor]:
    """SqueezeNet 1.1 written out layer by layer."""
    relu, pool = torch.relu, torch.nn.MaxPool2d(3, 2, ceil_mode=True)

    def fire(index: int, x: torch.Tensor) -> torch.Tensor:
        part = network.features[str(index)]
        squeezed = relu(part.squeeze(x))
        return torch.cat([relu(part.expand1x1(squeezed)), relu(part.expand3x3(squeezed))], dim=1)

    first = relu(network.features["0"](x))
    second = fire(4, fire(3, pool(first)))
    third = fire(7, fire(6, pool(second)))
    fourth = fire(9, pool(third))
    fifth = fire(10, fourth)
    sixth = fire(11, fifth)
    return [first, second, third, fourth, fifth, sixth, fire(12, sixth)]
