"""How fast training data is made: `python -m infinitemesh.data.bench --device cuda --packs DIR`."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence

import torch

from infinitemesh.data.lighting import random_lighting
from infinitemesh.data.materials import random_materials
from infinitemesh.data.packs import ObjectPack, load_packs
from infinitemesh.data.points import PointOptions, cache_points, draw_points
from infinitemesh.data.rigs import random_rigs
from infinitemesh.data.training_views import draw_objects, render_batch
from infinitemesh.data.view_cameras import orbit_cameras, ring_angles


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="How fast training data is made.")
    parser.add_argument("--packs", nargs="+", required=True, help="shards or folders of shards")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--views", type=int, default=12)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--supersample", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--points", type=int, default=16_384)
    parser.add_argument("--objects", type=int, default=None, help="only so many objects in the point cache")
    args = parser.parse_args(arguments)

    pack, seconds = _timed(args.device, lambda: load_packs(args.packs, device=args.device))
    _say(f"{len(pack)} objects loaded in {seconds:.1f} s")
    for lit in (False, True):
        _measure_rendering(pack, args, lit=lit)
    some = pack if args.objects is None else pack.first(args.objects)
    cache, seconds = _timed(args.device, lambda: cache_points(some, options=PointOptions(points=args.points)))
    _say(f"point cache: {len(some)} objects x {args.points} in {seconds:.1f} s")
    generator = torch.Generator(args.device).manual_seed(0)
    ids = torch.arange(min(args.batch, len(some)), device=args.device)
    rig = random_rigs(some, ids, generator)
    _, seconds = _timed(args.device, lambda: [draw_points(cache, some, ids, rig, 3072, generator) for _ in range(10)])
    _say(f"draw_points {len(ids)} x 3072: {100 * seconds:.1f} ms")
    if args.device.startswith("cuda"):
        _say(f"peak memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


def _measure_rendering(pack: ObjectPack, args: argparse.Namespace, *, lit: bool) -> None:
    generator = torch.Generator(args.device).manual_seed(0)
    _step(pack, generator, args, lit=lit)  # the first call pays for start-up
    _, seconds = _timed(args.device, lambda: [_step(pack, generator, args, lit=lit) for _ in range(args.steps)])
    what = "with materials and lights" if lit else "plain"
    rate = args.batch * args.steps / seconds
    _say(f"render_batch {args.batch} x {args.views} views of {args.size} px, {what}: {rate:.1f} objects/s")


def _step(pack: ObjectPack, generator: torch.Generator, args: argparse.Namespace, *, lit: bool) -> None:
    ids = draw_objects(pack, args.batch, generator)
    rig = random_rigs(pack, ids, generator)
    camera = orbit_cameras(*ring_angles(args.batch, generator, num_views=args.views))
    materials = random_materials(pack, ids, generator) if lit else None
    lighting = random_lighting(args.batch, generator) if lit else None
    render_batch(
        pack,
        ids,
        rig,
        camera,
        size=args.size,
        supersample=args.supersample,
        materials=materials,
        lighting=lighting,
    )


def _timed(device: str, work: Callable) -> tuple:
    started = time.perf_counter()
    result = work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return result, time.perf_counter() - started


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
