"""The memory of proportions: photographs of training objects, what they look like and how deep they are.

    python -m infinitemesh.train.proportions SINGLE_VIEW OUT PACKS ... --photographs 24000

SINGLE_VIEW is the folder of a single-view network with a recognition: its semantics describe the photographs, which are
made as those of its training are. Depth and width are of the boxes of true meshes.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from infinitemesh.bundle import open_network
from infinitemesh.data.object_pack import ObjectPack, load_packs
from infinitemesh.data.replay import as_float
from infinitemesh.data.rigs import RigRanges, turned_boxes
from infinitemesh.errors import InputError
from infinitemesh.hub import save_network
from infinitemesh.models.proportions import ProportionMemory
from infinitemesh.models.single_view import SingleViewModel
from infinitemesh.stages.coarse import log_aspects
from infinitemesh.train.command import reweighted
from infinitemesh.train.view_groups import GroupOptions, photograph_samples

AT_ONCE = 64
FRONTS = GroupOptions(
    photographed=0.9,
    framed=0.8,
    rigs=RigRanges(tilt_deg=(-15.0, 25.0), level=0.6, facing=0.5, broad=0.7),
)


@torch.no_grad()
def remember(
    pack: ObjectPack,
    network: SingleViewModel,
    photographs: int,
    *,
    fronts: GroupOptions = FRONTS,
    size: int = 256,
    dim: int = 128,
    seed: int = 0,
) -> ProportionMemory:
    """Photographs of random objects of the pack, `size` pixels wide; those that show nothing are left out."""
    semantics = network.semantics
    if semantics is None or semantics.recognition is None:
        raise InputError("photographs are described by a recognition: give a single-view network that has one")
    generator = torch.Generator(pack.device).manual_seed(seed)
    seen = []
    for first in range(0, photographs, AT_ONCE):
        samples = photograph_samples(pack, min(AT_ONCE, photographs - first), size, fronts, generator)
        pictures = as_float(samples.rgba)[:, 0]
        low, high = turned_boxes(pack, samples.object_ids, samples.rig.rotation)
        side = (high - low).clamp(min=1e-4)
        features = semantics.describe(pictures.to(network.dtype))
        shown = (pictures[:, 3] > 0.5).flatten(1).any(1)
        seen.append([x[shown] for x in (features, log_aspects(pictures[:, 3]), torch.log(side[:, 2] / side[:, 0]))])
    features, aspects, depths = (torch.cat(column) for column in zip(*seen, strict=True))
    return ProportionMemory.of(features, aspects, depths, blocks=semantics.blocks, dim=dim)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Remembers how deep training objects are.")
    parser.add_argument("single_view", type=Path, help="folder of a single-view network with a recognition")
    parser.add_argument("out", type=Path)
    parser.add_argument("packs", type=Path, nargs="+")
    parser.add_argument("--photographs", type=int, default=16_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--source-weights", nargs="*", default=(), metavar="SOURCE=FACTOR")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--overwrite", action="store_true")
    args = parser.parse_args(arguments)
    pairs = (each.split("=", 1) for each in args.source_weights)
    pack = reweighted(load_packs(args.packs, device=args.device), {name: float(factor) for name, factor in pairs})
    network = open_network(SingleViewModel, args.single_view).to(args.device)
    memory = remember(pack, network, args.photographs, dim=args.dim)
    save_network(memory.cpu(), args.out, overwrite=args.overwrite)
    sys.stdout.write(f"{args.out}: {len(memory.vectors)} photographs\n")


if __name__ == "__main__":
    main()
