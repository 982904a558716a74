"""LPIPS v0.1 (Zhang et al. 2018), from torchmetrics' weights or from one local safetensors file.

The distance is a measurement, so its network is never trained or shipped here. A table always names the trunk:
LPIPS-squeeze, LPIPS-alex and LPIPS-vgg are three different numbers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from infinitemesh.errors import CheckpointError, InputError, MissingBackend
from infinitemesh.evaluate.windowed import Layer, outputs_of, windows

LpipsNet = Literal["squeeze", "alex", "vgg"]

# squeezenet1_1's layers by their torchvision index: (input, squeeze, expand) channels of the fire modules
FIRES = {3: (64, 16, 64), 4: (128, 16, 64), 6: (128, 32, 128), 7: (256, 32, 128)}
FIRES |= {9: (256, 48, 192), 10: (384, 48, 192), 11: (384, 64, 256), 12: (512, 64, 256)}
POOLS = (2, 5, 8)
LAST = 12
TAPS = (2, 5, 8, 10, 11, 12, 13)  # whose outputs are compared: one more than torchvision's index, for the scaling
TAP_CHANNELS = (64, 128, 256, 384, 384, 512, 512)
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # LPIPS' input normalisation of [-1, 1]


class Lpips(nn.Module):
    """Called with two batches of pictures in [0, 1]; gives one distance a view. `label` names it in tables."""

    label: str = "lpips"

    def forward(self, result: Float[Tensor, "v 3 h w"], truth: Float[Tensor, "v 3 h w"]) -> Float[Tensor, " v"]:
        raise NotImplementedError


def load_lpips(net: LpipsNet = "squeeze", *, weights: str | Path | None = None) -> Lpips:
    """LPIPS with torchmetrics' weights, or, for `squeeze`, with those of a safetensors file.

    The file holds the trunk as torchvision names it (`features.0.weight`, ...) and the heads `linK.model.1.weight`.
    """
    if net not in ("squeeze", "alex", "vgg"):
        raise InputError(f"LPIPS comes with the trunks squeeze, alex and vgg, not {net!r}")
    if weights is None:
        return TorchmetricsLpips(net)
    if net != "squeeze":
        raise InputError(f"a weights file is read for LPIPS-squeeze only; LPIPS-{net} comes from torchmetrics")
    return SqueezeLpips.from_file(weights)


def net_or_file(text: str | None) -> tuple[LpipsNet | None, Path | None]:
    """What `--lpips` asks for: a trunk by torchmetrics, or a file of weights, which are those of `squeeze`."""
    if text is None:
        return None, None
    if text in ("squeeze", "alex", "vgg"):
        return cast(LpipsNet, text), None
    if not Path(text).is_file():
        raise InputError(f"--lpips takes squeeze, alex, vgg or a weights file; there is no file {text}")
    return "squeeze", Path(text)


class SqueezeLpips(Lpips):
    """The SqueezeNet-1.1 trunk and its seven heads.

    Pictures that need no gradient are looked at one by one and only where they show something: the same number for a
    fifth of the work where the object fills a quarter of the width.
    """

    label = "lpips_squeeze"
    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self._empty: tuple[Tensor, list[Tensor]] | None = None  # the last empty picture, and every layer's output
        self.features = nn.ModuleDict({"0": nn.Conv2d(3, 64, 3, stride=2)})
        self.features.update({str(index): _Fire(*channels) for index, channels in FIRES.items()})
        self.heads = nn.ModuleList(nn.Conv2d(channels, 1, 1, bias=False) for channels in TAP_CHANNELS)
        self.register_buffer("shift", torch.tensor(SHIFT).reshape(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(SCALE).reshape(1, 3, 1, 1))

    @staticmethod
    def from_file(path: str | Path) -> "SqueezeLpips":
        from safetensors.torch import load_file

        if not Path(path).is_file():
            raise CheckpointError(f"no LPIPS weights at {path}: name the safetensors file of LPIPS-squeeze")
        stored = load_file(path)
        renamed = {
            f"heads.{key[3]}.weight" if key.startswith("lin") else key: tensor.float() for key, tensor in stored.items()
        }
        network = SqueezeLpips()
        try:
            missing, unexpected = network.load_state_dict(renamed, strict=False)
        except RuntimeError as error:  # a tensor of another shape
            raise CheckpointError(f"{path} does not hold LPIPS-squeeze v0.1: {error}") from error
        missing = [key for key in missing if key not in ("shift", "scale")]
        if missing or unexpected:
            raise CheckpointError(f"{path} is not LPIPS-squeeze v0.1: missing {missing}, unexpected {unexpected}")
        return network.eval().requires_grad_(False)

    def forward(self, result: Float[Tensor, "v 3 h w"], truth: Float[Tensor, "v 3 h w"]) -> Float[Tensor, " v"]:
        if result.requires_grad or truth.requires_grad:
            return self.in_full(result, truth)
        with torch.no_grad(), _exact_convolutions(result.device):
            pairs = [self._windowed(torch.stack(pair)) for pair in zip(result, truth, strict=True)]
        return torch.stack(pairs) if pairs else result.new_zeros(0)

    def in_full(self, result: Float[Tensor, "v 3 h w"], truth: Float[Tensor, "v 3 h w"]) -> Float[Tensor, " v"]:
        """All pixels of all views at once: the slow twin, and what training needs."""
        distance = torch.zeros(len(result), device=result.device)
        taps_a, taps_b = (outputs_of(self._layers(), images) for images in (result, truth))
        for head, tap in zip(self.heads, TAPS, strict=True):
            distance = distance + head((_unit(taps_a[tap]) - _unit(taps_b[tap])).square()).mean((1, 2, 3))
        return distance

    def _windowed(self, pair: Float[Tensor, "2 3 h w"]) -> Float[Tensor, ""]:
        layers = self._layers()
        empty = self._outputs_of_empty(pair)
        heads = dict(zip(TAPS, self.heads, strict=True))
        distance = torch.zeros((), dtype=torch.float64, device="cpu")
        for index, window in enumerate(windows(layers, empty, pair), start=1):
            if window.is_empty:  # two empty pictures
                break
            if index in heads:
                a, b = _unit(window.values).split(1)
                area = empty[index].shape[-2] * empty[index].shape[-1]
                distance += float(heads[index]((a - b).square()).sum()) / area
        return distance.float().to(pair.device)

    def _outputs_of_empty(self, pair: Float[Tensor, "2 3 h w"]) -> list[Tensor]:
        picture = pair[:1, :, :1, :1].expand(1, *pair.shape[1:])
        if self._empty is None or self._empty[0].device != picture.device or not torch.equal(self._empty[0], picture):
            self._empty = picture.clone(), outputs_of(self._layers(), picture)
        return self._empty[1]

    def _layers(self) -> list[Layer]:
        pool = Layer(_pool, kernel=3, stride=2, padding=0)
        layers = [Layer(self._scaled, kernel=1, stride=1, padding=0), Layer(self._first, kernel=3, stride=2, padding=0)]
        for index in range(POOLS[0], LAST + 1):
            fire = None if index in POOLS else Layer(self.features[str(index)], kernel=3, stride=1, padding=1)
            layers.append(fire or pool)
        return layers

    def _scaled(self, images: Float[Tensor, "v 3 h w"]) -> Float[Tensor, "v 3 h w"]:
        return (images * 2 - 1 - self.shift) / self.scale

    def _first(self, images: Float[Tensor, "v 3 h w"]) -> Float[Tensor, "v 64 h2 w2"]:
        return F.relu(self.features["0"](images))


class TorchmetricsLpips(Lpips):
    """torchmetrics' LPIPS, which fetches the trunk through torchvision."""

    def __init__(self, net: LpipsNet) -> None:
        super().__init__()
        self.label = f"lpips_{net}"
        try:
            from torchmetrics.functional.image.lpips import _LPIPS

            self.network = _LPIPS(pretrained=True, net=cast("Literal['vgg', 'alex', 'squeeze']", net))
        except ImportError as error:
            raise MissingBackend(
                f"LPIPS-{net} needs torchmetrics and torchvision (pip install 'infinitemesh[eval]' torchvision); "
                "LPIPS-squeeze can also be read from a weights file"
            ) from error
        self.eval().requires_grad_(False)

    def forward(self, result: Float[Tensor, "v 3 h w"], truth: Float[Tensor, "v 3 h w"]) -> Float[Tensor, " v"]:
        return self.network(result, truth, normalize=True).reshape(-1)


class _Fire(nn.Module):
    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Float[Tensor, "v c h w"]) -> Float[Tensor, "v d h w"]:
        x = F.relu(self.squeeze(x))
        return F.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], dim=1))


def _pool(features: Float[Tensor, "v c h w"]) -> Float[Tensor, "v c h2 w2"]:
    return F.max_pool2d(features, 3, stride=2, ceil_mode=True)


def _unit(features: Float[Tensor, "v c h w"]) -> Float[Tensor, "v c h w"]:
    return features * torch.rsqrt(features.square().sum(1, keepdim=True) + 1e-8)


@contextmanager
def _exact_convolutions(device: torch.device) -> Iterator[None]:
    """No TF32 on a GPU: the number is the CPU's."""
    if device.type != "cuda":
        yield
        return
    convolution = torch.backends.cudnn.conv  # pyright: ignore[reportAttributeAccessIssue]
    allowed = convolution.fp32_precision
    convolution.fp32_precision = "ieee"
    try:
        yield
    finally:
        convolution.fp32_precision = allowed
