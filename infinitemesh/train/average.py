"""The mean of two trained networks' weights: the second was trained on from the first.

    python -m infinitemesh.train.average runs/hollow/weights runs/rings/weights OUT --share 0.5

Training on new data teaches new things and forgets old ones; weights on the way between keep most of both (Wortsman et
al. 2022, "Robust fine-tuning of zero-shot models"). Parts that only the second has count as zero in the first, where
they started.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import ModelMixin

from infinitemesh.bundle import open_network
from infinitemesh.errors import CheckpointError, InputError
from infinitemesh.hub import save_network

FROZEN = ("semantics.backbone.", "semantics.recognition.")
STARTED_AT_ZERO = ("projection_lift.mix_spread.", "semantics.")  # parts that the first may be without,
BEHIND_A_ZERO = ("semantics.recognised.boiled.",)  # and what in them comes before the layers that started so


@torch.no_grad()
def averaged(first: str | Path, second: str | Path, share: float = 0.5) -> ModelMixin:
    """The second network, each tensor moved to (1 - share) of the first's and `share` of its own.

    Folders are of networks of one class, also a pipeline's. Tensors of parts that the first is without, and that start
    as no change, count as zero there: such a part says `share` of what it says in the second. What is frozen is the
    second's. Raises InputError for a share outside [0, 1], CheckpointError for networks that do not fit.
    """
    if not 0 <= share <= 1:
        raise InputError(f"the share of the second network is in [0, 1], got {share}")
    original, network = open_network(ModelMixin, first), open_network(ModelMixin, second)
    if type(original) is not type(network):
        raise CheckpointError(f"{first} is of a {type(original).__name__}, {second} of a {type(network).__name__}")
    before, after = original.state_dict(), network.state_dict()
    strange = [name for name in after if name not in before and not name.startswith(STARTED_AT_ZERO)]
    strange += [name for name in before if name not in after or before[name].shape != after[name].shape]
    if strange:
        raise CheckpointError(
            f"{second} was not trained on from {first}: {', '.join(sorted(strange)[:5])} are not in both"
        )
    for name, tensor in after.items():
        is_trained = tensor.is_floating_point() and not name.startswith(FROZEN)
        if is_trained and (name in before or not name.startswith(BEHIND_A_ZERO)):
            tensor.copy_(torch.lerp(before.get(name, torch.zeros_like(tensor)), tensor, share))
    return network


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Averages the weights of two networks.")
    parser.add_argument("first", type=Path, help="a network's folder")
    parser.add_argument("second", type=Path, help="a network that was trained on from it")
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", type=float, default=0.5, help="of the second")
    parser.add_argument("--overwrite", action="store_true")
    args = parser.parse_args(arguments)
    save_network(averaged(args.first, args.second, args.share), args.out, overwrite=args.overwrite)
    sys.stdout.write(f"{args.out}\n")


if __name__ == "__main__":
    main()
