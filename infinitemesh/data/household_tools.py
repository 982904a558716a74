"""Tools, drawn along X."""

import numpy as np

from infinitemesh.data.household_solids import capsule, curve, shell, stack, tube, union
from infinitemesh.data.household_textures import (
    BLACK,
    STEEL,
    WHITE,
    metal,
    pick,
    plastic,
    timber,
    tint,
    vivid,
)
from infinitemesh.data.procedural_parts import Part, box, rod, slab, soft_box
from infinitemesh.data.procedural_textures import stripes


def tool(rng: np.random.Generator) -> list[Part]:
    """Hammers, screwdrivers, brushes, spanners, spatulas, torches, hair dryers, drills: lying, leaning or upright."""
    kinds = {
        "hammer": _hammer,
        "screwdriver": _screwdriver,
        "brush": _brush,
        "spanner": _spanner,
        "spoon": _spoon,
        "torch": _torch,
        "dryer": _dryer,
        "saw": _saw,
    }
    parts = kinds[pick(rng, tuple(kinds))](rng)
    draw = rng.random()
    turn = (0.0, 0.0, 0.0) if draw < 0.55 else (0.0, 0.0, 90.0) if draw < 0.8 else (-90.0, 0.0, 0.0)
    return [Part(part.solid.rotate(turn), part.texture) for part in parts]


def _grip(rng: np.random.Generator, length: float, r: float) -> list[Part]:
    """A handle from x = -length to 0."""
    swell = rng.uniform(0.8, 1.3, 3)
    handle = stack(
        [
            (0, 0.6 * r, 0.5 * r),
            (0.04, r * swell[0], 0.8 * r),
            (0.5 * length, r * swell[1], 0.85 * r),
            (0.85 * length, r * swell[2], 0.8 * r),
            (length, 0.55 * r, 0.5 * r),
        ],
        power=2.6,
        count=28,
    )
    picture = (
        timber(rng)
        if rng.random() < 0.5
        else stripes(tint(rng), BLACK, count=int(rng.integers(2, 6)), angle_deg=0, share=0.7, px=128)
    )
    return [Part(handle.translate((0, -length, 0)).rotate((0, 0, -90)), picture)]


def _hammer(rng: np.random.Generator) -> list[Part]:
    length, tall = rng.uniform(0.6, 0.8), rng.uniform(0.14, 0.2)
    x = 0.03
    if rng.random() < 0.4:  # a mallet
        head = (
            soft_box(0.2, 2 * tall, 0.2, 0.03).translate((x, 0, 0))
            if rng.random() < 0.5
            else rod(0.12, 2 * tall, segments=36).translate((x, 0, 0))
        )
        return [*_grip(rng, length, 0.045), Part(head, timber(rng) if rng.random() < 0.5 else plastic(rng))]
    face = rod(0.055, 0.08, segments=28).translate((x, tall, 0)) + rod(0.04, tall, segments=24).translate(
        (x, tall / 2, 0)
    )
    claw = tube(
        curve([(x, 0, 0), (x, -tall * 0.7, 0), (x - 0.07, -tall * 1.3, 0)], 12), np.linspace(0.045, 0.012, 12), flat=1.3
    )
    slot = box(0.3, 0.14, 0.022).translate((x, -tall * 1.25, 0))
    return [
        *_grip(rng, length, 0.045),
        Part(face + (claw - slot) + box(0.09, 0.11, 0.08).translate((x, 0, 0)), metal(rng)),
    ]


def _screwdriver(rng: np.random.Generator) -> list[Part]:
    r = rng.uniform(0.06, 0.1)
    shaft = rod(0.022, 0.55, segments=16).rotate((0, 0, 90)).translate((0.25, 0, 0))
    tip = soft_box(0.1, 0.012, 0.06, 0.004, 6).translate((0.55, 0, 0))
    return [*_grip(rng, 0.38, r), Part(shaft + tip, metal(rng))]


def _brush(rng: np.random.Generator) -> list[Part]:
    if rng.random() < 0.5:  # a paint brush
        wide = rng.uniform(0.08, 0.2)
        ferrule = soft_box(0.12, 0.07, 2 * wide, 0.02).translate((0.05, 0, 0))
        hair = (
            stack([(0, 0.03, wide * 0.95), (0.15, 0.04, wide * 1.05), (0.3, 0.012, wide * 0.9)], power=3.5)
            .rotate((0, 0, -90))
            .translate((0.1, 0, 0))
        )
        return [
            *_grip(rng, 0.5, 0.05),
            Part(ferrule, metal(rng)),
            Part(hair, stripes(tint(rng), BLACK, count=40, angle_deg=0, px=128)),
        ]
    length, wide = rng.uniform(0.25, 0.42), rng.uniform(0.06, 0.13)
    board = stack(
        [
            (0, wide * 0.7, wide * 0.8),
            (0.02, wide, length / 2),
            (0.06, wide, length / 2),
            (0.08, wide * 0.8, length * 0.45),
        ],
        power=3,
    )
    board = board.rotate((0, 90, 0)).translate((length / 2 - 0.03, -0.03, 0))
    tufts = [
        rod(0.016, 0.13, top_radius=0.012, segments=7).translate((x, 0.1, z))
        for x in np.linspace(0.03, length - 0.09, 8)
        for z in np.linspace(-wide * 0.7, wide * 0.7, 4)
    ]
    return [
        *_grip(rng, 0.5, 0.045),
        Part(board, plastic(rng)),
        Part(union(tufts), plastic(rng, WHITE if rng.random() < 0.5 else tint(rng))),
    ]


