"""Things to wear on the feet, drawn with the toe towards +X: each is open at the ankle, with the foot's room inside."""

import numpy as np
from manifold3d import Manifold

from infinitemesh.data.household_lasts import (
    WALL,
    heeled_sole,
    insole_of,
    laces_and_tongue,
    make_last,
    outsole_of,
    panel_on,
    random_panels,
    sole_of,
    upper_of,
)
from infinitemesh.data.household_solids import capsule, curve, shell, stack, tube, union
from infinitemesh.data.household_textures import (
    BLACK,
    WHITE,
    canvas,
    fabric,
    leather,
    netting,
    pick,
    plastic,
    shade,
    tint,
    vivid,
)
from infinitemesh.data.procedural_parts import Part, slab, soft_box
from infinitemesh.data.procedural_textures import stripes


def sneaker(rng: np.random.Generator) -> list[Part]:
    """Trainers, skate shoes and canvas shoes, low or high, with laces or straps."""
    throat, collar = rng.uniform(0.36, 0.46), rng.uniform(0.24, 0.33)
    if rng.random() < 0.25:
        collar = rng.uniform(0.4, 0.5)  # a high top
    sole = rng.uniform(0.05, 0.1)
    last = make_last(rng, throat=throat, collar=collar, instep=rng.uniform(0.22, 0.27), toe=rng.uniform(0.1, 0.15))
    room = upper_of(last, inset=WALL + 0.008, is_open=True)
    colour, accent = tint(rng), vivid(rng)
    cloth = pick(rng, ("net", "canvas", "leather", "fabric"))
    upper = {"net": netting, "canvas": canvas, "leather": leather, "fabric": fabric}[cloth](rng, colour)
    parts = [Part(upper_of(last) - room, upper)]
    lining = upper_of(last, inset=WALL, rise=-0.004) - upper_of(last, inset=2 * WALL, is_open=True)
    parts.append(Part(lining, fabric(rng, tint(rng))))
    overlay = random_panels(rng, last, thickness=0.007)
    if overlay is not None:
        parts.append(Part(overlay - room, leather(rng, accent if rng.random() < 0.6 else tint(rng))))
    parts += laces_and_tongue(rng, last, shade(colour, rng.uniform(0.7, 1.2)))
    white = WHITE if rng.random() < 0.6 else tint(rng)
    midsole = sole_of(
        last, sole, flare=rng.uniform(0.0, 0.02), wave=rng.uniform(0, 0.02) if rng.random() < 0.5 else 0.0
    )
    band = stripes(white, tint(rng), count=int(rng.integers(2, 12)), angle_deg=90, share=rng.uniform(0.6, 0.95), px=192)
    parts.append(Part(midsole, band if rng.random() < 0.5 else plastic(rng, white)))
    parts.append(Part(outsole_of(last, sole, rng), plastic(rng, tint(rng) if rng.random() < 0.5 else BLACK)))
    return parts


def leather_shoe(rng: np.random.Generator) -> list[Part]:
    """Oxfords, loafers and moccasins: a low opening and a heel block."""
    is_loafer = rng.random() < 0.5
    throat = rng.uniform(0.46, 0.56) if is_loafer else rng.uniform(0.38, 0.45)
    last = make_last(
        rng,
        throat=throat,
        collar=rng.uniform(0.2, 0.26),
        instep=rng.uniform(0.19, 0.24),
        toe=rng.uniform(0.08, 0.11),
        slim=rng.uniform(0.82, 0.95),
    )
    room = upper_of(last, inset=WALL, is_open=True)
    colour = tint(rng) if rng.random() < 0.4 else shade((0.36, 0.2, 0.11), rng.uniform(0.25, 1.5))
    parts = [Part(upper_of(last) - room, leather(rng, colour))]
    parts.append(Part(insole_of(last), leather(rng, shade((0.75, 0.58, 0.4), rng.uniform(0.5, 1.2)))))
    if is_loafer:
        strap = panel_on(last, 0.01, [(throat + 0.03, 0.5), (throat + 0.12, 0.5), (throat + 0.1, 0.05), (throat, 0.05)])
        parts.append(Part(strap - room, leather(rng, shade(colour, 0.8))))
    else:
        parts += laces_and_tongue(rng, last, shade(colour, 0.9))
        cap = panel_on(last, 0.006, [(rng.uniform(0.78, 0.84), 0.5), (1.2, 0.5), (1.2, -0.1), (0.8, -0.1)])
        parts.append(Part(cap, leather(rng, shade(colour, rng.uniform(0.6, 1.1)))))
    parts.append(Part(heeled_sole(last, rng.uniform(0.05, 0.09), 0.02), plastic(rng, shade(colour, 0.4))))
    return parts


