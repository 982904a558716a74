"""Toy cars, buses and trucks, drawn driving towards +X: from the side they are long, from the front narrow."""

import numpy as np
from manifold3d import Manifold

from infinitemesh.data.household_solids import (
    at_all,
    capsule,
    loft,
    stack,
    superellipse,
    union,
)
from infinitemesh.data.household_textures import (
    BLACK,
    WHITE,
    label,
    metal,
    pick,
    plastic,
    shade,
    sticker,
    timber,
    tint,
    vivid,
)
from infinitemesh.data.procedural_parts import Part, around, ball, box, rod, slab, soft_box
from infinitemesh.data.procedural_textures import Colour, shaded, stripes

GLASSES: tuple[Colour, ...] = ((0.12, 0.14, 0.17), (0.55, 0.7, 0.8), (0.3, 0.35, 0.4), (0.75, 0.85, 0.9))


def car(rng: np.random.Generator) -> list[Part]:
    """Saloons, racers, vans, pick-ups and off-roaders."""
    kind = pick(rng, ("saloon", "van", "pickup", "racer", "beetle"))
    roof = {"saloon": 0.34, "van": 0.42, "pickup": 0.4, "racer": 0.25, "beetle": 0.4}[kind] * rng.uniform(0.9, 1.15)
    hood = roof * rng.uniform(0.5, 0.65)
    tops = {
        "saloon": [
            (-0.5, 0.18),
            (-0.47, hood),
            (-0.34, hood * 1.05),
            (-0.2, roof),
            (0.08, roof),
            (0.24, hood * 1.05),
            (0.47, hood * 0.85),
            (0.5, 0.16),
        ],
        "van": [(-0.5, 0.2), (-0.48, roof), (0.2, roof), (0.36, hood * 1.1), (0.48, hood * 0.9), (0.5, 0.18)],
        "pickup": [
            (-0.5, 0.18),
            (-0.49, hood),
            (-0.06, hood),
            (-0.04, roof),
            (0.13, roof),
            (0.24, hood),
            (0.48, hood * 0.95),
            (0.5, 0.18),
        ],
        "racer": [
            (-0.5, 0.16),
            (-0.46, hood * 1.2),
            (-0.25, roof * 0.85),
            (-0.1, roof),
            (0.05, roof * 0.95),
            (0.2, hood * 0.8),
            (0.46, hood * 0.5),
            (0.5, 0.08),
        ],
        "beetle": [
            (-0.5, 0.12),
            (-0.44, hood),
            (-0.25, roof * 0.93),
            (-0.05, roof),
            (0.12, roof * 0.92),
            (0.22, hood * 1.05),
            (0.42, hood * 0.8),
            (0.5, 0.14),
        ],
    }[kind]
    half = rng.uniform(0.18, 0.24)
    clear = rng.uniform(0.05, 0.09)
    body = _hull(tops, half, clear, lean=rng.uniform(0.25, 0.5), belt=hood)
    r = rng.uniform(0.075, 0.115)
    axles = (-rng.uniform(0.28, 0.33), rng.uniform(0.28, 0.33))
    arches = union([rod(r * 1.18, 2, segments=28).rotate((90, 0, 0)).translate((x, r, 0)) for x in axles])
    arches = arches - box(4, 4, 2 * half - 0.14)
    xs, ys = [p[0] for p in tops], [p[1] for p in tops]
    cabin = [(x, y) for x, y in tops if y > hood * 1.15]
    low = hood * 1.03
    pane_x = np.linspace(min(x for x, _ in cabin) + 0.02, max(x for x, _ in cabin) + 0.05, 14)
    pane = [(x, min(float(np.interp(x, xs, ys)) * 0.9, roof - 0.035)) for x in pane_x]
    pane = [(x, y) for x, y in pane if y > low + 0.01]
    window = slab([(pane[0][0], low), *pane, (pane[-1][0] + 0.01, low)], 2)
    posts = union([box(0.018, 1, 2).translate((x, low, 0)) for x in np.linspace(pane[0][0], pane[-1][0], 4)[1:3]])
    window = (window - posts) + _screens(tops, roof, low, half)
    bed = box(0.38, 0.4, 2 * half - 0.06).translate((-0.28, hood + 0.08, 0)) if kind == "pickup" else Manifold()
    paint = vivid(rng) if rng.random() < 0.7 else tint(rng)
    shell_picture = (
        sticker(rng, paint)
        if rng.random() < 0.4
        else stripes(paint, tint(rng), count=3, angle_deg=90, share=0.8, px=192)
    )
    glass = (body ^ window).scale((1, 1, 0.96))
    parts = [
        Part(body - window - arches - bed, shell_picture if rng.random() < 0.6 else plastic(rng, paint)),
        Part(glass, plastic(rng, GLASSES[rng.integers(len(GLASSES))])),
        *wheels(rng, r, half - 0.045, axles),
    ]
    lamps = at_all(ball(0.028, 16), [(x, 0.15, z) for x in (-0.49, 0.485) for z in (-half * 0.65, half * 0.65)])
    bumpers = union(
        [soft_box(0.06, 0.05, 2 * half * 0.96, 0.02).translate((x, clear + 0.03, 0)) for x in (-0.49, 0.49)]
    )
    parts += [
        Part(lamps, plastic(rng, (0.95, 0.9, 0.6))),
        Part(bumpers, metal(rng) if rng.random() < 0.5 else plastic(rng, BLACK)),
    ]
    if rng.random() < 0.35:  # spoiler, lights or a rack on the roof
        top = (
            soft_box(0.1, 0.04, half, 0.015).translate((-0.05, roof + 0.01, 0))
            if kind != "racer"
            else box(0.1, 0.015, 2 * half).translate((-0.45, roof, 0))
            + box(0.03, 0.12, 0.02).translate((-0.45, roof - 0.05, 0))
        )
        parts.append(Part(top, plastic(rng, vivid(rng))))
    return parts


