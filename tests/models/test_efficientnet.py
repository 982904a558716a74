"""EfficientNet-lite: TensorFlow's padding, residuals, and the published tensors with their norms folded in."""

import re
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.testing import assert_close

from infinitemesh.convert.checkpoint import read_checkpoint
from infinitemesh.convert.efficientnet import from_efficientnet, main
from infinitemesh.errors import CheckpointError
from infinitemesh.models.efficientnet import LAYOUTS, MEAN, STD, EfficientNetLite
from infinitemesh.models.single_view import SingleViewModel

BLOCKS = (  # as efficientnet_builder.py of TensorFlow's repository writes them
    "r1_k3_s11_e1_i32_o16", "r2_k3_s22_e6_i16_o24", "r2_k5_s22_e6_i24_o40", "r3_k3_s22_e6_i40_o80",
    "r3_k5_s11_e6_i80_o112", "r4_k5_s22_e6_i112_o192", "r1_k3_s11_e6_i192_o320",
)  # fmt: skip
PARAMETERS = 4_652_008  # of the published network, with norms and classifier ("4.7M")


class Published(nn.Module):
    """EfficientNet-lite0 as it is published: kernels without biases, batch norms, a classifier; tensors in order."""

    def __init__(self):
        super().__init__()
        self.stem = nn.ModuleList(kernel_and_norm(3, 32, 3, stride=2))
        self.blocks = nn.ModuleList()
        for text in BLOCKS:
            repeats, kernel, stride, expansion, before, after = map(
                int, re.fullmatch(r"r(\d)_k(\d)_s(\d)\d_e(\d)_i(\d+)_o(\d+)", text).groups()
            )
            for number in range(repeats):
                width = after if number else before
                inner = width * expansion
                layers = kernel_and_norm(width, inner, 1) if expansion > 1 else []
                layers += kernel_and_norm(inner, inner, kernel, stride=1 if number else stride, groups=inner)
                self.blocks.append(nn.ModuleList(layers + kernel_and_norm(inner, after, 1)))
        self.head = nn.ModuleList(kernel_and_norm(320, 1280, 1))
        self.classifier = nn.Linear(1280, 1000)

    def forward(self, pixels: Tensor) -> Tensor:
        """The features that the classifier reads."""
        x = run(self.stem, pixels, last_is_linear=False)
        for block in self.blocks:
            out = run(block, x, last_is_linear=True)
            x = x + out if out.shape == x.shape else out
        return run(self.head, x, last_is_linear=False).mean((2, 3))


def kernel_and_norm(channels_in: int, channels: int, kernel: int, *, stride: int = 1, groups: int = 1) -> list:
    return [
        nn.Conv2d(channels_in, channels, kernel, stride, groups=groups, bias=False),
        nn.BatchNorm2d(channels, eps=1e-3),
    ]


def run(layers: nn.ModuleList, x: Tensor, *, last_is_linear: bool) -> Tensor:
    for kernel, norm in zip(layers[::2], layers[1::2], strict=True):
        x = norm(kernel(padded(x, kernel.kernel_size[0], kernel.stride[0])))
        x = x if last_is_linear and norm is layers[-1] else F.relu6(x)
    return x