def high_heel(rng: np.random.Generator) -> list[Part]:
    """Pumps: a shallow upper over an arched sole on a heel that is thin or a block."""
    heel = rng.uniform(0.12, 0.42)
    last = make_last(
        rng,
        throat=rng.uniform(0.6, 0.7),
        collar=rng.uniform(0.15, 0.22),
        instep=0.12,
        toe=0.08,
        slim=rng.uniform(0.7, 0.82),
        lift=heel,
    )
    colour = tint(rng)
    upper = upper_of(last) - upper_of(last, inset=WALL, is_open=True)
    parts = [Part(upper, leather(rng, colour)), Part(insole_of(last), leather(rng, shade((0.8, 0.65, 0.5), 1.0)))]
    thin = rng.uniform(0.015, 0.07)
    post = stack(
        [(-0.03, thin, thin), (heel * 0.5, thin * 1.15, thin * 1.2), (heel, 0.075, 0.07, -0.02)], count=20, steps=10
    )
    parts.append(Part(post.translate((0.085, 0, float(last.middle(0.08)))), plastic(rng, shade(colour, 0.6))))
    parts.append(Part(sole_of(last, 0.03, flare=0.003, rise=0.01), plastic(rng, BLACK)))
    if rng.random() < 0.4:
        turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
        ankle = np.stack([0.13 + 0.12 * np.cos(turn), heel + 0.33 + 0.02 * np.cos(turn), 0.1 * np.sin(turn)], -1)
        bar = capsule((0.03, heel + 0.15, 0), (0.02, heel + 0.31, 0), 0.014)
        parts.append(Part(tube(ankle, 0.008, flat=2.4, closed=True) + bar, leather(rng, shade(colour, 0.9))))
    return parts


def boot(rng: np.random.Generator) -> list[Part]:
    """Ankle boots, rain boots, work and cowboy boots: a foot with an open shaft."""
    last = make_last(rng, throat=0.42, collar=0.24, instep=rng.uniform(0.25, 0.29), toe=rng.uniform(0.1, 0.16))
    height, wide = rng.uniform(0.42, 1.05), rng.uniform(0.13, 0.19)
    rows = [
        (0.02, 0.19, 0.12, 0.22),
        (0.2, 0.19, 0.115, 0.22),
        (0.36, 0.165, 0.11, 0.195),
        (0.7 * height + 0.1, wide * 0.95, 0.12, 0.2),
        (height + 0.05, wide, 0.13 * wide / 0.16, 0.2),
    ]
    rows = [row for row in rows[:-2] if row[0] < 0.6 * height] + rows[-2:]
    inside = [(y + (WALL if i == 0 else 0), a - 1.6 * WALL, b - 1.6 * WALL, x) for i, (y, a, b, x) in enumerate(rows)]
    inside.append((height + 0.4, wide - 1.6 * WALL, 0.13 * wide / 0.16 - 1.6 * WALL, 0.2))
    room = stack(inside, power=2.3, steps=20) + upper_of(last, inset=WALL)
    outside = stack(rows, power=2.3) + upper_of(last)
    dip = rng.uniform(0, 0.06)
    if dip > 0.03:  # the edge falls to the back
        edge = slab([(-0.2, height - dip), (0.6, height + dip), (0.6, height + 1), (-0.2, height + 1)], 1)
        outside = outside - edge
    colour = tint(rng) if rng.random() < 0.5 else shade((0.45, 0.28, 0.15), rng.uniform(0.3, 1.5))
    skin = {"leather": leather, "plastic": plastic, "fabric": fabric}[
        pick(rng, ("leather", "leather", "plastic", "fabric"))
    ]
    core = stack([(y, a - 0.8 * WALL, b - 0.8 * WALL, *x) for y, a, b, *x in rows], power=2.3)
    parts = [Part(outside - room - core, skin(rng, colour)), Part((outside ^ core) - room, fabric(rng))]
    sole = rng.uniform(0.05, 0.1)
    parts.append(
        Part(heeled_sole(last, sole, 0.03), plastic(rng, shade(colour, 0.45) if rng.random() < 0.6 else tint(rng)))
    )
    kind = int(rng.integers(0, 4))
    if kind == 0 and height < 0.75:  # laces up the front
        parts += _boot_laces(rng, height)
    elif kind == 1:  # a strap with a buckle
        strap = shell(
            [(0.3, 0.185, 0.128, 0.197), (0.345, 0.182, 0.128, 0.197)], 0.05, floor=-0.01, power=2.3, smooth=False
        )
        parts.append(
            Part(
                strap + soft_box(0.05, 0.06, 0.02, 0.008).translate((0.2, 0.32, 0.13)), leather(rng, shade(colour, 0.5))
            )
        )
    elif kind == 2:  # a furry or folded cuff
        y = height - (0.1 if dip > 0.03 else 0.02)
        cuff = shell(
            [
                (y - 0.06, wide * 0.9 + 0.03, 0.15, 0.2),
                (y, wide + 0.045, 0.165, 0.2),
                (y + 0.06, wide + 0.02, 0.15, 0.2),
            ],
            0.04,
            floor=-0.02,
        )
        parts.append(Part(cuff - room, fabric(rng)))
    return parts