def bus(rng: np.random.Generator) -> list[Part]:
    """Buses, coaches, trams and carriages, perhaps with an upper deck: rows of recessed windows."""
    length, half, height = 1.0, rng.uniform(0.11, 0.16), rng.uniform(0.24, 0.32)
    is_double = rng.random() < 0.25
    height = height * 1.6 if is_double else height
    radius = rng.uniform(0.015, 0.05)
    body = soft_box(length, height, 2 * half, radius).translate((0, height / 2 + 0.05, 0))
    rows = (0.4, 0.75) if is_double else (rng.uniform(0.6, 0.7),)
    count, tall = int(rng.integers(4, 9)), height * (0.2 if is_double else 0.3)
    pitch = 0.9 * length / count
    holes = union(
        [
            soft_box(pitch * 0.82, tall, 1, 0.01, 8).translate((-0.45 + pitch * (i + 0.5), 0.05 + height * row, 0))
            for i in range(count)
            for row in rows
        ]
    )
    holes = holes + union(
        [box(0.1, tall, 2 * half * 0.84).translate((x, 0.05 + height * row, 0)) for x in (-0.5, 0.5) for row in rows]
    )
    core = soft_box(length * 0.985, height * 0.96, 2 * half * 0.95, radius).translate((0, height / 2 + 0.05, 0))
    r = rng.uniform(0.055, 0.075)
    axles = (-rng.uniform(0.27, 0.34), rng.uniform(0.27, 0.34))
    arches = union([rod(r * 1.2, 2, segments=24).rotate((90, 0, 0)).translate((x, r, 0)) for x in axles]) - box(
        4, 4, 2 * half - 0.1
    )
    paint = vivid(rng)
    skin = (
        stripes(paint, tint(rng), count=int(rng.integers(2, 6)), angle_deg=90, share=rng.uniform(0.5, 0.9), px=192)
        if rng.random() < 0.5
        else sticker(rng, paint)
    )
    lamps = at_all(ball(0.02, 14), [(x, 0.1, z) for x in (-0.497, 0.497) for z in (-half * 0.7, half * 0.7)])
    roof = soft_box(length * rng.uniform(0.2, 0.8), 0.03, half * 1.3, 0.012).translate((0, height + 0.055, 0))
    return [
        Part(body - holes - arches, skin),
        Part(core - arches, shaded(GLASSES[rng.integers(len(GLASSES))], BLACK, px=64)),
        *wheels(rng, r, half - 0.03, axles),
        Part(lamps, plastic(rng, (0.95, 0.9, 0.6))),
        Part(roof, plastic(rng, shade(paint, 0.8))),
    ]


