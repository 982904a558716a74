"""Makes the view cache of a training run beforehand, in as many processes as one likes.

    for k in 0 1 2 3; do python -m infinitemesh.train.fill_cache --part $k/4 --config CONFIG --packs ... & done; wait
    infinitemesh train --config CONFIG --packs ...

Both are given the same options, `recipe.init_args.options.cache.folder` among them; the files are those of a single
process, and a filling that was cut off goes on. Several processes use several GPUs, or the cores of a CPU; on one GPU
they gain little (six made 61 groups a second on an H200, one makes 47 to 80). A run in several processes has a cache
for each: `--process 0/2` and `--process 1/2`.
"""

import argparse
import re
import sys
from collections.abc import Sequence

import torch

from infinitemesh.errors import InfiniteMeshError, InputError
from infinitemesh.train.command import device_of, objects_of, parsed
from infinitemesh.train.loop import LoopConfig
from infinitemesh.train.recipes import ViewsRecipe
from infinitemesh.train.views import view_cache


def fill_cache(
    arguments: Sequence[str], *, part: int = 0, parts: int = 1, process: int = 0, processes: int = 1
) -> None:
    """`arguments` are those of `infinitemesh train`; `process` is that of the run whose cache is filled."""
    run = parsed(arguments)
    recipe, loop = run["recipe"], run["loop"]
    if not isinstance(recipe, ViewsRecipe):
        raise InputError(f"{type(recipe).__name__} keeps no view cache: give the configuration of a ViewsRecipe")
    assert isinstance(loop, LoopConfig)
    if run["smoke"]:
        recipe = recipe.smoke()
    pack = objects_of(
        run["packs"],
        run["source_weights"],
        device=device_of(run["device"], smoke=run["smoke"]),
        smoke=run["smoke"],
        process=process,
        processes=processes,
    )
    torch.manual_seed(loop.seed)  # fresh networks of a smoke run are the run's
    view_cache(pack, recipe.options, seed=loop.seed).keep(part, parts)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Fills the view cache of a training run.", allow_abbrev=False)
    parser.add_argument("--part", type=_share, default=(0, 1), metavar="K/N", help="the files that this process makes")
    parser.add_argument("--process", type=_share, default=(0, 1), metavar="K/N", help="of the run whose cache it is")
    args, rest = parser.parse_known_args(arguments)
    (part, parts), (process, processes) = args.part, args.process
    fill_cache(rest, part=part, parts=parts, process=process, processes=processes)


def _share(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None or int(found[1]) >= int(found[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the kind 0/4, which counts from 0/4 to 3/4")
    return int(found[1]), int(found[2])


if __name__ == "__main__":
    try:
        main()
    except InfiniteMeshError as error:
        sys.exit(f"error: {error}")
