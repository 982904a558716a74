"""Bags: many stand open, and one sees their lining."""

import numpy as np

from infinitemesh.data.household_solids import (
    at_all,
    cavity,
    crumpled,
    curve,
    four,
    shell,
    stack,
    tube,
    union,
    warped,
)
from infinitemesh.data.household_textures import (
    BRASS,
    STEEL,
    canvas,
    cardboard,
    fabric,
    label,
    leather,
    metal,
    plastic,
    shade,
    sticker,
    tint,
)
from infinitemesh.data.procedural_parts import Part, box, mirrored, ring, rod, soft_box
from infinitemesh.data.procedural_textures import Colour


def handbag(rng: np.random.Generator) -> list[Part]:
    """Totes that stand open, closed bags with a flap, and doctors' bags, with one or two handles."""
    half_x, half_z, height = rng.uniform(0.3, 0.5), rng.uniform(0.09, 0.2), rng.uniform(0.4, 0.75)
    top_x, top_z = half_x * rng.uniform(0.75, 1.15), half_z * rng.uniform(0.25, 0.9)
    is_open = rng.random() < 0.6
    rows = [
        (0, half_x * 0.95, half_z * 0.9),
        (0.04, half_x, half_z),
        (0.5 * height, (half_x + top_x) / 2 * 1.03, (half_z + top_z) / 2 * 1.06),
        (height, top_x, top_z),
    ]
    power = rng.uniform(3, 6)
    colour = tint(rng)
    picture = (
        label(rng, colour)
        if rng.random() < 0.15
        else leather(rng, colour)
        if rng.random() < 0.5
        else fabric(rng, colour)
    )
    if is_open:
        wall = rng.uniform(0.012, 0.022)
        inner = cavity(rows, wall, power=power) - cavity(rows, wall * 1.8, power=power)
        lining = inner ^ box(4, 2 * height - 0.004, 4)
        parts = [Part(shell(rows, wall, power=power), picture), Part(lining, fabric(rng))]
    else:
        rows.append((height + 0.03, top_x * 0.96, top_z * 0.5))
        parts = [Part(stack(rows, power=power), picture)]
        if rng.random() < 0.5:  # a flap over the front
            drop = rng.uniform(0.3, 0.6) * height
            flap = stack([(y, x + 0.012, z + 0.014) for y, x, z in rows], power=power) ^ box(4, 2 * drop, 2).translate(
                (0, height + 0.04, 0.97)
            )
            parts.append(Part(flap, leather(rng, shade(colour, rng.uniform(0.7, 1.1)))))
            parts.append(
                Part(
                    soft_box(0.08, 0.06, 0.03, 0.01).translate((0, height - drop + 0.06, (half_z + top_z) / 2 + 0.02)),
                    metal(rng, BRASS),
                )
            )
        else:  # a zip
            parts.append(Part(box(top_x * 1.7, 0.03, 0.02).translate((0, height + 0.034, 0)), metal(rng, BRASS)))
    parts += _bag_handles(rng, top_x, top_z, height, colour)
    if rng.random() < 0.4:
        pocket = soft_box(half_x * 1.1, height * 0.4, 0.06, 0.02).translate((0, height * 0.33, half_z * 0.95))
        parts.append(Part(pocket, leather(rng, shade(colour, 0.85))))
    return crumpled(parts, rng, 0.012)


def paper_bag(rng: np.random.Generator) -> list[Part]:
    """Shopping and lunch bags of paper, open or with a rolled top."""
    half_x, half_z, height = rng.uniform(0.22, 0.36), rng.uniform(0.1, 0.2), rng.uniform(0.6, 1.0)
    rows = [(0, half_x, half_z), (height, half_x * rng.uniform(0.95, 1.05), half_z * rng.uniform(0.7, 1.05))]
    picture = cardboard(rng) if rng.random() < 0.5 else label(rng)
    if rng.random() < 0.25:  # folded shut
        closed = stack(
            [
                (0, half_x, half_z),
                (0.6 * height, half_x, half_z * 0.8),
                (0.85 * height, half_x, 0.03),
                (height, half_x, 0.02),
            ],
            power=9,
            smooth=False,
        )
        roll = soft_box(2.04 * half_x, 0.09, 0.07, 0.02).translate((0, height, 0.03))
        return crumpled([Part(closed.refine_to_length(0.12), picture), Part(roll, picture)], rng, 0.015)
    bag = shell(rows, 0.01, power=14, smooth=False, count=48)
    gusset = rng.uniform(0, 0.25)

    def folded(p: np.ndarray) -> np.ndarray:
        t = (p[:, 1:2] / height).clip(0, 1)
        inward = gusset * t * (1 - np.abs(p[:, 2:3]) / half_z).clip(0, 1)
        return p * np.concatenate([1 - inward, 1 + 0 * t, 1 + 0 * t], 1)

    parts = [Part(warped(bag, folded, 0.12), picture)]
    if rng.random() < 0.7:
        parts += _bag_handles(rng, half_x * 0.9, half_z * 0.85, height, tint(rng), is_cord=True)
    return crumpled(parts, rng, 0.01)


