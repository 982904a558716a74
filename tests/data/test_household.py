import manifold3d
import numpy as np
import pytest
import torch
import trimesh
from manifold3d import Manifold

from infinitemesh.data import household
from infinitemesh.data.household import FAMILIES, MAX_FACES, household_object
from infinitemesh.data.household_solids import blobs, cavity, loft, shell, stack, tube
from infinitemesh.data.procedural_parts import arrays_of
from infinitemesh.errors import InputError
from infinitemesh.types import Mesh

OPEN_ON_TOP = {  # where a ray from above falls in, as shares of the box, and how deep it comes
    "sneaker": ((0.2, 0.5), 0.4),
    "leather_shoe": ((0.22, 0.5), 0.3),
    "slipper": ((0.25, 0.5), 0.25),
    "sofa": ((0.5, 0.6), 0.3),
}
HOLLOW = {  # the most of its convex hull that a solid fills
    "sneaker": 0.75,
    "boot": 0.6,
    "hat": 0.4,
    "cap": 0.4,
    "beanie": 0.55,
    "mug": 0.8,
    "carton": 0.5,
    "sofa": 0.85,
}


def parts_of(monkeypatch, seed: int, family: str | None = None) -> list:
    caught = []
    real = household.assemble
    monkeypatch.setattr(household, "assemble", lambda parts, metadata: caught.extend(parts) or real(parts, metadata))
    check_mesh(household_object(seed, family))
    monkeypatch.undo()
    return caught


def check_mesh(mesh: Mesh) -> None:
    low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
    assert (high - low).max() == pytest.approx(1, abs=1e-5) and (low + high).abs().max() < 1e-5
    assert 0 < len(mesh.faces) <= MAX_FACES and mesh.faces.max() < len(mesh.vertices)
    assert torch.isfinite(mesh.vertices).all() and mesh.uv.min() >= 0 and mesh.uv.max() <= 1


def whole(family: str, seed: int) -> Manifold:
    """As drawn, before it is turned to the camera."""
    parts = FAMILIES[family].make(np.random.default_rng(seed))
    return Manifold.batch_boolean([part.solid for part in parts], manifold3d.OpType.Add)


def share_of_hull(solid: Manifold) -> float:
    return solid.volume() / solid.hull().volume()


def depth_from_above(solid: Manifold, x: float, z: float) -> float:
    """How far below the top a vertical ray first hits, as a share of the height."""
    low, high = np.split(np.asarray(solid.bounding_box()), 2)
    places, faces = arrays_of(solid)
    at = low[[0, 2]] + np.array([x, z]) * (high - low)[[0, 2]]
    a, b, c = (places[faces[:, k]] for k in range(3))
    flat = [p[:, [0, 2]] - at for p in (a, b, c)]
    pairs = [(flat[(k + 1) % 3], flat[(k + 2) % 3]) for k in range(3)]
    w = np.stack([p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0] for p, q in pairs])
    is_hit = (w > 0).all(0) | (w < 0).all(0)
    share = w[:, is_hit] / w[:, is_hit].sum(0)
    heights = (share * np.stack([p[is_hit, 1] for p in (a, b, c)])).sum(0)
    return float((high[1] - heights.max()) / (high[1] - low[1]))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_made_of_closed_solids_in_the_frame_and_within_budget(family, monkeypatch):
    for part in parts_of(monkeypatch, 11, family):
        vertices, faces = arrays_of(part.solid)
        solid = trimesh.Trimesh(vertices, faces, process=False)
        assert solid.is_watertight and solid.volume > 0


@pytest.mark.parametrize("family", HOLLOW)
def test_hollow_things_fill_little_of_their_hull(family):
    shares = [share_of_hull(whole(family, seed)) for seed in range(4)]
    assert np.median(shares) < HOLLOW[family]


@pytest.mark.parametrize("family", OPEN_ON_TOP)
def test_a_ray_from_above_finds_the_bottom_not_a_lid(family):
    (x, z), least = OPEN_ON_TOP[family]
    depths = [depth_from_above(whole(family, seed), x, z) for seed in range(5)]
    assert np.median(depths) > least, depths


@pytest.mark.parametrize("family", ["mug", "bowl", "pan", "basket"])
def test_vessels_are_empty_down_to_their_floor(family):
    for seed in range(5):
        body = FAMILIES[family].make(np.random.default_rng(seed))[0].solid  # without handles and what is in it
        assert depth_from_above(body, 0.5, 0.5) > 0.35 and share_of_hull(body) < 0.75


def test_hats_are_open_from_below():
    for seed in range(4):
        depths = []
        solid = whole("hat", seed)
        for turned in (solid, solid.rotate((180, 0, 0))):  # some lie on their crown
            depths.append(depth_from_above(turned, 0.5, 0.5))
        assert max(depths) > 0.5


def test_buses_are_long_and_thin():
    for seed in range(4):
        low, high = np.split(np.asarray(whole("bus", seed).bounding_box()), 2)
        length, _, depth = high - low
        assert depth < 0.45 * length


def test_the_broad_side_is_mostly_in_front():
    sizes = [household_object(seed, "bus").vertices for seed in range(12)]
    is_broad = [bool(np.ptp(v[:, 0].numpy()) > np.ptp(v[:, 2].numpy())) for v in sizes]
    assert 0.4 < np.mean(is_broad) < 1.0


def test_a_seed_gives_the_same_bytes(tmp_path):
    first = household.write_objects(tmp_path / "a", 3, 7)
    again = household.write_objects(tmp_path / "b", 3, 7)
    assert [p.name for p in first] == [f"household_{s:08d}.glb" for s in (7, 8, 9)]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]
    assert len({p.read_bytes() for p in first}) == 3
    assert Mesh.load(first[0]).metadata["family"] in FAMILIES


def test_lofts_and_tubes_have_the_volumes_they_should():
    circle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    ring = np.stack([np.cos(circle), 0 * circle, np.sin(circle)], -1)
    assert loft(np.stack([ring, ring + np.array([0, 2, 0])])).volume() == pytest.approx(2 * np.pi, rel=1e-3)
    assert tube(3 * ring, 0.5, segments=100, closed=True).volume() == pytest.approx(6 * np.pi**2 * 0.25, rel=5e-3)
    rows = [(0, 1, 1), (2, 1, 1)]
    outside, room = stack(rows), cavity(rows, 0.1) ^ stack([(0, 2, 2), (2, 2, 2)])
    assert shell(rows, 0.1).volume() == pytest.approx(outside.volume() - room.volume(), rel=1e-4)


def test_blobs_are_closed_and_as_large_as_their_balls():
    ball = blobs([((0, 0, 0), (0, 0, 0), 0.5, 0.5)], blend=0.02, cells=40)
    assert ball.status() == manifold3d.Error.NoError
    assert ball.volume() == pytest.approx(np.pi / 6, rel=0.02)
    long = blobs([((0, 0, 0), (2, 0, 0), 0.5, 0.5)], blend=0.02, cells=60)
    assert long.volume() == pytest.approx(np.pi / 6 + np.pi / 2, rel=0.02)


def test_an_unknown_family_lists_the_known():
    with pytest.raises(InputError, match="sneaker"):
        household_object(0, "spaceship")


def test_the_command_writes_what_it_says(tmp_path, capsys):
    household.main([str(tmp_path), "1", "3"])
    assert "1 objects" in capsys.readouterr().out and (tmp_path / "household_00000003.glb").exists()
