"""Food, and small things in a bunch."""

import numpy as np

from infinitemesh.data.household_solids import at_all, blobs, capsule, curve, drop, shell, stack, tube, union, warped
from infinitemesh.data.household_textures import (
    WHITE,
    crust,
    glaze,
    leaf,
    pick,
    plastic,
    shade,
    timber,
    tint,
    vivid,
)
from infinitemesh.data.procedural_parts import Part, around, ball, box, lathe, ring, rod, slab, soft_box
from infinitemesh.data.procedural_textures import Colour, dots, stripes


def food(rng: np.random.Generator) -> list[Part]:
    """Fruit, bread, cakes, doughnuts, burgers, pizza, ice cream and cheese."""
    kinds = {
        "fruit": _fruit,
        "bread": _bread,
        "cake": _cake,
        "doughnut": _doughnut,
        "burger": _burger,
        "cone": _ice_cream,
        "banana": _banana,
        "pineapple": _pineapple,
    }
    return kinds[pick(rng, (*kinds, "fruit"))](rng)  # fruit has two shares


def _fruit(rng: np.random.Generator) -> list[Part]:
    """Apples, pears, lemons, aubergines, pumpkins."""
    high = rng.uniform(0.7, 1.4)
    top, bottom = rng.uniform(0.25, 0.48), rng.uniform(0.3, 0.5)
    rows = [
        (0.05, 0.06, 0.06),
        (0.0, 0.16, 0.16),
        (0.12 * high, bottom * 0.9, bottom * 0.9),
        (0.35 * high, bottom, bottom),
        (0.7 * high, top, top),
        (0.92 * high, top * 0.5, top * 0.5),
        (0.94 * high, 0.1, 0.1),
        (0.86 * high, 0.03, 0.03),
    ]
    ribs, depth = int(rng.integers(6, 13)), rng.choice([0.0, 0.0, 0.06])
    body = stack(rows, steps=36, count=56).warp_batch(
        lambda p: p * (1 - depth * np.abs(np.sin(ribs / 2 * np.arctan2(p[:, 2], p[:, 0]))))[:, None] ** [1, 0, 1]
    )
    stem = tube(
        curve([(0, 0.85 * high, 0), (0.01, 0.98 * high, 0), (0.06, 1.1 * high, 0.02)], 10), np.linspace(0.022, 0.03, 10)
    )
    a, b = vivid(rng), vivid(rng)
    parts = [Part(body, crust(rng, a, b if rng.random() < 0.3 else shade(a, 0.75))), Part(stem, timber(rng))]
    if rng.random() < 0.5:
        parts.append(Part(capsule((0.03, 1.0 * high, 0), (0.25, 1.06 * high, 0.05), 0.02, 0.06), leaf(rng)))
    return parts


def _bread(rng: np.random.Generator) -> list[Part]:
    long, wide, tall = rng.uniform(0.8, 1.0), rng.uniform(0.2, 0.45), rng.uniform(0.16, 0.4)
    loaf = stack(
        [
            (-long / 2, 0.02, 0.02),
            (-long * 0.46, tall * 0.3, wide * 0.3),
            (-long * 0.3, tall / 2, wide / 2),
            (long * 0.3, tall / 2, wide / 2),
            (long * 0.46, tall * 0.3, wide * 0.3),
            (long / 2, 0.02, 0.02),
        ],
        power=2.5,
    ).rotate((0, 0, -90))
    count, slant = int(rng.integers(3, 8)), rng.uniform(-30, 30)
    cuts = [
        box(0.03, 0.08, wide * 0.7).rotate((0, slant, 20)).translate((x, tall / 2, 0))
        for x in np.linspace(-0.3, 0.3, count) * long
    ]
    brown: Colour = (0.72, 0.45, 0.2)
    loaf = loaf.warp_batch(
        lambda p: p + np.stack([0 * p[:, 0], np.where(p[:, 1] < 0, -0.4 * p[:, 1], 0), 0 * p[:, 0]], -1)
    )
    return [Part(loaf - union(cuts), crust(rng, shade(brown, rng.uniform(0.7, 1.2)), (0.88, 0.68, 0.4)))]


