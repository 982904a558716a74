"""Films of one turn around a mesh."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from infinitemesh.errors import InputError, MissingBackend
from infinitemesh.files import atomic_write
from infinitemesh.render.shading import render_mesh
from infinitemesh.render.sheet import to_pictures
from infinitemesh.types import Camera, Mesh

SECONDS_A_TURN = 4.0
ELEVATION_DEG = 15.0
FRAMES_AT_ONCE = 8
SUFFIXES = (".gif", ".webp", ".mp4")


def save_turntable(mesh: Mesh, path: str | Path, *, frames: int = 48, size: int = 512, overwrite: bool = False) -> Path:
    """Writes a looping film of the mesh on white, centred and scaled to fit; the camera walks from front to right.

    The suffix chooses: .gif, .webp, or .mp4 (needs the `video` extra and an even size).
    """
    path = Path(path)
    check_turntable(path, frames=frames, size=size)
    suffix = path.suffix.lower()
    with atomic_write(path, overwrite=overwrite) as temporary:
        pictures = _turn(mesh.normalized(), frames, size)
        if suffix == ".mp4":
            _write_video(temporary, pictures, frames, size)
        else:
            first = next(pictures)
            options: dict[str, Any] = {"quality": 85} if suffix == ".webp" else {"disposal": 1}
            duration_ms = max(20, round(1000 * SECONDS_A_TURN / frames))  # viewers slow shorter ones down
            first.save(temporary, save_all=True, append_images=pictures, duration=duration_ms, loop=0, **options)
    return path


def check_turntable(path: Path, *, frames: int = 48, size: int = 512) -> None:
    """Raises, before any work, what `save_turntable` would of its file's format."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"a turntable is written as {', '.join(SUFFIXES)}, got {path.name!r}")
    if frames < 1:
        raise InputError(f"a turntable needs at least 1 frame, got {frames}")
    if suffix == ".mp4":
        _check_video(size)


def _turn(mesh: Mesh, frames: int, size: int) -> Iterator[Image.Image]:
    azimuths_deg = torch.arange(frames) * (360 / frames)
    for some in azimuths_deg.split(FRAMES_AT_ONCE):
        views = render_mesh(mesh, Camera.orbit(some, ELEVATION_DEG, projection="perspective"), size)
        yield from to_pictures(views.composite())


def _check_video(size: int) -> None:
    try:
        import imageio_ffmpeg  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingBackend(
            "an .mp4 is encoded by imageio-ffmpeg, which is missing: pip install 'infinitemesh[video]', or write .webp"
        ) from error
    if size % 2:
        raise InputError(f"an .mp4 needs an even size, got {size}")


def _write_video(path: Path, pictures: Iterator[Image.Image], frames: int, size: int) -> None:
    import imageio_ffmpeg  # pyright: ignore[reportMissingImports]

    writer = imageio_ffmpeg.write_frames(
        str(path), (size, size), fps=frames / SECONDS_A_TURN, codec="libx264", quality=8, macro_block_size=2
    )
    writer.send(None)
    try:
        for picture in pictures:
            writer.send(np.asarray(picture).tobytes())
    finally:
        writer.close()
