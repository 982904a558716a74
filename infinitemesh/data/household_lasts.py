"""The foot's shape, and the parts of a shoe around it: upper, opening, panels, laces, soles. The toe is at +X."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from manifold3d import Manifold
from scipy.interpolate import PchipInterpolator

from infinitemesh.data.household_solids import curve, loft, pchip, superellipse, tube, union
from infinitemesh.data.household_textures import (
    WHITE,
    fabric,
    plastic,
    sticker,
    tint,
)
from infinitemesh.data.procedural_parts import Part, box, slab
from infinitemesh.data.procedural_textures import Colour, Picture

WALL = 0.012  # of the upper; the shoe is about 1 long


ALONG = (0.0, 0.012, 0.04, 0.12, 0.28, 0.45, 0.68, 0.85, 0.94, 0.985, 1.0)


@dataclass(frozen=True, kw_only=True)
class Last:
    """The foot's shape as curves over x from the heel (0) to the toe (1): half width, middle in z, ground, top."""

    half_width: PchipInterpolator
    middle: PchipInterpolator
    ground: PchipInterpolator
    top: PchipInterpolator
    throat: float  # where the opening ends


def make_last(
    rng: np.random.Generator,
    *,
    throat: float,
    collar: float,
    instep: float,
    toe: float,
    slim: float = 1.0,
    lift: float = 0.0,
) -> Last:
    """`collar` is the height of the opening's edge at the back, `lift` that of the heel over the ball."""
    ball, heel = rng.uniform(0.165, 0.19) * slim, rng.uniform(0.115, 0.135) * slim
    pointed = rng.uniform(0.65, 0.98) if slim < 0.95 else rng.uniform(0.92, 1.16)  # slim shoes are to dress in
    half = [
        0.012,
        0.045,
        0.075,
        heel,
        heel * 0.97,
        heel * 1.08,
        ball,
        ball * 0.82 * pointed,
        ball * 0.6 * pointed,
        ball * 0.3 * pointed,
        0.02,
    ]
    bend = rng.uniform(0.0, 0.03)
    spring = rng.uniform(0.01, 0.05)
    ground = [lift, lift, lift, lift, lift * 0.75, lift * 0.35, 0.0, 0.25 * spring, 0.6 * spring, spring, spring * 1.15]
    dip = rng.uniform(0.75, 0.95)
    front = max(instep, collar * rng.uniform(0.9, 1.15)) if throat < 0.5 else instep
    beyond = np.linspace(throat, 1.0, 6)[1:-1]
    fall = instep + (toe - instep) * np.linspace(0, 1, 6)[1:-1] ** 0.8
    at = [0.0, 0.04, throat * 0.5, throat, *beyond, 0.985, 1.0]
    top = [collar * 0.93, collar * rng.uniform(1.0, 1.12), collar * dip, front, *fall, toe * 0.62, toe * 0.3]
    floor = pchip(ALONG, ground)
    return Last(
        half_width=pchip(ALONG, half),
        middle=pchip((0, 0.3, 0.7, 1.0), (0, 0, bend, -bend * 0.5)),
        ground=floor,
        top=pchip(at, np.asarray(top) + floor(np.asarray(at)) * (1.0 if lift else 0.5)),
        throat=throat,
    )


def _stations(last: Last, start: float, end: float) -> Float[np.ndarray, " n"]:
    near = np.array([0.0, 0.004, 0.012, 0.025, 0.045])
    around = last.throat + np.array([-0.02, -0.005, 0.005, 0.02])
    inner = np.linspace(0.07, 0.93, 17)
    at = np.unique(np.concatenate([near, inner, around, 1 - near]).round(4))
    return start + (end - start) * at


