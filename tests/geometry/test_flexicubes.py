from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from torch.testing import assert_close

from infinitemesh.errors import InputError, MissingBackend
from infinitemesh.geometry.flexicubes import FlexiCubesMesh, flexicubes
from infinitemesh.geometry.flexicubes_losses import sign_change_loss, weight_decay
from infinitemesh.geometry.voxel_grid import VoxelGrid

ORACLE = Path(__file__).parents[1] / "fixtures" / "lrm"


def sphere(points: torch.Tensor, radius: float = 0.61) -> torch.Tensor:
    return (points - torch.tensor([0.03, -0.02, 0.01]).to(points)).norm(dim=-1) - radius


def torus(points: torch.Tensor) -> torch.Tensor:
    x, y, z = (points - torch.tensor([0.012, 0.007, -0.004]).to(points)).unbind(-1)
    return torch.hypot(torch.hypot(x, y) - 0.55, z) - 0.24


SPHERE_VOLUME = 4 / 3 * np.pi * 0.61**3
TORUS_VOLUME = 2 * np.pi**2 * 0.55 * 0.24**2


def volume_of(mesh: FlexiCubesMesh) -> torch.Tensor:
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    return (a * torch.linalg.cross(b, c)).sum() / 6


def directed_edges(faces: torch.Tensor) -> torch.Tensor:
    return torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])


def assert_closed_manifold(faces: torch.Tensor):
    """Every directed edge is there once, and its reverse too."""
    edges = directed_edges(faces)
    there = set(map(tuple, edges.tolist()))
    assert len(there) == len(edges)
    assert there == {(b, a) for a, b in there}


def euler_number(mesh: FlexiCubesMesh) -> int:
    return len(mesh.vertices) - len(directed_edges(mesh.faces)) // 2 + len(mesh.faces)


def random_weights(num_cubes: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(num_cubes, 21, generator=generator, dtype=dtype)
    return {"beta": w[:, :12], "alpha": w[:, 12:20], "gamma": w[:, 20]}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("shape", "euler", "volume"), [(sphere, 2, SPHERE_VOLUME), (torus, 0, TORUS_VOLUME)], ids=["sphere", "torus"]
)
def test_surfaces_are_closed_faithful_and_outward(shape, euler, volume, weighted, training):
    grid = VoxelGrid(64)
    points = grid.points()
    weights = random_weights(grid.num_cubes) if weighted else {}
    mesh = flexicubes(points, shape(points), grid.cubes(), 64, training=training, **weights)
    assert_closed_manifold(mesh.faces)
    assert euler_number(mesh) == euler
    assert shape(mesh.vertices).abs().max() < 0.5 * grid.cell
    assert abs(float(volume_of(mesh)) / volume - 1) < 0.01  # positive: faces look outwards


def test_random_signs_give_a_closed_manifold_at_the_worst():
    """Every case and every ambiguous pair; the border is outside, so the mesh must close."""
    grid = VoxelGrid(14)
    sdf = torch.randn(grid.num_points, generator=torch.Generator().manual_seed(3))
    sdf[grid.border()] = 1.0
    mesh = flexicubes(grid.points(), sdf, grid.cubes(), 14)
    edges = directed_edges(mesh.faces)
    forward, counts = edges.unique(dim=0, return_counts=True)
    backward, reverse_counts = edges.flip(1).unique(dim=0, return_counts=True)
    assert torch.equal(forward, backward) and torch.equal(counts, reverse_counts)
    assert counts.max() == 1


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    """InstantMesh's own grid, fields and meshes at resolution 16."""
    at, mesh = np.load(ORACLE / "points.npz"), np.load(ORACLE / "mesh.npz")
    fields = {key: torch.from_numpy(at[key][0]) for key in ("grid_sdf", "grid_deformation", "grid_weight")}
    grid = {key: torch.from_numpy(at[key]) for key in ("grid_verts", "grid_cubes", "all_edges")}
    return fields | grid | {key: torch.from_numpy(mesh[key]) for key in mesh}


def published_mesh(published: dict[str, torch.Tensor], *, training: bool) -> FlexiCubesMesh:
    w = published["grid_weight"]
    return flexicubes(
        published["grid_verts"] + published["grid_deformation"],
        published["grid_sdf"][:, 0],
        published["grid_cubes"],
        16,
        beta=w[:, :12],
        alpha=w[:, 12:20],
        gamma=w[:, 20],
        training=training,
    )


def canonical(faces: np.ndarray) -> list[tuple[int, ...]]:
    """Faces as a set, each rotated to start at its lowest vertex (the orientation stays)."""
    return sorted(tuple(np.roll(face, -face.argmin()).tolist()) for face in faces)


@pytest.mark.parametrize(("training", "name"), [(False, "eval"), (True, "train")])
def test_the_published_mesh_is_reproduced(published, training, name):
    mesh = published_mesh(published, training=training)
    distance, theirs = cKDTree(published[f"{name}_v"]).query(mesh.vertices.numpy())
    assert distance.max() < 1e-6
    assert sorted(theirs) == list(range(len(published[f"{name}_v"])))  # one to one
    assert canonical(theirs[mesh.faces.numpy()]) == canonical(published[f"{name}_f"].numpy())


