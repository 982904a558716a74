"""`infinitemesh`: the command line. Parsing only; what a command does is in `commands`, imported when it is asked for.

    infinitemesh mesh photo.jpg -o chair.glb
    infinitemesh mesh views/ -o chair.glb              a folder of posed views (cameras.json)
    infinitemesh mesh --view 0=front.png --view 90=right.png -o chair.glb
    infinitemesh mesh photos/*.jpg -o meshes/          a batch
    infinitemesh views photo.jpg -o views/
    infinitemesh render chair.glb -o turn.webp

Exit status: 0 done, 1 an error of ours (one line on stderr; --debug shows where), 2 a wrong command line, 130 stopped.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from infinitemesh import __version__
from infinitemesh.errors import InfiniteMeshError
from infinitemesh.threads import share_processor

HANDED_ON = {"train": ("infinitemesh.train.command", "train_command")}  # these parse their own words
COMMANDS = "infinitemesh.commands"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    share_processor()  # before torch is imported
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        if words and words[0] in HANDED_ON:
            module, function = HANDED_ON[words[0]]
            getattr(import_module(module), function)(words[1:])
            return 0
        parsed = {name: value for name, value in vars(_parser().parse_args(words)).items() if name != "debug"}
        run = getattr(import_module(COMMANDS), parsed.pop("run"))
        if line := run(**parsed):
            print(line)
        return 0
    except InfiniteMeshError as error:
        if debug:
            raise
        print(f"infinitemesh: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("infinitemesh: stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="infinitemesh", description="One photograph of an object in, one textured mesh out.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"infinitemesh {__version__}")
    parser.add_argument("--debug", action="store_true", help="show where an error came from")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, help_, add in (
        ("mesh", "photographs or posed views to textured meshes", _mesh),
        ("views", "a photograph to views around the object", _views),
        ("render", "pictures or a turntable of a mesh", _render),
        ("evaluate", "measure by a named protocol", _evaluate),
        ("convert", "a public checkpoint to a network folder", _convert),
        ("bench", "time the pipeline on this machine", _bench),
        ("demo", "a page in the browser, on this machine", _demo),
    ):
        command = commands.add_parser(name, help=help_, description=help_.capitalize() + ".", allow_abbrev=False)
        add(command)
        command.set_defaults(run=name)
    commands.add_parser("train", help="train a network (its own options: infinitemesh train --help)", add_help=False)
    return parser


def _mesh(command: argparse.ArgumentParser) -> None:
    command.add_argument("inputs", nargs="*", type=Path, metavar="INPUT", help="photographs, or one folder of views")
    command.add_argument("-o", "--out", type=Path, required=True, help="mesh file, or a folder for several photographs")
    command.add_argument(
        "--view",
        action="append",
        type=_view,
        dest="given",
        metavar="AZIMUTH=PICTURE",
        help="your own picture at an azimuth (0 front, 90 right); repeat for more; missing main views are made",
    )
    command.add_argument("--interpolate", action="store_true", help="fill the gaps of a folder of views first")
    command.add_argument("--save-intermediates", type=Path, metavar="DIR", help="also write everything in between")
    command.add_argument(
        "--turntable", type=Path, metavar="FILE", help="also write a film of the mesh (.webp .gif .mp4)"
    )
    command.add_argument("--batch-size", type=_positive, default=4, help="photographs at once (%(default)s)")
    _settings(command)
    group = command.add_argument_group("mesh")
    group.add_argument("--faces", type=_positive, help="bound on the number of triangles")
    group.add_argument("--grid", type=_positive, help="resolution that the surface is extracted at")
    group.add_argument("--texture-size", type=_natural, help="pixels a side; 0 colours vertices instead")
    _machine(command)


def _views(command: argparse.ArgumentParser) -> None:
    command.add_argument("photo", type=Path)
    command.add_argument("-o", "--out", type=Path, required=True, help="folder for the views and cameras.json")
    _settings(command)
    _machine(command)


def _render(command: argparse.ArgumentParser) -> None:
    command.add_argument("mesh", type=Path)
    command.add_argument("-o", "--out", type=Path, required=True, help="turntable (.webp .gif .mp4) or pictures (.png)")
    command.add_argument("--azimuth", type=float, nargs="+", default=[0.0, 90.0, 180.0, 270.0], metavar="DEG")
    command.add_argument("--elevation", type=float, nargs="+", default=[0.0], metavar="DEG", help="all, or one each")
    command.add_argument("--perspective", action="store_true", help="instead of orthographic")
    command.add_argument("--size", type=_positive, default=512, help="pixels a side (%(default)s)")
    command.add_argument("--frames", type=_positive, default=48, help="of a turntable (%(default)s)")
    command.add_argument("--overwrite", action="store_true")


def _evaluate(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "protocol", help="a protocol's name or file; `recipe FILE`; `readme [RECIPE ...]`; `tables FOLDER ...`"
    )
    command.add_argument("more", nargs="*", type=Path, metavar="PATH")
    command.add_argument("--data", type=Path, help="folder of true meshes")
    command.add_argument("-o", "--out", type=Path)
    command.add_argument("--pipeline", help="preset, folder or hub id")
    command.add_argument("--meshes", type=Path, help="folder of finished meshes, instead of a pipeline")
    command.add_argument("--set", action="append", default=[], dest="settings", metavar="STAGE.SETTING=VALUE")
    command.add_argument("--name", help="of the system, in tables")
    command.add_argument("--frame", choices=("world", "photo"), default="world", help="of finished meshes")
    command.add_argument("--baselines", action="store_true", help="also measure what needs no network")
    command.add_argument("--objects", nargs="+", help="some of the data's objects")
    command.add_argument("--readme", type=Path, default=Path("README.md"), help="whose tables `readme` makes")
    command.add_argument("--workers", type=_positive, help="processes that measure: 1, or with a GPU up to 4")
    command.add_argument("--batch-size", type=_positive, help="objects made at once: 1, or with a GPU 8")
    command.add_argument("--ray", action="store_true", help="share the objects out over the machines of a ray cluster")
    command.add_argument("--cache", type=Path, help="folder for what is measured of the truth")
    command.add_argument(
        "--lpips", metavar="NET|FILE", help="squeeze, alex or vgg by torchmetrics, or a weights file of LPIPS-squeeze"
    )
    command.add_argument("--device", default="cpu", help="auto, cpu, cuda, ... (%(default)s)")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--no-resume", action="store_false", dest="resume")
    command.add_argument("--overwrite", action="store_true", help="an existing file of tables")


def _convert(command: argparse.ArgumentParser) -> None:
    command.add_argument("kind", choices=("wonder3d", "zero123", "instantmesh"))
    command.add_argument(
        "source",
        type=Path,
        help="wonder3d: the release's unet folder; zero123: the checkpoint; instantmesh: instant_mesh_large.ckpt",
    )
    command.add_argument("-o", "--out", type=Path, required=True, help="folder for the converted networks")
    command.add_argument("--without-cross-domain", action="store_true", help="wonder3d: the colour-only network")
    command.add_argument(
        "--fusion",
        choices=("joint", "neighbour", "per_view", "channel"),
        help="instantmesh: adds the fusion of views to be trained; untrained it changes nothing",
    )
    command.add_argument("--overwrite", action="store_true")


def _bench(command: argparse.ArgumentParser) -> None:
    command.add_argument("photo", type=Path, nargs="?", help="a photograph; a drawn ball if none is given")
    command.add_argument("--repeats", type=_positive, default=3)
    command.add_argument("--batch-size", type=_positive, help="objects at once (1; with --all 16)")
    command.add_argument("--all", action="store_true", dest="everything", help="from views and photographs, in batches")
    command.add_argument("--profile", action="store_true", help="also milliseconds of every step within the stages")
    command.add_argument("--fresh", action="store_true", help="untrained networks of the preset's size")
    command.add_argument("--model", default="small")
    _machine(command, output=False)


def _demo(command: argparse.ArgumentParser) -> None:
    command.add_argument("--port", type=_positive, default=7860, help="of this machine (%(default)s)")
    command.add_argument("--model", default="small", help="preset, folder or hub id (%(default)s)")
    _machine(command, output=False)


def _settings(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("views")
    group.add_argument("--model", default="small", help="preset, folder or hub id (%(default)s)")
    group.add_argument("--seed", type=int, default=0)
    group.add_argument("--steps", type=_positive, help="of every diffusion")
    group.add_argument("--guidance", type=float, help="classifier-free guidance; 1 is none")
    group.add_argument("--sampler", choices=("ddim", "dpm++", "unipc"))
    group.add_argument("--num-between", type=_positive, metavar="N", help="new views in every gap")
    group.add_argument("--trajectory", type=_trajectory, help="flat, +15/-15, +30/-15, +30/-30 or AZ,EL;AZ,EL;...")
    group.add_argument("--levels", type=_positive, help="how often interpolation is applied to its own output")


def _machine(command: argparse.ArgumentParser, *, output: bool = True) -> None:
    group = command.add_argument_group("machine")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (%(default)s)")
    group.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32")
    group.add_argument("--compile", action="store_true", help="torch.compile: slow to start, then faster")
    group.add_argument("--offload", action="store_true", help="keep only the running stage on the GPU")
    if output:
        group.add_argument("--overwrite", action="store_true")
        group.add_argument("--quiet", action="store_true", help="no progress bars")


def _positive(text: str) -> int:
    return _checked(int(text), lambda value: value > 0, "at least 1")


def _natural(text: str) -> int:
    return _checked(int(text), lambda value: value >= 0, "at least 0")


def _checked(value: Any, good: Callable[[Any], bool], needed: str) -> Any:
    if not good(value):
        raise argparse.ArgumentTypeError(f"{value} must be {needed}")
    return value


def _view(text: str) -> tuple[float, Path]:
    azimuth, _, picture = text.partition("=")
    try:
        return float(azimuth), Path(_checked(picture, bool, "a file"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not AZIMUTH=PICTURE, such as 90=right.png") from None


def _trajectory(text: str) -> str | tuple[tuple[float, float], ...]:
    """A name as it is; `AZ,EL;AZ,EL` as poses. Names are checked where they are used."""
    if "," not in text:
        return text
    try:
        poses = [tuple(float(number) for number in pose.split(",")) for pose in text.split(";")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of AZ,EL;AZ,EL") from None
    return tuple(_checked(pose, lambda p: len(p) == 2, "azimuth,elevation") for pose in poses)


if __name__ == "__main__":
    sys.exit(main())
