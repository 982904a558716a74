"""Vessels: cups, bowls, pans, teapots, watering cans, vases. All are hollow; those with a lid sometimes wear it."""

import numpy as np
from manifold3d import Manifold

from infinitemesh.data.household_solids import Row, at_all, capsule, cavity, curve, shell, stack, tube, union
from infinitemesh.data.household_textures import (
    BLACK,
    BRASS,
    STEEL,
    WHITE,
    crust,
    glaze,
    metal,
    plastic,
    shade,
    sticker,
    timber,
    tint,
)
from infinitemesh.data.procedural_parts import Part, around, ball, box, lathe, mirrored, ring, rod, soft_box


def mug(rng: np.random.Generator) -> list[Part]:
    """Mugs, tea cups with a saucer, tumblers and beakers, drawn with the handle at +X."""
    height, r = rng.uniform(0.5, 1.0), rng.uniform(0.3, 0.5)
    low, belly = r * rng.uniform(0.55, 1.0), r * rng.uniform(0.85, 1.1)
    rows: list[Row] = [(0, low * 0.92, low * 0.92), (0.03, low, low), (0.5 * height, belly, belly), (height, r, r)]
    wall = rng.uniform(0.018, 0.05)
    colour = tint(rng)
    picture = sticker(rng, colour) if rng.random() < 0.5 else glaze(rng, colour)
    inside = cavity(rows, wall, floor=rng.uniform(0.03, 0.08))
    lining = (cavity(rows, wall * 0.6) - inside) ^ box(4, 2 * height - 0.006, 4)
    parts = [
        Part(stack(rows) - cavity(rows, wall * 0.6, floor=0.03), picture),
        Part(lining, plastic(rng, WHITE if rng.random() < 0.6 else tint(rng))),
    ]
    if rng.random() < 0.85:
        reach = rng.uniform(0.18, 0.34)
        top, bottom = height * rng.uniform(0.78, 0.9), height * rng.uniform(0.15, 0.35)
        at = lambda y: float(np.interp(y, [row[0] for row in rows], [row[1] for row in rows])) - wall / 2  # noqa: E731
        loop = curve(
            [
                (at(top), top, 0),
                (at(top) + reach * 0.8, top + 0.02, 0),
                (at(bottom) + reach, (top + bottom) / 2, 0),
                (at(bottom) + reach * 0.6, bottom, 0),
                (at(bottom), bottom, 0),
            ],
            20,
        )
        handle = tube(loop, rng.uniform(0.025, 0.05), flat=rng.uniform(0.8, 1.9), segments=14) - inside
        parts.append(Part(handle, plastic(rng, colour if rng.random() < 0.7 else tint(rng))))
    if rng.random() < 0.4:
        full = height * rng.uniform(0.5, 0.9)
        drink = inside ^ box(4, 0.03, 4).translate((0, full, 0))
        parts.append(Part(drink, plastic(rng, shade((0.35, 0.2, 0.1), rng.uniform(0.4, 2)))))
    if rng.random() < 0.25:
        dish = lathe([(low, -0.06), (r * 1.6, 0.02), (r * 1.65, 0.04), (low * 1.1, 0.0), (low, -0.005)], 48)
        parts.append(Part(dish, glaze(rng, colour)))
    turn = rng.uniform(-70, 30)
    return [Part(part.solid.rotate((0, turn, 0)), part.texture) for part in parts]


