"""Electronics, books and pictures: flat things show their broad side and are thin behind it."""

import numpy as np

from infinitemesh.data.household_solids import at_all, capsule, curve, shell, stack, tube, union
from infinitemesh.data.household_textures import (
    BLACK,
    BRASS,
    WHITE,
    fabric,
    label,
    metal,
    pages,
    pick,
    plastic,
    screen,
    shade,
    sticker,
    timber,
    tint,
    vivid,
)
from infinitemesh.data.procedural_parts import Part, around, ball, box, mirrored, ring, rod, slab, soft_box
from infinitemesh.data.procedural_textures import checks, stripes


def gadget(rng: np.random.Generator) -> list[Part]:
    """Phones, remotes, keyboards, mice, game pads, cameras, laptops, headphones: some lie flat, some stand."""
    kind = pick(
        rng, ("phone", "remote", "keyboard", "mouse", "pad", "camera", "laptop", "headphones", "console", "telephone")
    )
    body = plastic(rng, BLACK if rng.random() < 0.4 else tint(rng))
    if kind == "headphones":
        r = rng.uniform(0.34, 0.42)
        t = np.linspace(-0.1, np.pi + 0.1, 30)
        band = tube(np.stack([r * np.cos(t), 1.1 * r * np.sin(t), 0 * t], -1), 0.02, flat=rng.uniform(1.5, 3.2))
        cup = stack([(0, 0.15, 0.19), (0.06, 0.19, 0.22), (0.1, 0.17, 0.2), (0.13, 0.1, 0.12)], count=32)
        cup = cup.rotate((0, 0, -90)).translate((r - 0.05, -0.08, 0))
        pad = ring(0.14, 0.045, 30, 12).scale((1, 1, 1.15)).rotate((0, 0, 90)).translate((r - 0.07, -0.08, 0))
        return [
            Part(band, body),
            Part(mirrored(cup), plastic(rng)),
            Part(mirrored(pad), fabric(rng, shade(tint(rng), 0.6))),
        ]
    if kind == "camera":
        w, h, d = rng.uniform(0.7, 1.0), rng.uniform(0.45, 0.6), rng.uniform(0.2, 0.3)
        reach = rng.uniform(0.1, 0.45)
        lens = shell([(0, 0.19, 0.19), (reach * 0.8, 0.18, 0.18), (reach, 0.2, 0.2)], 0.025, floor=reach * 0.6).rotate(
            (90, 0, 0)
        )
        lens = lens.translate((0.04, -0.02, d / 2 - 0.01))
        top = soft_box(0.22, 0.14, d * 0.8, 0.03).translate((0.04, h / 2 + 0.04, 0))
        grip = soft_box(0.14, h * 0.95, d + 0.12, 0.05).translate((-w / 2 + 0.09, 0, 0.03))
        glass = ball(0.13, 24).scale((1, 1, 0.3)).translate((0.04, -0.02, d / 2 + reach * 0.62))
        knob = rod(0.05, 0.05, segments=20).translate((-w / 2 + 0.1, h / 2 + 0.02, 0)) + rod(
            0.06, 0.04, segments=20
        ).translate((w / 2 - 0.12, h / 2 + 0.01, 0))
        return [
            Part(soft_box(w, h, d, 0.04) + grip, body),
            Part(top, metal(rng) if rng.random() < 0.5 else body),
            Part(lens + knob, plastic(rng, BLACK)),
            Part(glass, plastic(rng, (0.2, 0.25, 0.4))),
        ]
    if kind == "laptop":
        w, d = 1.0, rng.uniform(0.62, 0.75)
        base = soft_box(w, 0.03, d, 0.012, 8)
        keys = at_all(
            soft_box(0.055, 0.02, 0.055, 0.006, 6),
            [(x, 0.012, z) for x in np.linspace(-0.42, 0.42, 13) for z in np.linspace(-d * 0.36, d * 0.0, 5)],
        )
        tilt = rng.uniform(-30, -5)
        lid = (
            soft_box(w, d, 0.022, 0.009, 8)
            .translate((0, d / 2, 0))
            .rotate((tilt, 0, 0))
            .translate((0, 0.01, -d / 2 + 0.01))
        )
        face = (
            box(w * 0.93, d * 0.86, 0.01)
            .translate((0, d / 2 + 0.01, 0.011))
            .rotate((tilt, 0, 0))
            .translate((0, 0.01, -d / 2 + 0.01))
        )
        touch = box(0.24, 0.006, 0.15).translate((0, 0.015, d * 0.28))
        return [
            Part(base + lid, metal(rng) if rng.random() < 0.6 else body),
            Part(keys, plastic(rng, BLACK)),
            Part(face, screen(rng)),
            Part(touch, plastic(rng, (0.5, 0.5, 0.52))),
        ]
    if kind == "telephone":
        base = stack(
            [(0, 0.4, 0.34), (0.08, 0.4, 0.34), (0.22, 0.28, 0.2, 0, -0.06), (0.28, 0.24, 0.12, 0, -0.1)], power=4
        )
        dial = rod(0.15, 0.03, segments=36) - around(rod(0.025, 1, segments=12).translate((0.11, 0, 0)), 10)
        dial = dial.rotate((38, 0, 0)).translate((0, 0.17, 0.14))
        horn = tube(
            curve([(-0.45, 0.3, -0.1), (-0.3, 0.42, -0.1), (0.3, 0.42, -0.1), (0.45, 0.3, -0.1)], 20),
            0.045,
            segments=14,
        )
        cups = mirrored(rod(0.09, 0.1, top_radius=0.07, segments=28).translate((0.44, 0.31, -0.1)))
        cradle = mirrored(box(0.05, 0.14, 0.1).translate((0.2, 0.33, -0.1)))
        return [Part(base + cradle, body), Part(horn + cups, body), Part(dial, plastic(rng, WHITE))]
    flat = _flat_gadget(rng, kind)
    turn = (0.0, 0.0, 0.0) if kind in ("keyboard", "mouse") else (rng.choice([70.0, 80.0, 0.0]), 0.0, 0.0)
    return [Part(part.solid.rotate(turn), part.texture) for part in flat]


