"""Persons, and plush toys that sit: figures of smooth blobs that look towards +Z."""

import numpy as np

from infinitemesh.data.household_solids import Capsule, blobs, capsule, shell, tube, union
from infinitemesh.data.household_textures import (
    BLACK,
    WHITE,
    crust,
    fabric,
    glaze,
    knit,
    leather,
    plastic,
    shade,
    sticker,
    timber,
    tint,
    vivid,
)
from infinitemesh.data.procedural_parts import Part, ball, box, mirrored, rod
from infinitemesh.data.procedural_textures import Colour, Picture


def sitting_toy(rng: np.random.Generator) -> list[Part]:
    """Teddy bears, rabbits, cats and dolls that sit and look towards +Z, with the legs in front."""
    belly, head = rng.uniform(0.2, 0.28), rng.uniform(0.17, 0.26)
    tall = belly * rng.uniform(1.2, 1.9)
    chin = tall + belly * 0.4 + head * 0.5
    body: list[Capsule] = [
        ((0, belly * 0.9, 0), (0, tall, 0), belly, belly * 0.75),
        ((0, chin, 0.02), (0, chin + 0.02, 0.03), head, head * 0.95),
    ]
    snout = head * rng.uniform(0.3, 0.5)
    limb, spread = rng.uniform(0.06, 0.1), rng.uniform(0.5, 1.0)
    reach = rng.uniform(0.28, 0.42)
    ears: list[Capsule] = []
    kind = int(rng.integers(0, 4))
    for side in (-1, 1):
        hip, foot = (
            (side * belly * 0.55, limb * 1.1, belly * 0.4),
            (side * (belly * spread + 0.06), limb * 1.1, belly * 0.5 + reach),
        )
        body.append((hip, foot, limb * 1.2, limb))
        body.append((foot, (foot[0], foot[1] + limb * 0.8, foot[2]), limb * 1.05, limb * 0.9))
        hand = (side * (belly + rng.uniform(0.02, 0.16)), tall * rng.uniform(0.5, 0.9), belly * rng.uniform(0.3, 0.9))
        body.append(((side * belly * 0.7, tall * 0.98, 0), hand, limb, limb * 0.85))
        root = (side * head * 0.65, chin + head * 0.7, 0.0)
        ear_ends = {
            0: (root[0] * 1.15, root[1] + 0.02, 0.0),
            1: (root[0] * 1.1, root[1] + head * 1.3, -0.02),
            2: (root[0] * 1.25, root[1] + head * 0.5, 0.0),
            3: (root[0] * 1.7, root[1] - head * 0.7, 0.03),
        }
        ears.append(
            (
                root,
                ear_ends[kind],
                head * (0.34 if kind != 2 else 0.3),
                head * {0: 0.34, 1: 0.2, 2: 0.06, 3: 0.28}[kind],
            )
        )
    colour = tint(rng)
    picture = plush(rng, colour)
    parts = [Part(blobs([*body, *ears], blend=0.022, cells=44), picture)]
    nose_at = (0.0, chin - head * 0.2, head * 0.8)
    muzzle = ball(snout, 24).scale((1.15, 0.85, 1)).translate(nose_at)
    tummy = ball(belly * 0.75, 24).scale((1, 1.2, 0.6)).translate((0, belly * 1.1, belly * 0.55))
    pale = plush(rng, shade(colour, 1.4) if rng.random() < 0.6 else WHITE)
    parts.append(Part(muzzle + tummy if rng.random() < 0.6 else muzzle, pale))
    eyes = mirrored(ball(head * 0.13, 14).translate((head * 0.38, chin + head * 0.2, head * 0.88)))
    nose = ball(snout * 0.35, 14).translate((0, nose_at[1] + snout * 0.35, nose_at[2] + snout * 0.9))
    parts.append(Part(eyes + nose, plastic(rng, BLACK)))
    if rng.random() < 0.45:  # a bow, a scarf or a shirt
        ring_path = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        wide = belly * 0.78
        scarf = tube(
            np.stack([wide * np.cos(ring_path), 0 * ring_path + tall + belly * 0.32, wide * np.sin(ring_path)], -1),
            0.045,
            flat=1.3,
            closed=True,
        )
        parts.append(
            Part(
                scarf + capsule((0.05, tall + 0.1, belly * 0.75), (0.08, tall - 0.16, belly * 0.95), 0.035),
                knit(rng, vivid(rng)),
            )
        )
    return parts


