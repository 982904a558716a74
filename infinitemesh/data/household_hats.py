"""Hats, caps and beanies: hollow underneath; some lie on their crown and show it."""

import numpy as np
from manifold3d import Manifold

from infinitemesh.data.household_solids import (
    Row,
    capsule,
    cavity,
    crumpled,
    curve,
    shell,
    stack,
    tube,
    warped,
)
from infinitemesh.data.household_textures import (
    canvas,
    fabric,
    knit,
    leather,
    pick,
    plastic,
    shade,
    sticker,
    tint,
    woven,
)
from infinitemesh.data.procedural_parts import Part, around, mirrored, rod, slab, soft_box
from infinitemesh.data.procedural_textures import Picture


def hat(rng: np.random.Generator) -> list[Part]:
    """Sun hats, fedoras, cowboy hats, top hats, bowlers and witches' hats."""
    crown, a = rng.uniform(0.28, 0.5), 0.3
    b, reach = a * rng.uniform(1.0, 1.22), rng.uniform(1.35, 2.2)
    kind = pick(rng, ("round", "round", "pinched", "flat", "bucket", "cone"))
    rows: dict[str, list[Row]] = {
        "round": [
            (0, a, b),
            (0.4 * crown, a, b),
            (0.75 * crown, 0.86 * a, 0.86 * b),
            (0.95 * crown, 0.5 * a, 0.5 * b),
            (crown, 0.08, 0.08),
        ],
        "pinched": [
            (0, a, b),
            (0.6 * crown, 0.9 * a, 0.92 * b),
            (0.95 * crown, 0.75 * a, 0.8 * b),
            (crown, 0.6 * a, 0.66 * b),
        ],
        "flat": [(0, a, b), (0.97 * crown, a * rng.uniform(0.85, 1.1), b), (crown, 0.93 * a, 0.95 * b)],
        "bucket": [(0, a, b), (0.85 * crown, 0.8 * a, 0.8 * b), (crown, 0.7 * a, 0.7 * b)],
        "cone": [(0, a, b), (crown, 0.5 * a, 0.5 * b), (1.9 * crown, 0.06, 0.06)],
    }
    outer = rows[kind]
    brim_rows = [(0, k, k * b / a) for k in np.linspace(0.8 * a, reach * a, 6)]
    thick = rng.uniform(0.012, 0.025)
    brim = stack([*brim_rows, *[(thick, x, z) for _, x, z in brim_rows[::-1]]], smooth=False, count=56)
    curl, droop = rng.uniform(-0.1, 0.35), rng.uniform(-0.15, 0.2)
    if kind == "bucket":
        curl = droop = rng.uniform(-0.45, -0.25)
    waves, phase = int(rng.integers(2, 6)), rng.uniform(0, 6)
    wave = rng.uniform(0, 0.03)

    def curled(p: np.ndarray) -> np.ndarray:
        angle, r = np.arctan2(p[:, 2] * a / b, p[:, 0]), np.hypot(p[:, 0], p[:, 2] * a / b)
        t = ((r - a) / (reach * a - a)).clip(0, 2)
        lift = t**1.6 * (curl * np.cos(angle) ** 2 + droop * np.sin(angle) ** 2 + wave * np.sin(waves * angle + phase))
        return p + np.stack([0 * lift, lift * (reach - 1) * a * 2, 0 * lift], -1)

    brim = brim.warp_batch(curled)
    dome = stack(outer)
    room = _underside(outer, 0.018)
    if kind == "pinched":  # a crease along the top and dents in front
        depth = rng.uniform(0.08, 0.16)

        def crease(p: np.ndarray) -> np.ndarray:
            high = (p[:, 1] / (0.9 * crown)).clip(0, 1) ** 4
            dent = depth * np.exp(-((p[:, 0] / 0.09) ** 2)) * high
            pinch = 1 - 0.25 * high * np.exp(-(((p[:, 2] - b * 0.6) / 0.15) ** 2))
            return np.stack([p[:, 0] * pinch, p[:, 1] - dent, p[:, 2]], -1)

        dome, room = warped(dome, crease, 0.05), warped(room, crease, 0.05)
    cloth = pick(rng, ("felt", "straw", "fabric"))
    picture: Picture = {"felt": leather, "straw": woven, "fabric": fabric}[cloth](rng)
    parts = [Part((dome + brim) - room, picture)]
    band_top = rng.uniform(0.08, 0.3) * crown
    at_top = np.array([np.interp(band_top, [r[0] for r in outer], [r[k] for r in outer]) for k in (1, 2)]) + 0.012
    band = stack([(thick * 0.5, a + 0.012, b + 0.012), (band_top, *at_top)], smooth=False) - room
    if rng.random() < 0.75:
        parts.append(Part(band - dome if kind == "pinched" else band, fabric(rng)))
        if rng.random() < 0.4:
            bow = capsule((a + 0.01, 0.03, -0.05), (a + 0.01, 0.06, 0.08), 0.02)
            parts.append(Part(bow, fabric(rng)))
    return _laid(parts, rng)


