"""Draws truth beside result for named procedural objects: twelve level views in, the mesh out.

python examples/make_sheet.py --out docs/truth_and_result.jpg
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jsonargparse import auto_cli

from infinitemesh import Camera, InfiniteMeshPipeline
from infinitemesh.data.procedural import named_object
from infinitemesh.render.sheet import contact_sheet

OBJECTS = ("robot", "toy_car", "chair", "mug", "cake", "boat", "teapot", "house")
SEEN_FROM = Camera.orbit([0.0, 45.0, 90.0, 200.0], [0.0, 25.0, 10.0, 25.0])


def main(out: str = "docs/truth_and_result.jpg", model: str = "small", names: Sequence[str] = OBJECTS, size: int = 192):
    pipeline = InfiniteMeshPipeline.from_pretrained(model)
    rows = []
    for seed, name in enumerate(names):
        truth = named_object(name, seed).normalized()
        ring = truth.render(Camera.orbit(torch.arange(12) * 30.0), 256)
        result = pipeline.views_to_mesh(replace(ring, is_main=torch.arange(12) % 3 == 0))
        rows += [truth.render(SEEN_FROM, size).composite(), result.render(SEEN_FROM, size).composite()]
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(torch.cat(rows), columns=2 * len(SEEN_FROM)).save(out, quality=88)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
