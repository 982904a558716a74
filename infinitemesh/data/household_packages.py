"""Packages: boxes with and without a lid, bottles, jars, cans, tubes, cartons."""

import numpy as np

from infinitemesh.data.household_solids import Row, cavity, shell, stack, union
from infinitemesh.data.household_textures import (
    BLACK,
    WHITE,
    cardboard,
    crust,
    label,
    metal,
    pick,
    plastic,
    shade,
    tint,
    vivid,
)
from infinitemesh.data.procedural_parts import Part, around, ball, box, rod, slab, soft_box
from infinitemesh.data.procedural_textures import shaded, stripes


def product_box(rng: np.random.Generator) -> list[Part]:
    """A printed carton: cereal, medicine, games, software; some have a window, a flap or a hanger."""
    width, height = rng.uniform(0.4, 1.0), rng.uniform(0.4, 1.0)
    depth = rng.choice([rng.uniform(0.06, 0.2), rng.uniform(0.15, 0.5), rng.uniform(0.4, 0.9)])
    body, colour = box(width, height, depth), tint(rng)
    parts = []
    kind = int(rng.integers(0, 6))
    if kind == 0:  # a window on what is inside
        pane = box(width * rng.uniform(0.5, 0.8), height * rng.uniform(0.4, 0.7), depth)
        body = body - pane.translate((0, rng.uniform(-0.08, 0.08) * height, depth * 0.6))
        goods = [
            ball(0.16 * min(width, height), 16).translate((x, -0.1 * height, depth * 0.15))
            for x in (-0.2 * width, 0.0, 0.2 * width)
        ]
        parts.append(Part(union(goods) ^ box(width * 0.98, height * 0.98, depth * 0.96), plastic(rng, vivid(rng))))
    elif kind == 1:  # open at the top with a flap
        body = body - box(width - 0.02, height, depth - 0.02).translate((0, 0.02, 0))
        flap = box(width, 0.012, depth * 0.9).rotate((rng.uniform(-80, -10), 0, 0))
        parts.append(Part(flap.translate((0, height / 2 + 0.3 * depth, -depth * 0.6)), plastic(rng, colour)))
    elif kind == 2:  # a blister: a clear dome on a card
        body = box(width, height, 0.025)
        depth = min(depth, 0.3)
        dome = soft_box(width * 0.7, height * rng.uniform(0.4, 0.7), depth, 0.03).translate(
            (0, -0.1 * height, depth * 0.5)
        )
        parts.append(Part(dome, plastic(rng)))
        body = body - rod(0.03, 0.5, segments=20).rotate((90, 0, 0)).translate((0, height * 0.43, 0))
    parts.insert(0, Part(body, label(rng, colour)))
    return [Part(part.solid.translate((0, height / 2, 0)), part.texture) for part in parts]


def lidded_box(rng: np.random.Generator) -> list[Part]:
    """Shoe boxes and gift boxes: closed, half open, or with the lid beside; and treasure chests."""
    width, height, depth = rng.uniform(0.6, 1.0), rng.uniform(0.2, 0.55), rng.uniform(0.4, 0.7)
    wall = 0.018
    body = box(width, height, depth).translate((0, height / 2, 0)) - box(
        width - 2 * wall, height, depth - 2 * wall
    ).translate((0, height / 2 + wall, 0))
    rim = rng.uniform(0.06, 0.35) * height
    lid = box(width + 0.03, rim, depth + 0.03) - box(width - 0.005, rim, depth - 0.005).translate((0, -wall, 0))
    colour = tint(rng)
    picture = cardboard(rng) if rng.random() < 0.35 else label(rng, colour)
    cover = label(rng, tint(rng)) if rng.random() < 0.5 else plastic(rng)
    place = int(rng.integers(0, 5))
    parts = [Part(body, picture)]
    if place <= 1:
        parts.append(Part(lid.translate((0, height - rim / 2 + wall, 0)), cover))
        if rng.random() < 0.3:  # a ribbon
            bands = box(0.06, height + 0.05, depth + 0.045) + box(width + 0.045, height + 0.05, 0.06)
            bow = stack(
                [(0, 0.02, 0.02), (0.05, 0.12, 0.04), (0.1, 0.15, 0.05), (0.13, 0.05, 0.03)], steps=10, count=20
            )
            parts.append(
                Part(
                    bands.translate((0, height / 2 + 0.02, 0)) + bow.translate((0, height + 0.02, 0)),
                    plastic(rng, vivid(rng)),
                )
            )
    elif place == 2:  # the lid leans on the back
        parts.append(
            Part(lid.rotate((rng.uniform(-100, -70), 0, 0)).translate((0, depth * 0.5, -depth / 2 - 0.09)), cover)
        )
    elif place == 3:  # pushed back
        parts.append(
            Part(
                lid.rotate((8, 0, 0)).translate(
                    (rng.uniform(-0.1, 0.1), height + 0.03, -depth * rng.uniform(0.2, 0.5))
                ),
                cover,
            )
        )
    if place >= 2 and rng.random() < 0.5:  # something in it
        paper = stack(
            [
                (wall, width / 2 - 0.03, depth / 2 - 0.03),
                (height * rng.uniform(0.3, 0.7), width * 0.45, depth * 0.42),
                (height * 0.75, 0.2, 0.12),
            ],
            power=5,
        )
        ways = rng.normal(0, 9, (4, 3))
        paper = paper.warp_batch(lambda p: p + 0.02 * np.sin(p @ ways.T).mean(1, keepdims=True))
        parts.append(Part(paper, crust(rng, WHITE, (0.8, 0.8, 0.78))))
    return parts