def backpack(rng: np.random.Generator) -> list[Part]:
    """School bags: pockets in front and at the sides, two straps behind, a loop on top."""
    half_x, half_z, height = rng.uniform(0.27, 0.36), rng.uniform(0.13, 0.2), rng.uniform(0.8, 1.05)
    rows = [
        (0, half_x * 0.9, half_z * 0.85),
        (0.08, half_x, half_z),
        (0.6 * height, half_x, half_z * 0.92),
        (0.88 * height, half_x * 0.86, half_z * 0.7),
        (height, half_x * 0.45, half_z * 0.35),
    ]
    colour, other = tint(rng), tint(rng)
    body = stack(rows, power=3.2)
    pocket_height = rng.uniform(0.35, 0.55) * height
    pocket = stack(
        [
            (0.05, half_x * 0.75, 0.06),
            (0.1, half_x * 0.82, 0.1),
            (pocket_height * 0.8, half_x * 0.8, 0.09),
            (pocket_height, half_x * 0.66, 0.04),
        ],
        power=3.5,
    )
    straps = []
    for side in (-1, 1):
        x = side * half_x * 0.5
        straps.append(
            tube(
                curve(
                    [
                        (x * 0.8, 0.9 * height, -half_z * 0.5),
                        (x, 0.8 * height, -half_z - 0.1),
                        (x * 1.1, 0.4 * height, -half_z - 0.12),
                        (x * 1.3, 0.08, -half_z * 0.85),
                    ],
                    16,
                ),
                0.018,
                flat=2.8,
                segments=12,
            )
        )
    loop = tube(
        curve(
            [
                (-0.08, 0.96 * height, -half_z * 0.4),
                (0, height + 0.08, -half_z * 0.4),
                (0.08, 0.96 * height, -half_z * 0.4),
            ],
            12,
        ),
        0.014,
        flat=1.6,
    )
    sides = mirrored(
        stack(
            [(0.05, 0.05, half_z * 0.6), (0.1, 0.07, half_z * 0.7), (0.33 * height, 0.06, half_z * 0.7)], power=3
        ).translate((half_x * 0.98, 0, 0))
    )
    zip_path = [
        (x * half_x * 0.9, y * height, half_z * 0.8)
        for x, y in ((-1, 0.55), (-0.95, 0.8), (-0.6, 0.93), (0.6, 0.93), (0.95, 0.8), (1, 0.55))
    ]
    cloth = sticker(rng, other, 192) if rng.random() < 0.4 else fabric(rng, other)
    parts = [
        Part(body, fabric(rng, colour)),
        Part(pocket.translate((0, 0, half_z * 0.92)), cloth),
        Part(union([*straps, loop]), canvas(rng, shade(other, 0.6))),
        Part(tube(curve(zip_path, 24), 0.011), plastic(rng)),
    ]
    if rng.random() < 0.6:
        parts.append(Part(sides, fabric(rng, shade(colour, 0.8))))
    return crumpled(parts, rng, 0.02)


