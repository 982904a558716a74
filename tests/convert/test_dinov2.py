"""DINOv2's weights in our plain vision transformer compute what transformers' own network computes."""

import pytest
import torch
from torch.testing import assert_close
from transformers import Dinov2Config, Dinov2Model

from infinitemesh.convert.checkpoint import read_checkpoint
from infinitemesh.convert.dinov2 import from_dinov2, main, read_onnx
from infinitemesh.errors import CheckpointError
from infinitemesh.models.camera_vit import ViT


@pytest.fixture
def theirs(tmp_path) -> Dinov2Model:
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=24, num_hidden_layers=3, num_attention_heads=2, image_size=224, patch_size=14, layer_norm_eps=1e-12
    )
    model = Dinov2Model(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lambda1" in name or "norm" in name or "bias" in name:
                parameter.uniform_(0.2, 1.5)
    model.save_pretrained(tmp_path / "theirs")
    return model


def test_the_folded_backbone_is_the_same_function(theirs, tmp_path):
    ours = ViT(24, 2, 2, 3, 14, 16, modulated=False)
    ours.layernorm = torch.nn.Identity()
    ours.load_state_dict(from_dinov2(read_checkpoint(tmp_path / "theirs" / "model.safetensors"), layers=2))
    pictures = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        expected = theirs(pictures, output_hidden_states=True).hidden_states
        first, second = ours.taps(pictures, (0, 1))
    assert_close(first, expected[1], atol=2e-5, rtol=1e-4)
    assert_close(second, expected[2], atol=2e-5, rtol=1e-4)


def test_positions_of_another_picture_size_are_resized(theirs, tmp_path):
    state = read_checkpoint(tmp_path / "theirs" / "model.safetensors")
    (name,) = (key for key in state if key.endswith("position_embeddings"))
    across = torch.linspace(-1, 1, 37)[None, :, None].expand(37, 37, 24)  # a ramp stays one, between the same ends
    state[name] = torch.cat([torch.zeros(1, 1, 24), across.reshape(1, -1, 24)], dim=1)
    table = from_dinov2(state, layers=1)["embeddings.position_embeddings"]
    rows = table[0, 1:].reshape(16, 16, 24)
    assert_close(rows, rows[:1].expand_as(rows))
    steps = rows[0, 2:-2, 0].diff()  # bicubic weights near the border bend it
    assert_close(steps, steps.mean().expand_as(steps), atol=1e-2, rtol=0)


def test_too_few_layers_are_an_error_and_nothing_is_written(theirs, tmp_path):
    with pytest.raises(CheckpointError, match="of 5 or more layers"):
        main([str(tmp_path / "theirs" / "model.safetensors"), str(tmp_path / "out.safetensors"), "--layers", "5"])
    assert not (tmp_path / "out.safetensors").exists()


def test_an_onnx_file_of_something_else_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    tensor = onnx.helper.make_tensor("weight", onnx.TensorProto.FLOAT, [2, 2], [1.0, 2.0, 3.0, 4.0])
    output = onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, [2, 2])
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["weight"], ["out"])], "graph", [], [output], [tensor]
    )
    onnx.save(onnx.helper.make_model(graph), tmp_path / "other.onnx")
    with pytest.raises(CheckpointError, match="no DINOv2"):
        read_onnx(tmp_path / "other.onnx")
