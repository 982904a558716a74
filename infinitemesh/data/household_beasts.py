"""Beasts on four legs, birds and dinosaurs of smooth blobs, looking towards +X."""

import numpy as np
from manifold3d import Manifold

from infinitemesh.data.household_figures import plush
from infinitemesh.data.household_solids import Capsule, at_all, blobs, capsule, curve, stack, union
from infinitemesh.data.household_textures import (
    BLACK,
    WHITE,
    crust,
    glaze,
    metal,
    plastic,
    shade,
    timber,
    tint,
    vivid,
)
from infinitemesh.data.procedural_parts import Part, ball, rod, soft_box
from infinitemesh.data.procedural_textures import Colour, Picture, clouds, dots, stripes


def beast(rng: np.random.Generator) -> list[Part]:
    """Four legs, looking towards +X: dogs, cats, horses, cows, elephants, giraffes and the like."""
    leg, thick = rng.uniform(0.15, 0.5), rng.uniform(0.035, 0.08)
    girth, length = rng.uniform(0.11, 0.2), rng.uniform(0.22, 0.38)
    back = leg + girth
    neck = rng.uniform(0.08, 0.32) if rng.random() < 0.7 else rng.uniform(0.35, 0.6)
    head = rng.uniform(0.08, 0.15)
    shoulder = (length, back, 0.0)
    skull = (length + neck * rng.uniform(0.35, 0.8) + 0.03, back + neck * rng.uniform(0.6, 1.0), 0.0)
    muzzle = (skull[0] + head * rng.uniform(1.0, 1.9), skull[1] - head * rng.uniform(0.2, 0.8), 0.0)
    body: list[Capsule] = [
        ((-length, back, 0), shoulder, girth * rng.uniform(0.85, 1.0), girth),
        (shoulder, skull, girth * 0.6, head * 0.7),
        (skull, skull, head, head),
        (skull, muzzle, head * 0.75, head * rng.uniform(0.4, 0.65)),
    ]
    stride = rng.uniform(-0.08, 0.08, 4)
    for i, (x, z) in enumerate([(length, 1), (length, -1), (-length, 1), (-length, -1)]):
        side = z * girth * 0.6
        body.append(((x, back - girth * 0.4, side), (x + stride[i], thick, side), thick * 1.5, thick))
    ends = [
        (-length, back, 0.0),
        (-length - 0.15, back + rng.uniform(-0.2, 0.15), 0.0),
        (-length - 0.2, back + rng.uniform(-0.3, 0.3), 0.0),
    ]
    body += [(ends[0], ends[1], thick * 0.7, thick * 0.5), (ends[1], ends[2], thick * 0.5, thick * 0.4)]
    kind = int(rng.integers(0, 4))
    extra: list[Manifold] = []
    for z in (-1, 1):
        root = (skull[0] - head * 0.2, skull[1] + head * 0.6, z * head * 0.6)
        if kind == 0:
            body.append((root, (root[0] - 0.02, root[1] + head * 0.9, root[2] * 1.3), head * 0.3, head * 0.12))
        elif kind == 1:
            body.append((root, (root[0] - 0.02, root[1] - head * 0.8, root[2] * 1.9), head * 0.32, head * 0.3))
        elif kind == 2:
            extra.append(capsule(root, (root[0] + 0.03, root[1] + head * 1.3, root[2] * 2.2), head * 0.16, head * 0.04))
            body.append((root, (root[0] - 0.05, root[1], root[2] * 2.1), head * 0.2, head * 0.12))
        else:
            body.append((root, root, head * 0.38, head * 0.38))
    if rng.random() < 0.15:  # a trunk
        path = [muzzle, (muzzle[0] + 0.08, muzzle[1] - 0.12, 0.0), (muzzle[0] + 0.1, muzzle[1] - 0.25, 0.0)]
        body += [(path[0], path[1], head * 0.45, head * 0.35), (path[1], path[2], head * 0.35, head * 0.28)]
    colour = tint(rng)
    parts = [Part(blobs(body, blend=rng.uniform(0.02, 0.035), cells=46), _hide(rng, colour))]
    eyes = at_all(
        ball(head * 0.15, 14), [(skull[0] + head * 0.65, skull[1] + head * 0.35, z * head * 0.62) for z in (-1, 1)]
    )
    parts.append(Part(eyes, plastic(rng, BLACK)))
    parts.append(
        Part(
            ball(head * 0.2, 14).translate((muzzle[0] + head * 0.42, muzzle[1] + head * 0.2, 0)),
            plastic(rng, shade(colour, 0.4)),
        )
    )
    if extra:
        parts.append(Part(union(extra), plastic(rng, (0.9, 0.85, 0.7))))
    if rng.random() < 0.3:
        hooves = at_all(
            rod(thick * 1.15, thick * 1.2, segments=18),
            [
                (s * length + stride[i], thick * 0.55, z * girth * 0.6)
                for i, (s, z) in enumerate([(1, 1), (1, -1), (-1, 1), (-1, -1)])
            ],
        )
        parts.append(Part(hooves, plastic(rng, shade(colour, 0.4))))
    if rng.random() < 0.2:
        parts.append(Part(soft_box(2.4 * length + 0.2, 0.05, 0.4, 0.02).translate((0, -0.01, 0)), timber(rng)))
    return parts


