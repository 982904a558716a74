"""Closed solids that household objects are made of: lofts, tubes along curves, shells and smooth blobs. +Y is up."""

from collections.abc import Callable, Sequence

import manifold3d
import numpy as np
from jaxtyping import Bool, Float, Int
from manifold3d import Manifold
from scipy.interpolate import CubicSpline, PchipInterpolator

from infinitemesh.data.procedural_parts import Part
from infinitemesh.data.procedural_textures import Number

Row = tuple[Number, ...]  # height, half width in x, half depth in z, and perhaps a shift in x and in z
Capsule = tuple[Sequence[Number], Sequence[Number], Number, Number]  # two ends, and the radius at each


def loft(rings: Float[np.ndarray, "n m 3"], *, closed: bool = False) -> Manifold:
    """Through rings of equally many points, with fans as ends; `closed` joins the last ring to the first instead."""
    n, m, _ = rings.shape
    a = np.arange(n * m).reshape(n, m)
    b = np.roll(a, -1, axis=1)
    after = np.roll(a, -1, axis=0) if closed else a[1:]
    after_b = np.roll(after, -1, axis=1)
    a, b = a[: len(after)], b[: len(after)]
    faces = [np.stack([a, b, after_b], -1).reshape(-1, 3), np.stack([a, after_b, after], -1).reshape(-1, 3)]
    points = rings.reshape(-1, 3)
    if not closed:
        points = np.concatenate([points, rings[0].mean(0, keepdims=True), rings[-1].mean(0, keepdims=True)])
        first, last = np.arange(m), (n - 1) * m + np.arange(m)
        faces.append(np.stack([np.full(m, n * m), np.roll(first, -1), first], -1))
        faces.append(np.stack([np.full(m, n * m + 1), last, np.roll(last, -1)], -1))
    return solid_of(points, np.concatenate(faces))


