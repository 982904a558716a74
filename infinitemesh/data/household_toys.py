"""Toys of wood and plastic: blocks, stacking rings, abacus, shape sorter, peg boards, drums and rattles."""

import numpy as np
from manifold3d import Manifold

from infinitemesh.data.household_solids import at_all, capsule, curve, four, shell, stack, tube, union
from infinitemesh.data.household_textures import label, pick, plastic, sticker, timber, tint, vivid
from infinitemesh.data.procedural_parts import Part, around, ball, box, mirrored, ring, rod, slab, soft_box
from infinitemesh.data.procedural_textures import checks, stripes


def blocks(rng: np.random.Generator) -> list[Part]:
    """A castle or heap of bricks: cubes, arches, cylinders, roofs; or bricks with studs."""
    unit = 0.2
    if rng.random() < 0.35:
        return _studded(rng)
    groups: list[list[Manifold]] = [[], [], [], [], []]
    columns = int(rng.integers(2, 5))
    for i in range(columns):
        y, x = 0.0, (i - (columns - 1) / 2) * unit * 1.05
        z = rng.uniform(-0.3, 0.3) * unit
        for _ in range(int(rng.integers(1, 5))):
            group = groups[int(rng.integers(0, 5))]
            turn = rng.uniform(-12, 12)
            kind = int(rng.integers(0, 5))
            if kind == 0:
                block = rod(unit * 0.45, unit, segments=28)
            elif kind == 1:
                block = box(unit, unit, unit) - rod(unit * 0.33, 2 * unit, segments=24).rotate((90, 0, 0)).translate(
                    (0, -unit / 2, 0)
                )
            else:
                block = soft_box(unit * rng.choice([1.0, 1.0, 0.6]), unit, unit, 0.01, 8)
            group.append(block.rotate((0, turn, 0)).translate((x, y + unit / 2, z)))
            y += unit
        if rng.random() < 0.6:
            top = (
                slab([(-unit / 2, 0), (unit / 2, 0), (0, unit * 0.7)], unit)
                if rng.random() < 0.6
                else rod(unit / 2, unit, top_radius=0.01, segments=28).translate((0, unit / 2, 0))
            )
            groups[int(rng.integers(0, 5))].append(top.translate((x, y, z)))
    if rng.random() < 0.4:
        base = box(columns * unit * 1.15, 0.03, unit * 1.6)
        groups[0].append(base.translate((0, -0.015, 0)))
    is_wood = rng.random() < 0.3
    return [
        Part(
            union(group),
            timber(rng) if is_wood else sticker(rng, vivid(rng)) if rng.random() < 0.4 else plastic(rng, vivid(rng)),
        )
        for group in groups
        if group
    ]


def _studded(rng: np.random.Generator) -> list[Part]:
    groups: list[list[Manifold]] = [[], [], [], []]
    size, tall = 0.1, 0.12
    for level in range(int(rng.integers(1, 6))):
        for _ in range(2 if rng.random() < 0.5 else 1):
            nx, nz = int(rng.integers(2, 6)), 2
            x, z = (int(rng.integers(-2, 3)) * size for _ in range(2))
            studs = at_all(
                rod(0.03, 0.03, segments=12),
                [
                    (x + (i - (nx - 1) / 2) * size, (level + 1) * tall + 0.012, z * 0.5 + (j - 0.5) * size)
                    for i in range(nx)
                    for j in range(nz)
                ],
            )
            brick = box(nx * size - 0.004, tall - 0.003, nz * size - 0.004).translate(
                (x, (level + 0.5) * tall, z * 0.5)
            )
            groups[int(rng.integers(0, 4))].append(brick + studs)
    return [Part(union(group), plastic(rng, vivid(rng))) for group in groups if group]