def carton(rng: np.random.Generator) -> list[Part]:
    """A cardboard box with four flaps, open, half open or taped."""
    width, height, depth = rng.uniform(0.5, 1.0), rng.uniform(0.35, 0.8), rng.uniform(0.35, 0.8)
    wall = 0.014
    body = box(width, height, depth).translate((0, height / 2, 0)) - box(
        width - 2 * wall, height, depth - 2 * wall
    ).translate((0, height / 2 + wall, 0))
    is_taped = rng.random() < 0.25
    flaps = []
    for turn, wide, reach in (
        (0, width, depth / 2),
        (180, width, depth / 2),
        (90, depth, min(depth, width) / 2),
        (270, depth, min(depth, width) / 2),
    ):
        out = depth / 2 if turn in (0, 180) else width / 2
        opened = 180.0 if is_taped else rng.uniform(-70, 75)
        flap = box(wide * 0.99, wall, reach).translate((0, 0, reach / 2)).rotate((0 if is_taped else opened, 0, 0))
        if is_taped:
            flap = flap.mirror((0, 0, 1)).translate((0, 0.004 if turn in (0, 180) else -0.004, 0))
        flaps.append(flap.translate((0, height, out - wall / 2)).rotate((0, turn, 0)))
    picture = cardboard(rng)
    parts = [Part(body, picture), Part(union(flaps), picture)]
    if is_taped:
        parts.append(
            Part(
                box(width + 0.012, height * 0.3, 0.1).translate((0, height * 0.862, 0)), plastic(rng, (0.8, 0.68, 0.5))
            )
        )
    return parts


def bottle(rng: np.random.Generator) -> list[Part]:
    """Drinks, shampoo, pills, sprays and sauces, with a cap and a label."""
    height, r = 1.0, rng.uniform(0.13, 0.3)
    neck, shoulder = rng.uniform(0.045, 0.11), rng.uniform(0.5, 0.82)
    neck = min(neck, r * 0.8)
    waist = r * rng.uniform(0.8, 1.0) if rng.random() < 0.3 else r
    depth = rng.uniform(0.45, 0.8) if rng.random() < 0.4 else 1.0
    power = rng.choice([2.0, 2.0, 2.6, 4.0, 6.0])
    top = rng.uniform(0.85, 0.92)
    sizes: list[tuple[float, float]] = [
        (0.0, r * 0.9),
        (0.02, r),
        (shoulder * 0.5, waist),
        (shoulder, r),
        (0.4 * shoulder + 0.6 * top, r * rng.uniform(0.5, 0.8) + neck * 0.3),
        (top, neck),
        (height, neck),
    ]
    rows: list[Row] = [(y, a, max(a * depth, min(a, neck))) for y, a in sizes]
    glass = tint(rng)
    body = stack(rows, power=power, steps=40)
    clear = shaded(glass, shade(glass, rng.uniform(0.5, 1.3)), px=128) if rng.random() < 0.5 else plastic(rng, glass)
    low, high = rng.uniform(0.06, 0.2), shoulder * rng.uniform(0.75, 0.98)
    wrap = stack([(y, a * 1.012 + 0.002, b * 1.012 + 0.002) for y, a, b in rows], power=power, steps=40)
    wrap = wrap ^ box(4, high - low, 4).translate((0, (high + low) / 2, 0))
    if depth < 0.9 and rng.random() < 0.6:  # only a sticker in front
        wrap = wrap ^ box(1.6 * r, 4, 4).translate((0, 0, 2))
    parts = [Part(body, clear), Part(wrap, label(rng))]
    colour = tint(rng)
    kind = int(rng.integers(0, 5))
    cap_radius = neck * rng.uniform(1.05, 1.35)
    if kind <= 2:
        tall = rng.uniform(0.04, 0.16)
        screw = rod(cap_radius, tall, top_radius=cap_radius * rng.uniform(0.8, 1.0), segments=36).translate(
            (0, 0.97 + tall / 2 - 0.02, 0)
        )
        grooves = (
            around(rod(0.004, 0.3, segments=6).translate((cap_radius, 0.95, 0)), 18) if rng.random() < 0.4 else None
        )
        parts.append(Part(screw - grooves if grooves else screw, plastic(rng, colour)))
    elif kind == 3:  # a trigger or a pump
        head = box(0.07, 0.07, 0.2).translate((0, 1.12, 0.05)) + rod(0.03, 0.2, segments=16).translate((0, 1.03, 0))
        lever = slab([(0.03, 1.1), (0.14, 0.96), (0.12, 0.95), (0.0, 1.06)], 0.04).rotate((0, -90, 0))
        head = head + lever + rod(cap_radius, 0.08, segments=28).translate((0, 0.98, 0))
        parts.append(Part(head.rotate((0, 90, 0)), plastic(rng, colour)))
    else:  # an open mouth
        mouth = rod(neck * 0.75, 0.5, segments=28).translate((0, 1.1, 0))
        lip = stack([(0.96, neck * 1.2, neck * 1.2), (1.005, neck * 1.2, neck * 1.2)], smooth=False) - mouth
        parts[0] = Part(body - mouth, clear)
        parts.append(Part(lip, plastic(rng, glass)))
    return parts


