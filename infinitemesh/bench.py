"""How long this machine takes from a photograph, or from posed views, to a mesh file, and how much memory.

infinitemesh bench                                   from a drawn ball
infinitemesh bench examples/views/robot              from a folder of views: the back half alone
infinitemesh bench --model FOLDER                    a pipeline without its front half: from 12 rendered views
infinitemesh bench --all --device cuda               from views, from a photograph, and batches of 16
infinitemesh bench --all --device cuda --profile     and what every step within a stage takes
"""

import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import torch

from infinitemesh.data.procedural import named_object
from infinitemesh.errors import InfiniteMeshError
from infinitemesh.pipeline import FRONT_HALF, STAGES, InfiniteMeshPipeline
from infinitemesh.running import Clock, each, kept_on_cpu, reconstructed, save_all, workers_on
from infinitemesh.stages.base import silent
from infinitemesh.stages.view_sets import check_views
from infinitemesh.steps import Steps, recording, step
from infinitemesh.types import Camera, Mesh, ViewSet
from infinitemesh.view_folder import views_from_folder

BATCH_SIZE = 16  # of `time_everything`
Made = tuple[list[Mesh], Mapping[str, float]]  # meshes, and an object's share of the seconds of every stage


def time_everything(
    pipeline: InfiniteMeshPipeline, *, repeats: int = 3, batch_size: int = BATCH_SIZE, profile: bool = False
) -> str:
    """`time_pipeline` from 12 rendered views and, where the pipeline takes them, from photographs; single and batch."""
    sources = [rendered_views(), *([drawn_ball()] if _takes_photographs(pipeline) else [])]
    tables = [_table(pipeline, source, repeats, size, profile) for size in (1, batch_size) for source in sources]
    return "\n\n".join(tables)


def time_pipeline(
    pipeline: InfiniteMeshPipeline,
    *,
    photo: Path | None = None,
    repeats: int = 3,
    batch_size: int = 1,
    profile: bool = False,
) -> str:
    """A table of seconds an object (the fastest of `repeats`, after a run that is not counted) and peak memory.

    With `profile` a second table has the milliseconds of every step within the stages. `photo` may be a folder of
    views. None is a drawn ball, or 12 rendered views where the pipeline takes only views.
    """
    if photo is None:
        source = drawn_ball() if _takes_photographs(pipeline) else rendered_views()
    else:
        source = views_from_folder(photo) if photo.is_dir() else photo
    return _table(pipeline, source, repeats, batch_size, profile)


def _takes_photographs(pipeline: InfiniteMeshPipeline) -> bool:
    return all(getattr(pipeline, stage) is not None for stage in FRONT_HALF)


def _table(pipeline: InfiniteMeshPipeline, source: object, repeats: int, batch_size: int, profile: bool) -> str:
    """`source` is a ViewSet, or a photograph."""
    before = _peak_mib(pipeline.device)
    if isinstance(source, ViewSet):
        what = f"from {len(source)} views of {source.size} x {source.size}"
        make = partial(_from_views, pipeline, source, batch_size)
    else:
        what = "from a photograph"
        make = partial(_from_photographs, pipeline, source, batch_size)
    runs = _runs(make, repeats, batch_size)
    fastest = {row: min(run[row] for run in runs) for row in runs[0]}
    which = f"{pipeline.name}, {_machine(pipeline.device)}, {what}, batch of {batch_size}"
    return "\n".join(
        [
            f"{which}, seconds an object",
            *(f"{row.replace('_', ' '):20s} {seconds:8.3f} s" for row, seconds in fastest.items()),
            f"{'peak memory':20s} {_peak_mib(pipeline.device):8.0f} MiB ({before:.0f} MiB before the first object)",
            *(["", f"{which}, one after another, by steps", *_steps(make, repeats, batch_size)] if profile else []),
        ]
    )


def _steps(make: Callable[[], Made], repeats: int, batch_size: int) -> list[str]:
    """Milliseconds an object of every step in the fastest of `repeats` runs, in which objects do not overlap."""
    fastest = min((_recorded(make) for _ in range(repeats)), key=Steps.total)
    lines = [(f"{'  ' * (len(path) - 1)}{path[-1]}", seconds) for path, seconds in fastest.rows()]
    return [
        f"{name:32s} {1000 * seconds / batch_size:8.1f} ms" for name, seconds in [*lines, ("in all", fastest.total())]
    ]


def _recorded(make: Callable[[], Made]) -> Steps:
    with TemporaryDirectory() as folder, recording() as steps:
        meshes, _ = make()
        with step("writing the GLB"):
            save_all(meshes, _paths(folder, meshes))
    return steps


def _paths(folder: str, meshes: Sequence[Mesh]) -> list[Path]:
    return [Path(folder) / f"{number}.glb" for number in range(len(meshes))]


def _from_photographs(pipeline: InfiniteMeshPipeline, photo: object, batch_size: int) -> Made:
    traces = pipeline.trace_batch([photo] * batch_size)
    return [trace.mesh for trace in traces], traces[0].seconds


def _from_views(pipeline: InfiniteMeshPipeline, views: ViewSet, batch_size: int) -> Made:
    """One object as a user has it made; a batch as the pipeline goes on from the views that it made itself."""
    if batch_size == 1:
        trace = pipeline.trace_views(views)
        return [trace.mesh], trace.seconds
    clock, workers = Clock(batch_size), workers_on(pipeline.device)
    rings = [check_views(views, least=2).to(pipeline.device)] * batch_size
    with clock.of("reconstruction", pipeline.device):
        triplanes = reconstructed(pipeline.reconstruction, rings)
    with clock.of("surface", pipeline.device):
        alone = [(triplane,) for triplane in triplanes]
        surfaces = each("surface", pipeline.surface, alone, silent, workers=workers)
    with clock.of("texturing", pipeline.device):
        inputs = list(zip(surfaces, triplanes, rings, strict=True))
        meshes = each("texturing", kept_on_cpu(pipeline.texturing), inputs, silent, workers=workers)
    for mesh in meshes:
        if isinstance(mesh, InfiniteMeshError):
            raise mesh
    return meshes, clock.seconds()


def _runs(make: Callable[[], Made], repeats: int, batch_size: int) -> list[dict[str, float]]:
    """Seconds of every stage, of writing files, and in all; other programs disturb all but the processor's time."""
    runs = []
    with TemporaryDirectory() as folder:
        for _ in range(repeats + 1):
            start, processor = perf_counter(), process_time()
            meshes, seconds = make()
            made = perf_counter()
            save_all(meshes, _paths(folder, meshes), overwrite=True)
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
