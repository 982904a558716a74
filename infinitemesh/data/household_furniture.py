"""Sofas, chairs, stools and tables: the seat lies deep between back and arm rests."""

import numpy as np

from infinitemesh.data.household_solids import (
    at_all,
    capsule,
    curve,
    four,
    stack,
    tube,
    union,
)
from infinitemesh.data.household_textures import (
    BLACK,
    fabric,
    leather,
    metal,
    plastic,
    timber,
    tint,
)
from infinitemesh.data.procedural_parts import Part, ball, box, mirrored, ring, rod, soft_box


def sofa(rng: np.random.Generator) -> list[Part]:
    """Armchairs and sofas: the seat lies deep between the arm rests and the back."""
    seats = int(rng.choice([1, 1, 2, 2, 3]))
    pitch, depth = rng.uniform(0.5, 0.62), rng.uniform(0.65, 0.9)
    width, arm = pitch * seats, rng.uniform(0.1, 0.24)
    seat, legs = rng.uniform(0.16, 0.26), rng.uniform(0.04, 0.14)
    back, rest = rng.uniform(0.35, 0.6), rng.uniform(0.16, 0.32)
    soft = rng.uniform(0.02, 0.05)
    base = soft_box(width + arm, seat, depth, soft).translate((0, seat / 2, 0))
    thick = rng.uniform(0.12, 0.2)
    rear = (
        soft_box(width + arm * 1.6, back + seat, thick, soft * 1.4)
        .translate((0, (back + seat) / 2, 0))
        .rotate((-rng.uniform(0, 10), 0, 0))
        .translate((0, 0, -depth / 2 + thick / 2))
    )
    if rng.random() < 0.5:
        side = soft_box(arm, seat + rest, depth, soft)
    else:  # a rolled arm
        side = soft_box(arm * 0.8, seat + rest, depth * 0.96, soft) + capsule(
            (0, (seat + rest) / 2 - 0.02, -depth / 2 + 0.1),
            (0, (seat + rest) / 2 - 0.02, depth / 2 - arm * 0.3),
            arm * 0.55,
        )
    arms = mirrored(side.translate(((width + arm) / 2, (seat + rest) / 2, 0)))
    has_arms = rng.random() < 0.92
    cushion = soft_box(pitch * 0.98, 0.13, depth - thick * 0.9, 0.05)
    pillow = soft_box(pitch * 0.96, back * 0.8, 0.13, 0.055).rotate((-12, 0, 0))
    xs = [(i - (seats - 1) / 2) * pitch for i in range(seats)]
    seat_pads = at_all(cushion, [(x, seat + 0.05, thick * 0.5) for x in xs])
    back_pads = at_all(pillow, [(x, seat + 0.1 + back * 0.35, -depth / 2 + thick + 0.02) for x in xs])
    skin = fabric(rng) if rng.random() < 0.7 else leather(rng)
    other = skin if rng.random() < 0.6 else fabric(rng)
    foot = rod(0.02, legs, top_radius=0.035, segments=14) if rng.random() < 0.6 else box(0.06, legs, 0.06)
    feet = four(foot.translate((width / 2 - 0.03, -legs / 2 + 0.01, depth / 2 - 0.08)))
    parts = [Part(base + rear + arms if has_arms else base + rear, skin), Part(seat_pads, other)]
    if rng.random() < 0.75:
        parts.append(Part(back_pads, other))
    parts.append(Part(feet, timber(rng) if rng.random() < 0.7 else metal(rng)))
    if rng.random() < 0.4:
        throw = soft_box(0.26, 0.26, 0.1, 0.045).rotate((-25, 15, rng.uniform(-20, 20)))
        parts.append(
            Part(
                throw.translate((rng.choice([-1, 1]) * (width / 2 - 0.16), seat + 0.24, -depth / 2 + thick + 0.16)),
                fabric(rng),
            )
        )
    return parts


