"""Textured objects as people photograph them: random shoes, hats, bags, boxes, vessels, toys, furniture, food.

    python -m infinitemesh.data.household OUT 100 0       # household_00000000.glb ... by seed

Where `procedural` makes shapes without meaning, these are recognisable, and as hollow, recessed or thin as the real
ones. They stand on their base and show +Z their usual side: long things mostly their broad one. A seed gives the same
bytes. Everything made here is CC0.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from infinitemesh.data import household_appliances as appliances
from infinitemesh.data import household_bags as bags
from infinitemesh.data import household_beasts as beasts
from infinitemesh.data import household_craft as craft
from infinitemesh.data import household_decor as decor
from infinitemesh.data import household_figures as figures
from infinitemesh.data import household_food as food
from infinitemesh.data import household_furniture as furniture
from infinitemesh.data import household_gadgets as gadgets
from infinitemesh.data import household_hats as hats
from infinitemesh.data import household_kitchen as kitchen
from infinitemesh.data import household_packages as packages
from infinitemesh.data import household_racks as racks
from infinitemesh.data import household_shoes as shoes
from infinitemesh.data import household_tools as tools
from infinitemesh.data import household_toys as toys
from infinitemesh.data import household_vehicles as vehicles
from infinitemesh.data.procedural_parts import Part, assemble
from infinitemesh.data.procedural_textures import Number
from infinitemesh.errors import InputError
from infinitemesh.types import Mesh

MAX_FACES = 8_000
BROADSIDE_ODDS = 0.7  # that a long object shows its broad side


@dataclass(frozen=True, kw_only=True)
class Family:
    """One kind of object, drawn facing +Z; the long ones are drawn along X."""

    make: Callable[[np.random.Generator], list[Part]]
    weight: Number = 1.0
    is_long: bool = False


FAMILIES: dict[str, Family] = {
    "sneaker": Family(make=shoes.sneaker, weight=3, is_long=True),
    "leather_shoe": Family(make=shoes.leather_shoe, weight=1.2, is_long=True),
    "high_heel": Family(make=shoes.high_heel, weight=0.8, is_long=True),
    "boot": Family(make=shoes.boot, weight=1.4, is_long=True),
    "sandal": Family(make=shoes.sandal, weight=0.9, is_long=True),
    "slipper": Family(make=shoes.slipper, weight=0.9, is_long=True),
    "hat": Family(make=hats.hat, weight=1.8),
    "cap": Family(make=hats.cap, weight=1.5),
    "beanie": Family(make=hats.beanie, weight=0.9),
    "handbag": Family(make=bags.handbag, weight=1.6),
    "paper_bag": Family(make=bags.paper_bag, weight=0.9),
    "backpack": Family(make=bags.backpack),
    "lunch_bag": Family(make=bags.lunch_bag, weight=1.2),
    "product_box": Family(make=packages.product_box, weight=1.2),
    "lidded_box": Family(make=packages.lidded_box),
    "carton": Family(make=packages.carton, weight=0.7),
    "bottle": Family(make=packages.bottle),
    "jar": Family(make=packages.jar, weight=0.7),
    "can": Family(make=packages.can, weight=0.5),
    "squeeze_tube": Family(make=packages.squeeze_tube, weight=0.3),
    "milk_carton": Family(make=packages.milk_carton, weight=0.5),
    "mug": Family(make=kitchen.mug),
    "bowl": Family(make=kitchen.bowl, weight=0.8),
    "pan": Family(make=kitchen.pan, is_long=True),
    "teapot": Family(make=kitchen.teapot, is_long=True),
    "watering_can": Family(make=kitchen.watering_can, weight=0.8, is_long=True),
    "vase": Family(make=kitchen.vase, weight=0.6),
    "footed_dish": Family(make=kitchen.footed_dish, weight=0.4),
    "car": Family(make=vehicles.car, is_long=True),
    "bus": Family(make=vehicles.bus, weight=0.8, is_long=True),
    "truck": Family(make=vehicles.truck, is_long=True),
    "train": Family(make=craft.train, weight=0.6, is_long=True),
    "aeroplane": Family(make=craft.aeroplane, weight=0.5, is_long=True),
    "boat": Family(make=craft.boat, weight=0.4, is_long=True),
    "beast": Family(make=beasts.beast, is_long=True),
    "sitting_toy": Family(make=figures.sitting_toy),
    "bird": Family(make=beasts.bird, weight=0.6, is_long=True),
    "person": Family(make=figures.person),
    "dinosaur": Family(make=beasts.dinosaur, weight=0.5, is_long=True),
    "sofa": Family(make=furniture.sofa, weight=1.2),
    "chair": Family(make=furniture.chair),
    "stool": Family(make=furniture.stool, weight=0.6),
    "shelf": Family(make=racks.shelf, weight=0.7),
    "rack": Family(make=racks.rack),
    "basket": Family(make=racks.basket, weight=1.2),
    "lamp": Family(make=decor.lamp, weight=0.8),
    "plant": Family(make=decor.plant, weight=0.8),
    "blocks": Family(make=toys.blocks, weight=0.7),
    "stacking_rings": Family(make=toys.stacking_rings, weight=0.5),
    "abacus": Family(make=toys.abacus, weight=0.6),
    "shape_sorter": Family(make=toys.shape_sorter, weight=0.5),
    "peg_board": Family(make=toys.peg_board, weight=0.6),
    "drum": Family(make=toys.drum, weight=0.5),
    "pull_along": Family(make=toys.pull_along, weight=0.3, is_long=True),
    "clock": Family(make=appliances.clock, weight=1.2),
    "radio": Family(make=appliances.radio),
    "toaster": Family(make=appliances.toaster),
    "gadget": Family(make=gadgets.gadget, weight=1.2),
    "books": Family(make=gadgets.books, weight=0.8),
    "picture_frame": Family(make=gadgets.picture_frame, weight=0.4),
    "tool": Family(make=tools.tool, weight=1.2, is_long=True),
    "food": Family(make=food.food),
    "gathered": Family(make=food.gathered, weight=0.4),
}


def household_object(seed: int, family: str | None = None) -> Mesh:
    """Of the family, or of a random one; the seed decides everything else."""
    if family is not None and family not in FAMILIES:
        raise InputError(f"there is no family called {family!r}: choose one of {', '.join(FAMILIES)}")
    rng = np.random.default_rng(seed)
    names = list(FAMILIES)
    weights = np.array([FAMILIES[name].weight for name in names])
    drawn = names[rng.choice(len(names), p=weights / weights.sum())]
    name = family or drawn
    parts = _within_budget(_varied(FAMILIES[name].make(rng), FAMILIES[name], rng))
    return assemble(parts, {"generator": "infinitemesh.data.household", "family": name, "seed": seed})


def _varied(parts: list[Part], family: Family, rng: np.random.Generator) -> list[Part]:
    """Stretched a little, perhaps mirrored, and turned to show another side."""
    x, y, z = (float(s) for s in rng.uniform(0.9, 1.12, 3))
    stretch = (x * float(rng.choice([-1, 1])), y, z)
    turn_deg = 0.0
    if family.is_long and rng.random() > BROADSIDE_ODDS:
        turn_deg = float(rng.choice([-90, 90]))
    elif family.is_long and rng.random() < 0.3:
        turn_deg = float(rng.uniform(-30, 30))
    return [
        Part(part.solid.scale(stretch).rotate((0, turn_deg, 0)), part.texture)
        for part in parts
        if part.solid.num_tri() > 0
    ]


def _within_budget(parts: list[Part]) -> list[Part]:
    """All parts simplified by the smallest of doubling tolerances that does it."""
    boxes = np.asarray([part.solid.bounding_box() for part in parts])
    size = float((boxes[:, 3:].max(0) - boxes[:, :3].min(0)).max())
    for step in range(10):
        if sum(part.solid.num_tri() for part in parts) <= MAX_FACES:
            break
        tolerance = 3e-4 * 2**step * size
        parts = [Part(part.solid.as_original().simplify(tolerance), part.texture) for part in parts]
        parts = [part for part in parts if part.solid.num_tri() > 0]
    return parts


def write_objects(out_dir: str | Path, num: int, seed: int, *, overwrite: bool = False) -> list[Path]:
    """Objects of the seeds `seed` to `seed + num - 1`, one GLB each."""
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    return [
        household_object(s).save(out_dir / f"household_{s:08d}.glb", overwrite=overwrite)
        for s in range(seed, seed + num)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Writes household objects as GLB files.")
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("num", type=int, nargs="?", default=10)
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--overwrite", action="store_true")
    args = parser.parse_args(arguments)
    paths = write_objects(args.out_dir, args.num, args.seed, overwrite=args.overwrite)
    sys.stdout.write(f"{len(paths)} objects in {args.out_dir}\n")


if __name__ == "__main__":
    main()
