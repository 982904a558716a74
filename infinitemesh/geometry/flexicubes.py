"""FlexiCubes (Shen et al., 2023): a differentiable mesh of a scalar field's zero level, negative inside.

Each cube that the surface passes gets a dual vertex per piece of surface, at a weighted mean of its edges' crossings;
each grid edge that crosses, with its four cubes, gives a quad. The weights (alpha at corners, beta at edges, gamma for
the quads' diagonals) let a network move vertices to sharp features. `extract_surface` goes from a field to a mesh.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from infinitemesh.errors import InputError, MissingBackend
from infinitemesh.geometry.flexicubes_losses import deviation
from infinitemesh.geometry.flexicubes_tables import EDGE_CORNERS, CaseTables, case_tables
from infinitemesh.geometry.voxel_grid import VoxelGrid
from infinitemesh.steps import step

WEIGHT_SCALE = 0.5  # InstantMesh's; how far the weights may move from neutral (FlexiCubes' own default is 0.99)
BLOCK = 65_536  # cubes whose edges are held at once, about 2 kB each


@dataclass(frozen=True)
class FlexiCubesMesh:
    """Triangles counter-clockwise seen from outside (where the field is positive). All empty where nothing crosses."""

    vertices: Float[Tensor, "v 3"]
    faces: Int[Tensor, "f 3"]
    L_dev: Float[Tensor, " e"]  # one term an edge of a dual vertex; the loss is their mean


@step("flexicubes")
def flexicubes(
    vertices: Float[Tensor, "p 3"],
    sdf: Float[Tensor, " p"],
    cubes: Int[Tensor, "c 8"],
    resolution: int,
    *,
    beta: Float[Tensor, "c 12"] | None = None,
    alpha: Float[Tensor, "c 8"] | None = None,
    gamma: Float[Tensor, " c"] | None = None,
    training: bool = False,
    weight_scale: float = WEIGHT_SCALE,
    backend: Literal["torch", "kaolin"] = "torch",
) -> FlexiCubesMesh:
    """The surface between the grid's inside (sdf < 0) and outside.

    `vertices` are the (resolution + 1)^3 points of the grid, deformed or not. `cubes` and the raw, unbounded weights of
    the same rows may be given for the cubes that cross alone (`VoxelGrid.surface_cube_ids`): others change nothing.
    None means neutral weights. In training a quad becomes four triangles around a gamma-weighted centre, so that gamma
    has a gradient; otherwise two triangles along the diagonal that gamma prefers. A surface that reaches the grid's
    border stays open there.
    """
    grid = VoxelGrid(resolution)
    if vertices.shape[0] != grid.num_points:
        raise InputError(
            f"a grid of resolution {resolution} has {grid.num_points} points, got {vertices.shape[0]}: "
            "give all grid points in lexicographic order (VoxelGrid.points)"
        )
    if backend == "kaolin":
        return _kaolin_flexicubes(vertices, sdf, cubes, resolution, beta, alpha, gamma, training, weight_scale)

    crossing = _crosses(sdf, cubes)
    cubes = cubes[crossing]
    beta, alpha, gamma = _bounded_weights(
        *(None if w is None else w[crossing] for w in (beta, alpha, gamma)), cubes=cubes, sdf=sdf, scale=weight_scale
    )
    tables = case_tables(sdf.device)
    row_of_cube = torch.full((grid.num_cubes,), -1, dtype=torch.int64, device=sdf.device)
    row_of_cube[grid.cube_ids(cubes[:, 0])] = torch.arange(len(cubes), device=sdf.device)
    cases = _resolve(_cases(sdf, cubes), cubes, row_of_cube, grid, tables)

    blocks = zip(*(values.split(BLOCK) for values in (cubes, cases, alpha, beta)), strict=True)
    duals, terms = zip(*(_dual_vertices(vertices, sdf, tables, *block) for block in blocks), strict=True)

    num_duals = tables.num_duals[cases]
    dual_of_edge = _starts(num_duals)[:, None] + tables.dual_of_edge[cases]
    quads = _quads(sdf, cubes, dual_of_edge, row_of_cube, grid)
    mesh_vertices, faces = _triangles(torch.cat(duals), quads, gamma[_repeated_rows(num_duals)], training=training)
    return FlexiCubesMesh(mesh_vertices, faces, torch.cat(terms))


def _crosses(sdf: Tensor, cubes: Tensor) -> Bool[Tensor, " c"]:
    inside = (sdf < 0)[cubes]
    return inside.any(dim=1) & ~inside.all(dim=1)


def _bounded_weights(
    beta: Tensor | None, alpha: Tensor | None, gamma: Tensor | None, *, cubes: Tensor, sdf: Tensor, scale: float
) -> tuple[Float[Tensor, "s 12"], Float[Tensor, "s 8"], Float[Tensor, " s"]]:
    """Raw weights to positive ones around 1 (beta, alpha) and 1/2 (gamma)."""
    ones = sdf.new_ones(len(cubes), 12)
    return (
        ones if beta is None else beta.tanh() * scale + 1,
        ones[:, :8] if alpha is None else alpha.tanh() * scale + 1,
        ones[:, 0] if gamma is None else gamma.sigmoid() * scale + (1 - scale) / 2,
    )


def _cases(sdf: Tensor, cubes: Tensor) -> Int[Tensor, " s"]:
    bits = 2 ** torch.arange(8, device=sdf.device)
    return ((sdf < 0)[cubes] * bits).sum(dim=1)


def _resolve(
    cases: Tensor, cubes: Tensor, row_of_cube: Tensor, grid: VoxelGrid, tables: CaseTables
) -> Int[Tensor, " s"]:
    """Two ambiguous cubes that meet there both take their complement's grouping, so that the mesh stays manifold."""
    rows = tables.is_ambiguous[cases].nonzero()[:, 0]
    neighbour = grid.point_coordinates(cubes[rows, 0]) + tables.ambiguous_direction[cases[rows]]
    in_grid = ((neighbour >= 0) & (neighbour < grid.resolution)).all(dim=1)
    rows, neighbour = rows[in_grid], neighbour[in_grid]
    x, y, z = neighbour.unbind(-1)
    neighbour_row = row_of_cube[(x * grid.resolution + y) * grid.resolution + z]
    both = (neighbour_row >= 0) & tables.is_ambiguous[cases[neighbour_row]]
    resolved = cases.clone()
    resolved[rows[both]] = 255 - cases[rows[both]]
    return resolved


