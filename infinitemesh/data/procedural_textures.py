"""Small procedural pictures, float [px, px, 3] in [0, 1] sRGB, each a function of its colours and an own generator."""

import colorsys
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from PIL import Image

Number = int | float
Colour = tuple[Number, Number, Number]
Picture = Float[np.ndarray, "px px 3"]


def plain(colour: Colour, px: int = 256) -> Picture:
    return np.tile(np.asarray(colour, np.float64), (px, px, 1))


def clouds(a: Colour, b: Colour, rng: np.random.Generator, px: int = 256) -> Picture:
    return _mix(a, b, noise(rng, px))


def stripes(
    a: Colour, b: Colour, *, count: int = 6, angle_deg: Number = 90.0, share: Number = 0.5, px: int = 256
) -> Picture:
    """Angle 0: upright bands side by side; 90: bands one above the other."""
    x, y = _grid(px)
    along = np.cos(np.deg2rad(angle_deg)) * x + np.sin(np.deg2rad(angle_deg)) * y
    return _mix(a, b, _soft(share - (along * count) % 1, px / count))


def checks(a: Colour, b: Colour, *, count: int = 6, px: int = 256) -> Picture:
    x, y = _grid(px)
    return _mix(a, b, ((np.floor(x * count) + np.floor(y * count)) % 2))


def dots(a: Colour, b: Colour, *, count: int = 6, radius: Number = 0.3, px: int = 256) -> Picture:
    x, y = _grid(px)
    return _mix(a, b, _soft(radius - np.hypot((x * count) % 1 - 0.5, (y * count) % 1 - 0.5), px / count))


def bricks(a: Colour, mortar: Colour, rng: np.random.Generator, *, rows: int = 8, px: int = 256) -> Picture:
    x, y = _grid(px)
    row = np.floor(y * rows).astype(int)
    across = x * rows / 2 + 0.5 * (row % 2)
    shade = rng.uniform(0.8, 1.1, (rows, rows))[row % rows, np.floor(across).astype(int) % rows]
    is_gap = ((y * rows) % 1 < 0.12) | (across % 1 < 0.06)
    return np.where(is_gap[..., None], mortar, np.asarray(a) * shade[..., None]).clip(0, 1)


def cells(colours: list[Colour], rng: np.random.Generator, *, count: int = 25, px: int = 256) -> Picture:
    """Nearest of random points, repeating at the borders."""
    x, y = _grid(px)
    points = rng.random((count, 2))
    distance = np.stack([_wrapped(x - p[0]) ** 2 + _wrapped(y - p[1]) ** 2 for p in points])
    return np.asarray(colours)[distance.argmin(0) % len(colours)]


def wood(a: Colour, b: Colour, rng: np.random.Generator, *, rings: Number = 7.0, px: int = 256) -> Picture:
    x, y = _grid(px)
    grain = 0.5 + 0.5 * np.sin(2 * np.pi * (rings * x + 0.8 * noise(rng, px, base=2) + 0.3 * np.sin(3 * y)))
    return _mix(a, b, 0.75 * grain + 0.25 * noise(rng, px, base=16))


def marble(a: Colour, b: Colour, rng: np.random.Generator, *, veins: Number = 12.0, px: int = 256) -> Picture:
    return _mix(a, b, (0.5 + 0.5 * np.sin(veins * noise(rng, px, base=2, octaves=5) + 4 * _grid(px)[0])) ** 3)


def shaded(a: Colour, b: Colour, *, px: int = 256) -> Picture:
    """From a at the top to b at the bottom."""
    return _mix(a, b, _grid(px)[1])


def speckled(picture: Picture, rng: np.random.Generator, amount: Number = 0.15) -> Picture:
    """Fine grain over any picture, so that nothing is perfectly flat."""
    grain = noise(rng, len(picture), base=16, octaves=3) - 0.5
    return (picture * (1 + amount * grain[..., None])).clip(0, 1)


def random_texture(rng: np.random.Generator, px: int = 256) -> Picture:
    a, b = random_colour(rng), random_colour(rng)
    kinds: list[Callable[[], Picture]] = [
        lambda: plain(a, px),
        lambda: clouds(a, b, rng, px),
        lambda: stripes(
            a,
            b,
            count=int(rng.integers(2, 12)),
            angle_deg=float(rng.choice([0, 45, 90])),
            share=rng.uniform(0.2, 0.8),
            px=px,
        ),
        lambda: checks(a, b, count=int(rng.integers(2, 10)), px=px),
        lambda: dots(a, b, count=int(rng.integers(3, 12)), radius=rng.uniform(0.15, 0.45), px=px),
        lambda: bricks(a, b, rng, rows=int(rng.integers(3, 7)) * 2, px=px),
        lambda: cells([random_colour(rng) for _ in range(6)], rng, count=int(rng.integers(6, 60)), px=px),
        lambda: wood(a, b, rng, rings=rng.uniform(3, 12), px=px),
        lambda: marble(a, b, rng, veins=rng.uniform(6, 40), px=px),
        lambda: shaded(a, b, px=px),
    ]
    return speckled(kinds[rng.integers(len(kinds))](), rng, rng.uniform(0, 0.25))


def random_colour(rng: np.random.Generator) -> Colour:
    return colorsys.hsv_to_rgb(rng.random(), rng.random() ** 0.7, 0.15 + 0.85 * rng.random() ** 0.6)


def noise(rng: np.random.Generator, px: int, *, base: int = 3, octaves: int = 4) -> Float[np.ndarray, "px px"]:
    """Sums of smooth random grids of doubling fineness, in [0, 1], repeating at the borders."""
    total = np.zeros((px, px))
    for octave in range(octaves):
        side = base * 2**octave
        coarse = np.pad(rng.standard_normal((side, side)).astype(np.float32), 2, mode="wrap")
        fine = Image.fromarray(coarse).resize((px, px), Image.Resampling.BICUBIC, box=(2, 2, 2 + side, 2 + side))
        total += np.asarray(fine) / 2**octave
    return (total - total.min()) / max(float(np.ptp(total)), 1e-9)


def _mix(a: Colour, b: Colour, share: Float[np.ndarray, "px px"]) -> Picture:
    return np.asarray(a) * (1 - share[..., None]) + np.asarray(b) * share[..., None]


def _grid(px: int) -> tuple[Float[np.ndarray, "px px"], Float[np.ndarray, "px px"]]:
    y, x = np.mgrid[0:px, 0:px]
    return (x + 0.5) / px, (y + 0.5) / px


def _soft(inside: Float[np.ndarray, "px px"], px_per_unit: Number) -> Float[np.ndarray, "px px"]:
    """A step at 0, one pixel wide."""
    return (inside * px_per_unit + 0.5).clip(0, 1)


def _wrapped(difference: Float[np.ndarray, "px px"]) -> Float[np.ndarray, "px px"]:
    return (difference + 0.5) % 1 - 0.5