def _flat_gadget(rng: np.random.Generator, kind: str) -> list[Part]:
    """Lying on its back, its keys up."""
    body = plastic(rng, BLACK if rng.random() < 0.4 else tint(rng))
    keys_picture = plastic(rng, tint(rng))
    if kind == "mouse":
        shape = stack(
            [
                (0, 0.26, 0.42),
                (0.08, 0.27, 0.44),
                (0.2, 0.23, 0.36, 0, -0.03),
                (0.28, 0.12, 0.18, 0, -0.06),
                (0.29, 0.02, 0.03, 0, -0.06),
            ],
            power=2.4,
        )
        wheel = rod(0.06, 0.05, segments=20).rotate((0, 0, 90)).translate((0, 0.2, -0.24))
        gap = box(0.01, 0.5, 0.4).translate((0, 0.3, -0.4))
        return [Part(shape - gap, body), Part(wheel, keys_picture)]
    if kind == "keyboard":
        deep = rng.uniform(0.3, 0.42)
        base = slab([(-deep / 2, 0), (deep / 2, 0), (deep / 2, 0.035), (-deep / 2, 0.07)], 1.0).rotate((0, -90, 0))
        base = base if rng.random() < 0.5 else soft_box(1.0, 0.05, deep, 0.015, 8).translate((0, 0.02, 0))
        step = 0.93 / 16
        keys = at_all(
            box(step * 0.82, 0.03, deep * 0.14),
            [(-0.465 + step * (i + 0.5), 0.06, (j - 2) * deep * 0.175) for i in range(16) for j in range(5)],
        )
        return [Part(base, body), Part(keys, keys_picture)]
    if kind == "pad":
        lobe = stack([(0, 0.14, 0.16), (0.06, 0.19, 0.21), (0.15, 0.18, 0.2), (0.2, 0.12, 0.13)], steps=14, count=32)
        middle = soft_box(0.5, 0.17, 0.28, 0.07).translate((0, 0.1, -0.03))
        horn = capsule((0.3, 0.09, 0.05), (0.4, 0.06, 0.34), 0.09, 0.07)
        shape = mirrored(lobe.translate((0.3, 0, 0)) + horn) + middle
        sticks = mirrored(
            rod(0.03, 0.1, segments=16).translate((0.14, 0.22, 0.08))
            + rod(0.06, 0.03, segments=24).translate((0.14, 0.27, 0.08))
        )
        buttons = around(rod(0.03, 0.04, segments=16).translate((0.06, 0, 0)), 4).translate((0.31, 0.21, -0.02))
        cross = union([box(0.15, 0.03, 0.05), box(0.05, 0.03, 0.15)]).translate((-0.31, 0.21, -0.02))
        return [
            Part(shape, body),
            Part(sticks + cross, plastic(rng, BLACK)),
            Part(buttons, stripes(vivid(rng), vivid(rng), count=2, angle_deg=0, px=64)),
        ]
    wide = {"phone": rng.uniform(0.45, 0.55), "remote": rng.uniform(0.18, 0.28), "console": 1.0}[kind]
    long = {"phone": 1.0, "remote": 1.0, "console": rng.uniform(0.42, 0.6)}[kind]
    thick = rng.uniform(0.05, 0.09) if kind != "remote" else rng.uniform(0.08, 0.13)
    case = soft_box(wide, thick, long, thick * rng.uniform(0.2, 0.45))
    top = thick / 2
    if kind == "phone":
        face = box(wide * 0.92, 0.008, long * rng.uniform(0.8, 0.94)).translate((0, top, 0))
        lens = at_all(
            rod(0.05, 0.03, segments=20), [(-wide * 0.3, -top - 0.005, -long * 0.4 + 0.12 * i) for i in range(2)]
        )
        return [Part(case, body), Part(face, screen(rng)), Part(lens, metal(rng))]
    if kind == "console":
        face = box(wide * 0.5, 0.012, long * 0.8).translate((0, top, 0))
        buttons = around(rod(0.035, 0.04, segments=14).translate((0.07, 0, 0)), 4).translate((wide * 0.37, top, 0))
        cross = union([box(0.17, 0.03, 0.055), box(0.055, 0.03, 0.17)]).translate((-wide * 0.37, top, 0))
        return [
            Part(case, body),
            Part(face, screen(rng)),
            Part(buttons, plastic(rng, vivid(rng))),
            Part(cross, plastic(rng, BLACK)),
        ]
    columns, rows = int(rng.integers(2, 5)), int(rng.integers(5, 10))
    key = (
        soft_box(wide * 0.7 / columns, 0.03, long * 0.055, 0.01, 6)
        if rng.random() < 0.5
        else rod(wide * 0.3 / columns, 0.03, segments=14)
    )
    keys = at_all(
        key,
        [
            ((i - (columns - 1) / 2) * wide * 0.82 / columns, top + 0.005, long * (-0.36 + 0.075 * j))
            for i in range(columns)
            for j in range(rows)
        ],
    )
    red = rod(0.03, 0.035, segments=16).translate((-wide * 0.3, top + 0.005, -long * 0.45))
    return [Part(case, body), Part(keys, keys_picture), Part(red, plastic(rng, vivid(rng)))]