def _dual_vertices(
    vertices: Tensor, sdf: Tensor, tables: CaseTables, cubes: Tensor, cases: Tensor, alpha: Tensor, beta: Tensor
) -> tuple[Float[Tensor, "d 3"], Float[Tensor, " e"]]:
    """Positions of the dual vertices, ordered by cube, and L_dev's terms."""
    num_duals = tables.num_duals[cases]
    cube_of_dual = _repeated_rows(num_duals)
    dual_in_cube = torch.arange(len(cube_of_dual), device=sdf.device) - _starts(num_duals)[cube_of_dual]
    belongs = tables.dual_of_edge[cases][cube_of_dual] == dual_in_cube[:, None]  # d 12

    ends = torch.tensor(EDGE_CORNERS, device=sdf.device)
    end_positions, end_sdf = vertices[cubes[:, ends]], sdf[cubes[:, ends]]  # s 12 2
    crossings = _zero_crossings(end_positions, end_sdf * alpha[:, ends])
    weight = beta[cube_of_dual] * belongs
    positions = (weight[..., None] * crossings[cube_of_dual]).sum(dim=1) / weight.sum(dim=1, keepdim=True)

    plain_crossings = _zero_crossings(end_positions, end_sdf)  # L_dev looks at the field's crossings, without alpha
    return positions, deviation(positions, plain_crossings[cube_of_dual], belongs)


def _repeated_rows(counts: Int[Tensor, " s"]) -> Int[Tensor, " d"]:
    return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)


def _starts(counts: Int[Tensor, " s"]) -> Int[Tensor, " s"]:
    return counts.cumsum(0) - counts


def _zero_crossings(ends: Float[Tensor, "s 12 2 3"], values: Float[Tensor, "s 12 2"]) -> Float[Tensor, "s 12 3"]:
    """Where a linear field is zero on each edge; the mid-point, without gradient, on edges that do not cross."""
    a, b = values.unbind(-1)
    crosses = (a < 0) != (b < 0)
    difference = torch.where(crosses, a - b, 1)  # before dividing: a masked 0/0 would still spoil the gradient
    t = torch.where(crosses, a, 0.5) / difference
    return ends[..., 0, :] * (1 - t[..., None]) + ends[..., 1, :] * t[..., None]


