"""How stages are run by the pipeline: timed, one object's failure apart from the others', memory errors as advice."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from infinitemesh.errors import GenerationError, InfiniteMeshError
from infinitemesh.stages.base import OnProgress, counted
from infinitemesh.stages.reconstruction import Reconstruction, TriplaneReconstruction
from infinitemesh.steps import is_recording, step
from infinitemesh.turns import aside, in_turns
from infinitemesh.types import Mesh, Triplane, ViewSet

MOST_WORKERS = 8  # objects of a batch under way at once: each holds its mesh on the GPU
ADVICE = {
    "foreground": "give a smaller photograph",
    "main_views": "use dtype=torch.float16 or fewer photographs at once",
    "view_interpolation": "use dtype=torch.float16, fewer views (num_between) or fewer photographs at once",
    "reconstruction": "use dtype=torch.float16, fewer views (num_between) or fewer photographs at once",
    "surface": "use a smaller grid",
    "texturing": "use a smaller texture_size",
}


class Clock:
    """Seconds of every stage, shared out over the objects of a batch."""

    def __init__(self, objects: int):
        self.objects, self.spent = max(objects, 1), {}

    @contextmanager
    def of(self, stage: str, device: torch.device) -> Iterator[None]:
        start = perf_counter()
        try:
            with step(stage.replace("_", " ")):
                yield
        except torch.OutOfMemoryError as error:
            raise GenerationError(f"{stage} ran out of memory: {ADVICE[stage]}, or enable_offload()") from error
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        self.spent[stage] = perf_counter() - start

    def seconds(self) -> dict[str, float]:
        return {stage: round(total / self.objects, 4) for stage, total in self.spent.items()}


def each(
    name: str,
    stage: Callable[..., Any],
    inputs: Sequence[tuple[Any, ...]],
    on_progress: OnProgress,
    *,
    workers: int = 1,
) -> list[Any]:
    """The stage's answer for each object, or its error: one object does not stop the others.

    With several `workers` objects take turns (`infinitemesh.turns`); answers and progress are the same, in order.
    """

    def answer(parts: tuple[Any, ...]) -> Any:
        failed = next((part for part in parts if isinstance(part, InfiniteMeshError)), None)
        try:
            return failed or stage(*parts)
        except InfiniteMeshError as error:
            return error

    with closing(in_turns(answer, inputs, workers)) as answers:
        return [next(answers) for _ in counted(name, inputs, on_progress)]


def kept_on_cpu(stage: Callable[..., Mesh]) -> Callable[..., Mesh]:
    """The stage, whose meshes leave the GPU while the next object has its turn."""

    def made(*parts: Any) -> Mesh:
        mesh = stage(*parts)
        with step("to the CPU"), aside():
            return mesh.to("cpu")

    return made


def save_all(meshes: Sequence[Mesh], paths: Sequence[Path], *, overwrite: bool = False) -> None:
    """Writes the meshes of a batch at once; most of that is compression, which cores share."""
    workers = 1 if is_recording() else min(len(meshes), torch.get_num_threads())
    if workers <= 1:
        for mesh, path in zip(meshes, paths, strict=True):
            mesh.save(path, overwrite=overwrite)
        return
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(partial(Mesh.save, overwrite=overwrite), meshes, paths))


def workers_on(device: torch.device) -> int:
    """Threads for the objects of a batch: 1 on a CPU, whose cores torch shares out already; never more than torch's."""
    if device.type != "cuda" or is_recording() or torch.is_autocast_enabled(device.type):  # autocast is a thread's own
        return 1
    return min(MOST_WORKERS, torch.get_num_threads())


def reconstructed(
    stage: Reconstruction, rings: Sequence[ViewSet], true: Sequence[ViewSet] | None = None
) -> list[Triplane]:
    """Rings of one length and size share a call. `true` are of each ring the views that it was made of, if not all."""
    jobs = list(zip(rings, true or [None] * len(rings), strict=True))
    if not isinstance(stage, TriplaneReconstruction):
        return [stage(ring) if some is None else stage.from_true(ring, some) for ring, some in jobs]
    alike = defaultdict(list)
    for number, (ring, some) in enumerate(jobs):
        made_of = None if some is None else (len(some), some.size)
        alike[len(ring), ring.size, ring.camera.projection, made_of].append(number)
    made: dict[int, Triplane] = {}
    for numbers in alike.values():
        of_these = [true[k] for k in numbers] if true else None
        made |= dict(zip(numbers, stage.batch([rings[k] for k in numbers], of_these), strict=True))
    return [made[number] for number in range(len(rings))]
