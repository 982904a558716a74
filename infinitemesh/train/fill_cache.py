"""Makes the view cache of a training run beforehand, in as many processes as one likes.

    for part in 0 1 2 3; do python -m infinitemesh.train.fill_cache $part/4 --config views.yaml --packs ... & done; wait
    infinitemesh train --config views.yaml --packs ...

Both are given the same options, `recipe.init_args.options.cache.folder` among them. Groups are drawn by many small
steps that leave most of a GPU idle, so several processes share one well; the files are those of a single process, bit
for bit.
"""

import re
import sys
from collections.abc import Sequence

import torch

from infinitemesh.errors import InfiniteMeshError, InputError
from infinitemesh.train.command import objects_of, parsed
from infinitemesh.train.loop import LoopConfig
from infinitemesh.train.recipes import ViewsRecipe
from infinitemesh.train.views import view_cache


def fill_cache(part: int, parts: int, arguments: Sequence[str]) -> None:
    """`arguments` are those of `infinitemesh train`, of a run in one process."""
    run = parsed(arguments)
    recipe, loop, device = run["recipe"], run["loop"], run["device"]
    if not isinstance(recipe, ViewsRecipe):
        raise InputError(f"{type(recipe).__name__} keeps no view cache: give the configuration of a ViewsRecipe")
    assert isinstance(loop, LoopConfig)
    if run["smoke"]:
        recipe = recipe.smoke()
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() and not run["smoke"] else "cpu"
    pack = objects_of(run["packs"], device=device, source_weights=run["source_weights"], smoke=run["smoke"])
    torch.manual_seed(loop.seed)  # fresh networks of a smoke run are the run's
    view_cache(pack, recipe.options, seed=loop.seed).keep(part, parts)


def main(arguments: Sequence[str]) -> None:
    """`PART/PARTS`, then what `infinitemesh train` would be given."""
    share = re.fullmatch(r"(\d+)/(\d+)", arguments[0]) if arguments else None
    if share is None:
        raise InputError("begin with which part of how many this process makes, such as 0/4")
    fill_cache(int(share[1]), int(share[2]), arguments[1:])


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InfiniteMeshError as error:
        sys.exit(f"error: {error}")
