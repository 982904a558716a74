"""Toy trains, aeroplanes and boats, drawn driving towards +X."""

import numpy as np
from manifold3d import Manifold

from infinitemesh.data.household_solids import (
    at_all,
    capsule,
    loft,
    shell,
    stack,
    union,
)
from infinitemesh.data.household_textures import (
    BLACK,
    STEEL,
    WHITE,
    metal,
    plastic,
    sticker,
    timber,
    tint,
    vivid,
)
from infinitemesh.data.household_vehicles import GLASSES, wheels
from infinitemesh.data.procedural_parts import Part, ball, box, rod, slab, soft_box
from infinitemesh.data.procedural_textures import stripes


def train(rng: np.random.Generator) -> list[Part]:
    """A steam engine with its boiler, funnel and cab, perhaps with a waggon."""
    half, r = rng.uniform(0.11, 0.15), rng.uniform(0.05, 0.08)
    floor = 1.8 * r
    boiler = rod(half * 0.85, 0.5, segments=32).rotate((0, 0, 90)).translate((0.2, floor + half * 0.9, 0))
    bands = union(
        [
            rod(half * 0.88, 0.02, segments=32).rotate((0, 0, 90)).translate((x, floor + half * 0.9, 0))
            for x in (0.05, 0.22, 0.38)
        ]
    )
    tall = half * rng.uniform(2.3, 3)
    cab = box(0.24, tall, 2 * half).translate((-0.1, floor + tall / 2, 0)) - soft_box(
        0.13, tall * 0.32, 1, 0.02
    ).translate((-0.1, floor + tall * 0.68, 0))
    roof = soft_box(0.32, 0.04, 2.4 * half, 0.018).translate((-0.1, floor + tall + 0.01, 0))
    funnel = shell(
        [(0, 0.035, 0.035), (0.1, 0.035, 0.035), (0.16, 0.06, 0.06), (0.18, 0.055, 0.055)], 0.012, floor=0.08
    )
    funnel = funnel.translate((0.36, floor + half * 1.55, 0)) + ball(0.05, 20).scale((1, 1.2, 1)).translate(
        (0.17, floor + half * 1.8, 0)
    )
    base = box(0.72, 0.05, 1.7 * half).translate((0.1, floor - 0.01, 0))
    guard = slab([(0.44, floor), (0.55, 0.02), (0.44, 0.02)], 1.5 * half)
    colour = vivid(rng)
    parts = [
        Part(boiler, plastic(rng, colour)),
        Part(bands + funnel + guard, metal(rng) if rng.random() < 0.5 else plastic(rng, tint(rng))),
        Part(cab, timber(rng) if rng.random() < 0.3 else plastic(rng, vivid(rng))),
        Part(roof + base, plastic(rng, tint(rng))),
        *wheels(rng, r, half * 0.75, (-0.14, 0.05, 0.22, 0.38)),
    ]
    if rng.random() < 0.5:
        waggon = box(0.44, 0.16, 2 * half).translate((-0.52, floor + 0.08, 0)) - box(
            0.4, 0.16, 2 * half - 0.04
        ).translate((-0.52, floor + 0.1, 0))
        hitch = box(0.2, 0.03, 0.03).translate((-0.26, floor, 0))
        parts.append(Part(waggon + hitch, timber(rng) if rng.random() < 0.4 else plastic(rng, vivid(rng))))
        parts += wheels(rng, r, half * 0.75, (-0.65, -0.4))[:1]
    return parts


