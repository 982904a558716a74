"""How long this machine takes from a photograph to a mesh, stage by stage, and how much memory."""

import resource
import sys
from pathlib import Path
from time import perf_counter

import torch

from infinitemesh.pipeline import STAGES, InfiniteMeshPipeline


def time_pipeline(
    pipeline: InfiniteMeshPipeline, *, photo: Path | None = None, repeats: int = 3, batch_size: int = 1
) -> str:
    """A table of seconds an object (the fastest of `repeats`, after a run that is not counted) and peak memory."""
    images = [drawn_ball() if photo is None else photo] * batch_size
    pipeline.trace_batch(images)
    if pipeline.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(pipeline.device)
    runs = []
    for _ in range(repeats):
        start = perf_counter()
        trace = pipeline.trace_batch(images)[0]
        runs.append(dict(trace.seconds) | {"in all": (perf_counter() - start) / batch_size})
    fastest = {stage: min(run[stage] for run in runs) for stage in (*STAGES, "in all")}
    rows = [f"{stage.replace('_', ' '):20s} {seconds:8.3f} s" for stage, seconds in fastest.items()]
    threads = f"{torch.get_num_threads()} threads" if pipeline.device.type == "cpu" else str(pipeline.device)
    title = f"{pipeline.name}, {threads}, batch of {batch_size}, seconds an object"
    return "\n".join([title, *rows, f"{'peak memory':20s} {_peak_mib(pipeline.device):8.0f} MiB"])


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
    """Of the GPU's memory, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
