"""What is inside a mesh: generalised winding numbers that work on open meshes, fast and exact on a grid.

The winding number of a triangle soup at a point is the sum of its faces' signed solid angles over 4 pi (Jacobson et
al. 2013): 1 inside a closed surface, 0 outside, something between behind a hole. Summing it directly costs points x
faces. Here the boundary (the directed edges that do not cancel) is coned to the centre of each of its loops, which
closes the surface; the closed surface's winding number is an integer that one signed scan along the grid's columns
counts; what the cones added is subtracted as solid angles, in full where they are near and as dipoles where they are
far (Barill et al. 2018). A closed mesh has no boundary and costs the scan alone (0.02 s for 20,000 faces at 64^3); a
soup that is almost all boundary is summed directly, near in full and far as dipoles.
"""

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Float64, Int64
from numpy.typing import NDArray
from torch import Tensor

from infinitemesh.types import Mesh

FAR = 4.0  # a group of triangles this many of its radii away counts as a dipole
BLOCK = 8  # points of a BLOCK^3 block share one list of near triangles
CELL = 1 / 16  # the edge of the cells that group a soup's triangles, in world units
MANY_CONES = 1500
PAIRS_AT_ONCE = 2_000_000


def winding_grid(mesh: Mesh, resolution: int = 64, *, half_extent: float = 0.5) -> Float[Tensor, "r r r"]:
    """Generalised winding numbers at `grid_points`, indexed [x, y, z]."""
    soup = Soup.weld(mesh)
    cones = soup.cones
    if len(cones.triangles) > max(MANY_CONES, len(soup.triangles) / 2):  # the boundary is no smaller than the mesh
        triangles = torch.from_numpy(soup.triangles).float()
        return _open_grid(triangles, torch.ones(len(triangles)), _cells(triangles), resolution, half_extent)
    closed = _scan(soup.triangles, np.ones(len(soup.triangles)), resolution, half_extent)
    if not len(cones.triangles):
        return torch.from_numpy(closed).float()
    closed -= _scan(cones.triangles, cones.weight, resolution, half_extent)
    added = _open_grid(
        torch.from_numpy(cones.triangles).float(),
        torch.from_numpy(cones.weight).float(),
        torch.from_numpy(cones.loop),
        resolution,
        half_extent,
    )
    return torch.from_numpy(closed).float() + added


def grid_points(resolution: int, half_extent: float = 0.5) -> Float[Tensor, "r r r 3"]:
    """One point in each cell of the cube [-half_extent, half_extent]^3, indexed [x, y, z].

    Cell centres would see a whole layer of cells too much or too little at every face that is parallel to an axis,
    which costs a box several per cent of its volume. So every column of cells has its points moved within their cells
    by a fixed offset, evenly spread over the columns.
    """
    cells = np.stack(np.meshgrid(*[np.arange(resolution)] * 3, indexing="ij"), axis=-1) + _offsets(resolution)
    return torch.from_numpy(((cells + 0.5) / resolution * 2 - 1) * half_extent).float()


def winding_at(mesh: Mesh, points: Float[Tensor, "p 3"]) -> Float[Tensor, " p"]:
    """The plain sum over all faces, for any points: the slow twin (some 20 million point-face pairs a second)."""
    triangles = torch.from_numpy(Soup.weld(mesh).triangles).float()
    return _solid_angle_sum(triangles, torch.ones(len(triangles)), points)


@dataclass(frozen=True)
class Cones:
    """Triangles from each boundary edge of a mesh to the centre of its loop; added `-weight` times they close it."""

    triangles: Float64[np.ndarray, "e 3 3"]
    weight: Float64[np.ndarray, " e"]
    loop: NDArray[np.int64]  # which boundary loop a triangle belongs to


@dataclass(frozen=True)
class Soup:
    """A mesh's triangles with equal positions made one vertex, degenerate faces gone, and what would close it."""

    triangles: Float64[np.ndarray, "f 3 3"]
    cones: Cones

    @staticmethod
    def weld(mesh: Mesh) -> "Soup":
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        vertices, index = np.unique(
            mesh.vertices.detach().cpu().numpy().astype(np.float64), axis=0, return_inverse=True
        )
        faces = index.reshape(-1)[mesh.faces.cpu().numpy()]
        a, b, c = faces.T
        faces = faces[(a != b) & (b != c) & (c != a)]
        start, end = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).T
        key = np.minimum(start, end) * np.int64(len(vertices)) + np.maximum(start, end)
        edge, inverse = np.unique(key, return_inverse=True)
        excess = np.bincount(inverse.reshape(-1), np.where(start < end, 1.0, -1.0), minlength=len(edge))
        edge, excess = edge[excess != 0], excess[excess != 0]
        low, high = edge // max(len(vertices), 1), edge % max(len(vertices), 1)
        graph = coo_array((np.ones(len(low)), (low, high)), shape=(len(vertices), len(vertices)))
        _, label = connected_components(graph, directed=False) if len(low) else (0, np.zeros(len(vertices), np.int64))
        _, loop = np.unique(label[low], return_inverse=True)
        loop = loop.reshape(-1)
        middle = (vertices[low] + vertices[high]) / 2
        size = np.maximum(np.bincount(loop), 1)
        centre = np.stack(
            [np.bincount(loop, middle[:, axis], minlength=len(size)) / size for axis in range(3)], axis=-1
        )
        triangles = np.stack([centre[loop], vertices[low], vertices[high]], axis=1)
        return Soup(vertices[faces], Cones(triangles, excess.astype(np.float64), loop))