def truck(rng: np.random.Generator) -> list[Part]:
    """Lorries with an open bed, a tank, a box or a crane; fire engines; dump trucks."""
    half, r = rng.uniform(0.13, 0.18), rng.uniform(0.065, 0.1)
    floor = 2.05 * r
    cab_length, cab_height = rng.uniform(0.18, 0.28), rng.uniform(0.26, 0.36)
    nose = rng.uniform(0.0, 0.12) if rng.random() < 0.5 else 0.0
    front = 0.5 - nose
    cab = slab(
        [
            (front - cab_length, floor - 0.03),
            (front, floor - 0.03),
            (front, floor + 0.5 * cab_height),
            (front - 0.04, floor + cab_height),
            (front - cab_length, floor + cab_height),
        ],
        2 * half,
    )
    if nose:
        cab = cab + soft_box(nose + 0.1, cab_height * 0.55, 1.7 * half, 0.03).translate(
            (0.5 - nose / 2 - 0.05, floor + cab_height * 0.23, 0)
        )
    window = slab(
        [
            (front - cab_length * 0.75, floor + 0.55 * cab_height),
            (front - 0.03, floor + 0.55 * cab_height),
            (front - 0.06, floor + 0.88 * cab_height),
            (front - cab_length * 0.75, floor + 0.88 * cab_height),
        ],
        2,
    )
    shield = box(0.2, 0.32 * cab_height, 1.6 * half).translate((front + 0.06, floor + 0.72 * cab_height, 0))
    glass = (cab ^ (window + shield)).scale((0.99, 1, 0.95))
    chassis = box(0.98, 0.05, half * 1.2).translate((0, floor - 0.03, 0))
    back, end = front - cab_length - 0.02, -0.5
    length, mid = back - end, (back + end) / 2
    load, colour = tint(rng), vivid(rng)
    kind = pick(rng, ("bed", "tank", "box", "dump", "ladder", "mixer"))
    tall = rng.uniform(0.12, 0.22)
    picture = plastic(rng, load)
    if kind in ("bed", "dump"):
        tray = box(length, tall, 2 * half).translate((0, tall / 2, 0)) - box(
            length - 0.03, tall, 2 * half - 0.03
        ).translate((0, tall / 2 + 0.02, 0))
        tilt = rng.uniform(0, 30) if kind == "dump" else 0.0
        cargo = tray.translate((length / 2, 0, 0)).rotate((0, 0, -tilt)).translate((end, floor, 0))
        picture = timber(rng) if rng.random() < 0.3 else picture
    elif kind == "tank":
        cargo = capsule((end + half, floor + half, 0), (back - half, floor + half, 0), half)
        picture = metal(rng) if rng.random() < 0.5 else sticker(rng, load)
    elif kind == "mixer":
        drum = stack(
            [
                (0, 0.4 * half, 0.4 * half),
                (0.3 * length, half, half),
                (0.6 * length, half, half),
                (length, 0.5 * half, 0.5 * half),
            ]
        )
        cargo = drum.rotate((0, 0, 75)).translate((back, floor + 0.12, 0))
        picture = stripes(load, WHITE, count=4, angle_deg=45, px=128)
    else:
        cargo = box(length, cab_height * rng.uniform(0.8, 1.3), 2 * half).translate((mid, floor + 0.18, 0))
        picture = label(rng, load)
        if kind == "ladder":
            rails = union([box(0.8, 0.02, 0.015).translate((0, 0, z)) for z in (-0.05, 0.05)])
            rungs = at_all(box(0.015, 0.015, 0.1), [(x, 0, 0) for x in np.linspace(-0.38, 0.38, 12)])
            top = float(cargo.bounding_box()[4])
            cargo = (
                cargo
                + (rails + rungs).rotate((0, 0, rng.uniform(-2, 12))).translate((-0.05, top + 0.07, 0))
                + box(0.1, 0.1, 0.1).translate((-0.2, top, 0))
            )
    axles = (-0.34, -0.34 + 2.3 * r, 0.5 - r * 1.6) if rng.random() < 0.5 else (-0.3, 0.5 - r * 1.6)
    return [
        Part(cab - window - shield, plastic(rng, colour)),
        Part(glass, plastic(rng, GLASSES[rng.integers(len(GLASSES))])),
        Part(chassis, plastic(rng, BLACK if rng.random() < 0.7 else tint(rng))),
        Part(cargo, picture),
        *wheels(rng, r, half - 0.02, axles),
    ]