def cap(rng: np.random.Generator) -> list[Part]:
    """Baseball caps with a peak, a button and sometimes a gap at the back."""
    a, crown = 0.3, rng.uniform(0.28, 0.4)
    b = a * rng.uniform(1.02, 1.18)
    square = rng.uniform(0.75, 0.95)
    rows = [
        (0, a, b),
        (0.35 * crown, a, b),
        (0.7 * crown, square * 0.88 * a, square * 0.88 * b, 0, -0.01),
        (0.93 * crown, 0.5 * a, 0.5 * b, 0, -0.02),
        (crown, 0.1 * a, 0.1 * b, 0, -0.03),
    ]
    dome = stack(rows)
    room = _underside(rows, 0.014)
    if rng.random() < 0.4:
        room = room + rod(0.1, 0.5, segments=24).rotate((90, 0, 0)).translate((0, 0.02, -b))
    reach, wide = rng.uniform(0.2, 0.32), a * rng.uniform(0.85, 0.98)
    turn = np.linspace(0, np.pi, 25)
    power = rng.uniform(2.0, 2.8)
    outline = [
        (
            wide * np.sign(np.cos(t)) * abs(np.cos(t)) ** (2 / power),
            b * 0.55 + (reach + b * 0.4) * abs(np.sin(t)) ** (2 / power),
        )
        for t in turn
    ]
    bend, slope = rng.uniform(0.2, 1.8), rng.uniform(-0.1, 0.45)
    peak = slab(outline, 0.016).rotate((90, 0, 0))
    peak = warped(
        peak,
        lambda p: (
            p + np.stack([0 * p[:, 0], 0.03 - bend * p[:, 0] ** 2 - slope * (p[:, 2] - b).clip(0), 0 * p[:, 0]], -1)
        ),
        0.045,
    )
    colour = tint(rng)
    picture = sticker(rng, colour) if rng.random() < 0.6 else canvas(rng, colour)
    other = colour if rng.random() < 0.5 else tint(rng)
    seams = around(
        tube(
            curve(
                [
                    (a * 1.005, 0.3 * crown, 0),
                    (a * 0.8 * square + 0.04, 0.7 * crown, 0),
                    (0.5 * a, 0.94 * crown, 0),
                    (0.03, crown + 0.004, 0),
                ],
                12,
            ),
            0.005,
            segments=6,
        ),
        6,
    )
    parts = [
        Part(dome - room, picture),
        Part(peak - room, canvas(rng, other)),
        Part(seams.scale((1, 1, b / a)) - room, canvas(rng, shade(other, 0.85))),
        Part(Manifold.sphere(0.028, 16).scale((1, 0.6, 1)).translate((0, crown, -0.02)), canvas(rng, other)),
    ]
    return _laid(parts, rng)


def beanie(rng: np.random.Generator) -> list[Part]:
    """Knitted caps with a cuff, a bobble or ear flaps, and helmets."""
    a, crown = 0.3, rng.uniform(0.32, 0.5)
    rows = [
        (0, a * 0.95, a),
        (0.3 * crown, a, a * 1.05),
        (0.7 * crown, 0.85 * a, 0.9 * a),
        (0.93 * crown, 0.5 * a, 0.52 * a),
        (crown, 0.08 * a, 0.08 * a),
    ]
    room = _underside(rows, rng.uniform(0.02, 0.04))
    is_helmet = rng.random() < 0.25
    colour = tint(rng)
    picture = plastic(rng, colour) if is_helmet else knit(rng, colour)
    dome = stack(rows)
    if is_helmet:
        holes = (
            mirrored(capsule((0.07, crown, -0.12), (0.09, crown * 0.9, 0.16), 0.03))
            if rng.random() < 0.6
            else Manifold()
        )
        rim = shell(
            [(0.0, a + 0.03, a * 1.08 + 0.04, 0, 0.02), (0.05, a + 0.02, a * 1.05 + 0.03, 0, 0.01)], 0.06, floor=-0.01
        )
        return _laid([Part(dome - room - holes, picture), Part(rim - room, plastic(rng))], rng)
    fold = rng.uniform(0.08, 0.15)
    cuff = stack(
        [
            (-0.005, a + 0.01, a + 0.025),
            (0.02, a + 0.025, a + 0.045),
            (fold, a + 0.02, a + 0.045),
            (fold + 0.015, a, a + 0.02),
        ]
    )
    ribs = int(rng.integers(20, 44))
    cuff = warped(cuff, lambda p: p * (1 + 0.015 * np.sin(ribs * np.arctan2(p[:, 2], p[:, 0])))[:, None] ** [1, 0, 1])
    parts = [Part(dome - room, picture), Part(cuff - room, knit(rng, colour if rng.random() < 0.5 else tint(rng)))]
    if rng.random() < 0.6:
        size = rng.uniform(0.07, 0.13)
        bobble = Manifold.sphere(size, 28).warp_batch(lambda p: p * (1 + 0.06 * np.sin(60 * p).sum(1, keepdims=True)))
        parts.append(Part(bobble.translate((0, crown + size * 0.7, 0)), knit(rng)))
    if rng.random() < 0.3:
        flap = soft_box(0.03, 0.3, 0.2, 0.014).translate((a * 0.97, -0.1, 0))
        parts.append(Part(mirrored(flap), picture))
    return _laid(parts, rng)


def _underside(rows: list[Row], wall: float) -> Manifold:
    """What is inside a dome and open below it."""
    upside_down = [(-row[0], *row[1:]) for row in rows[::-1]]
    return cavity(upside_down, wall).mirror((0, 1, 0))


def _laid(parts: list[Part], rng: np.random.Generator) -> list[Part]:
    """Mostly as worn; some lie on their crown and show the inside, some are a little crushed or tipped."""
    draw = rng.random()
    turn = (180.0, 0.0, 0.0) if draw < 0.15 else (rng.uniform(-25, 10), 0.0, 0.0) if draw < 0.35 else (0.0, 0.0, 0.0)
    return [Part(part.solid.rotate(turn), part.texture) for part in crumpled(parts, rng, 0.012)]