def _scan(
    triangles: NDArray[np.float64], weight: NDArray[np.float64], resolution: int, half_extent: float
) -> NDArray[np.float64]:
    """Signed crossings above every grid point of its column: the winding number, where the triangles are closed."""
    offsets = _offsets(resolution).reshape(-1, 3)
    column, depth, face = column_hits(triangles, resolution, half_extent, offsets[:, :2])
    level = (depth / half_extent + 1) / 2 * resolution - 0.5 - offsets[column, 2]
    first_above = np.ceil(level).clip(0, resolution).astype(np.int64)
    upwards = _area_z(triangles) > 0
    change = (
        np.bincount(  # integers when nothing is hit
            column * (resolution + 1) + first_above,
            np.where(upwards, weight, -weight)[face],
            minlength=resolution**2 * (resolution + 1),
        )
        .reshape(resolution, resolution, resolution + 1)
        .astype(np.float64)
    )
    crossings_above = change[..., ::-1].cumsum(-1)[..., ::-1]
    return crossings_above[..., 1:].copy()


def column_hits(
    triangles: NDArray[np.float64], resolution: int, half_extent: float, offsets: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Where z-parallel lines through the cells of an (x, y) grid meet triangles: column, z and triangle.

    `offsets` from the cell's centre, in cells within [-0.5, 0.5]: one for each column, or one for all.
    """
    cells = (triangles[..., :2] / half_extent + 1) / 2 * resolution - 0.5  # whole numbers are the cells' centres
    margin = np.abs(offsets).max()
    low = np.ceil(cells.min(1) - margin).clip(0, resolution).astype(np.int64)
    high = np.floor(cells.max(1) + margin).clip(-1, resolution - 1).astype(np.int64)
    span = (high - low + 1).clip(0)
    count = span[:, 0] * span[:, 1]
    columns, depths, faces = [], [], []
    candidates = np.flatnonzero(count)
    for chunk in np.split(candidates, _cuts(count[candidates])):
        face = np.repeat(chunk, count[chunk])
        number = np.arange(len(face)) - np.repeat(count[chunk].cumsum() - count[chunk], count[chunk])
        column = (low[face, 0] + number // span[face, 1]) * resolution + low[face, 1] + number % span[face, 1]
        shift = offsets if offsets.ndim == 1 else offsets[column]
        x, y = column // resolution + shift[..., 0], column % resolution + shift[..., 1]
        sides = np.stack([_side(cells[face, i], cells[face, (i + 1) % 3], x, y) for i in range(3)], axis=-1)
        hit = (sides > 0).all(-1) | (sides < 0).all(-1)
        column, face, sides = column[hit], face[hit], sides[hit]
        barycentric = sides[:, [1, 2, 0]] / sides.sum(-1, keepdims=True)
        columns.append(column)
        depths.append((barycentric * triangles[face, :, 2]).sum(-1))
        faces.append(face)
    if not columns:
        return np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64)
    return np.concatenate(columns), np.concatenate(depths), np.concatenate(faces)


def _side(
    a: NDArray[np.float64], b: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Twice the area of (a, b, (x, y)), computed from the same end for both faces of an edge so that none is missed."""
    swap = (a[:, 0] > b[:, 0]) | ((a[:, 0] == b[:, 0]) & (a[:, 1] > b[:, 1]))
    a, b = np.where(swap[:, None], b, a), np.where(swap[:, None], a, b)
    area = (b[:, 0] - a[:, 0]) * (y - a[:, 1]) - (b[:, 1] - a[:, 1]) * (x - a[:, 0])
    return np.where(swap, -area, area)


def _area_z(triangles: NDArray[np.float64]) -> NDArray[np.float64]:
    u, v = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    return u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]