def bird(rng: np.random.Generator) -> list[Part]:
    """Birds, ducks, penguins, owls and hens, looking towards +X."""
    fat, lean = rng.uniform(0.17, 0.3), rng.uniform(-0.1, 0.9)
    base = fat + rng.uniform(0.0, 0.28)
    chest = (0.12, base + 0.12 * lean, 0.0)
    head = fat * rng.uniform(0.45, 0.75)
    skull = (chest[0] + rng.uniform(0.02, 0.16), chest[1] + fat * rng.uniform(0.8, 1.4), 0.0)
    tail = (-0.2 - 0.3 * (1 - lean) - rng.uniform(0, 0.15), base - 0.3 * lean + rng.uniform(0.0, 0.1), 0.0)
    body: list[Capsule] = [
        ((-0.1, base - 0.08 * lean, 0), chest, fat * 0.9, fat),
        (chest, skull, fat * 0.6, head * 0.8),
        (skull, skull, head, head),
        ((-0.1, base, 0), tail, fat * 0.6, 0.03),
    ]
    colour = tint(rng)
    wing = stack([(0, 0.05, 0.03), (0.15, 0.14, 0.05), (0.35, 0.1, 0.035), (0.5, 0.015, 0.01)], count=20, steps=14)
    wings = wing.rotate((0, 0, 70 + 30 * lean)).translate((0.14, base + fat * 0.25, fat * 0.88))
    wings = wings + wings.mirror((0, 0, 1))
    beak_length = rng.uniform(0.06, 0.2)
    beak = capsule(
        (skull[0] + head * 0.8, skull[1], 0), (skull[0] + head + beak_length, skull[1] - 0.03, 0), head * 0.3, 0.015
    )
    eyes = at_all(
        ball(head * 0.16, 14), [(skull[0] + head * 0.55, skull[1] + head * 0.3, z * head * 0.75) for z in (-1, 1)]
    )
    feet = [
        capsule((0.02, 0.02, z * fat * 0.45), (0.14, 0.015, z * fat * 0.5), 0.022, 0.03)
        + capsule((0.02, 0.02, z * fat * 0.45), (0.0, base - fat * 0.5, z * fat * 0.4), 0.02)
        for z in (-1, 1)
    ]
    orange: Colour = (0.93, 0.6, 0.15) if rng.random() < 0.6 else tint(rng)
    legs = union(feet)
    if rng.random() < 0.3:
        legs = rod(fat * 0.9, 0.06, segments=32).translate((0, 0.01, 0)) + rod(0.05, base, segments=16).translate(
            (0, base / 2, 0)
        )
    parts = [
        Part(blobs(body, blend=0.03, cells=40), _hide(rng, colour)),
        Part(wings, _hide(rng, shade(colour, rng.uniform(0.6, 1.3)))),
        Part(beak, plastic(rng, orange)),
        Part(legs, plastic(rng, orange)),
        Part(eyes, plastic(rng, BLACK)),
    ]
    if rng.random() < 0.3:
        comb = at_all(
            ball(head * 0.28, 14),
            [(skull[0] + d * head, skull[1] + head * (1.0 - 0.1 * d * d * 9), 0) for d in (-0.4, 0, 0.4)],
        )
        parts.append(Part(comb, plastic(rng, (0.8, 0.15, 0.12))))
    return parts


