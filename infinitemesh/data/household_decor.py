"""Lamps with hollow shades and plants in pots."""

import numpy as np

from infinitemesh.data.household_solids import (
    Row,
    blobs,
    capsule,
    curve,
    drop,
    shell,
    stack,
    tube,
    union,
)
from infinitemesh.data.household_textures import (
    BRASS,
    WHITE,
    fabric,
    glaze,
    leaf,
    metal,
    pick,
    plastic,
    soil,
    timber,
    tint,
    vivid,
)
from infinitemesh.data.procedural_parts import Part, around, ball, box, lathe, ring, rod
from infinitemesh.data.procedural_textures import stripes


def lamp(rng: np.random.Generator) -> list[Part]:
    """Table lamps with a hollow shade, desk lamps on an arm, lanterns."""
    kind = pick(rng, ("table", "table", "desk", "lantern"))
    colour = metal(rng, BRASS if rng.random() < 0.5 else tint(rng))
    bulb = ball(0.06, 18)
    if kind == "table":
        tall = rng.uniform(0.4, 0.7)
        r = rng.uniform(0.05, 0.18, 4)
        stem = stack(
            [
                (0, 0.17, 0.17),
                (0.03, 0.17, 0.17),
                (0.06, r[0], r[0]),
                (0.35 * tall, r[1], r[1]),
                (0.65 * tall, r[2], r[2]),
                (0.85 * tall, 0.02, 0.02),
                (tall + 0.1, 0.02, 0.02),
            ],
            steps=36,
        )
        low, high, height = rng.uniform(0.22, 0.4), rng.uniform(0.1, 0.3), rng.uniform(0.22, 0.4)
        power = rng.choice([2.0, 2.0, 8.0])
        rows = [(0, low, low), (height, high, high)]
        bore = [
            (-0.1, low - 0.01, low - 0.01),
            (0, low - 0.012, low - 0.012),
            (height, high - 0.012, high - 0.012),
            (height + 0.1, high - 0.012, high - 0.012),
        ]
        shade_ = stack(rows, smooth=False, power=power) - stack(bore, smooth=False, power=power)
        spider = box(2 * high, 0.012, 0.012).translate((0, height * 0.95, 0))
        return [
            Part(stem, glaze(rng)),
            Part((shade_ + spider).translate((0, tall, 0)), fabric(rng)),
            Part(bulb.translate((0, tall + 0.12, 0)), plastic(rng, (1, 0.96, 0.82))),
        ]
    if kind == "desk":
        elbow, hand = (
            (-rng.uniform(0.1, 0.3), rng.uniform(0.4, 0.6), 0.0),
            (rng.uniform(0.1, 0.35), rng.uniform(0.6, 0.85), 0.0),
        )
        arm = capsule((0, 0.03, 0), elbow, 0.016) + capsule(elbow, hand, 0.016) + ball(0.03, 16).translate(elbow)
        foot = lathe([(0.18, 0), (0.18, 0.025), (0.06, 0.05), (0.02, 0.06)])
        cone = shell([(0, 0.04, 0.04), (0.08, 0.06, 0.06), (0.22, rng.uniform(0.12, 0.18), 0.15)], 0.012, floor=0.05)
        tilt = rng.uniform(-165, -110)
        head = cone.translate((0, -0.04, 0)).rotate((0, 0, tilt)).translate(hand)
        glow = bulb.translate((0, 0.1, 0)).rotate((0, 0, tilt)).translate(hand)
        return [Part(arm + foot, colour), Part(head, plastic(rng)), Part(glow, plastic(rng, (1, 0.96, 0.82)))]
    r, tall = rng.uniform(0.18, 0.3), rng.uniform(0.4, 0.7)
    posts = around(rod(0.015, tall, segments=10).translate((r * 0.95, tall / 2, 0)), int(rng.choice([4, 6])))
    base = lathe([(r * 1.15, -0.04), (r * 1.15, 0.02), (0.05, 0.04)])
    roof = lathe([(r * 1.2, tall), (r * 0.7, tall + 0.12), (0.05, tall + 0.18)]) + ring(0.08, 0.012, 24, 8).rotate(
        (90, 0, 0)
    ).translate((0, tall + 0.25, 0))
    candle = rod(0.07, tall * 0.5, segments=24).translate((0, tall * 0.25, 0)) + capsule(
        (0, tall * 0.5, 0), (0, tall * 0.5 + 0.06, 0), 0.015, 0.004
    )
    return [Part(posts + base + roof, colour), Part(candle, plastic(rng, (0.95, 0.9, 0.78)))]