def _screens(tops: list[tuple[float, float]], roof: float, low: float, half: float) -> Manifold:
    """The room of the front and the rear window, where the roof line climbs to the roof."""
    at_roof = [i for i, (_, y) in enumerate(tops) if y > 0.88 * roof]
    spans = [(tops[at_roof[-1]][0], tops[at_roof[-1] + 1][0]), (tops[at_roof[0] - 1][0], tops[at_roof[0]][0])]
    rooms = []
    for (start, end), grow in zip(spans, ((0.012, 0.06), (-0.06, -0.012)), strict=True):
        x0, x1 = start + grow[0], end + grow[1]
        rooms.append(
            box(max(x1 - x0, 0.02), roof - 0.03 - low, 1.15 * half).translate(
                ((x0 + x1) / 2, (roof - 0.03 + low) / 2, 0)
            )
        )
    return union(rooms)


def _hull(tops: list[tuple[float, float]], half: float, clear: float, *, lean: float, belt: float) -> Manifold:
    """A car's body: boxy sections under its roof line, narrower above the belt."""
    x = np.unique(np.concatenate([np.linspace(-0.5, 0.5, 41), [p[0] for p in tops]]).round(4))
    top = np.interp(x, [p[0] for p in tops], [p[1] for p in tops])
    outline = superellipse(5.0, 40)
    ends = 1 - 0.14 * (np.abs(x) / 0.5) ** 5
    rings = []
    for at, high, wide in zip(x, top, half * ends, strict=True):
        y = clear + (high - clear) * (0.5 + 0.5 * outline[:, 1])
        z = wide * outline[:, 0] * (1 - lean * ((y - belt).clip(0) / 0.2).clip(0, 1))
        rings.append(np.stack([np.full(40, at), y, z], -1))
    return loft(np.stack(rings))


def wheels(rng: np.random.Generator, r: float, half: float, axles: tuple[float, ...]) -> list[Part]:
    """Tyres with their hub caps set in."""
    thick = r * rng.uniform(0.5, 0.8)
    tyre = stack(
        [(-thick / 2, 0.9 * r, 0.9 * r), (-thick / 3, r, r), (thick / 3, r, r), (thick / 2, 0.9 * r, 0.9 * r)],
        smooth=False,
        count=28,
    )
    inset = rod(r * 0.6, thick, segments=20).translate((0, thick * 0.85, 0))
    tyre = (tyre - inset - inset.mirror((0, 1, 0))).rotate((90, 0, 0))
    hub = rod(r * 0.62, thick * 0.8, segments=20) + rod(r * 0.2, thick * 1.1, segments=12)
    if rng.random() < 0.5:
        hub = hub - around(rod(r * 0.12, thick * 2, segments=8).translate((r * 0.38, 0, 0)), 5)
    places = [(x, r, z) for x in axles for z in (-half, half)]
    rims = metal(rng) if rng.random() < 0.6 else plastic(rng)
    return [Part(at_all(tyre, places), plastic(rng, BLACK)), Part(at_all(hub.rotate((90, 0, 0)), places), rims)]
