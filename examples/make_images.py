"""Draws the pictures in examples/images: named procedural objects, lit, before a plain wall, as a camera sees them.

python examples/make_images.py --out examples/images
"""

from pathlib import Path

import torch
from einops import rearrange
from jsonargparse import auto_cli
from PIL import Image

from infinitemesh import Camera
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


def main(out: str = "examples/images"):
    for name in VIEWS:
        photograph(name).save(Path(out) / f"{name}.jpg", quality=90)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