def _spanner(rng: np.random.Generator) -> list[Part]:
    r, length = rng.uniform(0.1, 0.15), 0.8
    bar = soft_box(length, 0.04, 0.1, 0.015)
    eye = rod(r, 0.05, segments=32).translate((length / 2, 0, 0)) - rod(r * 0.6, 1, segments=6).translate(
        (length / 2, 0, 0)
    )
    jaw = rod(r * 1.1, 0.05, segments=32).translate((-length / 2, 0, 0)) - box(0.24, 1, r * 0.9).rotate(
        (0, 20, 0)
    ).translate((-length / 2 - 0.12, 0, 0.02))
    return [Part((bar - rod(r * 0.6, 1, segments=6).translate((length / 2, 0, 0))) + eye + jaw, metal(rng))]


def _spoon(rng: np.random.Generator) -> list[Part]:
    """Spoons, ladles, spatulas and forks."""
    kind = pick(rng, ("spoon", "ladle", "spatula", "fork"))
    picture = metal(rng, STEEL) if rng.random() < 0.5 else timber(rng)
    stem = tube(curve([(-0.6, 0.03, 0), (-0.2, 0.0, 0), (0.12, 0.0, 0)], 14), np.linspace(0.02, 0.013, 14), flat=1.6)
    if kind in ("spoon", "ladle"):
        deep = 0.045 if kind == "spoon" else 0.13
        rows = [(-deep, 0.04, 0.03), (-deep * 0.6, 0.11, 0.08), (0.0, 0.16, 0.105)]
        return [Part(shell(rows, 0.012).translate((0.26, 0, 0)), picture), Part(stem, picture)]
    blade = soft_box(0.3, 0.015, 0.2, 0.006, 8).rotate((0, 0, 12)).translate((0.25, 0.03, 0))
    gaps = union(
        [box(0.22, 1, 0.022).translate((0.27 if kind == "spatula" else 0.33, 0, z)) for z in (-0.05, 0.0, 0.05)]
    )
    return [Part(blade - gaps, picture), Part(stem, plastic(rng))]


def _torch(rng: np.random.Generator) -> list[Part]:
    r = rng.uniform(0.06, 0.1)
    body = rod(r, 0.7, segments=32).rotate((0, 0, 90))
    head = (
        shell([(0, r, r), (0.1, r * 1.7, r * 1.7), (0.2, r * 1.75, r * 1.75)], 0.02, floor=0.08)
        .rotate((0, 0, -90))
        .translate((0.34, 0, 0))
    )
    glass = rod(r * 1.5, 0.02, segments=32).rotate((0, 0, 90)).translate((0.46, 0, 0))
    return [
        Part(body, stripes(tint(rng), BLACK, count=14, angle_deg=0, px=128)),
        Part(head, metal(rng)),
        Part(glass, plastic(rng, (0.95, 0.95, 0.85))),
        Part(soft_box(0.1, 0.04, 0.05, 0.015).translate((0.1, r, 0)), plastic(rng, vivid(rng))),
    ]


def _dryer(rng: np.random.Generator) -> list[Part]:
    """Hair dryers and drills: a barrel with a pistol grip below it."""
    r = rng.uniform(0.12, 0.18)
    barrel = stack(
        [(-0.3, 0.7 * r, 0.7 * r), (-0.22, r, r), (0.05, r, r), (0.25, 0.65 * r, 0.65 * r), (0.42, 0.6 * r, 0.6 * r)]
    ).rotate((0, 0, -90))
    is_drill = rng.random() < 0.5
    bore = rod(0.5 * r, 0.3, segments=28).rotate((0, 0, 90)).translate((0.42, 0, 0))
    lean = rng.uniform(-0.12, 0.05)
    grip = capsule((-0.08, -0.05, 0), (-0.08 + lean, -0.5, 0), 0.075, 0.065)
    parts = [Part((barrel if is_drill else barrel - bore) + grip, plastic(rng))]
    if is_drill:
        chuck = rod(0.07, 0.14, top_radius=0.04, segments=24).rotate((0, 0, -90)).translate((0.46, 0, 0)) + rod(
            0.015, 0.3, segments=10
        ).rotate((0, 0, 90)).translate((0.6, 0, 0))
        pack = soft_box(0.26, 0.13, 0.18, 0.03).translate((-0.06 + lean, -0.55, 0))
        return [
            *parts,
            Part(chuck, metal(rng)),
            Part(pack, plastic(rng, BLACK)),
            Part(box(0.05, 0.09, 0.05).translate((0.02, -0.2, 0)), plastic(rng, vivid(rng))),
        ]
    cord = tube(
        curve([(-0.08 + lean, -0.52, 0), (-0.1, -0.66, 0.03), (-0.3, -0.68, 0.1), (-0.45, -0.62, 0.05)], 14),
        0.014,
        segments=8,
    )
    return [
        *parts,
        Part(cord, plastic(rng, BLACK)),
        Part(soft_box(0.04, 0.1, 0.05, 0.012).translate((0.0, -0.22, 0)), plastic(rng)),
    ]


def _saw(rng: np.random.Generator) -> list[Part]:
    """Saws and knives: a flat blade and a grip."""
    length, tall = rng.uniform(0.5, 0.75), rng.uniform(0.07, 0.2)
    teeth = [(length * t, -tall / 2 - (0.015 if i % 2 else 0)) for i, t in enumerate(np.linspace(0, 0.95, 36))]
    blade = slab(
        [(-0.02, tall / 2), *teeth, (length, -tall * 0.2), (length * 0.9, tall * rng.uniform(0.0, 0.5))], 0.014
    )
    return [*_grip(rng, 0.35, 0.06), Part(blade, metal(rng))]