def test_the_published_regularisers_are_reproduced(published):
    deviation = published_mesh(published, training=True).L_dev.mean()
    assert_close(deviation, published["flexicubes_surface_reg"], atol=1e-8, rtol=1e-5)
    assert_close(weight_decay(published["grid_weight"]), published["flexicubes_weight_reg"], atol=1e-8, rtol=1e-5)
    sdf = published["grid_sdf"][:, 0]
    a, b = sdf[published["all_edges"]].unbind(1)
    a, b = a[a.sign() != b.sign()], b[a.sign() != b.sign()]
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    assert_close(sign_change_loss(sdf, 16), bce(a, (b > 0).float()) + bce(b, (a > 0).float()))


def test_the_published_grid_is_reproduced(published):
    grid = VoxelGrid(16, 1.05)
    assert_close(grid.points(), published["grid_verts"], atol=1e-6, rtol=0)
    assert torch.equal(grid.cubes(), published["grid_cubes"])


@pytest.mark.parametrize("training", [False, True])
def test_surface_cubes_alone_give_the_same_mesh(training):
    grid = VoxelGrid(12)
    points = grid.points()
    sdf, weights = torus(points), random_weights(grid.num_cubes)
    ids = grid.surface_cube_ids(sdf)
    whole = flexicubes(points, sdf, grid.cubes(), 12, training=training, **weights)
    subset = {name: w[ids] for name, w in weights.items()}
    part = flexicubes(points, sdf, grid.cubes(ids), 12, training=training, **subset)
    assert torch.equal(whole.vertices, part.vertices) and torch.equal(whole.faces, part.faces)
    assert torch.equal(whole.L_dev, part.L_dev)


@pytest.mark.parametrize("wanted", ["sdf", "vertices", "beta", "alpha", "gamma"])
def test_the_gradient_of_the_volume_is_its_slope(wanted):
    grid = VoxelGrid(8)
    points = grid.points().double()
    inputs = {"vertices": points, "sdf": sphere(points), **random_weights(grid.num_cubes, dtype=torch.float64)}
    x = inputs[wanted].clone().requires_grad_()
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def volume(value: torch.Tensor) -> torch.Tensor:
        given = inputs | {wanted: value}
        vertices, sdf = given.pop("vertices"), given.pop("sdf")
        return volume_of(flexicubes(vertices, sdf, grid.cubes(), 8, training=True, **given))

    (gradient,) = torch.autograd.grad(volume(x), x)
    step = 1e-5
    with torch.no_grad():
        slope = (volume(x + step * direction) - volume(x - step * direction)) / (2 * step)
    assert gradient.abs().max() > 1e-6
    assert_close((gradient * direction).sum(), slope, rtol=1e-5, atol=1e-9)


def test_gradients_are_finite_where_the_field_is_exactly_zero():
    grid = VoxelGrid(6)
    points = grid.points()
    sdf = (points.abs().amax(dim=-1) - 2 / 3).round(decimals=6)  # a box through grid points
    sdf[grid.num_points // 2] = 0  # and a dent whose crossings all lie on its dual vertices
    sdf.requires_grad_()
    mesh = flexicubes(points, sdf, grid.cubes(), 6, training=True)
    (volume_of(mesh) + mesh.L_dev.mean() + sign_change_loss(sdf, 6)).backward()
    assert (sdf == 0).any()
    assert torch.isfinite(mesh.vertices).all() and torch.isfinite(sdf.grad).all()


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_field_of_one_sign_gives_an_empty_mesh(sign):
    grid = VoxelGrid(4)
    sdf = torch.full((grid.num_points,), sign)
    mesh = flexicubes(grid.points(), sdf, grid.cubes(), 4, training=True)
    assert len(mesh.vertices) == len(mesh.faces) == len(mesh.L_dev) == 0
    assert sign_change_loss(sdf, 4) == 0


def test_a_surface_through_the_border_stays_open_there():
    grid = VoxelGrid(8)
    points = grid.points()
    mesh = flexicubes(points, points[:, 0] - 0.1, grid.cubes(), 8)
    assert_close(mesh.vertices[:, 0], torch.full((64,), 0.1))
    assert len(mesh.faces) == 2 * 7 * 7


def test_missing_surface_cubes_and_wrong_sizes_are_errors():
    grid = VoxelGrid(8)
    points = grid.points()
    sdf = sphere(points)
    with pytest.raises(InputError, match="lacks cubes"):
        flexicubes(points, sdf, grid.cubes(grid.surface_cube_ids(sdf)[::2]), 8)
    with pytest.raises(InputError, match="1000 points, got 729"):
        flexicubes(points, sdf, grid.cubes(), 9)


def test_kaolin_agrees_or_says_how_to_get_it():
    grid = VoxelGrid(10)
    points = grid.points()
    weights = random_weights(grid.num_cubes)
    given = (points, torus(points), grid.cubes(), 10)
    try:
        theirs = flexicubes(*given, backend="kaolin", **weights)
    except MissingBackend as error:
        assert "kaolin >= 0.18" in str(error)
        return
    ours = flexicubes(*given, **weights)
    distance, index = cKDTree(theirs.vertices).query(ours.vertices)
    assert distance.max() < 1e-6
    assert canonical(index[ours.faces.numpy()]) == canonical(theirs.faces.numpy())