def aeroplane(rng: np.random.Generator) -> list[Part]:
    """Aeroplanes and helicopters: a slender body with wings or a rotor."""
    r = rng.uniform(0.07, 0.11)
    body = stack(
        [
            (-0.5, 0.015, 0.015, 0.05),
            (-0.3, 0.5 * r, 0.5 * r, 0.02),
            (0.0, r, r),
            (0.3, r, r),
            (0.45, 0.6 * r, 0.6 * r),
            (0.5, 0.2 * r, 0.2 * r),
        ]
    ).rotate((0, 0, -90))
    colour, accent = tint(rng), vivid(rng)
    tail = slab([(-0.5, 0.02), (-0.36, 0.02), (-0.44, 0.2), (-0.52, 0.2)], 0.02)
    parts = [
        Part(body, stripes(colour, accent, count=3, angle_deg=90, share=0.7, px=192)),
        Part(
            ball(r * 0.8, 24).scale((1.6, 1, 0.9)).translate((0.2, r * 0.6, 0)), plastic(rng, GLASSES[rng.integers(4)])
        ),
    ]
    if rng.random() < 0.3:
        blade = soft_box(0.95, 0.012, 0.05, 0.005, 8)
        rotor = blade + blade.rotate((0, 90, 0))
        rotor = rotor.rotate((0, rng.uniform(0, 90), 0)).translate((0.15, r + 0.14, 0)) + rod(
            0.02, 0.2, segments=12
        ).translate((0.15, r + 0.06, 0))
        skids = union(
            [
                capsule((-0.1, -r - 0.06, z), (0.38, -r - 0.06, z), 0.012)
                + at_all(rod(0.01, 0.1, segments=8), [(x, -r - 0.02, z * 0.8) for x in (0.0, 0.28)])
                for z in (-0.09, 0.09)
            ]
        )
        return [*parts, Part(rotor + skids, plastic(rng, BLACK)), Part(tail, plastic(rng, accent))]
    sweep, span = rng.uniform(0, 0.25), rng.uniform(0.35, 0.55)
    wing = slab([(0.16, 0), (-0.08, 0), (-0.04 - sweep, span), (0.06 - sweep, span)], 0.022).rotate((90, 0, 0))
    wing = wing + wing.mirror((0, 0, 1))
    levels = (-0.4 * r, r + 0.09) if rng.random() < 0.25 else (rng.uniform(-0.5, 0.5) * r,)
    wings = union([wing.translate((0.05, y, 0)) for y in levels])
    fins = tail + (
        slab([(-0.38, 0), (-0.5, 0), (-0.52, 0.18), (-0.44, 0.18)], 0.018).rotate((90, 0, 0))
        + slab([(-0.38, 0), (-0.5, 0), (-0.52, 0.18), (-0.44, 0.18)], 0.018).rotate((90, 0, 0)).mirror((0, 0, 1))
    ).translate((0, 0.03, 0))
    propeller = soft_box(0.012, 0.34, 0.035, 0.005, 8).rotate((rng.uniform(0, 180), 0, 0)).translate(
        (0.51, 0, 0)
    ) + ball(0.03, 16).translate((0.5, 0, 0))
    wheel = at_all(rod(0.035, 0.03, segments=20).rotate((90, 0, 0)), [(0.22, -r - 0.06, z) for z in (-0.1, 0.1)])
    legs = at_all(rod(0.01, 0.14, segments=8), [(0.22, -r, z) for z in (-0.085, 0.085)])
    return [
        *parts,
        Part(wings + fins, sticker(rng, accent)),
        Part(propeller + legs, metal(rng, STEEL)),
        Part(wheel, plastic(rng, BLACK)),
    ]


def boat(rng: np.random.Generator) -> list[Part]:
    """Rowing boats and ships: an open hull, with a cabin or a funnel or seats."""
    half, tall = rng.uniform(0.12, 0.2), rng.uniform(0.12, 0.2)
    x = np.linspace(-0.5, 0.5, 22)
    beam = half * (1 - np.clip((x - 0.05) / 0.46, 0, 1) ** 2.2) * np.where(x < -0.4, 0.85 + (x + 0.5), 1) + 0.006
    sheer = tall * (1 + 0.35 * (2 * x.clip(0)) ** 2 + 0.1 * (2 * (-x).clip(0)) ** 2)
    hull, room = (
        _boat_shape(x * k, beam - d, sheer + up, low)
        for k, d, up, low in ((1.0, 0.0, 0.0, 0.0), (0.96, 0.018, 0.2, 0.03))
    )
    skin = timber(rng) if rng.random() < 0.4 else stripes(vivid(rng), WHITE, count=2, angle_deg=90, share=0.6, px=128)
    parts = [Part(hull - room, skin)]
    if rng.random() < 0.5:
        seats = at_all(box(0.07, 0.02, 2 * half * 0.92), [(at, tall * 0.7, 0) for at in (-0.3, -0.05, 0.18)]) ^ (
            hull + room
        )
        return [*parts, Part(seats, timber(rng))]
    deck = box(0.9, 0.02, 2).translate((0, tall * 0.75, 0)) ^ hull
    cabin = soft_box(0.4, 0.14, half * 1.1, 0.02).translate((-0.08, tall + 0.05, 0)) + soft_box(
        0.24, 0.12, half * 0.9, 0.02
    ).translate((-0.05, tall + 0.15, 0))
    funnel = rod(0.045, 0.22, segments=24).translate((-0.12, tall + 0.26, 0))
    ports = at_all(
        rod(0.022, half * 1.12, segments=16).rotate((90, 0, 0)),
        [(at, tall + 0.06, 0) for at in (-0.2, -0.12, -0.04, 0.04)],
    )
    return [
        *parts,
        Part(deck, timber(rng)),
        Part(cabin, plastic(rng, WHITE)),
        Part(funnel, stripes(vivid(rng), BLACK, count=3, angle_deg=90, px=64)),
        Part(ports, plastic(rng, BLACK)),
    ]


def _boat_shape(x: np.ndarray, beam: np.ndarray, sheer: np.ndarray, low: float) -> Manifold:
    rings = []
    angle = np.linspace(0, np.pi, 15)
    for at, b, top in zip(x, np.maximum(beam, 0.004), sheer, strict=True):
        keel = low + 0.5 * float(top) * max(0.0, 2 * at - 0.5) ** 2
        section = np.stack([np.full(15, at), top - (top - keel) * np.sin(angle) ** 0.6, b * np.cos(angle)], -1)
        rings.append(section)
    return loft(np.stack(rings))