def person(rng: np.random.Generator) -> list[Part]:
    """Dolls, action figures, statuettes and busts, looking towards +Z."""
    head, leg = rng.uniform(0.09, 0.16), rng.uniform(0.3, 0.48)
    hip, shoulder = rng.uniform(0.08, 0.12), rng.uniform(0.12, 0.19)
    waist, top = leg, leg + rng.uniform(0.26, 0.36)
    face = top + head * 1.25
    skin_colour: Colour = ((0.93, 0.76, 0.64), (0.8, 0.58, 0.42), (0.45, 0.3, 0.22), (0.85, 0.85, 0.82))[
        rng.integers(4)
    ]
    is_statue = rng.random() < 0.25
    skin: Picture = glaze(rng, tint(rng)) if is_statue else plastic(rng, skin_colour)
    stance = rng.uniform(0.06, 0.13)
    has_skirt = rng.random() < 0.35
    legs: list[Capsule] = [
        ((s * hip * 0.6, waist, 0), (s * stance, 0.06, rng.uniform(-0.04, 0.06)), 0.07, 0.05) for s in (-1, 1)
    ]
    torso: list[Capsule] = [
        ((0, waist, 0), (0, top - 0.06, 0), hip, hip * 0.95),
        ((-shoulder * 0.75, top - 0.04, 0), (shoulder * 0.75, top - 0.04, 0), 0.065, 0.065),
    ]
    arms: list[Capsule] = []
    hands = []
    for side in (-1, 1):
        elbow = (side * (shoulder + rng.uniform(0.03, 0.14)), top - rng.uniform(0.05, 0.2), rng.uniform(-0.06, 0.08))
        hand = (
            elbow[0] + side * rng.uniform(-0.08, 0.1),
            elbow[1] + rng.uniform(-0.18, 0.14),
            elbow[2] + rng.uniform(0.0, 0.14),
        )
        arms += [((side * shoulder * 0.85, top - 0.04, 0), elbow, 0.05, 0.042), (elbow, hand, 0.042, 0.035)]
        hands.append(ball(0.05, 16).translate(hand))
    skull = blobs(
        [
            ((0, face, 0), (0, face - head * 0.25, 0.01), head, head * 0.85),
            ((0, top - 0.04, 0), (0, face - head * 0.5, 0), 0.05, 0.05),
            ((0, face - 0.1 * head, head * 0.9), (0, face - 0.2 * head, head), 0.018, 0.02),
        ],
        blend=0.012,
        cells=26,
    )
    shirt, trousers = tint(rng), tint(rng)
    cloth = (lambda c: skin) if is_statue else (lambda c: fabric(rng, c))
    parts = [Part(skull + union(hands), skin), Part(blobs([*torso, *arms], blend=0.015, cells=36), cloth(shirt))]
    if has_skirt:
        flare = rng.uniform(1.6, 2.8)
        skirt = shell(
            [(-waist - 0.06, hip, hip * 0.9), (-waist * rng.uniform(0.1, 0.5), hip * flare, hip * flare)],
            0.015,
            floor=-0.01,
        ).mirror((0, 1, 0))
        parts.append(Part(skirt, cloth(trousers)))
    parts.append(Part(blobs(legs, blend=0.012, cells=30), skin if has_skirt else cloth(trousers)))
    shoes = union([capsule((s * stance, 0.035, 0.0), (s * stance, 0.03, 0.1), 0.045, 0.04) for s in (-1, 1)])
    parts.append(Part(shoes, skin if is_statue else plastic(rng)))
    eyes = mirrored(ball(head * 0.13, 12).translate((head * 0.36, face + head * 0.08, head * 0.9)))
    parts.append(Part(eyes, plastic(rng, BLACK)))
    hair = ball(head * 1.1, 24).translate((0, face + 0.15 * head, -0.16 * head)) - box(4, 4, 4).rotate(
        (-20, 0, 0)
    ).translate((0, face - 0.2 * head, 2.25 * head + 1.9))
    tuft = [hair]
    if rng.random() < 0.3:
        tuft.append(capsule((0, face, -head * 0.6), (0, top - 0.15, -head), head * 0.8, head * 0.5))
    if rng.random() < 0.3:  # a hat
        brim = rod(head * rng.uniform(1.3, 1.9), 0.02, segments=32) + rod(
            head * 0.95, head * 0.9, top_radius=head * 0.8
        ).translate((0, head * 0.45, 0))
        tuft = [brim.translate((0, face + head * 0.6, 0))]
    parts.append(Part(union(tuft), skin if is_statue else leather(rng)))
    if is_statue or rng.random() < 0.3:
        foot = rod(0.24, 0.06, segments=40) if rng.random() < 0.5 else box(0.44, 0.06, 0.36)
        parts.append(Part(foot.translate((0, -0.03, 0.02)), timber(rng) if rng.random() < 0.5 else skin))
    return parts


def plush(rng: np.random.Generator, colour: Colour) -> Picture:
    return (
        knit(rng, colour)
        if rng.random() < 0.15
        else sticker(rng, colour)
        if rng.random() < 0.05
        else crust(rng, colour, shade(colour, 0.8))
    )
