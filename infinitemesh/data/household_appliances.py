"""Clocks, radios and kitchen appliances: cases that are not deep, with sunk faces, grilles and slots."""

import numpy as np

from infinitemesh.data.household_solids import Row, at_all, capsule, curve, four, shell, stack, tube, union
from infinitemesh.data.household_textures import (
    BLACK,
    BRASS,
    STEEL,
    clock_face,
    metal,
    netting,
    pick,
    plastic,
    screen,
    timber,
    tint,
)
from infinitemesh.data.procedural_parts import Part, ball, box, mirrored, ring, rod, slab, soft_box


def clock(rng: np.random.Generator) -> list[Part]:
    """Alarm clocks with bells, mantel clocks, wall clocks on a stand: a sunk face on a case that is not deep."""
    kind = pick(rng, ("bells", "mantel", "round", "square", "cuckoo"))
    face_r = 0.3
    face = rod(face_r, 0.012, segments=48).rotate((90, 0, 0))
    case = (
        metal(rng, BRASS if rng.random() < 0.4 else tint(rng))
        if rng.random() < 0.5
        else timber(rng)
        if kind == "mantel"
        else plastic(rng)
    )
    depth = rng.uniform(0.1, 0.32) if kind != "mantel" else rng.uniform(0.16, 0.3)
    well = rod(face_r, 0.08, segments=48).rotate((90, 0, 0)).translate((0, 0, depth / 2))
    sunk = face.translate((0, 0, depth / 2 - 0.036))
    bezel = ring(face_r + 0.012, 0.018, 48, 10).rotate((90, 0, 0)).translate((0, 0, depth / 2))
    trim = metal(rng, BRASS if rng.random() < 0.5 else STEEL)
    if kind in ("bells", "round"):
        drum = rod(face_r + 0.045, depth, segments=56).rotate((90, 0, 0)) - well
        parts = [Part(drum, case), Part(sunk, clock_face(rng)), Part(bezel, trim)]
        feet = mirrored(capsule((0.16, -0.26, 0), (0.25, -0.42, 0.02), 0.025))
        extras = [feet]
        if kind == "bells":
            bell = (
                stack([(0, 0.13, 0.13), (0.05, 0.12, 0.12), (0.1, 0.07, 0.07), (0.115, 0.01, 0.01)])
                .rotate((0, 0, -35))
                .translate((0.2, 0.33, 0))
            )
            grip = tube(curve([(-0.2, 0.42, 0), (-0.1, 0.55, 0), (0.1, 0.55, 0), (0.2, 0.42, 0)], 16), 0.014)
            hammer = capsule((0, 0.33, 0), (0, 0.44, 0), 0.012) + ball(0.03, 12).translate((0, 0.45, 0))
            extras += [mirrored(bell), grip, hammer]
        return [*parts, Part(union(extras), trim)]
    if kind == "mantel":
        wide = rng.uniform(0.45, 0.8)
        shoulder = rng.uniform(-0.2, 0.1)
        if rng.random() < 0.5:  # the shape of Napoleon's hat
            t = np.linspace(-wide, wide, 40)
            outline = [(float(x), -0.3 + 0.1 + 0.58 * float(np.exp(-((x / 0.3) ** 4)))) for x in t]
        else:  # a pointed or round arch
            t = np.linspace(0, np.pi, 24)
            outline = [(-0.38 * float(np.cos(a)), shoulder + (0.46 - shoulder) * float(np.sin(a)) ** 0.6) for a in t]
            wide = 0.4
        body = slab([(-wide, -0.34), *outline, (wide, -0.34)], depth) - well
        foot = box(2 * wide + 0.1, 0.06, depth + 0.08).translate((0, -0.36, 0))
        return [Part(body, case), Part(foot, case), Part(sunk, clock_face(rng)), Part(bezel, trim)]
    if kind == "cuckoo":
        body = slab([(-0.38, -0.45), (0.38, -0.45), (0.38, 0.3), (0, 0.62), (-0.38, 0.3)], depth) - well
        roof = mirrored(box(0.62, 0.05, depth + 0.12).rotate((0, 0, -40)).translate((0.23, 0.5, 0)))
        hole = box(0.16, 0.16, 0.14).translate((0, 0.42, depth / 2))
        cord = mirrored(
            rod(0.008, 0.3, segments=8).translate((0.1, -0.6, 0))
            + rod(0.035, 0.14, segments=16).translate((0.1, -0.78, 0))
        )
        return [
            Part(body - hole, timber(rng)),
            Part(roof, timber(rng)),
            Part(sunk, clock_face(rng)),
            Part(cord + bezel, trim),
        ]
    side = 2 * face_r + rng.uniform(0.08, 0.2)
    body = soft_box(side, side, depth, rng.uniform(0.02, min(0.09, depth * 0.45))) - well
    feet = four(rod(0.03, 0.05, segments=12).translate((side * 0.38, -side / 2, depth * 0.3)))
    return [Part(body, case), Part(sunk, clock_face(rng)), Part(bezel + feet, trim)]


