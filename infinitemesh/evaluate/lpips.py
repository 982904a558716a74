"""LPIPS v0.1 (Zhang et al. 2018), from torchmetrics' weights or from one local safetensors file.

The distance is a measurement, so its network is never trained or shipped here. A table always names the trunk:
LPIPS-squeeze, LPIPS-alex and LPIPS-vgg are three different numbers.
"""

from pathlib import Path
from typing import Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from infinitemesh.errors import CheckpointError, InputError, MissingBackend

LpipsNet = Literal["squeeze", "alex", "vgg"]

# squeezenet1_1's layers by their torchvision index: (input, squeeze, expand) channels of the fire modules
FIRES = {3: (64, 16, 64), 4: (128, 16, 64), 6: (128, 32, 128), 7: (256, 32, 128)}
FIRES |= {9: (256, 48, 192), 10: (384, 48, 192), 11: (384, 64, 256), 12: (512, 64, 256)}
POOLS = (2, 5, 8)
TAPS = (1, 4, 7, 9, 10, 11, 12)  # whose outputs are compared
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


class SqueezeLpips(Lpips):
    """The SqueezeNet-1.1 trunk and its seven heads."""

    label = "lpips_squeeze"
    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
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
        distance = torch.zeros(len(result), device=result.device)
        for head, a, b in zip(self.heads, self._taps(result), self._taps(truth), strict=True):
            distance = distance + head((_unit(a) - _unit(b)).square()).mean((1, 2, 3))
        return distance

    def _taps(self, images: Float[Tensor, "v 3 h w"]) -> list[Tensor]:
        x = F.relu(self.features["0"]((images * 2 - 1 - self.shift) / self.scale))
        taps = [x]
        for index in range(2, 13):
            x = F.max_pool2d(x, 3, stride=2, ceil_mode=True) if index in POOLS else self.features[str(index)](x)
            if index in TAPS:
                taps.append(x)
        return taps


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


def _unit(features: Float[Tensor, "v c h w"]) -> Float[Tensor, "v c h w"]:
    return features * torch.rsqrt(features.square().sum(1, keepdim=True) + 1e-8)