def _cuts(count: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where to cut a list of work so that a piece stays near PAIRS_AT_ONCE."""
    return np.flatnonzero(np.diff(count.cumsum() // PAIRS_AT_ONCE)) + 1


def _open_grid(
    triangles: Float[Tensor, "t 3 3"],
    weight: Float[Tensor, " t"],
    group: Int64[Tensor, " t"],
    resolution: int,
    half_extent: float,
) -> Float[Tensor, "r r r"]:
    """The weighted triangles' winding number at the grid points, block by block.

    Far groups count as one dipole each, far triangles of near groups as one each, near triangles in full.
    """
    groups = Dipoles.of(triangles, weight, group)
    singles = Dipoles.of(triangles, weight, torch.arange(len(triangles)))
    result = torch.zeros(resolution, resolution, resolution)
    grid = grid_points(resolution, half_extent)
    blocks = -(-resolution // BLOCK)
    for index in np.ndindex(blocks, blocks, blocks):
        here = tuple(slice(i * BLOCK, (i + 1) * BLOCK) for i in index)
        points = grid[here].reshape(-1, 3)
        near_group = groups.near(points)
        among = near_group[group].nonzero()[:, 0]
        near = singles[among].near(points)
        value = _solid_angle_sum(triangles[among[near]], weight[among[near]], points)
        value += singles[among[~near]].sum_at(points) + groups[~near_group].sum_at(points)
        result[here] = value.reshape(grid[here].shape[:3])
    return result


@dataclass(frozen=True)
class Dipoles:
    """Groups of triangles as one oriented point each (Barill et al. 2018, Eq. 10)."""

    stand: Float[Tensor, "g 3"]  # at the middle of their area, which cancels most of the next term of the series
    moment: Float[Tensor, "g 3"]  # the sum of their area vectors
    reach: Float[Tensor, " g"]  # of their corners, from where the dipole stands

    @staticmethod
    def of(triangles: Float[Tensor, "t 3 3"], weight: Float[Tensor, " t"], group: Int64[Tensor, " t"]) -> "Dipoles":
        count = int(group.max()) + 1
        area = torch.linalg.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]) / 2
        moment = torch.zeros(count, 3).index_add(0, group, area * weight[:, None])
        share = (area * weight[:, None]).norm(dim=-1, keepdim=True).clamp(min=1e-20)
        total = torch.zeros(count, 1).index_add(0, group, share)
        stand = torch.zeros(count, 3).index_add(0, group, triangles.mean(1) * share) / total
        distance = (triangles - stand[group][:, None]).norm(dim=-1).amax(-1)
        return Dipoles(stand, moment, torch.zeros(count).scatter_reduce(0, group, distance, "amax"))

    def __getitem__(self, index: Tensor) -> "Dipoles":
        return Dipoles(self.stand[index], self.moment[index], self.reach[index])

    def near(self, points: Float[Tensor, "p 3"]) -> Bool[Tensor, " g"]:
        """Whether a dipole would be wrong somewhere in the points' box."""
        low, high = points.amin(0), points.amax(0)
        outside = torch.maximum(low - self.stand, self.stand - high).clamp(min=0)
        return outside.norm(dim=-1) <= FAR * self.reach

    def sum_at(self, points: Float[Tensor, "p 3"]) -> Float[Tensor, " p"]:
        along = (self.stand * self.moment).sum(-1) - points @ self.moment.T
        squared = (points**2).sum(-1, keepdim=True) - 2 * points @ self.stand.T + (self.stand**2).sum(-1)
        inverse = squared.clamp(min=1e-12).rsqrt()
        return (along * inverse * inverse * inverse).sum(-1) / (4 * torch.pi)


def _solid_angle_sum(
    triangles: Float[Tensor, "t 3 3"], weight: Float[Tensor, " t"], points: Float[Tensor, "p 3"]
) -> Float[Tensor, " p"]:
    """Sum of the triangles' signed solid angles over 4 pi (van Oosterom and Strackee 1983)."""
    total = torch.zeros(len(points))
    if not len(triangles):
        return total
    step = max(PAIRS_AT_ONCE // 4 // len(triangles), 1)
    corners = rearrange(triangles, "t corner xyz -> corner xyz 1 t")
    for start in range(0, len(points), step):
        p = rearrange(points[start : start + step], "p xyz -> xyz p 1")
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = corners[0] - p, corners[1] - p, corners[2] - p
        a, b, c = ((x * x + y * y + z * z).sqrt() for x, y, z in ((ax, ay, az), (bx, by, bz), (cx, cy, cz)))
        volume = ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
        denominator = a * b * c + (ax * bx + ay * by + az * bz) * c
        denominator += (bx * cx + by * cy + bz * cz) * a + (cx * ax + cy * ay + cz * az) * b
        total[start : start + step] = (torch.atan2(volume, denominator) * weight).sum(-1)
    return total / (2 * torch.pi)


def _cells(triangles: Float[Tensor, "t 3 3"]) -> Int64[Tensor, " t"]:
    """Groups the triangles whose middles share a cell of a coarse grid."""
    cell = (triangles.mean(1) / CELL).floor().long()
    return torch.unique(cell, dim=0, return_inverse=True)[1]


def _offsets(resolution: int) -> NDArray[np.float64]:
    """[x, y, 1, xyz] in cells: along every row and every column of cells each coordinate is evenly spread."""
    i, j = np.meshgrid(np.arange(resolution), np.arange(resolution), indexing="ij")
    golden, first, second = 0.6180339887498949, 0.7548776662466927, 0.5698402909980532  # Roberts' R1 and R2
    spread = np.stack([golden * j + first * i, golden * i + second * j, first * i + second * j], axis=-1)
    return (spread % 1 - 0.5)[:, :, None]