def bowl(rng: np.random.Generator) -> list[Part]:
    """Bowls, plates, pet bowls, ash trays and baking dishes, some with food."""
    height, power = rng.uniform(0.1, 0.5), rng.choice([2.0, 2.0, 2.0, 2.0, 5.0, 8.0])
    aspect = 1.0 if power == 2 and rng.random() < 0.7 else rng.uniform(0.6, 1.0)
    foot = rng.uniform(0.25, 0.42)
    rows: list[Row] = [
        (0, foot * 0.9, foot * 0.9 * aspect),
        (0.02, foot, foot * aspect),
        (0.4 * height, rng.uniform(foot, 0.48), rng.uniform(foot, 0.48) * aspect),
        (height, 0.5, 0.5 * aspect),
    ]
    if power == 2 and aspect == 1:
        rows[2] = (rows[2][0], rows[2][1], rows[2][1])
    wall = rng.uniform(0.015, 0.04)
    colour = tint(rng)
    skin = metal(rng) if rng.random() < 0.15 else timber(rng) if rng.random() < 0.15 else glaze(rng, colour)
    inside = cavity(rows, wall, power=power, floor=wall + 0.02)
    parts = [Part(stack(rows, power=power) - inside, skin)]
    if rng.random() < 0.35:
        rim = (
            stack(
                [
                    (height - 0.03, 0.5, 0.5 * aspect),
                    (height - 0.01, 0.53, 0.5 * aspect + 0.03),
                    (height + 0.01, 0.5, 0.5 * aspect),
                ],
                power=power,
            )
            - inside
        )
        parts.append(Part(rim, plastic(rng)))
    if power > 2 and rng.random() < 0.6:
        ears = mirrored(soft_box(0.12, 0.05, 0.25 * aspect, 0.02).translate((0.54, height - 0.04, 0)))
        parts.append(Part(ears - inside, skin))
    if rng.random() < 0.35:
        size = rng.uniform(0.08, 0.14)
        spots = rng.uniform(-1, 1, (9, 2)) * np.array([0.25, 0.25 * aspect])
        balls = at_all(ball(size, 16), [(x, height * 0.55 + rng.uniform(0, 0.1), z) for x, z in spots])
        parts.append(Part(balls - box(4, 0.5, 4).translate((0, -0.24, 0)), crust(rng, tint(rng), tint(rng))))
    return parts


def pan(rng: np.random.Generator) -> list[Part]:
    """Frying pans, saucepans, stock pots, woks and casseroles, with or without a lid."""
    height = rng.choice([rng.uniform(0.1, 0.2), rng.uniform(0.25, 0.6)])
    foot, r = 0.4 * rng.uniform(0.75, 1.0), 0.4
    rows: list[Row] = [
        (0, foot * 0.95, foot * 0.95),
        (0.03, foot, foot),
        (height * 0.6, (foot + r) / 2 * 1.03, (foot + r) / 2 * 1.03),
        (height, r, r),
    ]
    outside = metal(rng, STEEL if rng.random() < 0.5 else tint(rng)) if rng.random() < 0.6 else plastic(rng)
    inside = cavity(rows, 0.02)
    lining = (cavity(rows, 0.012) - inside) ^ box(4, 2 * height - 0.006, 4)
    parts = [
        Part(stack(rows) - cavity(rows, 0.012), outside),
        Part(lining, metal(rng, STEEL if rng.random() < 0.5 else BLACK)),
    ]
    grip = plastic(rng, BLACK) if rng.random() < 0.6 else timber(rng)
    if rng.random() < 0.6 or height < 0.2:
        length, rise = rng.uniform(0.4, 0.75), rng.uniform(0.0, 0.12)
        path = curve([(r - 0.03, height - 0.05, 0), (r + 0.15, height - 0.01, 0), (r + length, height + rise, 0)], 14)
        radius = np.interp(np.linspace(0, 1, 14), [0, 0.25, 0.9, 1], [0.014, 0.02, 0.03, 0.02])
        parts.append(Part(tube(path, radius, flat=1.5, segments=14) - inside, grip))
    else:
        loop = curve(
            [
                (r - 0.02, height * 0.8, -0.1),
                (r + 0.1, height * 0.84, -0.08),
                (r + 0.1, height * 0.84, 0.08),
                (r - 0.02, height * 0.8, 0.1),
            ],
            14,
        )
        parts.append(Part(mirrored(tube(loop, 0.02)) - inside, grip))
    if rng.random() < 0.3:
        lid = lathe(
            [(r + 0.01, height), (r + 0.01, height + 0.02), (0.6 * r, height + 0.08), (0.05, height + 0.11)], 48
        )
        parts.append(Part(lid, outside))
        parts.append(
            Part(
                lathe([(0.03, height + 0.09), (0.02, height + 0.13), (0.06, height + 0.15), (0.04, height + 0.18)]),
                grip,
            )
        )
    return parts


