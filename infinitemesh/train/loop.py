"""One training loop for every stage, on accelerate: bf16, EMA, gradient clipping, resumption, JSONL.

A `Task` says what is trained: a network, the batch of a step, the loss of a batch. Batches are a function of (seed,
process, step), so a run in steps that is stopped and resumed gives the weights of an uninterrupted one, bit for bit. A
run bounded in minutes follows the clock in its learning rate and is resumed where the clock stood. A run that is killed
goes on from its last checkpoint.
"""

import json
import math
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, set_seed
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from tqdm import tqdm

from infinitemesh.errors import InputError
from infinitemesh.files import flush_folder, write_text

PROGRESS = "progress.json"


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long and how a network is trained. Give `steps` or `minutes`."""

    steps: int | None = None
    minutes: float | None = None
    learning_rate: float = 4e-4
    final_learning_rate: float = 0.02  # share of the peak that the cosine ends at
    warmup_steps: int = 200
    betas: tuple[float, float] = (0.9, 0.95)  # OpenLRM's and InstantMesh's
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    precision: str = "bf16"
    seed: int = 0
    log_every: int = 50
    checkpoint_minutes: float = 3.0  # what a kill can cost: weights and state are written so often
    compile: bool = False

    def __post_init__(self):
        if (self.steps is None) == (self.minutes is None):
            raise InputError("a training run needs exactly one of `steps` and `minutes`")


class Task(ABC):
    """What is trained. `network` is called with a batch's tensors inside `loss`, so that DDP sees its forward."""

    name: str
    network: nn.Module

    @abstractmethod
    def batch(self, step: int, generator: torch.Generator) -> Any:
        """The batch of one step on one process; all its randomness comes from `generator` (on the task's device)."""

    @abstractmethod
    def loss(self, network: nn.Module, batch: Any, step: int) -> dict[str, Tensor]:
        """Named terms; "loss" is what is minimised."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Writes the networks as they are now (the loop has put the averaged weights in)."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands: steps done and minutes of training spent, over all its sessions."""

    step: int = 0
    minutes: float = 0.0


def train(
    task: Task,
    config: LoopConfig,
    out: Path,
    *,
    resume: bool = True,
    stop_after: int | None = None,
    on_checkpoint: Callable[[Path, Progress], None] | None = None,
) -> Progress:
    """Trains until the budget is spent; `out` holds `log.jsonl` and, of the last checkpoint, `weights/` and `state/`.

    `stop_after` ends this session at a step, to be resumed later on the same schedule.
    `on_checkpoint` is called with the folder of the averaged weights each time they are written.
    """
    accelerator = Accelerator(mixed_precision=config.precision, cpu=_device_of(task.network).type == "cpu")
    set_seed(config.seed + accelerator.process_index)
    device = accelerator.device
    optimiser = torch.optim.AdamW(
        [p for p in task.network.parameters() if p.requires_grad],
        lr=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
        fused=device.type == "cuda",
    )
    network, optimiser = accelerator.prepare(task.network, optimiser)
    if config.compile:
        network.compile()
    trained = [p for p in task.network.parameters() if p.requires_grad]
    average = EMAModel(trained, decay=config.ema_decay, use_ema_warmup=True, power=0.75, foreach=True)
    progress = Progress()
    if resume and (state := _last_state(out)) is not None:
        progress = _load_state(accelerator, average, state)
        if accelerator.is_main_process:
            _forget_rows_after(progress.step, out / "log.jsonl")
    out.mkdir(parents=True, exist_ok=True)
    if progress.step == 0 and accelerator.is_main_process:
        (out / "config.json").write_text(json.dumps({"task": task.name, "loop": asdict(config)}, indent=2))
    generator = torch.Generator(device)
    clock = _Clock(accelerator, progress.minutes)
    saved, step = progress.minutes, progress.step
    bar = tqdm(total=config.steps, initial=step, desc=task.name, disable=not accelerator.is_main_process, mininterval=5)
    with open(out / "log.jsonl", "a") as log:
        while True:
            minutes = clock.minutes()
            fraction = _fraction(config, step, minutes)
            if fraction >= 1 or step == stop_after:
                break
            for group in optimiser.param_groups:
                group["lr"] = _learning_rate(config, step, fraction)
            generator.manual_seed(_seed_of(config.seed, accelerator.process_index, step))
            batch = task.batch(step, generator)
            with accelerator.autocast():
                terms = task.loss(network, batch, step)
            optimiser.zero_grad(set_to_none=True)
            accelerator.backward(terms["loss"])
            norm = accelerator.clip_grad_norm_(trained, config.clip_norm)
            optimiser.step()
            average.step(trained)
            step += 1
            bar.update()
            if step % config.log_every == 0 and accelerator.is_main_process:
                assert norm is not None
                row = {name: round(float(value.detach()), 6) for name, value in terms.items()}
                row |= {"step": step, "minutes": round(minutes, 3), "norm": round(float(norm), 4)}
                if not math.isfinite(row["loss"]):
                    raise FloatingPointError(
                        f"{task.name}: the loss is {row['loss']} at step {step}; see {out}/log.jsonl"
                    )
                log.write(json.dumps(row) + "\n")
                log.flush()
                bar.set_postfix({k: f"{v:.4g}" for k, v in row.items() if k != "minutes"}, refresh=False)
            if minutes - saved > config.checkpoint_minutes:
                saved = minutes
                progress = Progress(step, minutes)
                _save(accelerator, task, average, out, progress)
                if on_checkpoint is not None and accelerator.is_main_process:
                    on_checkpoint(out / "weights", progress)
    bar.close()
    progress = Progress(step, clock.minutes())
    _save(accelerator, task, average, out, progress)
    if on_checkpoint is not None and accelerator.is_main_process:
        on_checkpoint(out / "weights", progress)
    return progress