def _cake(rng: np.random.Generator) -> list[Part]:
    r, tall = 0.5, rng.uniform(0.25, 0.6)
    cut = rng.uniform(20, 70) if rng.random() < 0.6 else 0.0
    is_slice = rng.random() < 0.25
    reach = [(0, 0), *[(2 * np.cos(t), 2 * np.sin(t)) for t in np.deg2rad(np.linspace(60 - cut, 60, 5))]]
    wedge = slab(reach, 4).rotate((-90, 0, 0)).rotate((0, 180, 0)) if cut else None
    keep = lambda solid: solid if wedge is None else solid ^ wedge if is_slice else solid - wedge  # noqa: E731
    sponge = keep(rod(r, tall, segments=56).translate((0, tall / 2, 0)))
    icing = keep(
        rod(r * 1.02, 0.06, segments=56).translate((0, tall, 0)) + ring(r * 0.97, 0.05).translate((0, tall, 0))
    )
    layers = keep(union([rod(r * 1.008, 0.035, segments=56).translate((0, tall * t, 0)) for t in (0.33, 0.66)]))
    tops = keep(around(ball(0.06, 16).translate((0.36, tall + 0.06, 0)), int(rng.integers(5, 10))))
    plate = lathe([(0.4, -0.05), (0.64, 0.0), (0.66, 0.02), (0.1, 0.0)], 48)
    colour = tint(rng)
    parts = [
        Part(sponge, crust(rng, (0.85, 0.66, 0.4), (0.7, 0.48, 0.25))),
        Part(icing, plastic(rng, colour)),
        Part(layers, plastic(rng, WHITE)),
        Part(plate, glaze(rng)),
    ]
    return [*parts, Part(tops, plastic(rng, vivid(rng)))] if tops.num_tri() else parts


def _doughnut(rng: np.random.Generator) -> list[Part]:
    thick = rng.uniform(0.13, 0.2)
    body = ring(0.33, thick, 48, 20)
    icing = ring(0.33, thick * 1.04, 48, 20) ^ warped(
        box(2, 1, 2).translate((0, 0.53, 0)),
        lambda p: p + np.stack([0 * p[:, 0], 0.03 * np.sin(9 * p[:, 0]) * np.sin(8 * p[:, 2]), 0 * p[:, 0]], -1),
        0.1,
    )
    tilt = (rng.choice([0.0, 75.0]), 0.0, 0.0)
    parts = [
        Part(body, crust(rng, (0.8, 0.56, 0.28), (0.66, 0.42, 0.18))),
        Part(icing, dots(tint(rng), vivid(rng), count=16, radius=0.14)),
    ]
    return [Part(part.solid.rotate(tilt), part.texture) for part in parts]


def _burger(rng: np.random.Generator) -> list[Part]:
    bun = stack([(0.3, 0.46, 0.46), (0.36, 0.5, 0.5), (0.5, 0.42, 0.42), (0.6, 0.22, 0.22), (0.62, 0.03, 0.03)])
    base = stack([(0.0, 0.44, 0.44), (0.05, 0.49, 0.49), (0.13, 0.47, 0.47)])
    meat = stack([(0.12, 0.46, 0.46), (0.17, 0.51, 0.51), (0.23, 0.47, 0.47)])
    salad = rod(0.54, 0.03, segments=60).translate((0, 0.27, 0)).refine_to_length(0.1)
    salad = salad.warp_batch(
        lambda p: (
            p
            + np.stack(
                [
                    0 * p[:, 0],
                    0.04 * np.sin(11 * np.arctan2(p[:, 2], p[:, 0])) * np.hypot(p[:, 0], p[:, 2]),
                    0 * p[:, 0],
                ],
                -1,
            )
        )
    )
    cheese = box(0.84, 0.018, 0.84).rotate((0, rng.uniform(0, 90), 0)).translate((0, 0.24, 0))
    return [
        Part(bun + base, dots((0.8, 0.52, 0.24), (0.95, 0.87, 0.7), count=12, radius=0.14)),
        Part(meat, crust(rng, (0.3, 0.17, 0.1), (0.2, 0.1, 0.06))),
        Part(salad, leaf(rng)),
        Part(cheese, plastic(rng, (0.96, 0.75, 0.2))),
    ]


def _ice_cream(rng: np.random.Generator) -> list[Part]:
    waffle = stack([(-0.6, 0.015, 0.015), (0.0, 0.2, 0.2), (0.03, 0.22, 0.22)], smooth=False)
    scoops, y, parts = int(rng.integers(1, 4)), 0.1, []
    for i in range(scoops):
        scoop = blobs(
            [
                drop((0, y, 0), 0.21 - 0.02 * i),
                *[drop((0.18 * np.cos(a), y - 0.1, 0.18 * np.sin(a)), 0.06) for a in np.arange(7) * 0.9],
            ],
            blend=0.02,
            cells=22,
        )
        parts.append(Part(scoop, crust(rng, tint(rng), tint(rng))))
        y += 0.24
    return [
        Part(waffle, stripes((0.85, 0.62, 0.33), (0.65, 0.42, 0.2), count=16, angle_deg=45, share=0.7, px=128)),
        *parts,
    ]


