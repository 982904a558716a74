"""Shelves, racks of wire or wood, crates, baskets, buckets and trays: open, and seen through."""

import numpy as np

from infinitemesh.data.household_solids import (
    Row,
    at_all,
    capsule,
    cavity,
    curve,
    four,
    shell,
    superellipse,
    tube,
    union,
    wire_between,
)
from infinitemesh.data.household_textures import (
    BLACK,
    crust,
    glaze,
    leather,
    metal,
    pick,
    plastic,
    timber,
    tint,
    vivid,
    woven,
)
from infinitemesh.data.procedural_parts import Part, ball, box, lathe, mirrored, rod, slab, soft_box
from infinitemesh.data.procedural_textures import Picture, stripes


def shelf(rng: np.random.Generator) -> list[Part]:
    """Cabinets, book cases and doll's houses without a front, racks for dishes, wine, shoes and letters."""
    wide, tall, deep = rng.uniform(0.4, 1.0), rng.uniform(0.4, 1.0), rng.uniform(0.2, 0.4)
    wall = rng.uniform(0.02, 0.035)
    body = box(wide, tall, deep)
    columns, rows = int(rng.integers(1, 4)), int(rng.integers(1, 5))
    cell = ((wide - wall) / columns - wall, (tall - wall) / rows - wall)
    holes = [
        box(*cell, deep).translate(
            (
                -wide / 2 + wall + cell[0] / 2 + i * (cell[0] + wall),
                -tall / 2 + wall + cell[1] / 2 + j * (cell[1] + wall),
                wall,
            )
        )
        for i in range(columns)
        for j in range(rows)
    ]
    parts = [Part(body - union(holes), timber(rng) if rng.random() < 0.7 else plastic(rng))]
    goods = []
    for hole in holes:
        low = np.asarray(hole.bounding_box())
        if rng.random() < 0.4:
            continue
        if rng.random() < 0.4:
            drawer = box(cell[0] - 0.01, cell[1] - 0.01, deep - wall).translate(
                tuple((low[:3] + low[3:]) / 2 - [0, 0, deep / 2 - (deep - wall) / 2 + wall / 2])
            )
            knob = ball(0.02, 12).translate(((low[0] + low[3]) / 2, (low[1] + low[4]) / 2, deep / 2 + 0.015))
            parts.append(Part(drawer + knob, plastic(rng))) if len(parts) < 5 else None
        else:
            x = low[0] + 0.02
            while x < low[3] - 0.08:
                w, h = rng.uniform(0.02, 0.06), cell[1] * rng.uniform(0.5, 0.9)
                goods.append(box(w * 0.92, h, deep * 0.6).translate((x + w / 2, low[1] + h / 2, 0)))
                x += w
    if goods:
        parts.append(Part(union(goods), stripes(vivid(rng), tint(rng), count=17, angle_deg=0, px=192)))
    if rng.random() < 0.3:
        gable = slab([(-wide / 2 - 0.04, tall / 2), (wide / 2 + 0.04, tall / 2), (0, tall / 2 + wide * 0.45)], deep)
        parts.append(Part(gable, plastic(rng, vivid(rng))))
    return parts


