"""Recognisable objects for pictures, documents and tests: each faces +Z, stands upright, varies with its generator."""

from collections.abc import Callable

import numpy as np

from infinitemesh.data.procedural_parts import (
    Part,
    around,
    ball,
    box,
    cut_away,
    lathe,
    mirrored,
    ring,
    rod,
    slab,
    soft_box,
)
from infinitemesh.data.procedural_textures import (
    Colour,
    bricks,
    checks,
    clouds,
    dots,
    marble,
    plain,
    shaded,
    speckled,
    stripes,
    wood,
)

RED, ORANGE, YELLOW = (0.80, 0.20, 0.17), (0.92, 0.52, 0.18), (0.95, 0.80, 0.30)
GREEN, TEAL, BLUE = (0.30, 0.58, 0.30), (0.18, 0.55, 0.58), (0.20, 0.38, 0.70)
CREAM, WHITE, GREY = (0.95, 0.90, 0.80), (0.93, 0.93, 0.92), (0.55, 0.56, 0.58)
DARK, OAK, WALNUT = (0.13, 0.13, 0.15), (0.76, 0.58, 0.38), (0.42, 0.27, 0.17)
ROOF, GLASS, PINK = (0.58, 0.25, 0.20), (0.62, 0.78, 0.86), (0.93, 0.62, 0.68)
ACCENTS = (RED, ORANGE, YELLOW, GREEN, TEAL, BLUE, PINK)


def mug(rng: np.random.Generator) -> list[Part]:
    height, accent = rng.uniform(0.95, 1.15), _accent(rng)
    outside = lathe([(0.38, -height / 2), (0.42, -height / 2 + 0.04), (0.42, height / 2)])
    hollow = rod(0.36, height).translate((0, 0.08, 0))
    handle = ring(0.26, 0.055).rotate((90, 0, 0)).scale((0.9, 1.15, 1)).translate((0.45, 0, 0))
    body = cut_away(outside + handle, hollow)
    coffee = rod(0.365, 0.03).translate((0, height / 2 - 0.18, 0))
    band = stripes(CREAM, accent, count=5, angle_deg=90, share=0.35)
    return [Part(body, speckled(band, rng, 0.08)), Part(coffee, plain((0.24, 0.13, 0.07)))]


def chair(rng: np.random.Generator) -> list[Part]:
    back = rng.uniform(0.75, 0.95)
    leg = rod(0.045, 0.8, top_radius=0.06).rotate((4, 0, -4)).translate((0.38, -0.42, 0.36))
    legs = mirrored(leg + leg.mirror((0, 0, 1)))
    posts = mirrored(rod(0.05, back).translate((0.4, back / 2, -0.38)))
    bars = box(0.8, 0.12, 0.05).translate((0, back - 0.1, -0.38)) + box(0.8, 0.1, 0.05).translate((0, back / 2, -0.38))
    timber = wood(OAK, WALNUT, rng)
    cushion = checks(CREAM, _accent(rng), count=7)
    return [
        Part(legs + posts + bars, timber),
        Part(soft_box(0.95, 0.1, 0.9, 0.045), timber),
        Part(soft_box(0.82, 0.12, 0.78, 0.055).translate((0, 0.09, 0.02)), cushion),
    ]


def lamp(rng: np.random.Generator) -> list[Part]:
    height, accent = rng.uniform(0.8, 1.0), _accent(rng)
    foot = lathe([(0.32, 0.0), (0.32, 0.04), (0.12, 0.1), (0.05, 0.18)])
    pole = rod(0.035, height).translate((0, height / 2, 0))
    belly = ball(0.16).scale((1, 1.2, 1)).translate((0, 0.32, 0))
    outside = rod(0.42, 0.5, top_radius=0.25, segments=64)
    hollow = rod(0.40, 0.52, top_radius=0.23, segments=64)
    shade = cut_away(outside, hollow).translate((0, height, 0))
    bulb = ball(0.1).translate((0, height, 0))
    return [
        Part(foot + pole, shaded((0.78, 0.62, 0.3), (0.5, 0.36, 0.14))),
        Part(belly, marble(accent, WHITE, rng)),
        Part(shade, stripes(CREAM, (0.9, 0.8, 0.62), count=14, angle_deg=0)),
        Part(bulb, plain((1.0, 0.96, 0.8))),
    ]