def books(rng: np.random.Generator) -> list[Part]:
    """One book upright, a stack, a row, or a book lying open."""
    kind = pick(rng, ("one", "stack", "stack", "row", "open"))
    if kind == "open":
        wide, tall, bulge = rng.uniform(0.4, 0.55), rng.uniform(0.55, 0.75), rng.uniform(0.04, 0.09)
        t = np.linspace(0, 1, 14)
        curve_ = 0.03 + bulge * np.sin(np.pi * np.minimum(1, t * 1.4 + 0.12)) ** 0.8 * (1 - 0.55 * t)
        block = slab(
            [(0, 0.02), *[(float(x) * wide, float(y)) for x, y in zip(t, curve_, strict=True)], (wide, 0.02)], tall
        )
        cover = box(2 * wide + 0.06, 0.02, tall + 0.04).translate((0, 0.01, 0))
        tilt = rng.choice([0.0, 45.0])
        parts = [Part(mirrored(block), label(rng, (0.95, 0.93, 0.88))), Part(cover, label(rng))]
        return [Part(part.solid.rotate((tilt, 0, 0)), part.texture) for part in parts]
    parts, at = [], 0.0
    for _ in range({"one": 1, "stack": int(rng.integers(2, 6)), "row": int(rng.integers(3, 6))}[kind]):
        wide, tall, thick = rng.uniform(0.5, 0.75), rng.uniform(0.7, 1.0), rng.uniform(0.05, 0.2)
        block = box(wide - 0.03, tall - 0.04, thick - 0.03)
        boards = union([box(wide, tall, 0.016).translate((0, 0, z)) for z in (-thick / 2 + 0.008, thick / 2 - 0.008)])
        spine = box(0.018, tall, thick).translate((-wide / 2 + 0.009, 0, 0))
        if kind == "one":
            turn, shift = (0.0, 0.0, 0.0), (0.0, tall / 2, 0.0)
        elif kind == "stack":
            turn, shift = (-90.0, 90.0 + rng.uniform(-25, 25), 0.0), (0.0, at + thick / 2, 0.0)
        else:
            turn, shift = (0.0, 90.0, 0.0), (at + thick / 2, tall / 2, 0.0)
        at += thick
        parts.append(Part((boards + spine).rotate(turn).translate(shift), label(rng)))
        parts.append(Part(block.rotate(turn).translate(shift), pages(rng)))
    return parts