def dinosaur(rng: np.random.Generator) -> list[Part]:
    """Dinosaurs, dragons and crocodiles, looking towards +X, with a long tail and perhaps a row of plates."""
    is_upright = rng.random() < 0.5
    girth, leg = rng.uniform(0.1, 0.15), rng.uniform(0.14, 0.24) * (1.5 if is_upright else 1)
    y = leg + girth
    chest = (0.14, y + (0.14 if is_upright else 0.0), 0.0)
    skull = (chest[0] + rng.uniform(0.12, 0.24), chest[1] + rng.uniform(0.02, 0.4), 0.0)
    jaw = (skull[0] + rng.uniform(0.1, 0.18), skull[1] - 0.03, 0.0)
    tail = [(-0.14, y, 0.0), (-0.42, y - rng.uniform(-0.05, 0.14), 0.04), (-0.68, rng.uniform(0.1, y), 0.1)]
    body: list[Capsule] = [
        (tail[0], chest, girth, girth * 0.85),
        (chest, skull, girth * 0.6, 0.055),
        (skull, jaw, 0.075, 0.045),
        (tail[0], tail[1], girth * 0.75, 0.05),
        (tail[1], tail[2], 0.05, 0.015),
    ]
    for z in (-1, 1):
        knee = (-0.08, leg * 0.55, z * girth * 1.05)
        body += [
            ((-0.12, y - 0.03, z * girth * 0.6), knee, 0.085, 0.05),
            (knee, (-0.1, 0.04, z * girth * 1.05), 0.05, 0.04),
            ((-0.1, 0.035, z * girth * 1.05), (0.0, 0.03, z * girth * 1.1), 0.04, 0.035),
        ]
        if is_upright:
            body.append(
                (
                    (chest[0] + 0.03, chest[1] - 0.03, z * girth * 0.6),
                    (chest[0] + 0.14, chest[1] - 0.12, z * girth * 0.7),
                    0.032,
                    0.02,
                )
            )
        else:
            body.append(((chest[0], y - 0.03, z * girth * 0.6), (chest[0] + 0.02, 0.04, z * girth), 0.06, 0.042))
    colour = vivid(rng) if rng.random() < 0.6 else tint(rng)
    parts = [Part(blobs(body, blend=0.022, cells=50), _hide(rng, colour))]
    eyes = at_all(ball(0.018, 12), [(skull[0] + 0.045, skull[1] + 0.045, z * 0.055) for z in (-1, 1)])
    parts.append(Part(eyes, plastic(rng, BLACK if rng.random() < 0.6 else WHITE)))
    if rng.random() < 0.6:
        spine = curve([skull, chest, tail[0], tail[1]], 10)[1:]
        plates = []
        for i, place in enumerate(spine):
            size = 0.05 + 0.06 * np.sin(np.pi * (i + 1) / len(spine))
            lift = girth * (0.6 + 0.4 * np.sin(np.pi * (i + 0.5) / len(spine)))
            plates.append(
                rod(size * 0.7, size * 1.6, top_radius=0.004, segments=8)
                .scale((1, 1, 0.3))
                .translate((place[0], place[1] + lift + size * 0.3, place[2]))
            )
        parts.append(Part(union(plates), plastic(rng)))
    return parts


def _hide(rng: np.random.Generator, colour: Colour) -> Picture:
    """Painted plastic, fur, spots, stripes, patches or glaze."""
    other = tint(rng) if rng.random() < 0.5 else shade(colour, rng.uniform(0.5, 1.5))
    kind = int(rng.integers(0, 7))
    if kind == 0:
        return dots(colour, other, count=int(rng.integers(5, 12)), radius=rng.uniform(0.2, 0.4), px=192)
    if kind == 1:
        return stripes(
            colour, other, count=int(rng.integers(5, 14)), angle_deg=float(rng.choice([0, 20])), share=0.6, px=192
        )
    if kind == 2:
        return glaze(rng, colour)
    if kind == 3:
        return metal(rng, colour)
    if kind == 4:
        return plush(rng, colour)
    return clouds(colour, other, rng, 192) if kind == 5 else crust(rng, colour, other)
