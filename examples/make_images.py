"""Draws what the examples show, from named procedural objects: lit pictures before a plain wall (`images`), and rings
of twelve posed views (`views`), as the reconstruction takes them.

python examples/make_images.py --out examples
"""

from dataclasses import replace
from pathlib import Path

import torch
from einops import rearrange
from jsonargparse import auto_cli
from PIL import Image

from infinitemesh import Camera, ViewSet, save_views
from infinitemesh.data.procedural import named_object

SIZE = 512
VIEWS = {  # seed, azimuth, elevation, wall: as one would hold a camera
    "robot": (3, 0.0, 5.0, (0.78, 0.82, 0.86)),
    "chair": (1, 20.0, 12.0, (0.90, 0.88, 0.84)),
    "mug": (2, -15.0, 15.0, (0.60, 0.66, 0.62)),
    "toy_car": (4, 35.0, 15.0, (0.86, 0.80, 0.72)),
    "cake": (5, 0.0, 18.0, (0.72, 0.78, 0.84)),
    "boat": (6, 60.0, 10.0, (0.82, 0.86, 0.88)),
}
RINGS = ("robot", "toy_car")
LIGHT = (0.35, 0.75, 0.56)  # from the right, above and the front


def photograph(name: str) -> Image.Image:
    seed, azimuth, elevation, wall = VIEWS[name]
    camera = Camera.orbit([azimuth], [elevation], projection="perspective", fov_deg=30.0, distance=3.6)
    view = named_object(name, seed).normalized().render(camera, 2 * SIZE)
    to_camera = camera.cam_from_world[0, :3, :3]
    light = torch.tensor(LIGHT) @ to_camera  # the lamp moves with the camera
    facing = (view.normal * light[None, :, None, None]).sum(1, keepdim=True)
    lit = view.rgb * (0.5 + 0.6 * facing.clamp(min=0))
    down = torch.linspace(1.06, 0.86, 2 * SIZE)[None, None, :, None]
    picture = lit * view.alpha + torch.tensor(wall)[None, :, None, None] * down * (1 - view.alpha)
    small = torch.nn.functional.avg_pool2d(picture, 2).clamp(0, 1)
    return Image.fromarray((rearrange(small, "1 c h w -> h w c") * 255).round().to(torch.uint8).numpy())


def ring(name: str) -> ViewSet:
    """Four main views and two between each pair, at 256 pixels; the object's longest side is 1."""
    views = named_object(name, VIEWS[name][0]).normalized().render(Camera.orbit(torch.arange(12) * 30.0), 256)
    return replace(views, is_main=torch.arange(12) % 3 == 0)


def main(out: str = "examples"):
    for name in VIEWS:
        photograph(name).save(Path(out) / "images" / f"{name}.jpg", quality=90)
    for name in RINGS:
        save_views(ring(name), Path(out) / "views" / name, overwrite=True)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