def stacking_rings(rng: np.random.Generator) -> list[Part]:
    """Rings of falling size on a rod, or a pyramid of cups."""
    count = int(rng.integers(4, 8))
    is_cups = rng.random() < 0.25
    parts, y, r = [], 0.06, rng.uniform(0.28, 0.36)
    shrink = rng.uniform(0.84, 0.93)
    for _ in range(count):
        tube_r = rng.uniform(0.045, 0.07) if not is_cups else 0.08
        if is_cups:
            solid = shell([(0, r, r), (0.15, r * 0.85, r * 0.85)], 0.012, floor=-0.01, smooth=False).mirror(
                (0, 1, 0)
            ).translate((0, 0.15, 0)) + rod(r * 0.84, 0.012).translate((0, 0.145, 0))
            parts.append(Part(solid.translate((0, y - 0.06, 0)), plastic(rng, vivid(rng))))
            y += 0.14
        else:
            solid = ring(max(r - tube_r, 0.07), tube_r, 36, 14).scale((1, 0.9, 1)).translate((0, y + tube_r * 0.8, 0))
            parts.append(Part(solid, plastic(rng, vivid(rng))))
            y += tube_r * 1.75
        r *= shrink
    if not is_cups:
        base = stack([(-0.02, 0.3, 0.3), (0.05, 0.3, 0.3), (0.08, 0.06, 0.06)], power=2)
        peg = rod(0.045, y, top_radius=0.035, segments=20).translate((0, y / 2, 0))
        parts.append(Part(base + peg, timber(rng) if rng.random() < 0.5 else plastic(rng)))
        parts.append(Part(ball(0.075, 24).translate((0, y + 0.03, 0)), plastic(rng, vivid(rng))))
    return parts


def abacus(rng: np.random.Generator) -> list[Part]:
    """Beads on rods in an upright frame, or on bent wires over a base."""
    wide, tall, depth = rng.uniform(0.7, 1.0), rng.uniform(0.5, 0.9), rng.uniform(0.06, 0.14)
    groups: list[list[Manifold]] = [[], [], [], []]
    if rng.random() < 0.35:  # a bead maze
        wires = []
        for i in range(3):
            z = (i - 1) * 0.12
            points = [
                (-0.35, 0.03, z),
                (-0.32, rng.uniform(0.3, 0.6), z),
                (-0.1, rng.uniform(0.1, 0.5), z),
                (0.1, rng.uniform(0.3, 0.7), z),
                (0.3, rng.uniform(0.2, 0.5), z),
                (0.36, 0.03, z),
            ]
            path = curve(points, 40)
            wires.append(tube(path, 0.012, segments=8))
            for k in rng.choice(np.arange(3, 37, 3), 5, replace=False):
                groups[int(rng.integers(0, 4))].append(ball(0.045, 14).translate(tuple(path[k])))
        base = soft_box(0.95, 0.06, 0.45, 0.02)
        return [
            Part(base, timber(rng)),
            Part(union(wires), plastic(rng)),
            *[Part(union(g), plastic(rng, vivid(rng))) for g in groups if g],
        ]
    rows = int(rng.integers(3, 9))
    frame = box(wide, tall, depth * 0.6) - box(wide - 0.09, tall - 0.09, 2)
    feet = mirrored(box(0.06, 0.05, rng.uniform(0.2, 0.3)).translate((wide / 2 - 0.06, -tall / 2, 0)))
    gap = (tall - 0.09) / rows
    r = min(gap * 0.46, 0.06)
    bars, per_row = [], int(rng.integers(4, 9))
    for i in range(rows):
        y = -tall / 2 + 0.045 + gap * (i + 0.5)
        bars.append(rod(0.01, wide - 0.05, segments=8).rotate((0, 0, 90)).translate((0, y, 0)))
        split = int(rng.integers(0, per_row + 1))
        for k in range(per_row):
            x = (
                -wide / 2 + 0.06 + r * (2 * k + 1) * 0.85
                if k < split
                else wide / 2 - 0.06 - r * (2 * (per_row - k) - 1) * 0.85
            )
            groups[i % 4].append(ball(r, 14).scale((0.8, 1, 1)).translate((x, y, 0)))
    return [
        Part(frame + feet, timber(rng) if rng.random() < 0.7 else plastic(rng)),
        Part(union(bars), plastic(rng)),
        *[Part(union(g), plastic(rng, vivid(rng))) for g in groups if g],
    ]


