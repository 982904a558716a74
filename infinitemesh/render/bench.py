"""`python -m infinitemesh.render.bench [cpu|cuda]`: the torch rasteriser's times and its agreement with Embree."""

import math
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from infinitemesh.errors import MissingBackend
from infinitemesh.render.embree import embree_hits
from infinitemesh.render.shading import clip_positions, shade, shade_packed
from infinitemesh.render.torch_rasterizer import TorchRasterizer
from infinitemesh.types import Camera

SIZE = 512
PACKED_IMAGES, PACKED_SIZE, PACKED_ROWS = 384, 192, 51  # 2 x 51 x 51 faces an image: 2.0 million in all


def bumpy_torus(rows: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """A closed torus with ripples, of 2 rows^2 faces."""
    turn = torch.arange(rows, device=device) * (2 * math.pi / rows)
    a, b = (x.reshape(-1) for x in torch.meshgrid(turn, turn, indexing="ij"))
    thickness = 0.2 + 0.03 * torch.sin(7 * a) * torch.cos(5 * b)
    ring = 0.5 + thickness * b.cos()
    vertices = torch.stack([ring * a.cos(), ring * a.sin(), thickness * b.sin()], dim=-1)
    i, j = (x.reshape(-1) for x in torch.meshgrid(*[torch.arange(rows, device=device)] * 2, indexing="ij"))
    after_i, after_j = (i + 1) % rows, (j + 1) % rows
    p, q, r, s = i * rows + j, after_i * rows + j, after_i * rows + after_j, i * rows + after_j
    return vertices, torch.cat([torch.stack([p, q, r], -1), torch.stack([p, r, s], -1)])


def main(device: str = "cpu") -> None:
    if device == "cpu":
        torch.set_num_threads(1)
    for rows in (152, 307):
        _one_mesh(rows, device)
    if device != "cpu":
        _packed(device)


def _one_mesh(rows: int, device: str) -> None:
    vertices, faces = bumpy_torus(rows, device)
    camera = Camera.orbit([30.0], [25.0], projection="perspective", device=device)
    vertices.requires_grad_()
    rasterizer, clip = TorchRasterizer(), clip_positions(vertices.detach(), camera)
    visibility = _seconds(lambda: rasterizer.rasterize(clip, faces, (SIZE, SIZE)), device)
    forward = _seconds(lambda: shade(vertices, faces, camera, SIZE), device)
    both = _seconds(lambda: _descend(shade(vertices, faces, camera, SIZE), vertices), device)
    _say(
        f"{len(faces):,} faces at {SIZE}^2 on {device}: ids and barycentrics {visibility:.4f} s, "
        f"forward with antialiasing {forward:.4f} s, backward {both - forward:.4f} s"
    )
    try:
        expected, _, _ = embree_hits(vertices, faces, *(x[0] for x in camera.rays(SIZE)))
    except MissingBackend as error:
        return _say(str(error))
    seen = rasterizer.rasterize(clip, faces, (SIZE, SIZE)).triangle[0].cpu()
    share = (seen == expected).double().mean().item()
    return _say(f"  the same triangle as Embree on {100 * share:.4f} % of pixels ({(expected >= 0).sum()} are hit)")


def _packed(device: str) -> None:
    vertices, faces = bumpy_torus(PACKED_ROWS, device)
    image = torch.arange(PACKED_IMAGES, device=device)
    packed = vertices.repeat(PACKED_IMAGES, 1).requires_grad_()
    packed_faces = (faces[None] + image[:, None, None] * len(vertices)).reshape(-1, 3)
    image_of_vertex, image_of_face = image.repeat_interleave(len(vertices)), image.repeat_interleave(len(faces))
    camera = Camera.orbit(torch.arange(PACKED_IMAGES) * 7.0, 20.0, device=device)

    def draw():
        return shade_packed(packed, packed_faces, image_of_vertex, image_of_face, camera, PACKED_SIZE)

    forward = _seconds(draw, device)
    both = _seconds(lambda: _descend(draw(), packed), device)
    _say(
        f"{PACKED_IMAGES} packed images of {PACKED_SIZE}^2, {len(packed_faces):,} faces: forward {forward:.4f} s, "
        f"backward {both - forward:.4f} s, peak {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"
    )


def _descend(rendered, vertices: Tensor) -> None:
    torch.autograd.grad(rendered.alpha.sum() + rendered.depth.sum() + rendered.normal.sum(), vertices)


def _seconds(work: Callable[[], object], device: str, repeats: int = 5) -> float:
    """The best of some runs after a first one."""
    best = math.inf
    for i in range(repeats + 1):
        start = time.perf_counter()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        if i > 0:
            best = min(best, time.perf_counter() - start)
    return best


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:2])