def plant(rng: np.random.Generator) -> list[Part]:
    """A pot with earth below its rim, and leaves, a cactus, flowers or a small tree."""
    r, tall = rng.uniform(0.16, 0.28), rng.uniform(0.2, 0.42)
    rows: list[Row] = [
        (0, r * rng.uniform(0.6, 0.95), r * 0.8),
        (0.5 * tall, r, r),
        (tall, r * rng.uniform(0.9, 1.15), r),
    ]
    rows = [(y, a, a) for y, a, _ in rows]
    pot = shell(rows, 0.025, power=rng.choice([2.0, 2.0, 5.0]))
    earth = rod(rows[-1][1] - 0.03, 0.05, segments=32).translate((0, tall - 0.07, 0))
    parts = [Part(pot, glaze(rng) if rng.random() < 0.6 else plastic(rng, (0.75, 0.42, 0.28))), Part(earth, soil(rng))]
    kind = pick(rng, ("leaves", "leaves", "cactus", "tree", "flowers"))
    start = tall - 0.06
    if kind == "cactus":
        high = rng.uniform(0.25, 0.6)
        thick = rng.uniform(0.07, 0.13)
        body = [((0, start, 0), (0, start + high, 0), thick, thick * 0.9)]
        for side in (-1, 1):
            y = start + high * rng.uniform(0.3, 0.6)
            out = side * (thick + 0.1)
            body += [
                ((0, y, 0), (out, y, 0), thick * 0.5, thick * 0.5),
                ((out, y, 0), (out, y + high * 0.3, 0), thick * 0.5, thick * 0.45),
            ]
        solid = blobs(body if rng.random() < 0.6 else body[:1], blend=0.015, cells=36)
        return [
            *parts,
            Part(solid, stripes((0.25, 0.5, 0.25), (0.4, 0.62, 0.35), count=12, angle_deg=0, share=0.8, px=128)),
        ]
    if kind == "tree":
        high = rng.uniform(0.3, 0.5)
        crowns = [drop((x * 0.1, start + high + y * 0.12, z * 0.1), 0.14) for x, y, z in rng.uniform(-1, 1, (6, 3))]
        return [
            *parts,
            Part(rod(0.025, high + 0.1, segments=12).translate((0, start + high / 2, 0)), timber(rng)),
            Part(blobs(crowns, blend=0.02, cells=28), leaf(rng)),
        ]
    count, length = int(rng.integers(7, 18)), rng.uniform(0.3, 0.6)
    broad, droop = rng.uniform(1.5, 6), rng.uniform(0.2, 1.2)
    leaves, heads = [], []
    for i in range(count):
        angle, rise, k = i * 2.4 + rng.uniform(-0.3, 0.3), rng.uniform(0.4, 1.3), length * rng.uniform(0.6, 1.1)
        out = np.array([np.cos(angle), 0, np.sin(angle)])
        up = np.array([0, 1.0, 0])
        points = [
            start * up,
            start * up + 0.4 * k * (0.35 * out + rise * up),
            start * up + k * (0.85 * out * droop + (rise - 0.3 * droop) * up),
        ]
        leaves.append(
            tube(
                curve(points, 9),
                0.012 * np.array([0.5, 0.6, 0.8, 1.2, 1.5, 1.5, 1.2, 0.7, 0.12]),
                flat=broad,
                segments=8,
            )
        )
        heads.append(ball(0.055, 12).scale((1, 0.7, 1)).translate(tuple(points[-1])))
    parts.append(Part(union(leaves), leaf(rng)))
    if kind == "flowers":
        parts.append(Part(union(heads[::2]), plastic(rng, vivid(rng) if rng.random() < 0.7 else WHITE)))
    return parts