def lunch_bag(rng: np.random.Generator) -> list[Part]:
    """Coolers, cosmetic bags, suitcases and duffels: padded boxes with a zip and a handle; some are open."""
    half_x, half_z, height = rng.uniform(0.3, 0.48), rng.uniform(0.14, 0.3), rng.uniform(0.36, 0.7)
    power = rng.uniform(3.5, 8)
    bulge = rng.uniform(1.0, 1.06)
    rows = [
        (0, half_x * 0.94, half_z * 0.92),
        (0.035, half_x, half_z),
        (height * 0.5, half_x * bulge, half_z * bulge),
        (height - 0.035, half_x, half_z),
        (height, half_x * 0.93, half_z * 0.9),
    ]
    colour, other = tint(rng), tint(rng)
    cloth = label(rng, colour) if rng.random() < 0.2 else fabric(rng, colour)
    trim = canvas(rng, other)
    if rng.random() < 0.45:  # the lid stands open at the back
        rows = rows[:-1]
        parts = [Part(shell(rows, 0.04, power=power), cloth)]
        lid = soft_box(2 * half_x, 2 * half_z, 0.05, 0.024).rotate((rng.uniform(-40, 10), 0, 0))
        parts.append(Part(lid.translate((0, height + half_z * 0.85, -half_z - 0.02)), cloth))
        parts.append(
            Part(
                (cavity(rows, 0.03, power=power) ^ box(4, 2 * height - 0.04, 4)) - cavity(rows, 0.045, power=power),
                metal(rng),
            )
        )
    else:
        line = height * rng.uniform(0.6, 0.85)
        seam = shell(
            [
                (line, half_x * bulge + 0.012, half_z * bulge + 0.012),
                (line + 0.025, half_x * bulge + 0.012, half_z * bulge + 0.012),
            ],
            0.1,
            floor=-0.01,
            power=power,
            smooth=False,
        )
        grip = tube(
            curve(
                [
                    (-0.16, height - 0.02, 0),
                    (-0.1, height + 0.08, 0),
                    (0.1, height + 0.08, 0),
                    (0.16, height - 0.02, 0),
                ],
                16,
            ),
            0.02,
            flat=1.8,
        )
        parts = [Part(stack(rows, power=power), cloth), Part(seam + grip, trim)]
    if rng.random() < 0.6:
        pocket = soft_box(half_x * 1.4, height * 0.5, 0.08, 0.03).translate((0, height * 0.35, half_z * bulge))
        parts.append(Part(pocket, sticker(rng, other) if rng.random() < 0.5 else fabric(rng, other)))
    if rng.random() < 0.2:
        wheels = four(rod(0.04, 0.04, segments=16).rotate((0, 0, 90)).translate((half_x * 0.8, -0.02, half_z * 0.6)))
        pole = mirrored(rod(0.012, 0.5, segments=10).translate((0.12, height + 0.2, -half_z * 0.9))) + box(
            0.28, 0.03, 0.03
        ).translate((0, height + 0.45, -half_z * 0.9))
        parts.append(Part(wheels + pole, metal(rng, STEEL)))
    return crumpled(parts, rng, 0.008)


def _bag_handles(
    rng: np.random.Generator, half_x: float, half_z: float, height: float, colour: Colour, *, is_cord: bool = False
) -> list[Part]:
    """One arch, or one at each side, with rings where they start."""
    wide, rise = half_x * rng.uniform(0.35, 0.75), rng.uniform(0.12, 0.42)
    thick = 0.008 if is_cord else rng.uniform(0.01, 0.018)
    flat = 1.0 if is_cord else rng.choice([1.0, 2.5])
    low = height - rng.uniform(0.02, 0.1)
    arch = curve(
        [
            (-wide, low, 0),
            (-wide * 0.9, height + rise * 0.6, 0),
            (0, height + rise, 0),
            (wide * 0.9, height + rise * 0.6, 0),
            (wide, low, 0),
        ],
        20,
    )
    handle = tube(arch, thick, flat=flat, segments=10)
    lean = rng.uniform(0, 25)
    near = [
        handle.translate((0, -height, 0)).rotate((side * lean, 0, 0)).translate((0, height, side * (half_z + 0.005)))
        for side in (-1, 1)
    ]
    picture = canvas(rng, tint(rng)) if is_cord else leather(rng, colour if rng.random() < 0.5 else shade(colour, 0.6))
    parts = [Part(union(near) if is_cord or rng.random() < 0.7 else handle, picture)]
    if not is_cord and rng.random() < 0.5:
        loop = ring(0.03, 0.008, 18, 8).rotate((90, 0, 0))
        places = [(x, low + 0.01, z) for x in (-wide, wide) for z in (-half_z - 0.01, half_z + 0.01)]
        parts.append(Part(at_all(loop, places), metal(rng, BRASS if rng.random() < 0.5 else STEEL)))
    return parts