def _banana(rng: np.random.Generator) -> list[Part]:
    fingers = []
    for i in range(int(rng.integers(1, 5))):
        path = curve([(-0.45, 0.24, 0), (-0.25, 0.04, 0), (0.1, 0.0, 0), (0.42, 0.2, 0)], 20)
        radius = np.interp(
            np.linspace(0, 1, 20), [0, 0.08, 0.2, 0.8, 0.94, 1], [0.025, 0.03, 0.085, 0.085, 0.04, 0.025]
        )
        fingers.append(
            tube(path, radius, segments=12)
            .translate((0.45, 0, 0))
            .rotate((0, 14 * (i - 1), 0))
            .translate((0, 0.02 * i, 0.04 * i))
        )
    return [Part(union(fingers), crust(rng, (0.95, 0.8, 0.22), (0.85, 0.68, 0.15)))]


def _pineapple(rng: np.random.Generator) -> list[Part]:
    body = stack(
        [(0, 0.12, 0.12), (0.06, 0.2, 0.2), (0.3, 0.26, 0.26), (0.52, 0.22, 0.22), (0.6, 0.1, 0.1)], steps=40, count=60
    )
    body = body.warp_batch(
        lambda p: (
            p
            * (
                1
                + 0.04
                * np.sin(12 * np.arctan2(p[:, 2], p[:, 0]) + 40 * p[:, 1])
                * np.sin(12 * np.arctan2(p[:, 2], p[:, 0]) - 40 * p[:, 1])
            )[:, None]
            ** [1, 0, 1]
        )
    )
    blade = tube(
        curve([(0, 0.56, 0), (0.06, 0.72, 0), (0.17, 0.9, 0)], 8),
        np.array([2, 2.4, 2.4, 2, 1.6, 1.2, 0.7, 0.1]) * 0.012,
        flat=2.2,
        segments=8,
    )
    crown = union([around(blade.rotate((0, 0, 10 * k)).translate((0, 0, 0)), 6).rotate((0, 20 * k, 0)) for k in (0, 1)])
    return [Part(body, crust(rng, (0.8, 0.55, 0.2), (0.55, 0.4, 0.15))), Part(crown, leaf(rng))]


def gathered(rng: np.random.Generator) -> list[Part]:
    """Things in a bunch: pens in a pot, eggs in their tray."""
    if rng.random() < 0.5:
        pot = shell([(0, 0.2, 0.2), (0.5, 0.22, 0.22)], 0.02, power=rng.choice([2.0, 6.0]))
        pens = [
            capsule(
                (0.0, 0.1, 0.0),
                (rng.uniform(-0.25, 0.25), rng.uniform(0.75, 0.95), rng.uniform(-0.25, 0.25)),
                0.022,
                0.02,
            )
            for _ in range(int(rng.integers(3, 8)))
        ]
        return [
            Part(pot, glaze(rng)),
            Part(union(pens[::2]), plastic(rng, vivid(rng))),
            Part(union(pens[1::2]), plastic(rng, vivid(rng))),
        ]
    nx, nz, gap = int(rng.integers(2, 6)), 2, 0.2
    places = [((i - (nx - 1) / 2) * gap, 0, (j - (nz - 1) / 2) * gap) for i in range(nx) for j in range(nz)]
    cups = at_all(ball(0.095, 20).translate((0, 0.13, 0)), places)
    tray = soft_box(nx * gap + 0.02, 0.13, nz * gap + 0.02, 0.03).translate((0, 0.055, 0)) - cups
    parts = [Part(tray, crust(rng, (0.62, 0.6, 0.56), (0.5, 0.48, 0.45)))]
    kept = [place for place in places if rng.random() < 0.7]
    if kept:
        egg = stack(
            [(0.035, 0.01, 0.01), (0.05, 0.045, 0.045), (0.11, 0.078, 0.078), (0.18, 0.05, 0.05), (0.215, 0.01, 0.01)],
            count=20,
            steps=14,
        )
        parts.append(Part(at_all(egg, kept), crust(rng, (0.9, 0.78, 0.65), (0.85, 0.7, 0.55))))
    return parts