def upper_of(last: Last, *, inset: float = 0.0, is_open: bool = False, rise: float = 0.0) -> Manifold:
    """The foot as a solid, `inset` smaller all around; when open it reaches up through the opening."""
    x = _stations(last, inset, 1.0 - 1.3 * inset)
    behind = 1 / (1 + np.exp(((x - last.throat) / 0.012).clip(-40, 40)))  # 1 in the opening, 0 in front of it
    ground, middle = last.ground(x) + 0.6 * inset, last.middle(x)
    half = np.maximum(last.half_width(x) - inset, 0.006)
    top = last.top(x) - inset * (1 - behind) + rise
    power = 2.1 + 2.4 * behind
    lean = 0.3 - 0.02 * behind  # how much narrower at the top
    outline_low, angle = superellipse(4.0, 44), 2 * np.pi * (np.arange(44) + 0.5) / 44
    rings = []
    for i in range(len(x)):
        outline = superellipse(float(power[i]), 44)
        height = max(float(top[i] - ground[i]), 0.012)
        v = np.where(np.sin(angle) > 0, 0.3 + 0.7 * outline[:, 1], 0.3 + 0.3 * outline_low[:, 1])
        u = np.where(np.sin(angle) > 0, outline[:, 0], outline_low[:, 0])
        z = middle[i] + half[i] * u * (1 - lean[i] * v)
        rings.append(np.stack([np.full(44, x[i]), ground[i] + height * v, z], -1))
    solid = loft(np.stack(rings))
    if not is_open:
        return solid
    return solid + _mouth(last, inset)


def _mouth(last: Last, inset: float) -> Manifold:
    """The opening: up from the foot's inside, a wall's width from the foot's outline, round in front."""
    start = 1.2 * inset
    x = start + (last.throat - start) * np.sin(np.linspace(0, np.pi / 2, 22))
    front = np.sqrt(1 - (((x - 0.5 * last.throat) / (0.5 * last.throat)).clip(0, 0.9999)) ** 2.4)
    half = np.maximum((0.76 * last.half_width(x) - inset) * front, 0.004)
    ground, top = last.ground(x), last.top(x)
    low = ground + 0.4 * (top - ground)
    outline = superellipse(7.0, 32)
    y = low[:, None] + (0.6 * (top - low) + 0.3)[:, None] * (1 + outline[:, 1])
    z = last.middle(x)[:, None] + half[:, None] * outline[:, 0]
    return loft(np.stack([np.broadcast_to(x[:, None], y.shape), y, z], -1))


def panel_on(last: Last, thickness: float, *outlines: list[tuple[float, float]]) -> Manifold:
    """What of a slightly larger foot lies in outlines of (x, y), as panels sewn on."""
    return upper_of(last, inset=-thickness) ^ union([slab(outline, 2) for outline in outlines])


def random_panels(rng: np.random.Generator, last: Last, thickness: float) -> Manifold | None:
    """Toe cap, heel counter, lace panel and side marks, each with some chance."""
    panels = []
    if rng.random() < 0.5:
        x = rng.uniform(0.78, 0.88)
        panels.append([(x, 0.6), (1.2, 0.6), (1.2, -0.1), (x + rng.uniform(-0.1, 0.1), -0.1)])
    if rng.random() < 0.5:
        x = rng.uniform(0.08, 0.2)
        panels.append([(-0.2, 0.9), (0.05, 0.9), (x, -0.1), (-0.2, -0.1)])
    if rng.random() < 0.5:
        x = last.throat
        panels.append([(x - 0.06, 0.6), (x + 0.1, 0.6), (x + 0.28, 0.14), (x + 0.18, 0.1), (x - 0.02, 0.1)])
    for i in range(int(rng.integers(0, 4))):
        x, w = 0.35 + 0.09 * i, rng.uniform(0.02, 0.045)
        panels.append([(x, 0.02), (x + w, 0.02), (x + w + 0.08, 0.2), (x + 0.08, 0.2)])
    return panel_on(last, thickness, *panels) if panels else None