def radio(rng: np.random.Generator) -> list[Part]:
    """Radios, loudspeakers, digital clocks: a box with sunk grilles, a display, knobs and a handle."""
    wide, tall, deep = rng.uniform(0.5, 1.0), rng.uniform(0.35, 0.8), rng.uniform(0.18, 0.45)
    if rng.random() < 0.35:
        wide, tall = rng.uniform(0.35, 0.55), rng.uniform(0.6, 1.0)
    body = soft_box(wide, tall, deep, rng.uniform(0.015, 0.07))
    r = min(wide, tall) * rng.uniform(0.24, 0.36)
    front = deep / 2
    if wide > 1.3 * tall:
        spots = [(-wide * 0.26, 0.0), (wide * 0.26, 0.0)] if rng.random() < 0.6 else [(-wide * 0.24, 0.0)]
        r = min(r, wide * 0.2)
    elif tall > 1.3 * wide:
        spots = [(0.0, -tall * 0.2), (0.0, tall * 0.24)]
    else:
        spots = [(0.0, -tall * 0.08)]
    cups, cones, grilles = [], [], []
    for i, (x, y) in enumerate(spots):
        size = r * (0.6 if tall > 1.3 * wide and i == 1 else 1.0)
        cups.append(rod(size, 0.14, segments=36).rotate((90, 0, 0)).translate((x, y, front)))
        cone = shell([(0, size * 0.35, size * 0.35), (0.05, size, size)], 0.01, floor=0.008, smooth=False).rotate(
            (90, 0, 0)
        )
        cones.append(cone.translate((x, y, front - 0.068)) + ball(size * 0.3, 18).translate((x, y, front - 0.07)))
        grilles.append(ring(size, 0.014, 36, 8).rotate((90, 0, 0)).translate((x, y, front)))
    parts = [
        Part(body - union(cups), timber(rng) if rng.random() < 0.4 else plastic(rng)),
        Part(union(cones), netting(rng, BLACK if rng.random() < 0.6 else tint(rng))),
        Part(union(grilles), metal(rng)),
    ]
    if len(spots) == 1 or rng.random() < 0.4:
        x, y = (wide * 0.24, tall * 0.2) if spots[0][0] else (0.0, tall * 0.36)
        parts.append(Part(box(wide * 0.34, tall * 0.16, 0.02).translate((x, y, front + 0.002)), screen(rng)))
        knobs = at_all(
            rod(tall * 0.07, 0.06, segments=24).rotate((90, 0, 0)),
            [(x + s * wide * 0.1, -tall * 0.32, front + 0.02) for s in (-1, 1)],
        )
        parts.append(Part(knobs, metal(rng) if rng.random() < 0.5 else plastic(rng)))
    extras = [four(soft_box(0.06, 0.04, 0.06, 0.012, 8).translate((wide * 0.38, -tall / 2, deep * 0.3)))]
    if rng.random() < 0.4:
        extras.append(
            tube(
                curve(
                    [
                        (-wide * 0.35, tall / 2 - 0.02, 0),
                        (-wide * 0.3, tall / 2 + 0.12, 0),
                        (wide * 0.3, tall / 2 + 0.12, 0),
                        (wide * 0.35, tall / 2 - 0.02, 0),
                    ],
                    18,
                ),
                0.018,
                flat=2,
            )
        )
    if rng.random() < 0.4:
        extras.append(
            capsule(
                (wide * 0.4, tall / 2 - 0.03, -deep * 0.35),
                (wide * rng.uniform(0.0, 0.6), tall / 2 + 0.35, -deep * 0.35),
                0.008,
            )
        )
    return [*parts, Part(union(extras), plastic(rng, BLACK))]