def teapot(rng: np.random.Generator) -> list[Part]:
    """Teapots and kettles, with the spout towards +X."""
    height, r = rng.uniform(0.45, 0.75), rng.uniform(0.3, 0.42)
    foot, top, waist = r * rng.uniform(0.55, 1.05), r * rng.uniform(0.4, 0.75), rng.uniform(0.3, 0.6)
    rows: list[Row] = [
        (0, foot * 0.95, foot * 0.95),
        (0.02, foot, foot),
        (waist * height, r, r),
        (0.85 * height, (r + top) / 2, (r + top) / 2),
        (height, top, top),
    ]
    colour = tint(rng)
    skin = metal(rng, STEEL if rng.random() < 0.5 else BRASS) if rng.random() < 0.35 else glaze(rng, colour)
    start = 0.3 * height
    reach, rise = r + rng.uniform(0.22, 0.38), height * rng.uniform(0.85, 1.1)
    spout = tube(
        curve([(r * 0.7, start, 0), (r + 0.1, start + 0.06, 0), (reach - 0.04, rise - 0.1, 0), (reach, rise, 0)], 18),
        np.linspace(0.1, 0.035, 18),
        segments=18,
    )
    bore = tube([(reach - 0.03, rise - 0.1, 0), (reach, rise, 0), (reach + 0.02, rise + 0.06, 0)], 0.022, segments=12)
    is_open = rng.random() < 0.35
    inside = cavity(rows, 0.025, floor=0.04)
    body = stack(rows) - inside if is_open else stack(rows)
    parts = [Part(body, skin), Part((spout - stack(rows)) - bore, skin)]
    grip = skin if rng.random() < 0.5 else timber(rng) if rng.random() < 0.5 else plastic(rng, BLACK)
    if rng.random() < 0.6:
        out = r + rng.uniform(0.2, 0.32)
        loop = curve(
            [
                (-r * 0.8, 0.8 * height, 0),
                (-out, 0.85 * height, 0),
                (-out, 0.4 * height, 0),
                (-r * 0.9, 0.25 * height, 0),
            ],
            20,
        )
    else:  # a bow over the lid
        up = height + rng.uniform(0.25, 0.4)
        loop = curve(
            [
                (-r * 0.75, 0.8 * height, 0),
                (-r * 0.85, height + 0.1, 0),
                (0, up, 0),
                (r * 0.85, height + 0.1, 0),
                (r * 0.75, 0.8 * height, 0),
            ],
            24,
        )
    parts.append(
        Part(tube(loop, rng.uniform(0.022, 0.04), flat=rng.uniform(0.8, 1.6), segments=14) - stack(rows), grip)
    )
    if not is_open:
        lid = lathe(
            [(top + 0.015, height - 0.01), (top, height + 0.02), (0.5 * top, height + 0.07), (0.02, height + 0.09)]
        )
        parts.append(Part(lid + ball(0.045, 18).translate((0, height + 0.12, 0)), skin))
    return parts


def watering_can(rng: np.random.Generator) -> list[Part]:
    """Watering cans, jugs and measuring cups: open on top, spout towards +X."""
    is_jug = rng.random() < 0.5
    height, r = rng.uniform(0.45, 0.8), rng.uniform(0.26, 0.36)
    rows: list[Row] = [
        (0, r * rng.uniform(0.8, 1.05), r),
        (0.5 * height, r * rng.uniform(0.95, 1.15), r),
        (height, r * rng.uniform(0.75, 1.0), r * 0.85),
    ]
    rows = [(y, a, a) for y, a, _ in rows]
    skin = metal(rng, tint(rng)) if rng.random() < 0.5 else plastic(rng)
    inside = cavity(rows, 0.022)
    if is_jug:
        lip = capsule((0, 0.0, 0), (0.1, 0.1, 0), 0.1, 0.08).translate((rows[-1][1] - 0.08, height - 0.12, 0))
        bore = capsule((0, 0.02, 0), (0.16, 0.18, 0), 0.08, 0.07).translate((rows[-1][1] - 0.1, height - 0.1, 0))
        body = (stack(rows) + (lip ^ box(4, 2 * height, 4))) - inside - bore
        parts = [Part(body, sticker(rng, tint(rng)) if rng.random() < 0.3 else skin)]
    else:
        end = (r + rng.uniform(0.4, 0.6), height * rng.uniform(0.95, 1.25), 0.0)
        spout = tube(
            curve([(r * 0.8, 0.2 * height, 0), ((r + end[0]) / 2, 0.5 * height, 0), end], 14),
            np.linspace(0.06, 0.03, 14),
            segments=14,
        )
        parts = [Part(stack(rows) - inside, skin), Part(spout - stack(rows), skin)]
        if rng.random() < 0.7:
            rose = rod(0.04, 0.1, top_radius=0.1, segments=24).rotate((0, 0, -50)).translate(end)
            parts.append(Part(rose, metal(rng)))
    out = r + rng.uniform(0.18, 0.3)
    if is_jug or rng.random() < 0.5:
        loop = curve(
            [
                (-r * 0.85, 0.85 * height, 0),
                (-out, 0.8 * height, 0),
                (-out * 0.97, 0.4 * height, 0),
                (-r * 0.9, 0.2 * height, 0),
            ],
            18,
        )
    else:
        loop = curve(
            [
                (r * 0.6, height, 0),
                (0, height + 0.25, 0),
                (-out, height * 0.9, 0),
                (-out * 0.9, 0.4 * height, 0),
                (-r * 0.9, 0.25 * height, 0),
            ],
            22,
        )
    parts.append(
        Part(tube(loop, rng.uniform(0.018, 0.035), segments=12) - inside, skin if rng.random() < 0.6 else plastic(rng))
    )
    return parts