def chair(rng: np.random.Generator) -> list[Part]:
    """Kitchen chairs, office chairs, shell chairs and high chairs."""
    wide, deep, tall = rng.uniform(0.38, 0.5), rng.uniform(0.38, 0.48), rng.uniform(0.4, 0.7)
    back, thick = rng.uniform(0.3, 0.6), rng.uniform(0.025, 0.06)
    wood_or_metal = timber(rng) if rng.random() < 0.6 else metal(rng, tint(rng))
    seat = soft_box(wide, thick + 0.015, deep, 0.018).translate((0, tall, 0))
    lean = rng.uniform(3, 14)
    parts: list[Part] = []
    if rng.random() < 0.3:  # a shell: seat and back in one, bent
        path = curve(
            [
                (0, tall - 0.02, deep * 0.55),
                (0, tall + 0.01, deep * 0.3),
                (0, tall - 0.01, -deep * 0.3),
                (0, tall + 0.12, -deep * 0.52),
                (0, tall + back, -deep * 0.62),
            ],
            18,
        )
        seat = tube(path, thick * 0.4, flat=wide / thick * 1.2, segments=24)
        bend = rng.uniform(0.3, 1.0)
        seat = seat.refine_to_length(0.09).warp_batch(
            lambda p: p + np.stack([0 * p[:, 0], bend * p[:, 0] ** 2, bend * p[:, 0] ** 2], -1)
        )
        parts.append(Part(seat, plastic(rng)))
    else:
        posts = mirrored(
            capsule(
                (wide / 2 - 0.025, tall, -deep / 2 + 0.02),
                (wide / 2 - 0.02, tall + back, -deep / 2 - back * np.sin(np.deg2rad(lean))),
                0.018,
            )
        )
        count = int(rng.integers(2, 6))
        at_back = lambda t: (0.0, tall + back * t, -deep / 2 + 0.01 - back * np.sin(np.deg2rad(lean)) * t)  # noqa: E731
        if rng.random() < 0.5:
            slats = union(
                [
                    soft_box(wide - 0.04, back * 0.5 / count + 0.02, 0.02, 0.008, 8)
                    .rotate((-lean, 0, 0))
                    .translate(at_back(t))
                    for t in np.linspace(0.35, 0.95, count)
                ]
            )
        else:
            bars = [
                capsule((x, tall, -deep / 2 + 0.02), (x, at_back(0.95)[1], at_back(0.95)[2]), 0.011)
                for x in np.linspace(-wide / 2 + 0.07, wide / 2 - 0.07, count)
            ]
            slats = union(bars) + soft_box(wide, 0.08, 0.025, 0.01).rotate((-lean, 0, 0)).translate(at_back(0.95))
        parts.append(Part(posts + slats, wood_or_metal))
        parts.append(Part(seat, fabric(rng) if rng.random() < 0.4 else wood_or_metal))
    if rng.random() < 0.25:  # on a column with castors
        star = union(
            [
                capsule((0, 0.06, 0), (0.27 * np.cos(a), 0.04, 0.27 * np.sin(a)), 0.025, 0.018)
                + ball(0.035, 14).translate((0.27 * np.cos(a), 0.02, 0.27 * np.sin(a)))
                for a in np.arange(5) * 2 * np.pi / 5
            ]
        )
        parts.append(Part(star + rod(0.03, tall, segments=20).translate((0, tall / 2, 0)), plastic(rng, BLACK)))
    else:
        splay = rng.uniform(0.0, 0.06)
        leg = capsule(
            (wide / 2 - 0.03, tall - 0.01, deep / 2 - 0.03),
            (wide / 2 - 0.03 + splay, 0.015, deep / 2 - 0.03 + splay),
            0.02,
            rng.uniform(0.012, 0.02),
        )
        legs = four(leg)
        if rng.random() < 0.5:
            y = tall * rng.uniform(0.25, 0.5)
            legs = legs + mirrored(capsule((wide / 2 - 0.02, y, -deep / 2), (wide / 2 - 0.02, y, deep / 2), 0.011))
        parts.append(Part(legs, wood_or_metal))
    if rng.random() < 0.3:
        rest = tube(
            curve(
                [
                    (wide / 2, tall + 0.01, deep * 0.35),
                    (wide / 2 + 0.03, tall + 0.2, deep * 0.3),
                    (wide / 2 + 0.02, tall + 0.21, -deep * 0.45),
                ],
                12,
            ),
            0.016,
            segments=10,
        )
        parts.append(Part(mirrored(rest), wood_or_metal))
    return parts


def stool(rng: np.random.Generator) -> list[Part]:
    """Stools, small tables, benches and poufs."""
    if rng.random() < 0.2:
        r, h = rng.uniform(0.35, 0.5), rng.uniform(0.3, 0.5)
        pouf = stack(
            [
                (0, 0.8 * r, 0.8 * r),
                (0.12 * h, r, r),
                (0.88 * h, r, r),
                (h, 0.8 * r, 0.8 * r),
                (h - 0.02, 0.2 * r, 0.2 * r),
            ],
            power=rng.choice([2.0, 4.0]),
        )
        return [Part(pouf, fabric(rng)), Part(ring(r, 0.02).translate((0, 0.85 * h, 0)), leather(rng))]
    half_x, tall = rng.uniform(0.18, 0.5), rng.uniform(0.35, 0.75)
    half_z = half_x if rng.random() < 0.5 else rng.uniform(0.16, 0.3)
    power = rng.choice([2.0, 6.0])
    top = stack(
        [
            (tall, half_x * 0.97, half_z * 0.97),
            (tall + 0.015, half_x, half_z),
            (tall + rng.uniform(0.03, 0.08), half_x * 0.97, half_z * 0.97),
        ],
        power=power,
    )
    splay, inner = rng.uniform(0.0, 0.08), 0.66 if power == 2 else 0.86
    legs = four(
        capsule((half_x * inner, tall, half_z * inner), (half_x * inner + splay, 0.015, half_z * inner + splay), 0.022)
    )
    y = tall * rng.uniform(0.2, 0.5)
    bars = union(
        [
            box(2 * half_x * inner, 0.025, 0.025).translate((0, y, z))
            for z in (-half_z * inner - splay / 2, half_z * inner + splay / 2)
        ]
    )
    wood_ = timber(rng)
    parts = [
        Part(top, fabric(rng) if rng.random() < 0.35 else wood_),
        Part(legs + bars, wood_ if rng.random() < 0.7 else metal(rng)),
    ]
    if rng.random() < 0.3:
        parts.append(Part(box(1.8 * half_x * inner, 0.02, 1.9 * half_z * inner).translate((0, y, 0)), timber(rng)))
    return parts
