"""Pictures that household objects wear: printed labels, clock faces, fabrics, leather, woven and riddled surfaces."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from infinitemesh.data.procedural_textures import (
    Colour,
    Number,
    Picture,
    checks,
    clouds,
    dots,
    marble,
    noise,
    plain,
    random_colour,
    speckled,
    stripes,
    wood,
)

NEUTRALS: tuple[Colour, ...] = (
    (0.93, 0.93, 0.92), (0.12, 0.12, 0.13), (0.5, 0.51, 0.53), (0.86, 0.8, 0.7), (0.3, 0.31, 0.34), (0.14, 0.18, 0.3),
    (0.42, 0.28, 0.18), (0.68, 0.52, 0.36), (0.75, 0.75, 0.74), (0.95, 0.9, 0.8), (0.22, 0.15, 0.11),
)  # fmt: skip
VIVIDS: tuple[Colour, ...] = (
    (0.8, 0.17, 0.15), (0.93, 0.5, 0.15), (0.96, 0.8, 0.2), (0.28, 0.6, 0.28), (0.1, 0.55, 0.58), (0.15, 0.35, 0.72),
    (0.93, 0.55, 0.66), (0.5, 0.25, 0.6), (0.55, 0.78, 0.3), (0.4, 0.7, 0.9), (0.6, 0.1, 0.2), (0.1, 0.3, 0.2),
)  # fmt: skip
WOODS: tuple[tuple[Colour, Colour], ...] = (
    ((0.8, 0.63, 0.42), (0.68, 0.48, 0.28)),
    ((0.5, 0.32, 0.19), (0.36, 0.21, 0.12)),
    ((0.9, 0.8, 0.62), (0.8, 0.67, 0.46)),
)
STEEL, BRASS, BLACK, WHITE = (0.72, 0.73, 0.75), (0.8, 0.62, 0.28), (0.1, 0.1, 0.11), (0.94, 0.94, 0.93)


def tint(rng: np.random.Generator) -> Colour:
    """A colour as products have it: a neutral, a vivid one or, seldom, any."""
    draw = rng.random()
    if draw < 0.15:
        return random_colour(rng)
    table = NEUTRALS if draw < 0.5 else VIVIDS
    return _near(table[rng.integers(len(table))], rng)


def vivid(rng: np.random.Generator) -> Colour:
    return _near(VIVIDS[rng.integers(len(VIVIDS))], rng)


def shade(colour: Colour, factor: Number) -> Colour:
    """Darker below 1, lighter above."""
    r, g, b = (float(np.clip(c * factor + max(factor - 1, 0) * 0.1, 0, 1)) for c in colour)
    return r, g, b


def plastic(rng: np.random.Generator, colour: Colour | None = None) -> Picture:
    return speckled(plain(tint(rng) if colour is None else colour, 128), rng, rng.uniform(0, 0.08))


def metal(rng: np.random.Generator, colour: Colour = STEEL) -> Picture:
    """Brushed: fine streaks and a soft bright band."""
    streaks = noise(rng, 128, base=4, octaves=2).mean(0, keepdims=True) - 0.5
    band = np.sin(np.linspace(0, 2 * np.pi * rng.uniform(0.5, 2), 128))[None] * 0.1
    light = 1 + 0.3 * streaks + band + 0.04 * rng.standard_normal((128, 1))
    return (np.asarray(colour) * np.broadcast_to(light, (128, 128))[..., None]).clip(0, 1)


def timber(rng: np.random.Generator) -> Picture:
    a, b = WOODS[rng.integers(len(WOODS))]
    return wood(_near(a, rng), _near(b, rng), rng, rings=rng.uniform(3, 10), px=160)


def leather(rng: np.random.Generator, colour: Colour | None = None) -> Picture:
    colour = tint(rng) if colour is None else colour
    grain = noise(rng, 192, base=40, octaves=1) * 0.3 + noise(rng, 192, base=3, octaves=2) * 0.4
    return (np.asarray(colour) * (0.75 + 0.6 * grain[..., None])).clip(0, 1)


def canvas(rng: np.random.Generator, colour: Colour | None = None) -> Picture:
    """A plain weave."""
    colour = tint(rng) if colour is None else colour
    y, x = np.mgrid[0:192, 0:192] * (2 * np.pi / 192 * int(rng.integers(24, 48)))
    weave = 0.06 * np.sin(x) * np.sin(y) + 0.2 * (noise(rng, 192, base=3) - 0.5)
    return (np.asarray(colour) * (1 + weave[..., None])).clip(0, 1)


def knit(rng: np.random.Generator, colour: Colour | None = None) -> Picture:
    """Columns of V-shaped stitches, perhaps with bands of a second colour."""
    colour = tint(rng) if colour is None else colour
    y, x = np.mgrid[0:192, 0:192] / 192
    columns = int(rng.integers(14, 30))
    stitch = np.sin(2 * np.pi * (columns * y + np.abs((x * columns) % 1 - 0.5) * 1.2))
    gap = np.cos(2 * np.pi * x * columns)
    picture = np.broadcast_to(np.asarray(colour), (192, 192, 3))
    if rng.random() < 0.5:
        is_band = (y * int(rng.integers(2, 7)) + rng.random()) % 1 < rng.uniform(0.2, 0.5)
        picture = np.where(is_band[..., None], np.asarray(tint(rng)), picture)
    return (picture * (0.88 + 0.12 * stitch + 0.08 * gap)[..., None]).clip(0, 1)


def netting(rng: np.random.Generator, colour: Colour) -> Picture:
    """The mesh of a running shoe."""
    count = int(rng.integers(24, 44))
    return speckled(dots(colour, shade(colour, rng.choice([0.6, 1.5])), count=count, radius=0.28, px=192), rng, 0.1)


def woven(rng: np.random.Generator, colour: Colour | None = None, *, count: int = 12) -> Picture:
    """Basket work: strands that run over and under."""
    colour = WOODS[rng.integers(len(WOODS))][0] if colour is None else colour
    y, x = np.mgrid[0:192, 0:192] / 192 * count
    over = (np.floor(x) + np.floor(y)) % 2
    bulge = np.where(over, np.sin(np.pi * (y % 1)), np.sin(np.pi * (x % 1)))
    return speckled(np.asarray(colour) * (0.45 + 0.6 * bulge)[..., None].clip(0, 1), rng, 0.3)


def fabric(rng: np.random.Generator, colour: Colour | None = None) -> Picture:
    """Upholstery and cloth: plain, striped, checked, dotted, plaid or flecked."""
    a = tint(rng) if colour is None else colour
    b = tint(rng)
    kind = int(rng.integers(0, 8))
    if kind <= 2:
        return canvas(rng, a)
    if kind == 3:
        angle = float(rng.choice([0, 90]))
        return speckled(
            stripes(a, b, count=int(rng.integers(4, 16)), angle_deg=angle, share=rng.uniform(0.2, 0.8), px=192), rng
        )
    if kind == 4:
        return speckled(dots(a, b, count=int(rng.integers(5, 14)), radius=rng.uniform(0.15, 0.35), px=192), rng)
    if kind == 5:
        count = int(rng.integers(3, 8))
        across = stripes(a, b, count=count, angle_deg=0, share=0.4, px=192)
        return speckled((across + stripes(a, b, count=count, angle_deg=90, share=0.4, px=192)) / 2, rng)
    if kind == 6:
        return speckled(clouds(a, b, rng, 192), rng, 0.4)
    return leather(rng, a)


def glaze(rng: np.random.Generator, colour: Colour | None = None) -> Picture:
    """Ceramics: one colour, bands, dots, a printed patch or stone."""
    a, b = (tint(rng) if colour is None else colour), tint(rng)
    kind = int(rng.integers(0, 7))
    if kind <= 1:
        return speckled(plain(a, 192), rng, rng.uniform(0, 0.3))
    if kind == 2:
        return stripes(a, b, count=int(rng.integers(2, 7)), angle_deg=90, share=rng.uniform(0.1, 0.6), px=192)
    if kind == 3:
        return dots(a, b, count=int(rng.integers(4, 10)), radius=rng.uniform(0.1, 0.35), px=192)
    if kind == 4:
        return marble(a, b, rng, veins=rng.uniform(6, 25), px=192)
    if kind == 5:
        return checks(a, b, count=int(rng.integers(4, 12)), px=192)
    return sticker(rng, a)


def crust(rng: np.random.Generator, a: Colour, b: Colour) -> Picture:
    return speckled(clouds(a, b, rng, 192), rng, 0.5)


def label(rng: np.random.Generator, colour: Colour | None = None, px: int = 256) -> Picture:
    """A printed package: bands and blocks, a round mark, a title and small print in signs like letters."""
    ground = tint(rng) if colour is None else colour
    image, draw = _sheet(ground, px)
    for _ in range(int(rng.integers(1, 4))):
        x, y, w, h = rng.random(4) * px
        kind = rng.integers(0, 4)
        if kind == 0:
            draw.rectangle((0, y, px, y + h * 0.5), fill=_ink(tint(rng)))
        elif kind == 1:
            draw.rectangle((x, y, x + w * 0.6, y + h * 0.6), fill=_ink(tint(rng)))
        elif kind == 2:
            r = 0.1 * px + w * 0.25
            draw.ellipse((x - r, y - r, x + r, y + r), fill=_ink(tint(rng)), outline=_ink(tint(rng)), width=4)
        else:
            draw.polygon([(0, y), (px, y - h * 0.5), (px, y + h * 0.2), (0, y + h * 0.5)], fill=_ink(tint(rng)))
    title = _contrast(ground)
    for size, rows in ((rng.uniform(0.1, 0.22), 1 + int(rng.random() < 0.4)), (rng.uniform(0.04, 0.07), 2), (0.025, 4)):
        top, left = rng.uniform(0.05, 0.75) * px, rng.uniform(0.04, 0.3) * px
        for row in range(rows):
            length = rng.uniform(0.3, 0.65) * px
            write(
                draw,
                rng,
                left,
                top + row * size * px * 1.35,
                size * px,
                length,
                title if rng.random() < 0.7 else tint(rng),
            )
    return speckled(np.asarray(image) / 255, rng, 0.06)


def sticker(rng: np.random.Generator, colour: Colour, px: int = 192) -> Picture:
    """One colour with a mark and a word near the middle."""
    image, draw = _sheet(colour, px)
    ink, r = tint(rng), rng.uniform(0.08, 0.2) * px
    x, y = rng.uniform(0.4, 0.6, 2) * px
    corners = int(rng.integers(3, 9))
    points = [(x + r * np.cos(a), y + r * np.sin(a)) for a in np.arange(corners) * 2 * np.pi / corners]
    draw.polygon(points, fill=_ink(ink))
    write(draw, rng, 0.3 * px, y + r * 1.1, 0.1 * px, 0.4 * px, ink)
    return np.asarray(image) / 255


def write(
    draw: ImageDraw.ImageDraw,
    rng: np.random.Generator,
    x: Number,
    y: Number,
    size: Number,
    length: Number,
    colour: Colour,
) -> None:
    """A line of signs like letters: strokes between the points of a 3 by 3 grid."""
    end, width = x + length, max(1, int(size / 6))
    while x < end:
        if rng.random() > 0.15:
            order = rng.permutation(9)[: int(rng.integers(3, 6))]
            points = [(x + (i % 3) * size * 0.26, y + (i // 3) * size * 0.45) for i in order]
            draw.line(points, fill=_ink(colour), width=width)
        x += size * 0.8


def clock_face(rng: np.random.Generator, px: int = 256) -> Picture:
    """Ticks, signs for the hours, two hands."""
    ground = WHITE if rng.random() < 0.6 else tint(rng)
    image, draw = _sheet(ground, px)
    ink, middle = _ink(_contrast(ground)), px / 2
    draw.ellipse((4, 4, px - 4, px - 4), outline=_ink(tint(rng)), width=int(rng.integers(2, 10)))
    for hour in range(60 if rng.random() < 0.5 else 12):
        is_hour = hour % 5 == 0
        _hand(draw, middle, hour * 6.0, 0.38 if is_hour else 0.42, 0.45, px, ink, 4 if is_hour else 2)
    for hour in range(12):
        angle = np.deg2rad(hour * 30)
        at = middle + 0.31 * px * np.array([np.sin(angle), -np.cos(angle)]) - 0.04 * px
        write(draw, rng, at[0], at[1], 0.09 * px, 0.06 * px, _contrast(ground))
    for length, width in ((0.2, 8), (0.3, 5)):
        _hand(draw, middle, rng.uniform(0, 360), -0.04, length, px, ink, width)
    return np.asarray(image) / 255


def screen(rng: np.random.Generator, px: int = 192) -> Picture:
    """A display: dark or bright, with blocks and lines."""
    ground = rng.choice([0.08, 0.15, 0.85])
    image, draw = _sheet((ground, ground, ground * 1.05), px)
    for _ in range(int(rng.integers(2, 7))):
        x, y = rng.random(2) * px * 0.8
        draw.rectangle((x, y, x + rng.uniform(0.1, 0.4) * px, y + rng.uniform(0.05, 0.3) * px), fill=_ink(vivid(rng)))
    write(draw, rng, 0.1 * px, 0.1 * px, 0.12 * px, 0.5 * px, tint(rng))
    return np.asarray(image) / 255


def pages(rng: np.random.Generator) -> Picture:
    """The cut edge of a book."""
    return speckled(
        stripes((0.95, 0.92, 0.84), (0.84, 0.8, 0.7), count=48, angle_deg=float(rng.choice([0, 90])), px=192), rng
    )


def cardboard(rng: np.random.Generator) -> Picture:
    colour = _near((0.72, 0.55, 0.37), rng)
    return (
        label(rng, colour) if rng.random() < 0.3 else speckled(clouds(colour, shade(colour, 0.92), rng, 192), rng, 0.12)
    )


def leaf(rng: np.random.Generator) -> Picture:
    a = (rng.uniform(0.1, 0.35), rng.uniform(0.35, 0.6), rng.uniform(0.1, 0.3))
    return clouds(a, shade(a, rng.uniform(0.6, 1.5)), rng, 160)


def soil(rng: np.random.Generator) -> Picture:
    return crust(rng, (0.26, 0.18, 0.12), (0.14, 0.1, 0.07))


def pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _hand(
    draw: ImageDraw.ImageDraw,
    middle: Number,
    angle_deg: Number,
    start: Number,
    end: Number,
    px: int,
    ink: tuple[int, int, int],
    width: int,
) -> None:
    way = np.array([np.sin(np.deg2rad(angle_deg)), -np.cos(np.deg2rad(angle_deg))]) * px
    draw.line([tuple(middle + start * way), tuple(middle + end * way)], fill=ink, width=width)


def _sheet(colour: Colour, px: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (px, px), _ink(colour))
    return image, ImageDraw.Draw(image)


def _ink(colour: Colour) -> tuple[int, int, int]:
    r, g, b = (round(float(c) * 255) for c in colour)
    return r, g, b


def _contrast(colour: Colour) -> Colour:
    return BLACK if sum(float(c) for c in colour) > 1.5 else WHITE


def _near(colour: Colour, rng: np.random.Generator) -> Colour:
    r, g, b = (float(np.clip(c * rng.uniform(0.85, 1.12) + rng.uniform(-0.04, 0.04), 0, 1)) for c in colour)
    return r, g, b