def shape_sorter(rng: np.random.Generator) -> list[Part]:
    """A hollow cube with holes of several shapes, some filled."""
    side, wall = rng.uniform(0.6, 0.8), 0.04
    size = side * 0.13
    shapes = [
        rod(size, 1, segments=28),
        box(1.7 * size, 1, 1.7 * size),
        rod(size * 1.2, 1, segments=3),
        rod(size * 1.1, 1, segments=6),
        union([box(2 * size, 1, 0.7 * size), box(0.7 * size, 1, 2 * size)]),
    ]
    body = soft_box(side, side, side, 0.03) - box(side - 2 * wall, side - 2 * wall, side - 2 * wall)
    pegs: list[Manifold] = []
    for faces in range(3):  # top, front, side
        for at in ((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25)):
            shape = shapes[int(rng.integers(0, 5))].translate((at[0] * side, side / 2, at[1] * side))
            turn = ((0, 0, 0), (90, 0, 0), (0, 0, -90))[faces]
            body = body - shape.rotate(turn)
            if rng.random() < 0.3:
                up = rng.uniform(-0.45, -0.3)
                peg = shape.scale((0.94, 0.25, 0.94)).translate(
                    (at[0] * side * 0.06, side * 0.4 + up * 0.1, at[1] * side * 0.06)
                )
                pegs.append(peg.rotate(turn))
    parts = [Part(body, timber(rng) if rng.random() < 0.5 else plastic(rng, vivid(rng)))]
    if pegs:
        parts.append(Part(union(pegs), checks(vivid(rng), vivid(rng), count=3, px=128)))
    loose = [
        shape.scale((0.9, size * 2, 0.9)).translate((side * 0.75, -side / 2 + size, (i - 1) * size * 3))
        for i, shape in enumerate(shapes[:3])
    ]
    if rng.random() < 0.4:
        parts += [Part(solid, plastic(rng, vivid(rng))) for solid in loose]
    return parts


def peg_board(rng: np.random.Generator) -> list[Part]:
    """A base with posts, balls, towers or hooks: a rack toy, a hammer bench, a cup tree."""
    wide, deep = rng.uniform(0.7, 1.0), rng.uniform(0.25, 0.5)
    base = soft_box(wide, 0.07, deep, 0.02).translate((0, 0.035, 0))
    kind = pick(rng, ("towers", "bench", "tree"))
    wood = timber(rng)
    if kind == "towers":
        count = int(rng.integers(3, 6))
        groups: list[list[Manifold]] = [[], [], []]
        posts = []
        for i in range(count):
            x = (i - (count - 1) / 2) * wide / count
            high = rng.uniform(0.2, 0.55)
            posts.append(rod(0.025, high, segments=12).translate((x, 0.07 + high / 2, 0)))
            y = 0.07
            corners = int(rng.choice([4, 6, 32]))
            while y < high * rng.uniform(0.4, 1.0):
                piece = rod(0.085 * wide, 0.07, segments=corners) - rod(0.028, 1, segments=12)
                groups[int(rng.integers(0, 3))].append(piece.rotate((0, 45, 0)).translate((x, y + 0.035, 0)))
                y += 0.072
        return [Part(base + union(posts), wood), *[Part(union(g), plastic(rng, vivid(rng))) for g in groups if g]]
    if kind == "bench":
        legs = mirrored(box(0.06, 0.35, deep).translate((wide / 2 - 0.05, 0.17, 0)))
        deck = base.translate((0, 0.22, 0)) - at_all(
            rod(0.055, 1, segments=20),
            [(x, 0, z) for x in np.linspace(-0.3, 0.3, 4) * wide for z in (-deep * 0.22, deep * 0.22)],
        )
        pegs = at_all(
            rod(0.052, 0.2, segments=20),
            [
                (x, 0.28 + rng.uniform(-0.07, 0.1), z)
                for x in np.linspace(-0.3, 0.3, 4) * wide
                for z in (-deep * 0.22, deep * 0.22)
            ],
        )
        return [Part(legs + deck, wood), Part(pegs, stripes(vivid(rng), vivid(rng), count=5, angle_deg=0, px=128))]
    tall = rng.uniform(0.5, 0.9)
    round_base = rod(0.25, 0.05, segments=40).translate((0, 0.025, 0))
    arms = union(
        [
            around(capsule((0, y, 0), (0.2, y + 0.08, 0), 0.018), 3).rotate((0, 40 * i, 0))
            for i, y in enumerate(np.linspace(0.35, 0.8, int(rng.integers(2, 4))) * tall)
        ]
    )
    parts = [Part(round_base + rod(0.03, tall, segments=16).translate((0, tall / 2, 0)) + arms, wood)]
    if rng.random() < 0.5:
        cup = shell([(0, 0.07, 0.07), (0.15, 0.09, 0.09)], 0.012).translate((0.2, 0.3 * tall, 0))
        parts.append(Part(around(cup, 3), plastic(rng)))
    return parts


