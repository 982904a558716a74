"""One photograph to one textured mesh: with the bundled weights, offline, about 20 s on two CPU cores.

They were trained briefly: the front is the photograph, unseen sides are blurred, thin parts break.

python examples/01_one_line.py --photo photo.jpg --out chair.glb
"""

from jsonargparse import auto_cli

from infinitemesh import image_to_mesh


def main(photo: str = "examples/images/robot.jpg", out: str = "robot.glb", model: str = "small"):
    image_to_mesh(photo, model=model).save(out, overwrite=True)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