def vase(rng: np.random.Generator) -> list[Part]:
    """Vases, goblets, glasses, candle holders and pen pots, open on top."""
    height = 1.0
    count = int(rng.integers(4, 7))
    r = rng.uniform(0.1, 0.36, count)
    is_goblet = rng.random() < 0.25
    if is_goblet:
        rows: list[Row] = [
            (0, 0.26, 0.26),
            (0.03, 0.24, 0.24),
            (0.06, 0.04, 0.04),
            (0.45, 0.035, 0.035),
            (0.52, 0.18, 0.18),
            (0.7, 0.28, 0.28),
            (height, rng.uniform(0.18, 0.32), 0.25),
        ]
        rows = [(y, a, a) for y, a, _ in rows]
        floor = 0.5
    else:
        rows = [(y, a, a) for y, a in zip(np.linspace(0, height, count), r, strict=True)]
        floor = 0.05
    body: Manifold = shell(rows, 0.022, floor=floor, steps=34, power=rng.choice([2.0, 2.0, 2.0, 5.0]))
    flutes = int(rng.integers(6, 20))
    depth = rng.uniform(0, 0.05) if rng.random() < 0.3 else 0.0
    body = body.warp_batch(
        lambda p: p * (1 + depth * np.sin(flutes * np.arctan2(p[:, 2], p[:, 0])))[:, None] ** [1, 0, 1]
    )
    parts = [Part(body, glaze(rng))]
    if rng.random() < 0.3:  # what stands in it
        sticks = [
            capsule((0, 0.3, 0), (rng.uniform(-0.2, 0.2), rng.uniform(1.1, 1.4), rng.uniform(-0.2, 0.2)), 0.016)
            for _ in range(5)
        ]
        parts.append(Part(union(sticks), plastic(rng)))
    if rng.random() < 0.2:
        loop = curve(
            [
                (0.9 * r[-1], 0.92, 0),
                (0.5, 0.9, 0),
                (0.45, 0.5, 0),
                (0.9 * float(np.interp(0.45, np.linspace(0, 1, count), r)), 0.45, 0),
            ],
            16,
        )
        parts.append(Part(mirrored(tube(loop, 0.025)) - cavity(rows, 0.022, floor=floor), glaze(rng)))
    return parts


def footed_dish(rng: np.random.Generator) -> list[Part]:
    """Cake stands, juicers, colanders: a dish on a foot or with holes."""
    r, height = 0.5, rng.uniform(0.12, 0.3)
    rows: list[Row] = [(0, 0.3, 0.3), (0.02, 0.34, 0.34), (height * 0.6, 0.45, 0.45), (height, r, r)]
    dish = shell(rows, 0.018)
    if rng.random() < 0.5:
        bore = rod(0.014, 1.2, segments=8).rotate((0, 0, 90)).translate((0.3, 0, 0))
        dish = dish - union([around(bore, 14).translate((0, y, 0)) for y in np.linspace(0.3, 0.8, 3) * height])
    foot_height = rng.uniform(0.05, 0.5)
    foot = lathe(
        [(0.26, -foot_height), (0.24, -foot_height + 0.03), (0.06, -foot_height * 0.7), (0.05, -0.05), (0.2, 0.005)]
    )
    parts = [Part(dish, glaze(rng)), Part(foot, metal(rng) if rng.random() < 0.4 else glaze(rng))]
    if rng.random() < 0.5:
        parts.append(Part(mirrored(ring(0.07, 0.016, 20, 10).translate((r + 0.03, height * 0.9, 0))), metal(rng)))
    return parts
