"""How long this machine takes from a photograph, or from posed views, to a mesh file, and how much memory.

infinitemesh bench                                   from a drawn ball
infinitemesh bench examples/views/robot              from a folder of views: the back half alone
infinitemesh bench --model FOLDER                    a pipeline without its front half: from 12 rendered views
"""

import resource
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import torch

from infinitemesh.data.procedural import named_object
from infinitemesh.errors import InputError
from infinitemesh.pipeline import FRONT_HALF, STAGES, InfiniteMeshPipeline
from infinitemesh.trace import Trace
from infinitemesh.types import Camera, ViewSet
from infinitemesh.view_folder import views_from_folder


def time_pipeline(
    pipeline: InfiniteMeshPipeline, *, photo: Path | None = None, repeats: int = 3, batch_size: int = 1
) -> str:
    """A table of seconds an object (the fastest of `repeats`, after a run that is not counted) and peak memory.

    `photo` may be a folder of views. None is a drawn ball, or 12 rendered views where the pipeline takes only views.
    """
    before = _peak_mib(pipeline.device)
    views = _views(pipeline, photo)
    if views is None:
        images = [drawn_ball() if photo is None else photo] * batch_size
        source = f"batch of {batch_size}"
        runs = _runs(lambda: pipeline.trace_batch(images)[0], repeats, batch_size)
    elif batch_size > 1:
        raise InputError(f"views are timed one object at a time, got a batch size of {batch_size}")
    else:
        source = f"from {len(views)} views of {views.size} x {views.size}"
        runs = _runs(lambda: pipeline.trace_views(views), repeats, 1)
    fastest = {row: min(run[row] for run in runs) for row in runs[0]}
    where = f"{torch.get_num_threads()} threads" if pipeline.device.type == "cpu" else str(pipeline.device)
    return "\n".join(
        [
            f"{pipeline.name}, {where}, {source}, seconds an object",
            *(f"{row.replace('_', ' '):20s} {seconds:8.3f} s" for row, seconds in fastest.items()),
            f"{'peak memory':20s} {_peak_mib(pipeline.device):8.0f} MiB ({before:.0f} MiB before the first object)",
        ]
    )


def _views(pipeline: InfiniteMeshPipeline, photo: Path | None) -> ViewSet | None:
    """What to start from when not from a photograph."""
    if photo is not None and photo.is_dir():
        return views_from_folder(photo)
    if photo is None and any(getattr(pipeline, stage) is None for stage in FRONT_HALF):
        return rendered_views()
    return None


def _runs(make: Callable[[], Trace], repeats: int, batch_size: int) -> list[dict[str, float]]:
    """Seconds of every stage, of writing the file, and in all; other programs disturb all but the processor's time."""
    runs = []
    with TemporaryDirectory() as folder:
        for _ in range(repeats + 1):
            start, processor = perf_counter(), process_time()
            trace = make()
            made = perf_counter()
            trace.mesh.save(Path(folder) / "mesh.glb", overwrite=True)
            saving = perf_counter() - made
            runs.append(
                {stage: trace.seconds[stage] for stage in STAGES if stage in trace.seconds}
                | {"writing the GLB": saving, "in all": (made - start) / batch_size + saving}
                | {"processor time": (process_time() - processor) / batch_size}
            )
    return runs[1:]


def rendered_views(num_views: int = 12, size: int = 256) -> ViewSet:
    """A level ring around a procedural chair, as the trained reconstruction expects it."""
    azimuths = [360.0 / num_views * k for k in range(num_views)]
    views = named_object("chair").normalized().render(Camera.orbit(azimuths), size)
    is_main = torch.tensor([azimuth % 90 == 0 for azimuth in azimuths])
    return replace(views, is_main=is_main, normal=None)


def drawn_ball(size: int = 256):
    """A shaded ball on a transparent ground, as a PIL image."""
    from PIL import Image

    at = (torch.arange(size) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(-at, at, indexing="ij")
    z = (0.36 - x**2 - y**2).clamp(min=0).sqrt() / 0.6
    light = (0.4 + 0.6 * (0.5 * x / 0.6 + 0.6 * y / 0.6 + 0.62 * z)).clamp(0, 1)
    alpha = ((0.6 - (x**2 + y**2).sqrt()) * size / 2 + 0.5).clamp(0, 1)
    pixels = torch.stack([light, light * 0.5, light * 0.2, alpha], dim=-1)
    return Image.fromarray((pixels * 255).round().to(torch.uint8).numpy())


def _peak_mib(device: torch.device) -> float:
    """Of the GPU since the start, or of this process, the interpreter and its libraries included."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