def toy_car(rng: np.random.Generator) -> list[Part]:
    accent = _accent(rng)
    side = [(-0.75, -0.16), (0.75, -0.16), (0.78, 0.0), (0.5, 0.1), (-0.72, 0.12), (-0.78, 0.0)]
    body = slab(side, 0.7) + soft_box(1.4, 0.2, 0.72, 0.08).translate((0, 0.0, 0))
    cabin = slab([(-0.5, 0.08), (0.32, 0.08), (0.12, 0.38), (-0.38, 0.38)], 0.58)
    panes = slab([(-0.42, 0.13), (0.22, 0.13), (0.08, 0.33), (-0.34, 0.33)], 0.62)
    screen = slab([(-0.52, 0.12), (0.30, 0.12), (0.14, 0.34), (-0.41, 0.34)], 0.46)
    wheel = rod(0.17, 0.14).rotate((90, 0, 0))
    hub = rod(0.08, 0.17).rotate((90, 0, 0))
    at = [(x, -0.17, z) for x in (-0.45, 0.47) for z in (-0.33, 0.33)]
    lights = ball(0.07).translate((0.74, -0.01, 0.22)) + ball(0.07).translate((0.74, -0.01, -0.22))
    parts = [
        Part(body, stripes(accent, WHITE, count=3, angle_deg=90, share=0.3)),
        Part(cabin, plain(accent)),
        Part(panes + screen, shaded(GLASS, (0.35, 0.5, 0.62))),
        Part(_at_all(wheel, at), speckled(plain(DARK), rng)),
        Part(_at_all(hub, at), plain(GREY)),
        Part(lights, plain(YELLOW)),
    ]
    return [Part(part.solid.rotate((0, -90, 0)), part.texture) for part in parts]  # drawn along +X, faces +Z


def house(rng: np.random.Generator) -> list[Part]:
    width, wall = 1.0, rng.uniform(0.55, 0.7)
    walls = box(width, wall, 0.8).translate((0, wall / 2, 0))
    gable = slab([(-width / 2, wall), (width / 2, wall), (0, wall + 0.45)], 0.8)
    tilt = float(np.rad2deg(np.arctan2(0.45, width / 2)))
    slope = box(0.78, 0.06, 0.95).rotate((0, 0, -tilt)).translate((width / 4 + 0.02, wall + 0.25, 0))
    chimney = box(0.14, 0.4, 0.14).translate((0.28, wall + 0.38, -0.15))
    door = soft_box(0.22, 0.4, 0.06, 0.02).translate((0.0, 0.2, 0.4))
    window = box(0.2, 0.2, 0.84)
    windows = mirrored(window.translate((0.32, 0.36, 0)))
    frames = mirrored(box(0.25, 0.25, 0.82).translate((0.32, 0.36, 0)))
    return [
        Part(walls + gable, bricks((0.85, 0.72, 0.58), CREAM, rng, rows=14)),
        Part(mirrored(slope), bricks(ROOF, (0.4, 0.16, 0.13), rng, rows=16)),
        Part(chimney, bricks((0.62, 0.3, 0.24), GREY, rng, rows=6)),
        Part(door, wood(_accent(rng), DARK, rng, rings=3)),
        Part(frames, plain(WHITE)),
        Part(windows, checks(GLASS, (0.5, 0.68, 0.78), count=2)),
        Part(box(1.25, 0.05, 1.1).translate((0, -0.02, 0)), clouds(GREEN, (0.45, 0.66, 0.33), rng)),
    ]


def mushroom(rng: np.random.Generator) -> list[Part]:
    lean = rng.uniform(0.0, 0.12)
    stalk = lathe([(0.2, 0.0), (0.16, 0.2), (0.13, 0.5), (0.16, 0.72)]).refine_to_length(0.08)
    stalk = stalk.warp_batch(lambda p: p + np.stack([lean * p[:, 1] ** 2, 0 * p[:, 0], 0 * p[:, 0]], axis=-1))
    cap = lathe([(0.14, 0.66), (0.52, 0.62), (0.58, 0.68), (0.5, 0.9), (0.32, 1.06), (0.1, 1.14)], 64)
    gills = lathe([(0.14, 0.60), (0.5, 0.605), (0.52, 0.64), (0.14, 0.7)], 64)
    skirt = ring(0.16, 0.03).translate((lean * 0.2, 0.48, 0))
    red = RED if rng.random() < 0.7 else ORANGE
    return [
        Part(stalk + skirt, clouds(CREAM, (0.84, 0.76, 0.64), rng)),
        Part(gills.translate((lean * 0.5, 0, 0)), stripes(CREAM, (0.8, 0.7, 0.58), count=20, angle_deg=0)),
        Part(cap.translate((lean * 0.5, 0, 0)), dots(red, WHITE, count=5, radius=0.24)),
    ]