def drum(rng: np.random.Generator) -> list[Part]:
    """Drums, xylophones, spinning tops and balls."""
    kind = pick(rng, ("drum", "xylophone", "top", "ball"))
    if kind == "drum":
        r, tall = rng.uniform(0.3, 0.5), rng.uniform(0.25, 0.6)
        sticks = capsule((-0.3, tall + 0.05, 0.1), (0.35, tall + 0.06, -0.05), 0.02) + ball(0.05, 16).translate(
            (0.35, tall + 0.06, -0.05)
        )
        hoops = at_all(ring(r, 0.025), [(0, 0.02, 0), (0, tall - 0.02, 0)])
        return [
            Part(rod(r, tall).translate((0, tall / 2, 0)), checks(vivid(rng), tint(rng), count=5)),
            Part(hoops, plastic(rng)),
            Part(rod(r * 0.98, 0.02).translate((0, tall, 0)), plastic(rng, (0.93, 0.9, 0.82))),
            Part(sticks, timber(rng)),
        ]
    if kind == "xylophone":
        count = int(rng.integers(5, 9))
        rails = union([box(1.0, 0.06, 0.05).rotate((0, s * 8, 0)).translate((0, 0.03, s * 0.16)) for s in (-1, 1)])
        keys = [
            soft_box(0.8 / count, 0.03, 0.6 - 0.3 * i / count, 0.01, 8).translate((-0.44 + 0.95 * i / count, 0.08, 0))
            for i in range(count)
        ]
        stick = capsule((-0.3, 0.13, 0.05), (0.2, 0.14, -0.1), 0.012) + ball(0.04, 16).translate((0.2, 0.14, -0.1))
        groups = [union(keys[i::4]) for i in range(4)]
        return [
            Part(rails, timber(rng)),
            *[Part(g, plastic(rng, vivid(rng))) for g in groups],
            Part(stick, timber(rng)),
        ]
    if kind == "top":
        body = stack(
            [
                (0, 0.01, 0.01),
                (0.15, 0.1, 0.1),
                (0.3, 0.38, 0.38),
                (0.36, 0.4, 0.4),
                (0.5, 0.12, 0.12),
                (0.55, 0.03, 0.03),
                (0.8, 0.03, 0.03),
            ]
        )
        return [
            Part(body, stripes(vivid(rng), vivid(rng), count=7, angle_deg=90, px=128)),
            Part(ball(0.06, 20).translate((0, 0.82, 0)), plastic(rng)),
        ]
    stand = ring(0.25, 0.05).translate((0, -0.42, 0))
    return (
        [Part(ball(0.5, 56), label(rng)), Part(stand, plastic(rng))]
        if rng.random() < 0.5
        else [Part(ball(0.5, 56), checks(vivid(rng), tint(rng), count=int(rng.integers(3, 7))))]
    )


def pull_along(rng: np.random.Generator) -> list[Part]:
    """Ride-on and pull-along toys: a body on wheels with a cord, or a rocking base."""
    body = soft_box(0.8, 0.25, 0.3, 0.08).translate((0, 0.3, 0))
    head = ball(0.18, 28).translate((0.38, 0.52, 0)) + capsule((0.3, 0.3, 0), (0.38, 0.5, 0), 0.1)
    wheels = four(rod(0.1, 0.05, segments=24).rotate((90, 0, 0)).translate((0.28, 0.1, 0.17)))
    bars = mirrored(capsule((0.28, 0.1, -0.17), (0.28, 0.1, 0.17), 0.02))
    eyes = at_all(ball(0.03, 12), [(0.52, 0.58, z) for z in (-0.08, 0.08)])
    ears = at_all(ball(0.07, 16).scale((0.6, 1.4, 0.6)), [(0.32, 0.7, z) for z in (-0.1, 0.1)])
    cord = tube(curve([(0.55, 0.25, 0), (0.7, 0.1, 0.05), (0.8, 0.02, 0.0), (0.9, 0.02, 0.02)], 14), 0.008, segments=6)
    colour = vivid(rng)
    return [
        Part(body + head, timber(rng) if rng.random() < 0.4 else plastic(rng, colour)),
        Part(wheels, plastic(rng, vivid(rng))),
        Part(bars + cord, plastic(rng)),
        Part(eyes, plastic(rng, (0.1, 0.1, 0.1))),
        Part(ears, plastic(rng, vivid(rng))),
    ]
