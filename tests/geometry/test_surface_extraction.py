import pytest
import torch
from torch.testing import assert_close

from infinitemesh.errors import GenerationError, InputError
from infinitemesh.geometry.flexicubes_losses import RegularityWeights
from infinitemesh.geometry.surface_extraction import MAX_DEFORMATION, extract_surface
from infinitemesh.geometry.voxel_grid import VoxelGrid


class Formula:
    """A field of closed form that counts what it is asked. `offset` is learnt."""

    def __init__(self, shape, offset: float = 0.0, *, wavy: bool = True):
        self.shape = shape
        self.wavy = wavy
        self.offset = torch.tensor(offset, requires_grad=True)
        self.asked = {"sdf": 0, "deformation": 0, "weights": 0}

    def sdf(self, points):
        self.asked["sdf"] += len(points)
        return self.shape(points) + self.offset

    def sdf_and_deformation(self, points):
        self.asked["deformation"] += len(points)
        return self.shape(points) + self.offset, torch.sin(7 * points) * self.wavy

    def weights(self, corners):
        self.asked["weights"] += len(corners)
        return torch.sin(5 * corners.flatten(1))[:, :21] * self.wavy


def ball(points):
    return points.norm(dim=-1) - 0.6


def torus(points):
    x, y, z = (points - 0.01).unbind(-1)
    return torch.hypot(torch.hypot(x, y) - 0.5, z) - 0.2


def two_pieces(points):
    return torch.minimum(torus(points), (points - 0.7).norm(dim=-1) - 0.06)


def volume_of(surface) -> torch.Tensor:
    a, b, c = surface.vertices[surface.faces].unbind(1)
    return (a * torch.linalg.cross(b, c)).sum() / 6


def is_closed(faces: torch.Tensor) -> bool:
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return len(edges) > 0 and set(map(tuple, edges.tolist())) == set(map(tuple, edges.flip(1).tolist()))


def assert_same(a, b):
    assert torch.equal(a.vertices, b.vertices) and torch.equal(a.faces, b.faces)


@pytest.mark.parametrize("training", [False, True])
def test_surface_cubes_alone_give_the_mesh_of_all_cubes(training):
    field = Formula(torus)
    part = extract_surface(field, 24, 0.9, training=training)
    assert field.asked["weights"] == part.num_cubes < 24**3 / 8
    whole = extract_surface(Formula(torus), 24, 0.9, training=training, weighted_cubes="all")
    assert_same(part, whole)


@pytest.mark.parametrize("chunk", [1, 100, 10**9])
def test_chunks_change_nothing(chunk):
    assert_same(extract_surface(Formula(torus), 8, chunk=chunk), extract_surface(Formula(torus), 8))


def needle(points):
    """A ball with a needle that runs between the coarse points; away from both the field is flat."""
    x, y, z = points.unbind(-1)
    thin = torch.maximum(torch.hypot(y - 1 / 9, z - 1 / 9) - 1 / 24, x.abs() - 0.8)
    return torch.tanh(40 * torch.minimum(points.norm(dim=-1) - 0.4, thin))


def slab(points):
    """Inside up to the grid's border, where it is steep nowhere."""
    return (20 * (points[:, 0] + 0.2)).clamp(-2, 2) + 0.2 * torch.sin(9 * points).sum(-1)


@pytest.mark.parametrize("stride", [2, 4, 8])
@pytest.mark.parametrize("shape", [ball, torus, two_pieces, needle, slab, lambda p: torch.sin(4 * p).prod(-1) + 0.1])
def test_coarse_to_fine_gives_the_full_grid_s_mesh(shape, stride):
    full, fast = Formula(shape), Formula(shape)
    expected = extract_surface(full, 32, 0.9)
    assert_same(extract_surface(fast, 32, 0.9, coarse_stride=stride), expected)
    assert fast.asked["sdf"] <= full.asked["sdf"]


def test_coarse_to_fine_asks_a_fraction():
    full, fast = Formula(ball), Formula(ball)
    assert_same(extract_surface(fast, 64, coarse_stride=4), extract_surface(full, 64))
    assert fast.asked["sdf"] < 0.4 * full.asked["sdf"]


