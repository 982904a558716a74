"""From a field to its surface: chunked queries, and everything costly on the surface's cubes alone.

Only the corners of cubes that the surface passes shape the mesh. So the signed distance is asked everywhere (without
gradient), and deformation, weights and gradients only there: 2 to 4 % of the grid at resolution 128, the same mesh.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from infinitemesh.errors import GenerationError, InputError
from infinitemesh.geometry.coarse_to_fine import coarse_to_fine_sdf
from infinitemesh.geometry.flexicubes import flexicubes
from infinitemesh.geometry.flexicubes_losses import Regularity, sign_change_loss, weight_decay
from infinitemesh.geometry.voxel_grid import VoxelGrid
from infinitemesh.steps import step

MAX_DEFORMATION = 0.25 / 2.1  # of a cell: InstantMesh's tanh(d) / (4 resolution) on a grid 2.1 wide
REPAIR_RADIUS = 0.4  # of the half extent: large enough for a thousand gradients to reach the field
CHUNK = 32_768  # points a query; with 240 features about 100 MB
CUDA_CHUNKS = 8  # so many times more on a GPU, where a query of the default size is all launching; not in training


@runtime_checkable
class Field(Protocol):
    """What the surface step asks of a field, at points in the grid's own units. Outputs are float32."""

    def sdf(self, points: Float[Tensor, "p 3"]) -> Float[Tensor, " p"]:
        """Negative inside."""
        ...

    def sdf_and_deformation(self, points: Float[Tensor, "p 3"]) -> tuple[Float[Tensor, " p"], Float[Tensor, "p 3"]]:
        """The deformation is raw: tanh and the bound of a part of a cell are applied here."""
        ...

    def weights(self, corners: Float[Tensor, "c 8 3"]) -> Float[Tensor, "c 21"]:
        """Raw FlexiCubes weights from the undeformed corners of cubes: beta (12), alpha (8), gamma (1)."""
        ...


@dataclass(frozen=True)
class ExtractedSurface:
    vertices: Float[Tensor, "v 3"]
    faces: Int[Tensor, "f 3"]
    num_cubes: int  # that the surface passes
    regularity: Regularity | None  # in training only
    repaired: bool  # the field had no inside; a ball stands in for its surface (in training only)


def extract_surface(
    field: Field,
    resolution: int,
    half_extent: float = 1.0,
    *,
    training: bool = False,
    weighted_cubes: Literal["surface", "all"] = "surface",
    coarse_stride: int = 1,
    chunk: int = CHUNK,
    device: torch.device | str = "cpu",
    backend: Literal["torch", "kaolin"] = "torch",
) -> ExtractedSurface:
    """The field's closed zero level over [-half_extent, half_extent]^3; the grid's border counts as outside.

    In training the result has gradients and regularisers, and a field without any inside gets a ball for this once,
    whose gradients reach the field. Otherwise such a field, or one without outside, raises GenerationError.
    `weighted_cubes="all"` asks the weights of every cube, as the published code does: the same mesh, and a weight decay
    over all of them. `coarse_stride` n > 1 asks the signed distance at every n-th point first and then only where the
    surface can be (`coarse_to_fine_sdf`). `chunk` bounds the points a query holds; a GPU takes `CUDA_CHUNKS` at once.
    """
    grid = VoxelGrid(resolution, half_extent)
    if resolution < 3:
        raise InputError(f"a surface needs a grid of resolution 3 or more, got {resolution}")
    chunk *= CUDA_CHUNKS if torch.device(device).type == "cuda" and not training else 1
    all_cubes = weighted_cubes == "all" or backend == "kaolin"
    border = grid.border(device=device)

    with torch.no_grad():
        with step("signed distances"):
            raw = _grid_sdf(field, grid, coarse_stride, chunk, device)
        sdf, repaired = _usable(raw, border, grid, training=training)
    surface = grid.surface_cube_ids(sdf)
    cube_ids = torch.arange(grid.num_cubes, device=device) if all_cubes else surface
    cubes = grid.cubes(cube_ids)

    near = torch.zeros_like(border).index_fill_(0, grid.cubes(surface).flatten(), True).nonzero()[:, 0]
    with step("deformation"):
        near_sdf, raw_deformation = _in_chunks(field.sdf_and_deformation, grid.points(near), chunk)
    if training:  # values of the first pass, so that signs cannot flip; gradients of this one, through the repair too
        sdf = sdf.index_put((near,), near_sdf + (sdf[near] - near_sdf).detach())
    points = grid.points(device=device)
    vertices = points.index_add(0, near, raw_deformation.tanh() * (MAX_DEFORMATION * grid.cell))
    with step("weights"):
        (weights,) = _in_chunks(lambda ids: (field.weights(points[grid.cubes(ids)]),), cube_ids, max(chunk // 8, 1))

    mesh = flexicubes(
        vertices,
        sdf,
        cubes,
        resolution,
        beta=weights[:, :12],
        alpha=weights[:, 12:20],
        gamma=weights[:, 20],
        training=training,
        backend=backend,
    )
    regularity = (
        Regularity(mesh.L_dev.mean(), sign_change_loss(sdf, resolution), weight_decay(weights)) if training else None
    )
    return ExtractedSurface(mesh.vertices, mesh.faces, len(surface), regularity, repaired)


def _grid_sdf(
    field: Field, grid: VoxelGrid, coarse_stride: int, chunk: int, device: torch.device | str
) -> Float[Tensor, " p"]:
    def at(ids: Int[Tensor, " p"]) -> Float[Tensor, " p"]:
        return _in_chunks(lambda part: (field.sdf(grid.points(part)),), ids, chunk)[0]

    if coarse_stride == 1:
        return at(torch.arange(grid.num_points, device=device))
    return coarse_to_fine_sdf(at, grid, coarse_stride, device=device)


def _in_chunks(query: Callable[[Tensor], tuple[Tensor, ...]], inputs: Tensor, chunk: int) -> tuple[Tensor, ...]:
    """Rows of `inputs` through `query`, `chunk` at a time."""
    return tuple(torch.cat(parts) for parts in zip(*map(query, inputs.split(chunk)), strict=True))


def _usable(
    raw: Float[Tensor, " p"], border: Bool[Tensor, " p"], grid: VoxelGrid, *, training: bool
) -> tuple[Float[Tensor, " p"], bool]:
    """The values with an outside border and, in training, with an inside; and whether that had to be made."""
    interior = raw[~border]
    low, high = float(interior.min()), float(interior.max())
    seen = f"signed distances in [{low:.4g}, {high:.4g}] at {len(interior):,} points inside the grid"
    if not torch.isfinite(raw).all():
        raise GenerationError(
            f"the field is not finite ({seen}): check the weights and the views for NaN, or use a wider dtype than fp16"
        )
    sdf = torch.where(border, raw.abs(), raw)
    if low < 0 and (high >= 0 or training):
        return sdf, False
    if not training:
        kind = "empty, outside everywhere" if low >= 0 else "full, inside everywhere"
        raise GenerationError(
            f"the field is {kind} ({seen}; negative is inside), so it has no surface: look at the views' foreground "
            "and cameras (no object in the alpha, or views that contradict each other), and at the weights"
        )
    ball = grid.points(device=raw.device).norm(dim=-1) - REPAIR_RADIUS * grid.half_extent
    return torch.minimum(sdf, ball), True