def rack(rng: np.random.Generator) -> list[Part]:
    """Bars of wire or wood: dish and letter racks, fruit baskets, crates and cages one can look through."""
    wide, deep, tall = rng.uniform(0.6, 1.0), rng.uniform(0.35, 0.6), rng.uniform(0.2, 0.6)
    flare, wire = rng.uniform(0.8, 1.0), rng.uniform(0.008, 0.016)
    picture: Picture = metal(rng, tint(rng)) if rng.random() < 0.6 else timber(rng)
    kind = pick(rng, ("basket", "dish", "crate", "tiers"))
    if kind == "crate":
        slat = tall / int(rng.integers(2, 5))
        levels = np.arange(slat / 2, tall, slat)
        long_ = union(
            [box(wide, slat * 0.72, 0.022).translate((0, y, z)) for y in levels for z in (-deep / 2, deep / 2)]
        )
        short = union(
            [box(0.022, slat * 0.72, deep).translate((x, y, 0)) for y in levels for x in (-wide / 2, wide / 2)]
        )
        floor = union(
            [
                box(wide, 0.02, deep / 7).translate((0, 0.01, z))
                for z in np.linspace(-deep / 2 + deep / 12, deep / 2 - deep / 12, 6)
            ]
        )
        posts = four(box(0.05, tall, 0.05).translate((wide / 2 - 0.03, tall / 2, deep / 2 - 0.03)))
        return [Part(long_ + short + floor + posts, timber(rng))]
    if kind == "dish":
        count = int(rng.integers(5, 12))
        x = np.linspace(-wide / 2 + 0.05, wide / 2 - 0.05, count)
        arch = curve(
            [(0, 0.02, -deep * 0.3), (0, tall * 0.9, -deep * 0.28), (0, tall * 0.9, -deep * 0.05), (0, 0.02, 0)], 14
        )
        arches = at_all(
            tube(arch, wire, segments=6) + tube(arch * [1, 1, -1], wire, segments=6), [(at, 0, 0) for at in x]
        )
        rails = union(
            [capsule((-wide / 2, 0.02, z), (wide / 2, 0.02, z), wire * 1.4) for z in (-deep * 0.3, 0.0, deep * 0.3)]
        )
        feet = four(ball(0.03, 12).translate((wide / 2 - 0.02, 0.0, deep * 0.3)))
        parts = [Part(arches + rails, picture), Part(feet, plastic(rng, BLACK))]
        if rng.random() < 0.4:
            plate = lathe(
                [(0.12, -0.012), (0.3 * tall / 0.4, 0.014), (0.3 * tall / 0.4, 0.024), (0.1, 0.0)], 36
            ).rotate((0, 0, 84))
            mid = (x[:-1] + x[1:]) / 2
            parts.append(
                Part(
                    at_all(
                        plate, [(at, 0.3 * tall / 0.4 + 0.03, 0.1 * deep) for at in mid[:: int(rng.integers(1, 4))]]
                    ),
                    glaze(rng),
                )
            )
        return parts
    if kind == "tiers":
        levels = np.linspace(0.06, tall * 1.6, int(rng.integers(2, 4)))
        decks = [
            union(
                [
                    box(wide, 0.018, deep / 9).translate((0, y, z))
                    for z in np.linspace(-deep / 2 + 0.03, deep / 2 - 0.03, 5)
                ]
            )
            for y in levels
        ]
        posts = four(
            rod(0.022, tall * 1.6 + 0.12, segments=12).translate((wide / 2 - 0.02, tall * 0.8 + 0.03, deep / 2 - 0.02))
        )
        return [Part(union(decks), timber(rng)), Part(posts, picture)]
    turn = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    outline = superellipse(float(rng.choice([2.0, 5.0])), 36)
    levels = np.linspace(0, 1, int(rng.integers(3, 6)))
    hoops = []
    for t in levels:
        k = flare + (1 - flare) * t
        hoops.append(
            tube(
                np.stack([outline[:, 0] * wide / 2 * k, 0 * turn + tall * t, outline[:, 1] * deep / 2 * k], -1),
                wire * (1.5 if t == 1 else 1),
                segments=6,
                closed=True,
            )
        )
    uprights = [
        wire_between(
            (outline[i, 0] * wide / 2 * flare, 0, outline[i, 1] * deep / 2 * flare),
            (outline[i, 0] * wide / 2, tall, outline[i, 1] * deep / 2),
            wire,
        )
        for i in range(0, 36, 2)
    ]
    grid = [
        wire_between((x, 0, -deep * 0.47 * flare), (x, 0, deep * 0.47 * flare), wire)
        for x in np.linspace(-0.3, 0.3, 6) * wide * flare
    ]
    parts = [Part(union([*hoops, *uprights, *grid]), picture)]
    if rng.random() < 0.5:
        arch = curve(
            [(0, tall, -deep / 2), (0, tall + 0.25, -deep * 0.35), (0, tall + 0.25, deep * 0.35), (0, tall, deep / 2)],
            16,
        )
        parts.append(Part(tube(arch, wire * 1.6), picture))
    return parts


