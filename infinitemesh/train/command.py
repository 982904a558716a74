"""`infinitemesh train`: a configuration, objects, and a folder for what comes out.

    infinitemesh train --config configs/train/reconstruction_points.yaml --packs '[packs]' --out runs/points
    infinitemesh train --config configs/train/reconstruction_points.yaml --packs '[packs]' --smoke true

Every value of the configuration is an option too (`--loop.minutes 5`). To resume, also after a kill, run it again.
"""

import difflib
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

import torch
from accelerate import PartialState

from infinitemesh.data.gather import take_objects
from infinitemesh.data.object_pack import ObjectPack, load_packs
from infinitemesh.errors import InputError
from infinitemesh.evaluate.lpips import load_lpips
from infinitemesh.train.loop import LoopConfig, Progress, train
from infinitemesh.train.recipes import Ingredients, Recipe, smoke_loop

log = logging.getLogger(__name__)


def train_run(
    recipe: Recipe,
    loop: LoopConfig,
    packs: list[Path],
    out: Path = Path("runs/latest"),
    lpips: Path | None = None,
    device: str = "auto",
    resume: bool = True,
    smoke: bool = False,
    source_weights: dict[str, float] | None = None,
) -> Progress:
    """Trains one network.

    Args:
        recipe: what is trained (class_path: a Recipe, also one of your own).
        loop: how long, and the optimiser.
        packs: shards or folders of shards made by infinitemesh.data.packs.
        out: receives weights/, state/ (to resume) and log.jsonl.
        lpips: weights file of LPIPS-squeeze; without it the perceptual term is left out.
        device: auto, cpu, cuda, cuda:1, ...
        resume: continue from out/state where there is one.
        smoke: the same recipe in seconds, on a CPU.
        source_weights: how many times as often the objects of a source are drawn as their packs say.
    """
    device = device_of(device, smoke=smoke)
    if smoke:
        recipe, loop = recipe.smoke(), smoke_loop(loop)
    processes = PartialState(cpu=device == "cpu")
    if processes.num_processes > 1 and device == "cuda":
        device = str(processes.device)
    pack = objects_of(
        packs,
        source_weights,
        device=device,
        smoke=smoke,
        process=processes.process_index,
        processes=processes.num_processes,
    )
    log.info("%d objects", len(pack))
    perceptual = None if lpips is None else load_lpips("squeeze", weights=lpips).to(device)
    torch.manual_seed(loop.seed)  # fresh weights are the seed's too
    task = recipe.task(Ingredients(pack, perceptual, loop.seed))
    return train(task, loop, out, resume=resume)


def device_of(device: str, *, smoke: bool) -> str:
    """Where a run trains: `auto` is a GPU where there is one, but for smoke runs."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() and not smoke else "cpu"


def objects_of(
    packs: Sequence[Path],
    source_weights: Mapping[str, float] | None,
    *,
    device: str,
    smoke: bool,
    process: int,
    processes: int,
) -> ObjectPack:
    """What one process of a run trains on."""
    pack = load_packs(packs, device=device, texture_px=16 if smoke else None)
    pack = reweighted(pack, source_weights or {})
    if processes > 1:  # each has its own objects: half the points to make, twice the variety a step
        pack = take_objects(pack, torch.arange(process, len(pack), processes))
    return pack


def train_command(arguments: Sequence[str]) -> Progress:
    """Parses `arguments` (and the files that --config names) strictly and trains."""
    return train_run(**parsed(arguments))


def reweighted(pack: ObjectPack, sources: Mapping[str, float]) -> ObjectPack:
    """The pack with the weights of each source's objects multiplied."""
    if any(not factor >= 0 for factor in sources.values()):
        raise InputError(f"sources are drawn 0 or more times as often, got {dict(sources)}")
    unknown = sorted(set(sources) - set(pack.sources))
    if unknown:
        raise InputError(f"no object is of {', '.join(unknown)}; the packs hold {', '.join(sorted(set(pack.sources)))}")
    factor = torch.tensor([sources.get(source, 1.0) for source in pack.sources], device=pack.device)
    return replace(pack, weights=pack.weights * factor)


def parsed(arguments: Sequence[str]) -> dict[str, Any]:
    """What `train_run` is called with."""
    from jsonargparse import ArgumentError, ArgumentParser, Namespace

    class Strict(ArgumentParser):  # a class, since recipes are parsed by parsers of the same class
        def __init__(self, **options: Any):
            super().__init__(**{"allow_abbrev": False, **options})

    parser = Strict(prog="infinitemesh train", exit_on_error=False, description="Trains one network.")
    parser.add_argument("--config", action="config")
    parser.add_function_arguments(train_run, as_positional=False)
    try:
        run: Namespace = parser.parse_args(list(arguments))
        values = parser.instantiate(run)
    except ArgumentError as error:
        raise InputError(_with_advice(str(error), parser)) from error
    values.pop("config", None)
    return vars(values)


def _with_advice(message: str, parser: object) -> str:
    """Names the nearest option for one that does not exist, a recipe's own choices included."""
    unknown = re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", message) or re.search(
        r"(?:Option|unrecognized arguments:) '?-*([\w.]+)", message
    )
    if unknown is None:
        return message
    known = [action.dest for action in parser._actions]  # type: ignore[attr-defined]
    known += [choice for recipe in _subclasses(Recipe) for choice in _choices(recipe.__init__)]
    nearest = difflib.get_close_matches(".".join(unknown.groups()), known, n=1, cutoff=0.5)
    return f"{message}. Did you mean `{nearest[0]}`?" if nearest else message


def _choices(of: Any) -> Iterator[str]:
    """Dotted names of a dataclass' fields or of a function's arguments, and of the dataclasses among them."""
    for name, kind in get_type_hints(of).items():
        yield name
        if is_dataclass(kind):
            yield from (f"{name}.{inner}" for inner in _choices(kind))


def _subclasses(cls: type) -> Iterator[type]:
    for child in cls.__subclasses__():
        yield child
        yield from _subclasses(child)
