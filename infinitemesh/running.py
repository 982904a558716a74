"""How stages are run by the pipeline: timed, one object's failure apart from the others', memory errors as advice."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import torch

from infinitemesh.errors import GenerationError, InfiniteMeshError
from infinitemesh.stages.base import OnProgress, counted
from infinitemesh.stages.reconstruction import Reconstruction, TriplaneReconstruction
from infinitemesh.types import Triplane, ViewSet

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
            yield
        except torch.OutOfMemoryError as error:
            raise GenerationError(f"{stage} ran out of memory: {ADVICE[stage]}, or enable_offload()") from error
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        self.spent[stage] = perf_counter() - start

    def seconds(self) -> dict[str, float]:
        return {stage: round(total / self.objects, 4) for stage, total in self.spent.items()}


def each(name: str, stage: Callable[..., Any], inputs: Sequence[tuple[Any, ...]], on_progress: OnProgress) -> list[Any]:
    """The stage's answer for each object, or its error: one object does not stop the others."""
    answers = []
    for parts in counted(name, inputs, on_progress):
        failed = next((part for part in parts if isinstance(part, InfiniteMeshError)), None)
        try:
            answers.append(failed or stage(*parts))
        except InfiniteMeshError as error:
            answers.append(error)
    return answers


def reconstructed(stage: Reconstruction, rings: Sequence[ViewSet]) -> list[Triplane]:
    """Rings of one length and size share a call."""
    if not isinstance(stage, TriplaneReconstruction):
        return [stage(ring) for ring in rings]
    alike = defaultdict(list)
    for number, ring in enumerate(rings):
        alike[len(ring), ring.size, ring.camera.projection].append(number)
    made: dict[int, Triplane] = {}
    for numbers in alike.values():
        made |= dict(zip(numbers, stage.batch([rings[k] for k in numbers]), strict=True))
    return [made[number] for number in range(len(rings))]