def jar(rng: np.random.Generator) -> list[Part]:
    """Jars, tins and tubs: closed, or open with a cavity."""
    r, height = rng.uniform(0.25, 0.45), rng.uniform(0.3, 1.0)
    power = rng.choice([2.0, 2.0, 2.0, 4.5])
    swell = rng.uniform(1.0, 1.12) if rng.random() < 0.4 else 1.0
    mouth = r * rng.uniform(0.75, 1.0)
    rows: list[Row] = [
        (0, 0.94 * r, 0.94 * r),
        (0.03, r, r),
        (0.5 * height, swell * r, swell * r),
        (0.85 * height, r, r),
        (0.93 * height, mouth, mouth),
        (height, mouth, mouth),
    ]
    colour = tint(rng)
    is_tin = rng.random() < 0.3
    skin = metal(rng) if is_tin else plastic(rng, colour)
    is_open = rng.random() < 0.5
    body = shell(rows, 0.02, floor=0.05, power=power, steps=30) if is_open else stack(rows, power=power, steps=30)
    low, high = rng.uniform(0.05, 0.15) * height, rng.uniform(0.7, 0.85) * height
    grown = [(y, a * 1.012 + 0.002, b * 1.012 + 0.002) for y, a, b in rows]
    wrap = (stack(grown, power=power, steps=30) ^ box(4, high - low, 4).translate((0, (low + high) / 2, 0))) - cavity(
        rows, 0.01, power=power
    )
    parts = [Part(body, skin), Part(wrap, label(rng))]
    lid = stack(
        [(0, mouth + 0.012, mouth + 0.012), (0.08, mouth + 0.012, mouth + 0.012), (0.1, mouth * 0.94, mouth * 0.94)],
        power=power,
        smooth=False,
    )
    lid_picture = metal(rng, tint(rng)) if rng.random() < 0.5 else label(rng)
    if not is_open:
        parts.append(Part(lid.translate((0, height * 0.95, 0)), lid_picture))
    else:
        full = rng.uniform(0.15, 0.7) * height
        if rng.random() < 0.5:
            parts.append(
                Part(rod(mouth - 0.03, 0.04, segments=32).translate((0, full, 0)), crust(rng, tint(rng), tint(rng)))
            )
        if rng.random() < 0.4:
            parts.append(Part(lid.rotate((rng.uniform(60, 80), 0, 0)).translate((0, mouth, r + 0.12)), lid_picture))
    return parts