def solid_of(points: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Manifold:
    """Turned right side out."""
    p, q, r = points[faces].swapaxes(0, 1)
    if (np.cross(p, q) * r).sum() < 0:
        faces = faces[:, ::-1]
    mesh = manifold3d.Mesh(
        vert_properties=np.ascontiguousarray(points, np.float32), tri_verts=np.ascontiguousarray(faces, np.uint32)
    )
    return Manifold(mesh)


def superellipse(power: Number, count: int = 40) -> Float[np.ndarray, "count 2"]:
    """Power 2 is the unit circle; 4 to 8 are squares with ever sharper corners."""
    angle = 2 * np.pi * (np.arange(count) + 0.5) / count
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([np.sign(cos) * np.abs(cos) ** (2 / power), np.sign(sin) * np.abs(sin) ** (2 / power)], -1)


def stack(
    rows: Sequence[Row], *, power: Number = 2.0, steps: int = 22, count: int = 40, smooth: bool = True
) -> Manifold:
    """A loft along Y whose rings are superellipses; smooth curves run through the rows."""
    table = _table(rows, steps if smooth else None)
    outline = superellipse(power, count)
    height, half_x, half_z, shift_x, shift_z = (column[:, None] for column in table.T)
    x, z = half_x * outline[:, 0] + shift_x, half_z * outline[:, 1] + shift_z
    return loft(np.stack([x, height + 0 * x, z], -1))


def shell(
    rows: Sequence[Row],
    wall: Number,
    *,
    floor: Number | None = None,
    power: Number = 2.0,
    steps: int = 22,
    count: int = 40,
    smooth: bool = True,
) -> Manifold:
    """A stack that is hollow and open at its top."""
    options = {"power": power, "steps": steps, "count": count, "smooth": smooth}
    return stack(rows, **options) - cavity(rows, wall, floor=floor, **options)


def cavity(
    rows: Sequence[Row],
    wall: Number,
    *,
    floor: Number | None = None,
    power: Number = 2.0,
    steps: int = 22,
    count: int = 40,
    smooth: bool = True,
) -> Manifold:
    """The inside of `shell`, which reaches out of its top."""
    table = _table(rows, steps if smooth else None)
    bottom = table[0, 0] + (wall if floor is None else floor)
    start = np.array([np.interp(bottom, table[:, 0], column) for column in table.T])
    table = np.concatenate([start[None], table[table[:, 0] > bottom + 1e-6]])
    table[:, 1:3] = np.maximum(table[:, 1:3] - wall, 1e-3)
    above = table[-1:] + np.array([0.3 * float(np.ptp(table[:, 0])), 0, 0, 0, 0])
    rows_inside = [tuple(row) for row in np.concatenate([table, above])]
    return stack(rows_inside, power=power, count=count, smooth=False)


def tube(
    path: Sequence[Sequence[Number]] | Sequence[np.ndarray] | np.ndarray,
    radius: Number | Sequence[Number] | np.ndarray,
    *,
    flat: Number = 1.0,
    segments: int = 10,
    closed: bool = False,
) -> Manifold:
    """A pipe along a path that lies nearly in a plane; `flat` is its size across that plane over the size in it."""
    points = np.asarray(path, np.float64)
    radii = np.broadcast_to(np.asarray(radius, np.float64), len(points))[:, None, None]
    tangent = np.roll(points, -1, 0) - np.roll(points, 1, 0) if closed else np.gradient(points, axis=0)
    tangent = tangent / np.linalg.norm(tangent, axis=1, keepdims=True)
    plane = np.linalg.svd(points - points.mean(0))[2][-1]
    inner = np.cross(tangent, plane)
    inner = inner / np.linalg.norm(inner, axis=1, keepdims=True)
    outer = np.cross(inner, tangent)
    circle = superellipse(2.0 if 0.5 < flat < 2 else 4.0, segments)
    ring = circle[:, :1] * inner[:, None] + flat * circle[:, 1:] * outer[:, None]
    return loft(points[:, None] + radii * ring, closed=closed)


def curve(
    points: Sequence[Sequence[Number]] | Sequence[np.ndarray] | np.ndarray, count: int = 20
) -> Float[np.ndarray, "count 3"]:
    """Smoothly through the points."""
    places = np.asarray(points, np.float64)
    along = np.concatenate([[0], np.linalg.norm(np.diff(places, axis=0), axis=1).cumsum()])
    return CubicSpline(along, places)(np.linspace(0, along[-1], count))


def pchip(at: Sequence[Number] | np.ndarray, values: Sequence[Number] | np.ndarray) -> PchipInterpolator:
    return PchipInterpolator(np.asarray(at, np.float64), np.asarray(values, np.float64))


def capsule(
    start: Sequence[Number], end: Sequence[Number], radius: Number, end_radius: Number | None = None
) -> Manifold:
    """The hull of two balls."""
    balls = [
        Manifold.sphere(r, 16).translate(place_of(place))
        for place, r in ((start, radius), (end, radius if end_radius is None else end_radius))
    ]
    return Manifold.batch_hull(balls)


def wire_between(start: Sequence[Number], end: Sequence[Number], radius: Number) -> Manifold:
    """A straight bar with few faces."""
    a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
    nudge = np.cross(b - a, [0.3, 0.5, 0.8]) * 1e-4  # a straight path has no plane
    return tube([a, (a + b) / 2 + nudge, b], radius, segments=6)


def place_of(point: Sequence[Number] | np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(c) for c in point)
    return x, y, z


def union(solids: Sequence[Manifold]) -> Manifold:
    return Manifold.batch_boolean(list(solids), manifold3d.OpType.Add)


def at_all(solid: Manifold, places: Sequence[Sequence[Number]]) -> Manifold:
    return union([solid.translate(place_of(place)) for place in places])


def four(solid: Manifold) -> Manifold:
    """With its reflections in x and z."""
    half = solid + solid.mirror((1, 0, 0))
    return half + half.mirror((0, 0, 1))


def warped(solid: Manifold, move: Callable[[np.ndarray], np.ndarray], length: Number | None = None) -> Manifold:
    """Moved by a function of [n, 3] points, refined first to edges of this length."""
    return (solid.refine_to_length(length) if length else solid).warp_batch(move)


def crumpled(parts: list[Part], rng: np.random.Generator, amount: float) -> list[Part]:
    """Moved together by smooth random waves, as soft things are."""
    ways, phase = rng.normal(0, 4, (5, 3)), rng.uniform(0, 2 * np.pi, 5)
    push = rng.normal(0, amount * rng.random(), (5, 3))
    return [
        Part(part.solid.warp_batch(lambda p: p + np.sin(p @ ways.T + phase) @ push), part.texture) for part in parts
    ]


def drop(centre: Sequence[Number], radius: Number) -> Capsule:
    """A ball as `blobs` takes it."""
    return centre, centre, radius, radius


def blobs(capsules: Sequence[Capsule], *, blend: Number = 0.05, cells: int = 30) -> Manifold:
    """The smooth union of tapered capsules, `cells` cells to its longest side."""
    ends = np.asarray([[c[0], c[1]] for c in capsules], np.float64)
    radii = np.asarray([[c[2], c[3]] for c in capsules], np.float64)
    low = (ends - radii[..., None]).min((0, 1)) - 2 * blend
    high = (ends + radii[..., None]).max((0, 1)) + 2 * blend
    step = float((high - low).max()) / cells
    shape = np.ceil((high - low) / step).astype(int) + 2
    axes = [low[i] + step * (np.arange(shape[i]) - 0.5) for i in range(3)]
    x, y, z = (axis.astype(np.float32) for axis in np.meshgrid(*axes, indexing="ij", sparse=True))
    total = np.full(tuple(shape), 1e-16, np.float32)
    for (p, q), (a, b) in zip(np.asarray(ends, np.float32), np.asarray(radii, np.float32), strict=True):
        i, j, k = q - p
        t = (((x - p[0]) * i + (y - p[1]) * j + (z - p[2]) * k) / max(i * i + j * j + k * k, 1e-9)).clip(0, 1)
        distance = np.sqrt((x - p[0] - t * i) ** 2 + (y - p[1] - t * j) ** 2 + (z - p[2] - t * k) ** 2)
        total += np.exp(((a + t * (b - a) - distance) / np.float32(blend)).clip(-36, 36))
    points, faces = marching_tetrahedra(-blend * np.log(total))
    return solid_of(low + step * (points - 0.5), faces).simplify(0.08 * step)


KUHN = [(0, 1, 3, 7), (0, 3, 2, 7), (0, 2, 6, 7), (0, 6, 4, 7), (0, 4, 5, 7), (0, 5, 1, 7)]
PAIRS = np.array([(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)])  # the edges of a tetrahedron
TRIANGLES = {  # of the corners inside (bit i for corner i): edges whose crossings make triangles
    0b0001: [(0, 1, 2)],
    0b0010: [(0, 4, 3)],
    0b0100: [(1, 3, 5)],
    0b1000: [(2, 5, 4)],
    0b0011: [(1, 2, 4), (1, 4, 3)],
    0b0101: [(0, 3, 5), (0, 5, 2)],
    0b1001: [(0, 1, 5), (0, 5, 4)],
}


def marching_tetrahedra(
    field: Float[np.ndarray, "x y z"],
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """The closed surface where the field crosses 0, in grid units; the field is positive at the grid's border."""
    shape = np.array(field.shape)
    index = np.arange(field.size).reshape(field.shape)
    corners = np.stack(
        [
            index[i : i + shape[0] - 1, j : j + shape[1] - 1, k : k + shape[2] - 1].ravel()
            for k, j, i in np.ndindex(2, 2, 2)
        ],
        -1,
    )
    values = field.ravel()
    inside = values < 0
    corners = corners[_is_mixed(inside[corners])]
    tets = corners[:, KUHN].reshape(-1, 4)
    is_in = inside[tets]
    tets, is_in = tets[_is_mixed(is_in)], is_in[_is_mixed(is_in)]
    code = is_in @ np.array([1, 2, 4, 8])
    edges = []
    for case, triangles in TRIANGLES.items():
        for sign, flip in ((case, 1), (15 - case, -1)):
            of_case = tets[code == sign]
            for triangle in triangles:
                edges.append(of_case[:, PAIRS[list(triangle[::flip])]])
    ends = np.sort(np.concatenate(edges), axis=-1)  # f 3 2
    key, vertex_of_corner = np.unique(ends[..., 0] * field.size + ends[..., 1], return_inverse=True)
    start, end = key // field.size, key % field.size
    share = (values[start] / (values[start] - values[end]))[:, None]
    place = lambda at: np.stack(np.unravel_index(at, field.shape), -1)  # noqa: E731
    return place(start) * (1 - share) + place(end) * share, vertex_of_corner.reshape(-1, 3)


def _is_mixed(inside: Bool[np.ndarray, "n k"]) -> Bool[np.ndarray, " n"]:
    return np.logical_xor(inside.any(axis=1), inside.all(axis=1))


def _table(rows: Sequence[Row], steps: int | None) -> Float[np.ndarray, "n 5"]:
    """The rows in full; with `steps`, so many on smooth curves through them."""
    table = np.asarray([(*row, *(0.0,) * (5 - len(row))) for row in rows], np.float64)
    if steps is None:
        return table
    return PchipInterpolator(np.arange(len(table)), table)(np.linspace(0, len(table) - 1, steps))