def padded(x: Tensor, kernel: int, stride: int) -> Tensor:
    """TensorFlow's SAME: ceil(n / stride) outputs, the odd row and column of zeros below and to the right."""
    above, below, left, right = 0, 0, 0, 0
    while -(-x.shape[-2] // stride) > (x.shape[-2] + above + below - kernel) // stride + 1:
        above, below = (above, below + 1) if above == below else (above + 1, below)
    while -(-x.shape[-1] // stride) > (x.shape[-1] + left + right - kernel) // stride + 1:
        left, right = (left, right + 1) if left == right else (left + 1, right)
    return F.pad(x, (left, right, above, below))


@pytest.fixture(scope="module")
def published() -> Published:
    """With random statistics."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Published().eval()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 2.0)
                nn.init.normal_(module.bias, std=0.5)
                nn.init.normal_(module.running_mean, std=0.2)
                nn.init.uniform_(module.running_var, 0.05, 0.5)
    return network


@pytest.mark.parametrize(("height", "width"), [(6, 9), (9, 6), (7, 7), (8, 8), (5, 32), (33, 4)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_a_stride_pads_as_tensorflow_does_for_odd_and_even_sizes(kernel, height, width):
    network = EfficientNetLite("tiny")
    layer = network.stem if kernel == 3 else network.blocks[1].depthwise
    assert layer.kernel_size == (kernel, kernel) and layer.stride == (2, 2)
    x = torch.randn(2, layer.in_channels, height, width)
    weight = layer.weight.expand(-1, layer.in_channels // layer.groups, -1, -1)
    rows, columns = -(-height // 2), -(-width // 2)
    above, left = (max((count - 1) * 2 + kernel - n, 0) // 2 for count, n in ((rows, height), (columns, width)))
    expected = torch.zeros(2, layer.out_channels, rows, columns)
    for i in range(rows):
        for j in range(columns):
            for di in range(kernel):
                for dj in range(kernel):
                    y, z = 2 * i + di - above, 2 * j + dj - left
                    if 0 <= y < height and 0 <= z < width:
                        seen = x[:, :, y, z]
                        tap = weight[:, :, di, dj]
                        expected[:, :, i, j] += seen * tap[:, 0] if layer.groups > 1 else seen @ tap.T
    assert_close(layer(x), expected + layer.bias[:, None, None], atol=1e-5, rtol=1e-4)
    plain = F.conv2d(padded(x, kernel, 2), layer.weight, layer.bias, 2, groups=layer.groups)
    assert_close(layer(x), plain)


def test_an_even_picture_is_padded_at_its_end_alone():
    """What convolutions with symmetric padding get wrong: the first output stands at the first pixel, not before."""
    stem = EfficientNetLite("tiny").stem
    nn.init.zeros_(stem.weight)
    nn.init.zeros_(stem.bias)
    stem.weight.data[:, 0, 0, 0] = 1.0
    even, odd = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 9, 9)
    assert_close(stem(even)[:, 0], even[:, 0, ::2, ::2])
    assert_close(stem(odd)[:, 0, 1:, 1:], odd[:, 0, 1::2, 1::2])
    assert stem(odd)[:, 0, 0].abs().max() == 0


@pytest.mark.parametrize("name", ["tiny", "lite0"])
def test_a_block_keeps_its_input_where_it_has_the_shape_of_its_output(name):
    network, width = EfficientNetLite(name).requires_grad_(False), LAYOUTS[name].stem
    kept = []
    for block in network.blocks:
        nn.init.zeros_(block.project.weight)
        nn.init.zeros_(block.project.bias)
        x = torch.randn(1, width, 6, 6)
        out = block(x)
        width = block.project.out_channels
        kept.append(out.shape == x.shape)
        assert torch.equal(out, x if kept[-1] else torch.zeros_like(out))
    assert kept == {"tiny": [True, False, True], "lite0": _repeats()}[name]


def _repeats() -> list[bool]:
    return [number > 0 for text in BLOCKS for number in range(int(text[1]))]


def test_a_folded_conversion_is_the_published_network_in_evaluation_mode(published):
    assert sum(parameter.numel() for parameter in published.parameters()) == PARAMETERS
    ours = EfficientNetLite("lite0").eval()
    ours.load_state_dict(from_efficientnet(published.state_dict()))
    ours, published = ours.double(), deepcopy(published).double()  # processors sum in other orders
    for size in (64, 75):
        rgb = torch.rand(2, 3, size, size).double()
        with torch.no_grad():
            found, expected = ours(rgb), published((rgb - MEAN) / STD)
        assert found.shape == (2, 1280) and expected.std() > 0.1
        assert (expected[0] - expected[1]).abs().max() > 1e-2, "the pictures are told apart"
        assert_close(found, expected, atol=1e-4, rtol=1e-4)
    as_trained = (rgb * 255 - 127) / 128
    assert_close((rgb - MEAN) / STD, as_trained, atol=2e-4, rtol=0)


def test_features_are_a_mean_over_the_picture_of_values_of_0_to_6():
    network = EfficientNetLite("tiny").requires_grad_(False)
    network.head.weight.zero_()
    network.head.bias.copy_(torch.linspace(-3, 9, 16))
    assert_close(network(torch.rand(2, 3, 32, 32)), torch.linspace(-3, 9, 16).clamp(0, 6).expand(2, 16))


def test_a_file_of_the_published_network_becomes_one_of_ours(published, tmp_path):
    torch.save(published.state_dict(), tmp_path / "lite0.pth", _use_new_zipfile_serialization=False)
    main([str(tmp_path / "lite0.pth"), str(tmp_path / "out.safetensors")])
    written, exact = load_file(tmp_path / "out.safetensors"), from_efficientnet(published.state_dict())
    assert written.keys() == EfficientNetLite("lite0").state_dict().keys() == exact.keys()
    for name, value in written.items():
        assert torch.equal(value, exact[name].half())


def test_the_count_of_batches_is_no_tensor_of_a_layer(published):
    state = {name: value for name, value in published.state_dict().items() if "num_batches_tracked" not in name}
    without, with_counts = from_efficientnet(state), from_efficientnet(published.state_dict())
    assert all(torch.equal(without[name], with_counts[name]) for name in with_counts)


@pytest.mark.parametrize("new_format", [True, False])
def test_pickles_of_both_of_torchs_formats_are_read(new_format, tmp_path):
    state = {"kernel": torch.randn(3, 4), "count": torch.tensor(7)}
    torch.save(state, tmp_path / "weights.pth", _use_new_zipfile_serialization=new_format)
    found = read_checkpoint(tmp_path / "weights.pth")
    assert found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)


def test_a_damaged_file_of_the_old_format_is_refused(tmp_path):
    torch.save({"kernel": torch.randn(3, 4)}, tmp_path / "whole.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"cut\.pth"):
        read_checkpoint(tmp_path / "cut.pth")


def _swapped(state):
    """The first norm's bias before its weight."""
    items = list(state.items())
    first = next(k for k, (name, _) in enumerate(items) if name.endswith(".bias"))
    items[first - 1 : first + 1] = items[first - 1 : first + 1][::-1]
    return dict(items)


def _transposed(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: value.transpose(0, 1) if key == name else value for key, value in state.items()}


@pytest.mark.parametrize(
    "wrong", ["other network", "nothing", "short", "kernel", "norm", "order", "classless", "longer"]
)
def test_a_wrong_file_is_refused_and_nothing_is_written(wrong, published, tmp_path):
    right = published.state_dict()
    first_norm = next(name for name in right if name.endswith("running_var"))
    head = next(name for name in right if name.startswith("head"))
    state, says = {
        "other network": lambda: (SingleViewModel.preset("tiny").state_dict(), "where a weight of 32 x 3 x 3 x 3 is"),
        "nothing": lambda: ({}, r"nothing \(0,\) stands where a weight of 32 x 3 x 3 x 3 is due"),
        "short": lambda: (dict(list(right.items())[: list(right).index(head) + 3]), "nothing .* where a running_mean"),
        "kernel": lambda: (_transposed(right, head), r"where a weight of 1280 x 320 x 1 x 1 is due"),
        "norm": lambda: (right | {first_norm: torch.ones(31)}, r"running_var \(31,\) stands where a running_var of 32"),
        "order": lambda: (_swapped(right), r"\.bias \(32,\) stands where a weight of 32 is due"),
        "classless": lambda: (dict(list(right.items())[:-2]), "nothing .* where a weight of any x 1280 is due"),
        "longer": lambda: (right | {"extra.weight": torch.ones(3)}, r"extra\.weight comes after its classifier"),
    }[wrong]()
    with pytest.raises(CheckpointError, match=says):
        from_efficientnet(state)
    torch.save(state, tmp_path / "source.pth")
    with pytest.raises(CheckpointError, match=says):
        main([str(tmp_path / "source.pth"), str(tmp_path / "out.safetensors")])
    assert not (tmp_path / "out.safetensors").exists()
