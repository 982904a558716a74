"""The loop's laws: it learns, it resumes bit for bit, it stops on nonsense."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import infinitemesh
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


def same_weights(one: Path, other: Path) -> None:
    for name, value in weights(one).items():
        assert torch.equal(value, weights(other)[name]), name


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
    same_weights(tmp_path / "parts", tmp_path / "whole")


class Killed(BaseException):
    """Ends a run as a kill does: nothing of the loop catches it."""


class Mortal(Line):
    """Is killed before it sees the batch of a step."""

    def __init__(self, dies_at: int):
        super().__init__()
        self.dies_at = dies_at

    def batch(self, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if step == self.dies_at:
            raise Killed
        return super().batch(step, generator)


class Counting(Line):
    """Remembers the steps of this session."""

    def __init__(self):
        super().__init__()
        self.steps: list[int] = []

    def batch(self, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        self.steps.append(step)
        return super().batch(step, generator)


def logged(out: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]


def test_a_killed_run_goes_on_from_its_last_checkpoint_bit_for_bit(tmp_path):
    always = config(60, checkpoint_minutes=0.0)
    train(Line(), config(60), tmp_path / "whole")
    with pytest.raises(Killed):
        train(Mortal(dies_at=37), always, tmp_path / "killed")
    with open(tmp_path / "killed" / "log.jsonl", "a") as log:
        log.write('{"loss": 1.0, "step": 40}\n{"loss": 1.')  # logged after the checkpoint, and cut off
    resumed = Counting()
    train(resumed, always, tmp_path / "killed")
    assert resumed.steps == list(range(37, 60))
    assert logged(tmp_path / "killed") == logged(tmp_path / "whole") == [10, 20, 30, 40, 50, 60]
    same_weights(tmp_path / "killed", tmp_path / "whole")


def test_two_processes_are_resumed_as_one_is(tmp_path):
    """Each with its own batches; the main one's state holds the random numbers of both."""
    script = tmp_path / "two.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom test_loop import Counting, Line, config, train\n"
        "folder = Path(sys.argv[1])\n"
        "train(Line(), config(20), folder / 'whole')\n"
        "train(Line(), config(20), folder / 'parts', stop_after=10)\n"
        "train(Counting(), config(20), folder / 'parts')\n"
    )
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(infinitemesh.__file__).parents[1])])
    environment = os.environ | {"PYTHONPATH": paths, "ACCELERATE_USE_CPU": "true"}
    ended = subprocess.run([*launch, script, tmp_path], env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    same_weights(tmp_path / "parts", tmp_path / "whole")
    assert len(list((tmp_path / "parts" / "state").glob("random_states_*"))) == 2


@pytest.mark.parametrize("moment", ["state", "average", "aside", "place", "removal", "weights"])
def test_a_kill_while_a_checkpoint_is_written_leaves_one_to_go_on_from(moment, tmp_path, monkeypatch):
    """Whatever the moment; and the run that goes on may be killed there, too."""
    steps = config(12, checkpoint_minutes=0.0)
    train(Line(), config(12), tmp_path / "whole")
    for at_step in (4, 8):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            arm = partial(_arm, patch, moment, at_step)
            train(Line(), steps, tmp_path / "killed", on_checkpoint=lambda _, progress, arm=arm: arm(progress.step))
    resumed = Counting()
    train(resumed, steps, tmp_path / "killed")
    assert resumed.steps[0] == (9 if moment in ("removal", "weights") else 8)
    same_weights(tmp_path / "killed", tmp_path / "whole")
    assert sorted(path.name for path in (tmp_path / "killed").iterdir() if path.is_dir()) == ["state", "weights"]


def _arm(patch: pytest.MonkeyPatch, moment: str, at_step: int, step: int) -> None:
    """At the given step: the next checkpoint dies in a library's call, at a given moment of writing."""
    if step != at_step:
        return
    owner, name, dies = {
        "state": (Accelerator, "save_state", lambda self, folder: _half_written(Path(folder))),
        "average": (torch, "save", lambda content, file: file.name == "average.pt" and _half_written(file.parent)),
        "aside": (Path, "rename", lambda path, target: target.name == "state.old"),
        "place": (Path, "rename", lambda path, target: target.name == "state"),
        "removal": (shutil, "rmtree", lambda path, **_: path.name == "state.old" and path.exists()),
        "weights": (Line, "save", lambda self, folder: True),
    }[moment]
    real = getattr(owner, name)

    def mortal(*arguments, **options):
        if dies(*arguments, **options):
            raise Killed
        return real(*arguments, **options)

    patch.setattr(owner, name, mortal)


def _half_written(folder: Path) -> bool:
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(b"half")
    return True


def test_a_loss_that_is_not_finite_stops_the_run_with_its_step(tmp_path):
    with pytest.raises(FloatingPointError, match="step 10"):
        train(Line(poison_at=9), config(20), tmp_path)


def test_weights_that_are_not_finite_are_no_checkpoint(tmp_path):
    """The state from before they went wrong stays, to go on from with other settings."""
    always = config(30, checkpoint_minutes=0.0)
    with pytest.raises(FloatingPointError, match="not finite at step 7"):
        train(Line(poison_at=6), always, tmp_path)
    resumed = Counting()
    train(resumed, always, tmp_path)
    assert resumed.steps[0] == 6 and all(value.isfinite().all() for value in weights(tmp_path).values())


def test_budget_must_be_one_of_steps_and_minutes():
    with pytest.raises(InputError, match="exactly one"):
        LoopConfig()
    with pytest.raises(InputError, match="exactly one"):
        LoopConfig(steps=1, minutes=1.0)


def test_a_run_in_minutes_ends_in_time(tmp_path):
    progress = train(Line(), LoopConfig(minutes=0.02, learning_rate=0.05, precision="no", log_every=10), tmp_path)
    assert progress.step > 10 and 0.02 <= progress.minutes < 0.1