def laces_and_tongue(rng: np.random.Generator, last: Last, colour: Colour) -> list[Part]:
    start, end = last.throat + 0.005, last.throat + rng.uniform(0.18, 0.26)
    count, wide = int(rng.integers(3, 7)), rng.uniform(0.05, 0.075)
    top = lambda x: float(last.top(x))  # noqa: E731
    bars = []
    for x in np.linspace(start + 0.02, end, count):
        slant = float(rng.choice([0.0, 0.02]))
        z, y = float(last.middle(x)), top(x)
        path = curve([(x, y - 0.035, z - wide), (x + slant / 2, y + 0.008, z), (x + slant, y - 0.035, z + wide)], 9)
        bars.append(tube(path, 0.007, flat=1.8, segments=8))
    if rng.random() < 0.7:  # the bow
        y, z = top(start) + 0.01, float(last.middle(start))
        for side in (-1, 1):
            loop = curve(
                [
                    (start + 0.02, y, z),
                    (start + 0.03, y + 0.02, z + side * 0.06),
                    (start + 0.07, y - 0.03, z + side * 0.11),
                    (start + 0.05, y - 0.03, z + side * 0.06),
                    (start + 0.025, y, z + 0.004 * side),
                ],
                14,
            )
            bars.append(tube(loop, 0.006, segments=6))
    x, y, z = last.throat, top(last.throat), float(last.middle(last.throat))
    rise, lean = rng.uniform(0.03, 0.09), rng.uniform(0.0, 0.05)
    spine = curve([(x + 0.07, y - 0.05, z), (x + 0.005, y - 0.01, z), (x - lean, y + rise, z)], 8)
    tongue = tube(spine, 0.011, flat=rng.uniform(4.5, 6), segments=16)
    picture: Picture = sticker(rng, colour) if rng.random() < 0.4 else fabric(rng, colour)
    return [Part(tongue, picture), Part(union(bars), plastic(rng, WHITE if rng.random() < 0.5 else tint(rng)))]


def insole_of(last: Last, rise: float = 0.022) -> Manifold:
    return sole_of(last, 0.0, flare=-WALL * 0.9, rise=rise)


def sole_of(last: Last, thickness: float, *, flare: float, rise: float = 0.03, wave: float = 0.0) -> Manifold:
    """Follows the foot's outline from `thickness` below its ground to `rise` above it."""
    at = _stations(last, 0.0, 1.0)
    reach = flare + 0.012 if flare >= 0 else -0.025
    x = -reach + (1 + 2 * reach) * at
    half, ground, middle = (
        last.half_width(at) + flare * (at * (1 - at) * 12).clip(0, 1),
        last.ground(at),
        last.middle(at),
    )
    outline = superellipse(6.0, 28)
    rings = []
    for i in range(len(x)):
        low = ground[i] - thickness * (1 - 0.35 * at[i])
        high = ground[i] + rise + wave * np.sin(9 * at[i])
        y = (low + high) / 2 + (high - low) / 2 * outline[:, 1]
        rings.append(np.stack([np.full(28, x[i]), y, middle[i] + max(half[i], 0.01) * outline[:, 0]], -1))
    return loft(np.stack(rings))


def outsole_of(last: Last, thickness: float, rng: np.random.Generator) -> Manifold:
    """A thin tread under the midsole, perhaps in blocks."""
    tread = sole_of(last, thickness + 0.015, flare=0.004, rise=-thickness * 0.6)
    if rng.random() < 0.4:
        gaps = [
            box(0.02, 0.03, 1).translate((x, float(last.ground(x)) - thickness - 0.01, 0))
            for x in np.linspace(0.1, 0.9, 7)
        ]
        tread = tread - union(gaps)
    return tread


def heeled_sole(last: Last, heel: float, thickness: float) -> Manifold:
    """A thin sole with a block under the heel."""
    plate = sole_of(last, thickness, flare=0.012, rise=0.02)
    block = sole_of(last, heel + thickness, flare=0.004, rise=0.0) ^ slab([(-1, -1), (0.27, -1), (0.3, 1), (-1, 1)], 2)
    return plate + block
