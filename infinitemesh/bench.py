"""How long this machine takes from a photograph, or from posed views, to a mesh file, and how much memory.

infinitemesh bench                                   from a drawn ball
infinitemesh bench examples/views/robot              from a folder of views: the back half alone
infinitemesh bench --model FOLDER                    a pipeline without its front half: from 12 rendered views
infinitemesh bench --all --device cuda               from views, from a photograph, and batches of 16
"""

import resource
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import torch

from infinitemesh.data.procedural import named_object
from infinitemesh.errors import InfiniteMeshError
from infinitemesh.pipeline import FRONT_HALF, STAGES, InfiniteMeshPipeline
from infinitemesh.running import Clock, each, reconstructed
from infinitemesh.stages.base import silent
from infinitemesh.stages.view_sets import check_views
from infinitemesh.types import Camera, Mesh, ViewSet
from infinitemesh.view_folder import views_from_folder

BATCH_SIZE = 16  # of `time_everything`
Made = tuple[list[Mesh], Mapping[str, float]]  # meshes, and an object's share of the seconds of every stage


def time_everything(pipeline: InfiniteMeshPipeline, *, repeats: int = 3, batch_size: int = BATCH_SIZE) -> str:
    """`time_pipeline` from 12 rendered views and, where the pipeline takes them, from photographs; single and batch."""
    sources = [rendered_views(), *([drawn_ball()] if _takes_photographs(pipeline) else [])]
    tables = [_table(pipeline, source, repeats, size) for size in (1, batch_size) for source in sources]
    return "\n\n".join(tables)


def time_pipeline(
    pipeline: InfiniteMeshPipeline, *, photo: Path | None = None, repeats: int = 3, batch_size: int = 1
) -> str:
    """A table of seconds an object (the fastest of `repeats`, after a run that is not counted) and peak memory.

    `photo` may be a folder of views. None is a drawn ball, or 12 rendered views where the pipeline takes only views.
    """
    if photo is None:
        source = drawn_ball() if _takes_photographs(pipeline) else rendered_views()
    else:
        source = views_from_folder(photo) if photo.is_dir() else photo
    return _table(pipeline, source, repeats, batch_size)


def _takes_photographs(pipeline: InfiniteMeshPipeline) -> bool:
    return all(getattr(pipeline, stage) is not None for stage in FRONT_HALF)


def _table(pipeline: InfiniteMeshPipeline, source: object, repeats: int, batch_size: int) -> str:
    """`source` is a ViewSet, or a photograph."""
    before = _peak_mib(pipeline.device)
    if isinstance(source, ViewSet):
        what = f"from {len(source)} views of {source.size} x {source.size}"
        runs = _runs(lambda: _from_views(pipeline, source, batch_size), repeats, batch_size)
    else:
        what = "from a photograph"
        runs = _runs(lambda: _from_photographs(pipeline, source, batch_size), repeats, batch_size)
    fastest = {row: min(run[row] for run in runs) for row in runs[0]}
    return "\n".join(
        [
            f"{pipeline.name}, {_machine(pipeline.device)}, {what}, batch of {batch_size}, seconds an object",
            *(f"{row.replace('_', ' '):20s} {seconds:8.3f} s" for row, seconds in fastest.items()),
            f"{'peak memory':20s} {_peak_mib(pipeline.device):8.0f} MiB ({before:.0f} MiB before the first object)",
        ]
    )


def _from_photographs(pipeline: InfiniteMeshPipeline, photo: object, batch_size: int) -> Made:
    traces = pipeline.trace_batch([photo] * batch_size)
    return [trace.mesh for trace in traces], traces[0].seconds


def _from_views(pipeline: InfiniteMeshPipeline, views: ViewSet, batch_size: int) -> Made:
    """One object as a user has it made; a batch as the pipeline goes on from the views that it made itself."""
    if batch_size == 1:
        trace = pipeline.trace_views(views)
        return [trace.mesh], trace.seconds
    clock = Clock(batch_size)
    rings = [check_views(views, least=2).to(pipeline.device)] * batch_size
    with clock.of("reconstruction", pipeline.device):
        triplanes = reconstructed(pipeline.reconstruction, rings)
    with clock.of("surface", pipeline.device):
        surfaces = each("surface", pipeline.surface, [(triplane,) for triplane in triplanes], silent)
    with clock.of("texturing", pipeline.device):
        inputs = list(zip(surfaces, triplanes, rings, strict=True))
        meshes = each("texturing", pipeline.texturing, inputs, silent)
    for mesh in meshes:
        if isinstance(mesh, InfiniteMeshError):
            raise mesh
    return [mesh.to("cpu") for mesh in meshes], clock.seconds()


def _runs(make: Callable[[], Made], repeats: int, batch_size: int) -> list[dict[str, float]]:
    """Seconds of every stage, of writing files, and in all; other programs disturb all but the processor's time."""
    runs = []
    with TemporaryDirectory() as folder:
        for _ in range(repeats + 1):
            start, processor = perf_counter(), process_time()
            meshes, seconds = make()
            made = perf_counter()
            for mesh in meshes:
                mesh.save(Path(folder) / "mesh.glb", overwrite=True)
            end = perf_counter()
            runs.append(
                {stage: seconds[stage] for stage in STAGES if stage in seconds}
                | {"writing the GLB": (end - made) / batch_size, "in all": (end - start) / batch_size}
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


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{torch.get_num_threads()} threads" if device.type == "cpu" else str(device)


def _peak_mib(device: torch.device) -> float:
    """Of the GPU since the start, or of this process, the interpreter and its libraries included."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