def toaster(rng: np.random.Generator) -> list[Part]:
    """Toasters with deep slots, microwave ovens with a window, blenders and coffee makers."""
    kind = pick(rng, ("toaster", "toaster", "oven", "blender", "coffee"))
    skin = metal(rng, STEEL if rng.random() < 0.5 else tint(rng)) if rng.random() < 0.5 else plastic(rng)
    dark = plastic(rng, BLACK)
    if kind == "toaster":
        wide, tall, deep = rng.uniform(0.6, 0.9), rng.uniform(0.4, 0.55), rng.uniform(0.28, 0.5)
        rows: list[Row] = [
            (0, wide / 2, deep / 2),
            (tall * 0.7, wide / 2 * 0.98, deep / 2 * 0.97),
            (tall * 0.94, wide / 2 * 0.93, deep / 2 * 0.84),
            (tall, wide / 2 * 0.84, deep / 2 * 0.68),
        ]
        gap = deep * 0.16
        slots = union([box(wide * 0.72, tall, 0.055).translate((0, tall * 0.75, z)) for z in (-gap, gap)])
        lever = soft_box(0.07, 0.035, 0.12, 0.014, 8).translate((wide / 2 + 0.03, tall * rng.uniform(0.4, 0.8), 0))
        knob = rod(0.045, 0.05, segments=20).rotate((0, 0, 90)).translate((wide / 2 + 0.02, tall * 0.2, deep * 0.2))
        foot = soft_box(wide * 1.02, 0.06, deep * 1.02, 0.025).translate((0, -0.01, 0))
        groove = box(0.014, tall * 0.55, 0.04).translate((wide / 2, tall * 0.6, 0))
        parts = [Part(stack(rows, power=5, count=56) - slots - groove, skin), Part(lever + knob + foot, dark)]
        if rng.random() < 0.5:
            slice_ = soft_box(wide * 0.6, 0.3, 0.045, 0.018, 8)
            toast = at_all(slice_, [(0, tall * 0.95, z) for z in ((-gap, gap) if rng.random() < 0.6 else (gap,))])
            parts.append(Part(toast, plastic(rng, (0.8, 0.58, 0.32))))
        return parts
    if kind == "oven":
        wide, tall, deep = 1.0, rng.uniform(0.5, 0.8), rng.uniform(0.4, 0.7)
        pane = soft_box(wide * 0.6, tall * 0.66, 0.2, 0.02, 8).translate((-wide * 0.12, 0, deep / 2))
        body = soft_box(wide, tall, deep, 0.02) - pane
        glass = box(wide * 0.59, tall * 0.65, 0.02).translate((-wide * 0.12, 0, deep / 2 - 0.05))
        panel = box(wide * 0.17, tall * 0.3, 0.02).translate((wide * 0.36, tall * 0.25, deep / 2))
        knobs = at_all(
            rod(0.055, 0.06, segments=24).rotate((90, 0, 0)),
            [(wide * 0.36, y * tall, deep / 2 + 0.02) for y in (-0.08, -0.3)],
        )
        grip = tube(
            curve(
                [
                    (wide * 0.2, -tall * 0.33, deep / 2),
                    (wide * 0.2, -tall * 0.3, deep / 2 + 0.06),
                    (wide * 0.2, tall * 0.3, deep / 2 + 0.06),
                    (wide * 0.2, tall * 0.33, deep / 2),
                ],
                16,
            ),
            0.016,
        )
        return [
            Part(body, skin),
            Part(glass, screen(rng) if rng.random() < 0.3 else dark),
            Part(panel, screen(rng)),
            Part(knobs + grip, metal(rng)),
        ]
    if kind == "blender":
        base = stack([(0, 0.2, 0.2), (0.05, 0.21, 0.21), (0.28, 0.15, 0.15), (0.32, 0.13, 0.13)], power=3)
        jug = shell([(0.31, 0.12, 0.12), (0.5, 0.15, 0.15), (0.88, 0.19, 0.19)], 0.015)
        lid = rod(0.195, 0.05).translate((0, 0.9, 0)) + rod(0.07, 0.06).translate((0, 0.95, 0))
        grip = tube(curve([(0.17, 0.82, 0), (0.3, 0.8, 0), (0.3, 0.5, 0), (0.14, 0.42, 0)], 16), 0.022, flat=1.4)
        knob = rod(0.06, 0.05, segments=20).rotate((90, 0, 0)).translate((0, 0.14, 0.19))
        parts = [Part(base, skin), Part(jug, plastic(rng, tint(rng))), Part(grip + knob, dark)]
        return [*parts, Part(lid, dark)] if rng.random() < 0.6 else parts
    tall = rng.uniform(0.7, 0.9)
    tower = soft_box(0.4, tall, 0.2, 0.03).translate((0, tall / 2, -0.2))
    head = soft_box(0.4, 0.2, 0.5, 0.04).translate((0, tall - 0.08, -0.05))
    plate = soft_box(0.42, 0.07, 0.6, 0.025).translate((0, 0.03, 0))
    jug = shell([(0.07, 0.13, 0.13), (0.2, 0.17, 0.17), (0.36, 0.11, 0.11), (0.4, 0.12, 0.12)], 0.014).translate(
        (0, 0, 0.1)
    )
    grip = tube(curve([(0, 0.37, 0.22), (0, 0.36, 0.34), (0, 0.15, 0.34), (0, 0.13, 0.26)], 14), 0.02)
    return [
        Part(tower + head + plate, skin),
        Part(jug, plastic(rng, tint(rng))),
        Part(grip, dark),
        Part(box(0.2, 0.08, 0.02).translate((0, tall - 0.06, 0.205)), screen(rng)),
    ]