def can(rng: np.random.Generator) -> list[Part]:
    """Drink cans, food tins, spray cans, batteries, and cardboard tubes."""
    r, height = rng.uniform(0.14, 0.42), 1.0
    picture = label(rng)
    body = stack(
        [(0, 0.88 * r, 0.88 * r), (0.03, r, r), (height - 0.05, r, r), (height, 0.84 * r, 0.84 * r)], smooth=False
    )
    hollow = rod(0.8 * r, 0.05, segments=36).translate((0, height, 0))
    parts = [Part(body - hollow, picture)]
    rim = (rod(0.86 * r, 0.03) - rod(0.78 * r, 0.05)).translate((0, height, 0)) + rod(0.9 * r, 0.02).translate(
        (0, 0.0, 0)
    )
    parts.append(Part(rim, metal(rng)))
    if r < 0.25 and rng.random() < 0.5:
        nozzle = stack(
            [(height - 0.03, 0.6 * r, 0.6 * r), (height + 0.08, 0.3 * r, 0.3 * r), (height + 0.2, 0.28 * r, 0.28 * r)]
        )
        parts.append(Part(nozzle, plastic(rng)))
    elif rng.random() < 0.6:
        parts.append(Part(soft_box(0.5 * r, 0.02, 0.3 * r, 0.008).translate((0, height - 0.015, 0.1 * r)), metal(rng)))
    return parts


def squeeze_tube(rng: np.random.Generator) -> list[Part]:
    """Toothpaste and cream: round at the cap, flat at the seam; standing on the cap or lying."""
    r, length = rng.uniform(0.12, 0.2), 0.85
    rows: list[Row] = [
        (0.0, 0.6 * r, 0.6 * r),
        (0.04, r, r),
        (0.4, 1.1 * r, 0.75 * r),
        (length, 1.3 * r, 0.014),
        (length + 0.06, 1.3 * r, 0.012),
    ]
    tall = rng.uniform(0.08, 0.18)
    cap = rod(rng.uniform(0.5, 0.95) * r, tall, segments=36).translate((0, -tall / 2 + 0.005, 0))
    parts = [
        Part(stack(rows, power=2.2), label(rng)),
        Part(cap, plastic(rng, WHITE if rng.random() < 0.5 else tint(rng))),
    ]
    if rng.random() < 0.5:
        parts = [Part(part.solid.rotate((0, 0, 90)).rotate((-75, 0, 0)), part.texture) for part in parts]
    return parts


def milk_carton(rng: np.random.Generator) -> list[Part]:
    """Gable-topped cartons, drink boxes with a straw and tissue boxes with their slot."""
    kind = pick(rng, ("gable", "straw", "tissues"))
    picture = label(rng)
    if kind == "gable":
        w, h = rng.uniform(0.2, 0.28), rng.uniform(0.6, 0.75)
        body = stack([(0, w, w), (h, w, w), (h + 0.2, w, 0.02), (h + 0.28, w, 0.02)], power=14, smooth=False, count=48)
        screw = rod(0.07, 0.08, segments=28).rotate((50, 0, 0)).translate((0, h + 0.11, w * 0.55))
        return [Part(body, picture), Part(screw, plastic(rng))]
    if kind == "straw":
        w, h, d = rng.uniform(0.3, 0.45), rng.uniform(0.6, 0.9), rng.uniform(0.18, 0.3)
        pipe = rod(0.018, 0.22, segments=12).translate((0.1, h + 0.08, 0)) + rod(0.018, 0.14, segments=12).rotate(
            (0, 0, 60)
        ).translate((0.05, h + 0.2, 0))
        band = stripes(WHITE, vivid(rng), count=8, angle_deg=45, px=64)
        return [Part(box(w, h, d).translate((0, h / 2, 0)), picture), Part(pipe, band)]
    w, h, d = rng.uniform(0.6, 0.9), rng.uniform(0.25, 0.5), rng.uniform(0.35, 0.5)
    slot = rod(0.5, 0.5, segments=36).scale((0.5 * w, 1, 0.25 * d)).translate((0, h + 0.15, 0))
    tissue = stack(
        [(h - 0.08, 0.12, 0.03), (h + 0.06, 0.16, 0.04), (h + 0.2, 0.08, 0.05), (h + 0.26, 0.02, 0.01)], count=28
    )
    ways = rng.normal(0, 14, (4, 3))
    tissue = tissue.warp_batch(lambda p: p + 0.03 * np.sin(p @ ways.T).mean(1, keepdims=True))
    parts = [Part(box(w, h, d).translate((0, h / 2, 0)) - slot, picture)]
    if rng.random() < 0.7:
        parts.append(Part(tissue, crust(rng, WHITE, (0.86, 0.86, 0.86))))
    else:
        parts.append(Part(box(w * 0.5, 0.01, d * 0.4).translate((0, h - 0.1, 0)), plastic(rng, BLACK)))
    return parts