def sandal(rng: np.random.Generator) -> list[Part]:
    """A sole with straps over the foot, or a flip-flop, or a clog with a closed toe."""
    last = make_last(rng, throat=0.12, collar=0.2, instep=rng.uniform(0.22, 0.3), toe=0.14, slim=rng.uniform(0.95, 1.1))
    sole = rng.uniform(0.05, 0.14)
    parts = [Part(sole_of(last, sole, flare=0.004), plastic(rng)), Part(insole_of(last, rise=0.036), leather(rng))]
    strap_cloth = pick(rng, ("leather", "fabric", "plastic"))
    cloth = {"leather": leather, "fabric": fabric, "plastic": plastic}[strap_cloth](rng, tint(rng))
    hollow = upper_of(last) - upper_of(last, inset=0.014, is_open=False)
    kind = int(rng.integers(0, 4))
    if kind == 0:  # flip-flop
        y = 0.03
        ends = [(0.42, y, 0.15), (0.42, y, -0.13)]
        knot = (0.72, y + 0.06, 0.0)
        straps = [tube(curve([end, (0.57, y + 0.1, end[2] * 0.75), knot], 12), 0.012, flat=1.9) for end in ends]
        parts.append(Part(union([*straps, capsule((0.735, 0, 0), knot, 0.014)]), cloth))
    elif kind == 1:  # a slipper or clog: only the front half is covered
        front = slab([(rng.uniform(0.4, 0.5), 0.6), (1.2, 0.6), (1.2, -0.2), (rng.uniform(0.3, 0.4), -0.2)], 1)
        parts.append(Part(hollow ^ front, cloth))
    else:  # two or three bands, perhaps one around the heel
        cuts = [(0.62, 0.12), (0.4, 0.09), (0.78, 0.06)][: int(rng.integers(2, 4))]
        bands = [slab([(x, -0.1), (x + w, -0.1), (x + w - 0.04, 0.6), (x - 0.04, 0.6)], 1) for x, w in cuts]
        parts.append(Part(hollow ^ union(bands), cloth))
        if rng.random() < 0.6:
            turn = np.linspace(0.5 * np.pi, 1.5 * np.pi, 20)
            back = np.stack([0.3 + 0.28 * np.cos(turn), 0.17 + 0 * turn, 0.125 * np.sin(turn)], -1)
            posts = [capsule((0.38, 0.0, s * 0.115), (0.32, 0.17, s * 0.12), 0.014) for s in (-1, 1)]
            parts.append(Part(union([tube(back, 0.011, flat=2.6), *posts]), leather(rng)))
    return parts


def slipper(rng: np.random.Generator) -> list[Part]:
    """Soft house shoes and ballet flats: low all around."""
    is_ballet = rng.random() < 0.5
    throat = rng.uniform(0.68, 0.76) if is_ballet else rng.uniform(0.42, 0.55)
    collar = rng.uniform(0.12, 0.16) if is_ballet else rng.uniform(0.16, 0.26)
    last = make_last(
        rng,
        throat=throat,
        collar=collar,
        instep=collar * 0.9 if is_ballet else 0.22,
        toe=rng.uniform(0.09, 0.14),
        slim=0.85 if is_ballet else rng.uniform(0.95, 1.15),
    )
    wall = WALL if is_ballet else rng.uniform(0.015, 0.03)
    room = upper_of(last, inset=wall, is_open=True)
    parts = [Part(upper_of(last) - room, fabric(rng)), Part(insole_of(last), fabric(rng))]
    parts.append(Part(sole_of(last, rng.uniform(0.025, 0.05), flare=0.006), plastic(rng)))
    if rng.random() < 0.5:
        x = throat + 0.02
        at = (x + 0.03, float(last.top(x + 0.03)) + 0.01, float(last.middle(x)))
        bow = capsule((0, 0, -0.045), (0, 0.012, 0.045), 0.016) + Manifold.sphere(0.022, 12)
        parts.append(Part(bow.translate(at), fabric(rng, vivid(rng))))
    return parts


def _boot_laces(rng: np.random.Generator, height: float) -> list[Part]:
    bars = []
    for t in np.linspace(0.05, 0.9, int(rng.integers(4, 8))):
        x, y = 0.47 - 0.11 * t, 0.24 + (height - 0.26) * t
        bars.append(tube(curve([(x - 0.03, y, -0.06), (x, y + 0.01, 0), (x - 0.03, y, 0.06)], 8), 0.009, segments=8))
    return [Part(union(bars), plastic(rng))]
