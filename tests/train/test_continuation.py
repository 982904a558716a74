"""Trained weights go on with new parts: the same function at first, and nothing else may differ."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from infinitemesh.data.points import PointBatch
from infinitemesh.errors import CheckpointError
from infinitemesh.hub import save_network
from infinitemesh.models.lrm import LargeReconstructionModel
from infinitemesh.train.hollowness import in_hull
from infinitemesh.train.reconstruction import ReconstructionOptions, started
from infinitemesh.train.reconstruction_loss import PointLossWeights, point_loss
from infinitemesh.types import Camera


def ring(views: int) -> Camera:
    camera = Camera.orbit(torch.arange(views) * 360.0 / views)
    return Camera(camera.cam_from_world[None], camera.intrinsics[None])


def test_additions_start_as_no_change(tmp_path):
    trained = LargeReconstructionModel.preset("tiny").eval()
    folder = save_network(trained, tmp_path / "trained")
    config = json.loads((folder / "config.json").read_text())
    written_before = {name: value for name, value in config.items() if name not in ("lift_spread", "lift_context")}
    (folder / "config.json").write_text(json.dumps(written_before))
    options = ReconstructionOptions(start_from=folder, model={"lift_spread": True, "lift_context": 4})
    continued = started(options).eval()
    views = torch.rand(1, 4, 4, 32, 32)
    assert torch.equal(continued(views, ring(4)), trained(views, ring(4)))
    assert continued.projection_lift.context is not None


def test_semantics_start_as_no_change_and_stay_frozen(tmp_path):
    trained = LargeReconstructionModel.preset("tiny").eval()
    folder = save_network(trained, tmp_path / "trained")
    parts = {"semantic_layers": 2, "semantic_dim": 16, "semantic_heads": 2, "semantic_size": 28}
    backbone = LargeReconstructionModel.preset("tiny", **parts).semantics.backbone
    save_file(backbone.state_dict(), tmp_path / "backbone.safetensors")
    options = ReconstructionOptions(start_from=folder, model=parts, semantics=tmp_path / "backbone.safetensors")
    continued = started(options).eval()
    views = torch.rand(1, 4, 4, 32, 32)
    assert torch.equal(continued(views, ring(4)), trained(views, ring(4)))
    for ours, given in zip(continued.semantics.backbone.parameters(), backbone.parameters(), strict=True):
        assert torch.equal(ours, given)
    continued(views, ring(4)).square().sum().backward()
    assert all(p.grad is None for p in continued.semantics.backbone.parameters())
    for way_in in (continued.semantics.to_tokens, continued.semantics.to_pixels):
        assert way_in.weight.grad.abs().max() > 0
    with torch.no_grad():
        continued.semantics.to_tokens.weight.normal_()
    assert not torch.allclose(continued(views, ring(4)), trained(views, ring(4)))


def test_a_backbone_of_another_size_is_refused(tmp_path):
    save_file({"embeddings.cls_token": torch.zeros(1, 1, 8)}, tmp_path / "backbone.safetensors")
    parts = {"semantic_layers": 2, "semantic_dim": 16, "semantic_heads": 2, "semantic_size": 28}
    with pytest.raises(CheckpointError, match="does not fit"):
        started(ReconstructionOptions(preset="tiny", model=parts, semantics=tmp_path / "backbone.safetensors"))
    with pytest.raises(CheckpointError, match="semantic_layers"):
        started(ReconstructionOptions(preset="tiny", semantics=tmp_path / "backbone.safetensors"))


def test_other_differences_are_refused(tmp_path):
    folder = save_network(LargeReconstructionModel.preset("tiny"), tmp_path / "trained")
    with pytest.raises(CheckpointError, match=r"transformer\.layers\.1"):
        started(ReconstructionOptions(start_from=folder, model={"transformer_layers": 2}))


def ball(radius: float, size: int) -> torch.Tensor:
    at = (torch.arange(size) + 0.5) / size * 1.8 - 0.9
    return (at[:, None].square() + at.square() < radius**2).float()


def test_the_hull_of_a_ball_is_the_ball_from_all_sides():
    points = torch.rand(1, 2000, 3) * 1.6 - 0.8
    views = torch.ones(1, 12, 4, 64, 64)
    views[:, :, 3] = ball(0.5, 64)
    hull = in_hull(points, ring(12), views[:, :, 3:])[0]
    distance = points[0].norm(dim=-1)
    level = torch.hypot(points[0, :, 0], points[0, :, 2]) / torch.cos(torch.tensor(torch.pi / 12))
    assert hull[distance < 0.45].all()
    assert not hull[torch.hypot(level, points[0, :, 1]) > 0.6].any()


def test_cavities_count_by_their_weight():
    truth = PointBatch(
        torch.zeros(1, 4, 3), torch.tensor([[0.05, 0.05, -0.05, -0.05]]), torch.zeros(1, 4, 3), torch.zeros(1, 4, 3),
        torch.tensor([False]),
    )  # fmt: skip
    cavity = torch.tensor([[True, False, False, False]])
    wrong_in_cavity = torch.tensor([[-0.05, 0.05, -0.05, -0.05]])
    wrong_elsewhere = wrong_in_cavity[:, [1, 0, 2, 3]]
    weights = replace(PointLossWeights(), cavity=3.0)
    colour = torch.zeros(1, 4, 3)
    there, elsewhere = (
        point_loss(sdf, colour, truth, weights, cavity=cavity)["distance"] for sdf in (wrong_in_cavity, wrong_elsewhere)
    )
    torch.testing.assert_close(there, 3 * elsewhere)
    exact = point_loss(truth.distance, colour, truth, weights, cavity=cavity)
    assert exact["distance"] == 0 and exact["colour"] == 0