@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize("training", [False, True])
def test_a_field_that_leaves_the_grid_is_closed_at_its_border(training, stride):
    field = Formula(lambda p: p[:, 0] + 0.2, wavy=False)
    surface = extract_surface(field, 32, 0.5, training=training, coarse_stride=stride)
    assert is_closed(surface.faces)
    assert surface.vertices.abs().max() <= 0.5
    half_cell = 1 / 64  # the border is outside, the points next to it inside
    assert_close(volume_of(surface).item(), (0.3 - half_cell) * (1 - 2 * half_cell) ** 2, rtol=0.015, atol=0)


def test_deformation_stays_within_its_part_of_a_cell():
    field = Formula(ball, wavy=False)
    still = extract_surface(field, 16)
    field.sdf_and_deformation = lambda points: (ball(points), torch.full_like(points, 1e6))
    moved = extract_surface(field, 16)
    step = MAX_DEFORMATION * VoxelGrid(16).cell
    assert_close(moved.vertices, still.vertices + step)
    assert_close(step, 0.25 / 2.1 * 2 / 16)


def test_training_and_evaluation_see_the_same_surface():
    training, evaluation = extract_surface(Formula(torus), 16, training=True), extract_surface(Formula(torus), 16)
    assert_close(training.vertices[: len(evaluation.vertices)], evaluation.vertices)
    assert evaluation.regularity is None
    assert min(training.regularity.deviation, training.regularity.sign_change, training.regularity.weight_decay) > 0


def test_the_gradient_of_the_volume_reaches_the_field():
    """d volume / d offset = -area for a distance field."""
    field = Formula(ball, wavy=False)
    volume_of(extract_surface(field, 32, training=True)).backward()
    assert_close(float(field.offset.grad), -4 * torch.pi * 0.36, rtol=0.02, atol=0)


@pytest.mark.parametrize(("offset", "repaired"), [(2.0, True), (-3.0, False)], ids=["empty", "full"])
def test_training_goes_on_from_a_field_of_one_sign(offset, repaired):
    """A surface stands in, faces outwards, and its gradient can change every sign it rests on."""
    field = Formula(ball, offset)
    surface = extract_surface(field, 12, training=True)
    assert surface.repaired == repaired
    assert is_closed(surface.faces) and volume_of(surface) > 0
    (slope,) = torch.autograd.grad(volume_of(surface), field.offset, retain_graph=True)
    assert slope < 0  # raising the distance shrinks the shape
    total = surface.regularity.total(RegularityWeights())
    assert torch.isfinite(total)
    total.backward()
    assert torch.isfinite(field.offset.grad)


def test_a_few_steps_bring_an_empty_field_back():
    field = Formula(ball, 1.0, wavy=False)
    optimizer = torch.optim.Adam([field.offset], lr=0.05)
    for _ in range(60):
        loss = (volume_of(extract_surface(field, 10, training=True)) - 1).square()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = extract_surface(field, 10, training=True)
    assert not found.repaired
    assert volume_of(found) > 0.7


@pytest.mark.parametrize(("offset", "said"), [(2.0, "empty, outside everywhere"), (-3.0, "full, inside everywhere")])
def test_a_field_of_one_sign_is_an_error_that_says_what_was_seen(offset, said):
    with pytest.raises(GenerationError, match=said) as error:
        extract_surface(Formula(ball, offset), 8)
    interior = VoxelGrid(8).points()[~VoxelGrid(8).border()]
    low, high = (ball(interior) + offset).aminmax()
    assert f"[{low:.4g}, {high:.4g}] at 343 points" in str(error.value)
    assert "views" in str(error.value)


@pytest.mark.parametrize("training", [False, True])
def test_a_field_with_nan_is_an_error(training):
    with pytest.raises(GenerationError, match="not finite"):
        extract_surface(Formula(lambda p: torch.where(p[:, 0] > 0.5, torch.nan, ball(p))), 8, training=training)


def test_wrong_grids_are_errors():
    with pytest.raises(InputError, match="resolution 3 or more"):
        extract_surface(Formula(ball), 2)
    with pytest.raises(InputError, match="must divide the grid's resolution 16, got 5"):
        extract_surface(Formula(ball), 16, coarse_stride=5)
    with pytest.raises(InputError, match="positive half extent"):
        extract_surface(Formula(ball), 16, 0.0)
