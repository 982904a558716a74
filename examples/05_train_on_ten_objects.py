"""Trains the reconstruction on ten objects made on the spot; with your own GLBs in `objects`, on those.

python examples/05_train_on_ten_objects.py --out ten --minutes 10        a GPU helps; the small network learns these ten
python examples/05_train_on_ten_objects.py --out ten --smoke true        seconds, on a CPU: only shows that it runs
"""

from pathlib import Path

from jsonargparse import auto_cli

from infinitemesh.data.packs import pack_objects
from infinitemesh.data.procedural import random_object
from infinitemesh.train.command import train_run
from infinitemesh.train.loop import LoopConfig
from infinitemesh.train.recipes import ReconstructionRecipe


def main(out: str = "ten", minutes: float = 10.0, smoke: bool = False):
    objects, packs = Path(out) / "objects", Path(out) / "packs"
    if not objects.is_dir():
        objects.mkdir(parents=True)
        for seed in range(10):
            random_object(seed).save(objects / f"{seed}.glb")
    print(pack_objects(objects, packs, texture_px=64, overwrite=True))
    train_run(ReconstructionRecipe(), LoopConfig(minutes=minutes), [packs], Path(out) / "run", smoke=smoke)
    print(f"{out}/run/weights holds the averaged network, {out}/run/log.jsonl every term of the loss")


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