class _Clock:
    """Minutes of training, the main process's on every process: they must stop and save at the same step."""

    def __init__(self, accelerator: Accelerator, spent_before: float):
        self.accelerator, self.spent_before, self.started = accelerator, spent_before, time.monotonic()

    def minutes(self) -> float:
        minutes = self.spent_before + (time.monotonic() - self.started) / 60
        if self.accelerator.num_processes == 1:
            return minutes
        shared = broadcast(torch.tensor(minutes, dtype=torch.float64, device=self.accelerator.device))
        assert isinstance(shared, Tensor)
        return float(shared)


def _fraction(config: LoopConfig, step: int, minutes: float) -> float:
    """Of the budget, spent so far."""
    if config.steps:
        return step / config.steps
    assert config.minutes is not None
    return minutes / config.minutes


def _learning_rate(config: LoopConfig, step: int, fraction: float) -> float:
    """Linear warm-up in steps, then a cosine over the budget."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(fraction, 1.0)))
    share = config.final_learning_rate + (1 - config.final_learning_rate) * cosine
    return config.learning_rate * share * min(1.0, (step + 1) / config.warmup_steps)


def _seed_of(seed: int, process: int, step: int) -> int:
    return ((seed * 1_000_003 + process) * 1_000_003 + step) % (2**63)


def _device_of(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def _save(accelerator: Accelerator, task: Task, average: EMAModel, out: Path, progress: Progress) -> None:
    """State and averaged weights. A kill at any moment leaves a whole state: this one or the one before."""
    trained = [p for p in task.network.parameters() if p.requires_grad]
    if not all(p.isfinite().all() for p in trained):
        raise FloatingPointError(
            f"{task.name}: weights are not finite at step {progress.step}; {out}/state is of an earlier checkpoint"
        )
    fresh = out / "state.new"
    if accelerator.is_main_process:
        shutil.rmtree(fresh, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(fresh))  # every process writes its own part
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        torch.save(average.state_dict(), fresh / "average.pt")
        (fresh / PROGRESS).write_text(json.dumps(asdict(progress)))
        flush_folder(fresh)
        _replace_state(out, fresh)
        average.store(trained)
        average.copy_to(trained)
        task.save(out / "weights")
        average.restore(trained)
    accelerator.wait_for_everyone()


def _replace_state(out: Path, fresh: Path) -> None:
    """A folder cannot take a full one's place in one move, so the old one steps aside and stays until then."""
    state, old = out / "state", out / "state.old"
    if state.exists():
        shutil.rmtree(old, ignore_errors=True)
        state.rename(old)
    fresh.rename(state)
    shutil.rmtree(old, ignore_errors=True)


def _last_state(out: Path) -> Path | None:
    """Where the last whole state lies; it is aside where a kill fell between the two moves."""
    return next((state for state in (out / "state", out / "state.old") if (state / PROGRESS).exists()), None)


def _forget_rows_after(step: int, log: Path) -> None:
    """Leaves out what a killed run logged after its last checkpoint: these steps are taken again."""
    if not log.exists():
        return
    rows = [line for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
    write_text(log, "".join(row for row in rows if json.loads(row)["step"] <= step), overwrite=True)


def _load_state(accelerator: Accelerator, average: EMAModel, state: Path) -> Progress:
    accelerator.wait_for_everyone()
    accelerator.load_state(str(state))
    average.load_state_dict(torch.load(state / "average.pt", weights_only=True, map_location="cpu"))
    average.to(accelerator.device)
    return Progress(**json.loads((state / PROGRESS).read_text()))