def _quads(
    sdf: Tensor, cubes: Tensor, dual_of_edge: Tensor, row_of_cube: Tensor, grid: VoxelGrid
) -> Int[Tensor, "q 4"]:
    """The four dual vertices around every crossing edge that has four cubes, counter-clockwise seen from outside."""
    coordinates = grid.point_coordinates(cubes[:, 0])
    inside = (sdf < 0)[cubes]
    strides = (grid.resolution**2, grid.resolution, 1)
    cube_ids = grid.cube_ids(cubes[:, 0])
    quads = []
    for axis in range(3):  # every inner edge is the first one along its axis of exactly one cube
        b, c = (axis + 1) % 3, (axis + 2) % 3  # right-handed: b x c = axis
        crosses = inside[:, 0] != inside[:, 1 << axis]
        rows = (crosses & (coordinates[:, b] > 0) & (coordinates[:, c] > 0)).nonzero()[:, 0]
        corners = []
        for back_b, back_c in ((1, 1), (0, 1), (0, 0), (1, 0)):  # counter-clockwise seen from +axis
            row = row_of_cube[cube_ids[rows] - back_b * strides[b] - back_c * strides[c]]
            edge = _EDGE_AT[axis, back_b << b | back_c << c]
            corners.append(torch.where(row >= 0, dual_of_edge[row, edge], -1))
        quad = torch.stack(corners, dim=1)
        leaves = inside[rows, 0]  # the edge runs from inside to outside, so +axis is outwards
        quads.append(torch.where(leaves[:, None], quad, quad.flip(1)))
    all_quads = torch.cat(quads)
    if (all_quads < 0).any():
        raise InputError("`cubes` lacks cubes that the surface crosses: give all cubes, or VoxelGrid.surface_cube_ids")
    return all_quads


# the edge along an axis that starts at a corner, by (axis, corner)
_EDGE_AT = {
    ((a ^ b).bit_length() - 1, min(a, b)): edge for edge, (a, b) in enumerate(EDGE_CORNERS)
}  # corners of an edge differ in one bit, the axis


def _triangles(
    positions: Tensor, quads: Tensor, gamma: Float[Tensor, " d"], *, training: bool
) -> tuple[Float[Tensor, "v 3"], Int[Tensor, "f 3"]]:
    g0, g1, g2, g3 = gamma[quads].unbind(-1)
    along_02, along_13 = g0 * g2, g1 * g3
    if not training:
        split_02, split_13 = quads[:, [[0, 1, 2], [0, 2, 3]]], quads[:, [[0, 1, 3], [3, 1, 2]]]
        pairs = torch.where((along_02 > along_13)[:, None, None], split_02, split_13)
        return positions, rearrange(pairs, "q two corner -> (q two) corner")
    p0, p1, p2, p3 = positions[quads].unbind(1)
    share_02 = (along_02 / (along_02 + along_13))[:, None]
    centre = (p0 + p2) / 2 * share_02 + (p1 + p3) / 2 * (1 - share_02)
    centre_id = len(positions) + torch.arange(len(quads), device=quads.device)
    fans = torch.stack([quads, quads.roll(-1, dims=1), centre_id[:, None].expand(-1, 4)], dim=-1)
    return torch.cat([positions, centre]), rearrange(fans, "q side corner -> (q side) corner")


def _kaolin_flexicubes(
    vertices: Tensor,
    sdf: Tensor,
    cubes: Tensor,
    resolution: int,
    beta: Tensor | None,
    alpha: Tensor | None,
    gamma: Tensor | None,
    training: bool,
    weight_scale: float,
) -> FlexiCubesMesh:
    try:  # the package index has an empty placeholder called kaolin, so only the symbol proves anything
        from kaolin.ops.conversions import FlexiCubes  # type: ignore[import-not-found]
    except (ImportError, AttributeError) as error:
        raise MissingBackend(
            "FlexiCubes backend 'kaolin' needs kaolin.ops.conversions.FlexiCubes: install NVIDIA kaolin >= 0.18 from "
            "its own wheels or source (the package index's `kaolin` is an empty placeholder), or use backend='torch'"
        ) from error
    if len(cubes) != resolution**3:
        raise InputError(f"backend 'kaolin' needs all {resolution**3} cubes in order, got {len(cubes)}")
    mesh_vertices, faces, terms = FlexiCubes(device=str(vertices.device))(
        voxelgrid_vertices=vertices,
        scalar_field=sdf,
        cube_idx=cubes,
        resolution=resolution,
        weight_scale=weight_scale,
        beta=beta,
        alpha=alpha,
        gamma_f=gamma,
        training=training,
    )
    return FlexiCubesMesh(mesh_vertices, faces.long(), terms.flatten())
