"""The loop's laws: it learns, it resumes bit for bit, it stops on nonsense."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from infinitemesh.errors import InputError
from infinitemesh.train.loop import LoopConfig, Task, train


class Line(Task):
    """Fits y = 2 x - 1 from noisy points."""

    name = "line"

    def __init__(self, poison_at: int | None = None):
        torch.manual_seed(0)
        self.network = nn.Linear(1, 1)
        self.poison_at = poison_at

    def batch(self, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x = torch.randn(16, 1, generator=generator)
        return x, 2 * x - 1 + 0.01 * torch.randn(16, 1, generator=generator)

    def loss(self, network: nn.Module, batch: tuple[Tensor, Tensor], step: int) -> dict[str, Tensor]:
        loss = (network(batch[0]) - batch[1]).square().mean()
        return {"loss": loss * float("nan") if step == self.poison_at else loss}

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.network.state_dict(), folder / "line.safetensors")


def config(steps: int, **options) -> LoopConfig:
    return LoopConfig(steps=steps, learning_rate=0.05, warmup_steps=5, precision="no", log_every=10, **options)


def weights(out: Path) -> dict[str, Tensor]:
    return load_file(out / "weights" / "line.safetensors")


def test_learns_the_line_and_logs_a_falling_loss(tmp_path):
    train(Line(), config(300), tmp_path)
    learnt = weights(tmp_path)
    torch.testing.assert_close(learnt["weight"], torch.tensor([[2.0]]), atol=0.02, rtol=0)
    torch.testing.assert_close(learnt["bias"], torch.tensor([-1.0]), atol=0.02, rtol=0)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.01 * losses[0]


def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path):
    train(Line(), config(80), tmp_path / "whole")
    train(Line(), config(80), tmp_path / "parts", stop_after=40)
    assert not torch.equal(weights(tmp_path / "parts")["weight"], weights(tmp_path / "whole")["weight"])
    train(Line(), config(80), tmp_path / "parts")
    for name, value in weights(tmp_path / "whole").items():
        assert torch.equal(value, weights(tmp_path / "parts")[name]), name


def test_a_loss_that_is_not_finite_stops_the_run_with_its_step(tmp_path):
    with pytest.raises(FloatingPointError, match="step 10"):
        train(Line(poison_at=9), config(20), tmp_path)


def test_budget_must_be_one_of_steps_and_minutes():
    with pytest.raises(InputError, match="exactly one"):
        LoopConfig()
    with pytest.raises(InputError, match="exactly one"):
        LoopConfig(steps=1, minutes=1.0)


def test_a_run_in_minutes_ends_in_time(tmp_path):
    progress = train(Line(), LoopConfig(minutes=0.02, learning_rate=0.05, precision="no", log_every=10), tmp_path)
    assert progress.step > 10 and 0.02 <= progress.minutes < 0.1
