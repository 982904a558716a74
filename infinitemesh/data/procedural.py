"""Textured objects out of nothing: random compositions of solids, and a few recognisable ones by name.

    python -m infinitemesh.data.procedural OUT 100 0       # random_00000000.glb ... by seed
    python -m infinitemesh.data.procedural OUT --named     # mug.glb, chair.glb, ...

The random ones follow the idea of LRM-Zero (Xie et al. 2024): shapes without meaning teach a reconstruction as well as
real ones. Here 1 to 9 solids, bent, bumped, cut and mirrored, each with its own texture. A seed gives the same bytes.
Everything made here is CC0.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from manifold3d import CrossSection, Manifold

from infinitemesh.data.procedural_parts import Part, around, assemble, ball, box, lathe, mirrored, ring, rod, soft_box
from infinitemesh.data.procedural_shapes import NAMED_OBJECTS
from infinitemesh.data.procedural_textures import random_texture
from infinitemesh.errors import InputError
from infinitemesh.types import Mesh

PART_COUNT_ODDS = (6, 6, 6, 5, 4, 3, 2, 1, 1)  # of 1 to 9 parts
MIN_FACES = 20  # a cut that leaves less than this is taken back
MAX_FACES = 8_000  # of an object, shared evenly by its parts


def named_object(name: str, seed: int = 0) -> Mesh:
    """A recognisable object that faces +Z; the seed varies its sizes and colours."""
    if name not in NAMED_OBJECTS:
        raise InputError(f"there is no object called {name!r}: choose one of {', '.join(NAMED_OBJECTS)}")
    parts = NAMED_OBJECTS[name](np.random.default_rng(seed))
    return assemble(parts, {"generator": f"infinitemesh.data.procedural {name}", "seed": seed})


def random_object(seed: int) -> Mesh:
    """1 to 9 textured solids that touch or overlap, each closed."""
    rng = np.random.default_rng(seed)
    odds = np.asarray(PART_COUNT_ODDS) / sum(PART_COUNT_ODDS)
    count = 1 + int(rng.choice(len(odds), p=odds))
    tile_px = 512 // int(np.ceil(np.sqrt(count)))
    solids: list[Manifold] = []
    for _ in range(count):
        solid = _random_solid(rng)
        if solids:
            solid = _attached(solid, solids[rng.integers(len(solids))], rng)
        solids.append(_varied(solid, rng, is_first=not solids))
    parts = [Part(_simplified(solid, MAX_FACES // count), random_texture(rng, tile_px)) for solid in solids]
    return assemble(parts, {"generator": "infinitemesh.data.procedural", "seed": seed})


def _random_solid(rng: np.random.Generator) -> Manifold:
    """One primitive, bent and bumped, of about unit size."""
    solid = _random_primitive(rng)
    if rng.random() < 0.75:
        solid = _bent(solid.refine_to_length(0.25), rng)
    scale = rng.uniform(0.25, 1.6, 3)
    if rng.random() < 0.45:
        scale[:] = scale[0] * np.array([1, rng.uniform(0.3, 3), 1])
    turn = rng.uniform(0, 360, 3) if rng.random() < 0.5 else 90.0 * rng.integers(0, 4, 3)
    return solid.scale(tuple(scale)).rotate([float(t) for t in turn])


def _random_primitive(rng: np.random.Generator) -> Manifold:
    kind = rng.integers(0, 8)
    if kind == 0:
        return ball(1, 28)
    if kind == 1:
        return box(2, 2, 2)
    if kind == 2:
        return soft_box(2, 2, 2, rng.uniform(0.1, 0.5))
    if kind == 3:
        return rod(1, 2, top_radius=rng.choice([1.0, 0.0, rng.uniform(0.2, 0.9)]))
    if kind == 4:
        return ring(1, rng.uniform(0.15, 0.45), 40, 16)
    if kind == 5:  # a vase or a spindle
        heights = np.linspace(-1, 1, rng.integers(4, 9))
        radii = rng.uniform(0.15, 1, len(heights))
        smooth = np.linspace(-1, 1, 24)
        return lathe([(float(np.interp(h, heights, radii)), float(h)) for h in smooth], 32)
    if kind == 6:  # a star or polygon prism
        corners = int(rng.integers(3, 9)) * 2
        angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
        radius = np.where(np.arange(corners) % 2, rng.uniform(0.4, 1), 1)
        outline = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
        return CrossSection([outline]).extrude(2, 8, rng.uniform(-60, 60)).translate((0, 0, -1)).rotate((-90, 0, 0))
    return _wireframe(rng)


def _wireframe(rng: np.random.Generator) -> Manifold:
    """The edges of a box as rods."""
    thickness = rng.uniform(0.06, 0.18)
    along_y = [rod(thickness, 2, segments=12).translate((x, 0, z)) for x in (-1, 1) for z in (-1, 1)]
    frame = along_y[0]
    for bar in along_y[1:]:
        frame = frame + bar
    joints = [ball(thickness * 1.2, 12).translate((x, y, z)) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
    frame = frame + frame.rotate((90, 0, 0)) + frame.rotate((0, 0, 90))
    for joint in joints:
        frame = frame + joint
    return frame


def _bent(solid: Manifold, rng: np.random.Generator) -> Manifold:
    """Bumps by random waves, twist and taper along Y; the solid stays closed, though it may touch itself."""
    waves, phases = rng.standard_normal((6, 3)) * rng.uniform(0.5, 3), rng.uniform(0, 2 * np.pi, 6)
    bump = rng.uniform(0, 0.3) if rng.random() < 0.5 else 0.0
    twist = rng.uniform(-1.5, 1.5) if rng.random() < 0.4 else 0.0
    taper = rng.uniform(-0.6, 0.3) if rng.random() < 0.4 else 0.0

    def move(points: np.ndarray) -> np.ndarray:
        points = points * (1 + bump * np.sin(points @ waves.T + phases).mean(1, keepdims=True))
        height = points[:, 1]
        cos, sin = np.cos(twist * height), np.sin(twist * height)
        width = 1 + taper * height
        x, z = points[:, 0] * width, points[:, 2] * width
        return np.stack([cos * x - sin * z, height, sin * x + cos * z], axis=-1)

    return solid.warp_batch(move)


def _attached(solid: Manifold, base: Manifold, rng: np.random.Generator) -> Manifold:
    """Scaled and moved so that its middle lies in or on the base."""
    places = np.asarray(base.to_mesh().vert_properties[:, :3])
    low = np.asarray(base.bounding_box())
    middle = (low[:3] + low[3:]) / 2
    place = middle + (places[rng.integers(len(places))] - middle) * rng.uniform(0.6, 1.0)
    return solid.scale([rng.uniform(0.3, 1.0)] * 3).translate(tuple(place))


def _varied(solid: Manifold, rng: np.random.Generator, *, is_first: bool) -> Manifold:
    """Some solids are cut, some doubled or repeated about the up axis."""
    if rng.random() < 0.2:
        solid = _cut(solid, rng)
    if not is_first and rng.random() < 0.25:
        solid = mirrored(solid)
    elif not is_first and rng.random() < 0.15:
        solid = around(solid, int(rng.integers(3, 6)))
    return solid


def _cut(solid: Manifold, rng: np.random.Generator) -> Manifold:
    places = np.asarray(solid.to_mesh().vert_properties[:, :3])
    size = float(np.ptp(places, axis=0).max() * rng.uniform(0.3, 0.6))
    tool = ball(size / 2, 32) if rng.random() < 0.5 else box(size, size, size)
    left = solid - tool.translate(tuple(places[rng.integers(len(places))]))
    return left if left.num_tri() >= MIN_FACES else solid


def _simplified(solid: Manifold, max_faces: int) -> Manifold:
    """Within the budget, by the smallest of doubling tolerances that does it."""
    low = np.asarray(solid.bounding_box())
    for step in range(8):
        if solid.num_tri() <= max_faces:
            break
        solid = solid.as_original().simplify(5e-4 * 2**step * float((low[3:] - low[:3]).max()))
    return solid


def write_objects(out_dir: str | Path, num: int, seed: int, *, overwrite: bool = False) -> list[Path]:
    """Random objects of the seeds `seed` to `seed + num - 1`, one GLB each."""
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    return [
        random_object(s).save(out_dir / f"random_{s:08d}.glb", overwrite=overwrite) for s in range(seed, seed + num)
    ]


def write_named_objects(out_dir: str | Path, seed: int = 0, *, overwrite: bool = False) -> list[Path]:
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    return [named_object(name, seed).save(out_dir / f"{name}.glb", overwrite=overwrite) for name in NAMED_OBJECTS]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Writes procedural objects as GLB files.")
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("num", type=int, nargs="?", default=10)
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--named", action="store_true", help="the recognisable objects instead of random ones")
    parser.add_argument("--overwrite", action="store_true")
    args = parser.parse_args(arguments)
    if args.named:
        paths = write_named_objects(args.out_dir, args.seed, overwrite=args.overwrite)
    else:
        paths = write_objects(args.out_dir, args.num, args.seed, overwrite=args.overwrite)
    sys.stdout.write(f"{len(paths)} objects in {args.out_dir}\n")


if __name__ == "__main__":
    main()