def basket(rng: np.random.Generator) -> list[Part]:
    """Woven baskets, laundry baskets with holes, buckets, bins and trays: open shells, some with a handle."""
    half_x, tall = rng.uniform(0.3, 0.5), rng.choice([rng.uniform(0.06, 0.15), rng.uniform(0.25, 0.7)])
    power = rng.choice([2.0, 2.0, 4.0, 7.0])
    half_z = half_x * (1.0 if rng.random() < 0.5 else rng.uniform(0.5, 0.9))
    foot = rng.uniform(0.7, 1.0)
    rows: list[Row] = [
        (0, half_x * foot, half_z * foot),
        (0.5 * tall, half_x * (foot + 1.05) / 2, half_z * (foot + 1.05) / 2),
        (tall, half_x, half_z),
    ]
    wall = rng.uniform(0.015, 0.03)
    kind = pick(rng, ("woven", "holes", "bucket"))
    body = shell(rows, wall, power=power)
    inside = cavity(rows, wall, power=power)
    picture = woven(rng, None if rng.random() < 0.7 else tint(rng), count=int(rng.integers(8, 18)))
    if kind == "holes" and tall > 0.2:
        picture = plastic(rng)
        slot_tall = rng.uniform(0.08, 0.5) * tall
        slot = soft_box(0.05, slot_tall, 3, 0.01, 6)
        levels = np.arange(0.15 * tall + slot_tall / 2, 0.85 * tall - slot_tall / 2 + 1e-3, slot_tall + 0.04)
        cuts = [slot.translate((x, float(y), 0)) for x in np.arange(-0.3, 0.31, 0.1) * half_x / 0.4 for y in levels]
        cuts += [
            slot.rotate((0, 90, 0)).translate((0, float(y), z))
            for z in np.arange(-0.2, 0.21, 0.1) * half_z / 0.4
            for y in levels
        ]
        body = body - union(cuts)
    elif kind == "bucket":
        picture = metal(rng, tint(rng)) if rng.random() < 0.5 else plastic(rng)
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    oval = superellipse(float(power), 40)
    rim = tube(
        np.stack([oval[:, 0] * half_x, 0 * turn + tall, oval[:, 1] * half_z], -1),
        wall * rng.uniform(0.9, 1.6),
        segments=8,
        closed=True,
    )
    parts = [Part(body, picture), Part(rim, picture if rng.random() < 0.6 else leather(rng))]
    draw = rng.random()
    if draw < 0.4:
        rise = rng.uniform(0.2, 0.5)
        arch = curve(
            [
                (-half_x, tall - 0.03, 0),
                (-half_x * 0.85, tall + rise * 0.7, 0),
                (0, tall + rise, 0),
                (half_x * 0.85, tall + rise * 0.7, 0),
                (half_x, tall - 0.03, 0),
            ],
            22,
        )
        tilt = rng.uniform(-70, 70) if rng.random() < 0.4 else 0.0
        parts.append(
            Part(
                tube(arch, wall, flat=1.6).translate((0, -tall, 0)).rotate((tilt, 0, 0)).translate((0, tall, 0)),
                picture if kind == "woven" else metal(rng),
            )
        )
    elif draw < 0.7:
        ear = curve(
            [
                (half_x - 0.02, tall, -0.12),
                (half_x + 0.03, tall + 0.1, -0.09),
                (half_x + 0.03, tall + 0.1, 0.09),
                (half_x - 0.02, tall, 0.12),
            ],
            14,
        )
        parts.append(Part(mirrored(tube(ear, wall * 0.9)), leather(rng)))
    if rng.random() < 0.3:
        lumps = [
            ball(rng.uniform(0.08, 0.13), 18).translate(
                (x * half_x * 0.55, 0.5 * tall + rng.uniform(0, 0.1), z * half_z * 0.55)
            )
            for x, z in rng.uniform(-1, 1, (7, 2))
        ]
        parts.append(Part(union(lumps) ^ inside, crust(rng, vivid(rng), vivid(rng))))
    return parts
