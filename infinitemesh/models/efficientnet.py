"""EfficientNet-lite (Tan and Le 2019; the lite variants without squeeze-and-excitation): one vector for a picture.

Batch norms are folded into the convolutions before them (`convert.efficientnet`), so what is left is plain kernels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

EfficientNetName = Literal["lite0", "tiny"]
MEAN, STD = 0.498, 0.502  # of its training: whole numbers of 0 ... 255, less 127, over 128


@dataclass(frozen=True)
class Blocks:
    """Some blocks of one width; the first of them has the stride and takes the width of what comes before."""

    kernel: int
    stride: int
    expansion: int
    width: int
    count: int


@dataclass(frozen=True)
class Layout:
    stem: int
    blocks: tuple[Blocks, ...]
    head: int
    size: int  # pixels a side of the pictures it was trained on


LAYOUTS: Mapping[str, Layout] = {
    "lite0": Layout(
        32,
        (
            Blocks(3, 1, 1, 16, 1),
            Blocks(3, 2, 6, 24, 2),
            Blocks(5, 2, 6, 40, 2),
            Blocks(3, 2, 6, 80, 3),
            Blocks(5, 1, 6, 112, 3),
            Blocks(5, 2, 6, 192, 4),
            Blocks(3, 1, 6, 320, 1),
        ),
        1280,
        224,
    ),
    "tiny": Layout(8, (Blocks(3, 1, 1, 8, 1), Blocks(5, 2, 2, 8, 2)), 16, 32),
}


class EfficientNetLite(nn.Module):
    """RGB pictures -> the mean of its last features over the picture, which its classifier reads."""

    def __init__(self, name: EfficientNetName = "lite0"):
        super().__init__()
        layout = LAYOUTS[name]
        self.size, self.dim = layout.size, layout.head
        self.stem = _Convolution(3, layout.stem, 3, stride=2)
        width, blocks = layout.stem, []
        for group in layout.blocks:
            for number in range(group.count):
                stride = 1 if number else group.stride
                blocks.append(_InvertedBottleneck(width, group.width, group.kernel, stride, group.expansion))
                width = group.width
        self.blocks = nn.ModuleList(blocks)
        self.head = _Convolution(width, layout.head, 1)

    def forward(self, rgb: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b c"]:
        """Colours in [0, 1]; pictures of `size` pixels are what it knows."""
        features = F.relu6(self.stem((rgb - MEAN) / STD))
        for block in self.blocks:
            features = block(features)
        return F.relu6(self.head(features)).mean((2, 3))


class _InvertedBottleneck(nn.Module):
    def __init__(self, width_in: int, width: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        inner = width_in * expansion
        self.expand = _Convolution(width_in, inner, 1) if expansion > 1 else None
        self.depthwise = _Convolution(inner, inner, kernel, stride=stride, groups=inner)
        self.project = _Convolution(inner, width, 1)
        self.is_residual = stride == 1 and width_in == width

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        inner = x if self.expand is None else F.relu6(self.expand(x))
        out = self.project(F.relu6(self.depthwise(inner)))
        return x + out if self.is_residual else out


class _Convolution(nn.Conv2d):
    """Padded as TensorFlow does: as much as the stride needs, the odd row and column at the end."""

    def __init__(self, channels_in: int, channels: int, kernel: int, *, stride: int = 1, groups: int = 1):
        super().__init__(channels_in, channels, kernel, stride, kernel // 2 if stride == 1 else 0, groups=groups)

    def forward(self, input: Tensor) -> Tensor:
        stride, kernel = self.stride[0], self.kernel_size[0]
        if stride > 1:
            missing = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in input.shape[:1:-1]]
            input = F.pad(input, [side for m in missing for side in (m // 2, m - m // 2)])
        return super().forward(input)