def picture_frame(rng: np.random.Generator) -> list[Part]:
    """Framed pictures, mirrors, signs, board games, calculators and plates on a stand: broad and very thin."""
    wide, tall, border = rng.uniform(0.5, 1.0), rng.uniform(0.5, 1.0), rng.uniform(0.04, 0.12)
    depth, lean = rng.uniform(0.03, 0.07), rng.uniform(4, 18)
    frame = box(wide, tall, depth) - box(wide - 2 * border, tall - 2 * border, depth).translate((0, 0, depth * 0.4))
    if rng.random() < 0.3:
        oval = rod(0.5, depth, segments=56).rotate((90, 0, 0)).scale((wide, tall, 1))
        frame = oval - rod(0.5, depth, segments=56).rotate((90, 0, 0)).scale(
            (wide - 2 * border, tall - 2 * border, 1)
        ).translate((0, 0, depth * 0.4))
    inner = (box(wide - border, tall - border, 0.01).translate((0, 0, -depth * 0.05))) ^ frame.hull()
    prop = box(wide * 0.15, tall * 0.9, 0.012).rotate((28, 0, 0)).translate((0, -tall * 0.06, -tall * 0.2))
    art = (
        label(rng)
        if rng.random() < 0.6
        else checks(tint(rng), tint(rng), count=8)
        if rng.random() < 0.3
        else sticker(rng, tint(rng))
    )
    skin = timber(rng) if rng.random() < 0.5 else metal(rng, BRASS) if rng.random() < 0.5 else plastic(rng)
    parts = [Part(frame, skin), Part(inner, art)]
    if rng.random() < 0.5:
        parts.append(Part(prop, plastic(rng, BLACK)))
    return [Part(part.solid.rotate((-lean, 0, 0)), part.texture) for part in parts]