def teapot(rng: np.random.Generator) -> list[Part]:
    accent = _accent(rng)
    body = lathe([(0.25, 0.0), (0.44, 0.15), (0.5, 0.33), (0.42, 0.52), (0.24, 0.64), (0.2, 0.66)], 64)
    spout = rod(0.13, 0.5, top_radius=0.06).rotate((0, 0, -48)).translate((0.58, 0.38, 0))
    handle = ring(0.24, 0.045).rotate((90, 0, 0)).scale((0.9, 1.0, 1.0)).translate((-0.52, 0.36, 0))
    lid = lathe([(0.23, 0.64), (0.22, 0.68), (0.1, 0.75), (0.04, 0.77)]) + ball(0.06).translate((0, 0.81, 0))
    glaze = dots(WHITE, accent, count=9, radius=0.18)
    return [Part(body, glaze), Part(spout + handle, plain(accent)), Part(lid, speckled(plain(accent), rng, 0.1))]


def robot(rng: np.random.Generator) -> list[Part]:
    accent = _accent(rng)
    torso = soft_box(0.6, 0.6, 0.4, 0.08).translate((0, 0.1, 0))
    head = soft_box(0.42, 0.32, 0.34, 0.07).translate((0, 0.62, 0))
    neck = rod(0.08, 0.2).translate((0, 0.42, 0))
    arms = mirrored(rod(0.07, 0.5).translate((0.4, 0.08, 0)) + ball(0.1).translate((0.4, 0.34, 0)))
    hands = mirrored(ball(0.1).translate((0.4, -0.2, 0)))
    legs = mirrored(rod(0.09, 0.4).translate((0.16, -0.38, 0)))
    feet = mirrored(soft_box(0.22, 0.12, 0.32, 0.05).translate((0.16, -0.6, 0.05)))
    eyes = mirrored(ball(0.06).translate((0.1, 0.65, 0.16)))
    panel = soft_box(0.34, 0.24, 0.06, 0.02).translate((0, 0.16, 0.2))
    antenna = rod(0.018, 0.2).translate((0, 0.86, 0)) + ball(0.045).translate((0, 0.97, 0))
    return [
        Part(torso + head, speckled(plain(accent), rng, 0.1)),
        Part(arms + legs + neck, stripes(GREY, (0.4, 0.41, 0.43), count=16, angle_deg=90)),
        Part(hands + feet, plain(DARK)),
        Part(eyes, plain(YELLOW)),
        Part(panel, checks(CREAM, GLASS, count=4)),
        Part(antenna, plain(RED)),
    ]


def rocket(rng: np.random.Generator) -> list[Part]:
    accent = _accent(rng)
    body = lathe([(0.16, 0.0), (0.24, 0.15), (0.27, 0.45), (0.24, 0.8), (0.17, 1.02)], 64)
    nose = lathe([(0.172, 1.015), (0.1, 1.2), (0.02, 1.32)], 64)
    fin = slab([(0.18, 0.3), (0.48, -0.02), (0.48, -0.12), (0.16, 0.05)], 0.05)
    port = ring(0.09, 0.025).rotate((90, 0, 0)).translate((0, 0.66, 0.25))
    pane = ball(0.09).scale((1, 1, 0.5)).translate((0, 0.66, 0.235))
    flame = lathe([(0.02, -0.34), (0.1, -0.14), (0.13, 0.02)])
    return [
        Part(body, stripes(WHITE, accent, count=4, angle_deg=90, share=0.2)),
        Part(nose, plain(accent)),
        Part(around(fin, 4).rotate((0, 45, 0)), plain(accent)),
        Part(port, plain(GREY)),
        Part(pane, plain(GLASS)),
        Part(flame, shaded(YELLOW, RED)),
    ]


def boat(rng: np.random.Generator) -> list[Part]:
    outline = [(-0.28, -0.6), (0.28, -0.6), (0.3, 0.1), (0.18, 0.5), (0.0, 0.75), (-0.18, 0.5), (-0.3, 0.1)]
    hull = slab(outline, 0.3).rotate((90, 0, 0)).refine_to_length(0.12)
    hull = hull.warp_batch(
        lambda p: p * np.stack([0.75 + 0.8 * (p[:, 1] + 0.15), 1 + 0 * p[:, 0], 1 + 0 * p[:, 0]], -1)
    )
    deck = slab([(x * 0.8, y * 0.8) for x, y in outline], 0.1).rotate((90, 0, 0)).translate((0, 0.12, 0))
    mast = rod(0.03, 1.1).translate((0, 0.65, 0.05))
    sail = slab([(0.0, 0.28), (0.62, 0.28), (0.0, 1.15)], 0.03).rotate((0, 70, 0)).translate((0, 0, 0.0))
    jib = slab([(0.0, 0.3), (0.52, 0.25), (0.0, 0.95)], 0.03).rotate((0, -80, 0)).translate((0, 0, 0.12))
    flag = slab([(0, 1.12), (0.2, 1.16), (0, 1.2)], 0.02)
    return [
        Part(
            cut_away(hull, deck.translate((0, 0.04, 0))), stripes(_accent(rng), WHITE, count=3, angle_deg=90, share=0.4)
        ),
        Part(deck.translate((0, -0.06, 0)), wood(OAK, WALNUT, rng, rings=9)),
        Part(mast, wood(WALNUT, DARK, rng)),
        Part(sail + jib, stripes(CREAM, _accent(rng), count=5, angle_deg=90, share=0.75)),
        Part(flag, plain(RED)),
    ]


def tree(rng: np.random.Generator) -> list[Part]:
    trunk = lathe([(0.13, 0.0), (0.09, 0.2), (0.08, 0.5)])
    leaves = []
    for height, radius in ((0.42, 0.42), (0.7, 0.34), (0.96, 0.24)):
        cone = lathe(
            [(0.06, height), (radius, height - 0.02), (radius * 0.9, height + 0.05), (0.02, height + 0.42)], 40
        )
        leaves.append(Part(cone, clouds((0.16, 0.42, 0.22), (0.36, 0.6, 0.28), rng)))
    star = slab(
        [(r * np.sin(a), r * np.cos(a)) for r, a in zip([0.11, 0.05] * 5, np.arange(10) * np.pi / 5, strict=True)], 0.05
    )
    pot = cut_away(rod(0.17, 0.22, top_radius=0.24).translate((0, -0.08, 0)), rod(0.2, 0.1).translate((0, 0.05, 0)))
    return [
        Part(trunk, wood(WALNUT, DARK, rng)),
        *leaves,
        Part(star.translate((0, 1.42, 0)), plain(YELLOW)),
        Part(pot, stripes((0.75, 0.42, 0.28), (0.66, 0.35, 0.22), count=4, angle_deg=90)),
    ]


def cake(rng: np.random.Generator) -> list[Part]:
    accent = _accent(rng)
    layers = [rod(0.5, 0.16).translate((0, 0.18 * i, 0)) for i in range(3)]
    cream = ring(0.47, 0.06).translate((0, 0.46, 0)) + rod(0.5, 0.06).translate((0, 0.45, 0))
    filling = rod(0.47, 0.34).translate((0, 0.18, 0))
    slice_away = slab([(0, 0), (0.75, 0.22), (0.75, -0.22)], 3).rotate((90, 0, 0)).rotate((0, -45, 0))
    berries = around(ball(0.075).translate((0.33, 0.55, 0)), 8)
    plate = lathe([(0.4, -0.16), (0.68, -0.1), (0.7, -0.08), (0.1, -0.085)], 64)
    sponge = layers[0] + layers[1] + layers[2]
    return [
        Part(cut_away(sponge, slice_away), speckled(plain((0.86, 0.66, 0.4)), rng, 0.5)),
        Part(cut_away(filling, slice_away), plain(accent)),
        Part(cut_away(cream, slice_away), plain(PINK)),
        Part(cut_away(berries, slice_away), dots(RED, YELLOW, count=14, radius=0.15)),
        Part(plate, plain(WHITE)),
    ]


def _accent(rng: np.random.Generator) -> Colour:
    return ACCENTS[rng.integers(len(ACCENTS))]


def _at_all(solid, places):
    total = solid.translate(places[0])
    for place in places[1:]:
        total = total + solid.translate(place)
    return total


NAMED_OBJECTS: dict[str, Callable[[np.random.Generator], list[Part]]] = {
    shape.__name__: shape
    for shape in (mug, chair, lamp, toy_car, house, mushroom, teapot, robot, rocket, boat, tree, cake)
}
