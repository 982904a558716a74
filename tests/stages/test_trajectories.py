"""Eq. 3 and the pose lists of Sec. 3.2 as tables."""

import pytest
import torch

from infinitemesh.errors import InputError
from infinitemesh.stages.trajectories import TRAJECTORIES, Target, cameras_of, plan_targets, ring_order
from infinitemesh.types import MAIN_AZIMUTHS_DEG, Camera

MAIN = list(MAIN_AZIMUTHS_DEG)


def table(targets: tuple[Target, ...], ring: list[float] = MAIN) -> list[tuple[float, float, float]]:
    """(azimuth, azimuth of the reference, azimuth of the condition) of every target."""
    return [(round(t.azimuth_deg, 6), ring[t.reference], ring[t.condition]) for t in targets]


FIRST_GAP = {  # n: azimuth, reference, condition between front and right
    1: [(45, 90, 0)],
    2: [(30, 0, 90), (60, 90, 0)],
    3: [(22.5, 0, 90), (45, 90, 0), (67.5, 90, 0)],
    4: [(18, 0, 90), (36, 0, 90), (54, 90, 0), (72, 90, 0)],
}


@pytest.mark.parametrize("num_between", FIRST_GAP)
def test_equation_3_in_every_gap(num_between: int):
    expected = [
        ((a + turn) % 360, (r + turn) % 360, (c + turn) % 360) for turn in MAIN for a, r, c in FIRST_GAP[num_between]
    ]
    assert table(plan_targets(MAIN, "flat", num_between)) == expected


@pytest.mark.parametrize("num_between", range(1, 12))
def test_the_reference_is_the_first_view_exactly_for_i_up_to_half_of_n(num_between: int):
    first_gap = plan_targets(MAIN, "flat", num_between)[:num_between]
    assert [t.reference for t in first_gap] == [0 if i <= num_between / 2 else 1 for i in range(1, num_between + 1)]
    assert all({t.reference, t.condition} == {0, 1} for t in first_gap)


@pytest.mark.parametrize(
    ("name", "pair"), [("flat", (0, 0)), ("+15/-15", (15, -15)), ("+30/-15", (30, -15)), ("+30/-30", (30, -30))]
)
def test_named_trajectories_zigzag_within_every_gap(name: str, pair: tuple[float, float]):
    assert [t.elevation_deg for t in plan_targets(MAIN, name, 2)] == [*pair] * 4
    assert [t.elevation_deg for t in plan_targets(MAIN, name, 1)] == [pair[0]] * 4
    assert [t.elevation_deg for t in plan_targets(MAIN, name, 3)] == [pair[0], pair[1], pair[0]] * 4
    assert name in TRAJECTORIES


def test_single_precision_azimuths_do_not_break_ties():
    ring = Camera.orbit([7.3, 97.3, 187.3, 277.3]).azimuth_deg
    assert [t.reference for t in plan_targets(ring, "flat", 1)] == [1, 2, 3, 0]
    assert [t.reference for t in plan_targets(ring, "flat", 3)][:3] == [0, 1, 1]


def test_an_uneven_unsorted_ring_is_walked_by_angle():
    ring = [200.0, 350.0, 50.0]  # gaps 50-200, 200-350, 350-50
    expected = [(100, 50, 200), (150, 200, 50), (250, 200, 350), (300, 350, 200), (10, 350, 50), (30, 50, 350)]
    assert table(plan_targets(ring, "flat", 2), ring) == expected


def test_two_views_make_a_ring():
    assert table(plan_targets([0.0, 180.0], "flat", 1), [0, 180]) == [(90, 180, 0), (270, 0, 180)]


def test_a_free_list_is_kept_and_each_pose_takes_its_neighbours():
    poses = [(300.0, 20.0), (10.0, -40.0), (45.0, 0.0), (-80.0, 5.0), (120.0, 0.0)]
    targets = plan_targets(MAIN, poses)
    assert [(t.azimuth_deg, t.elevation_deg) for t in targets] == [(10, -40), (45, 0), (120, 0), (280, 5), (300, 20)]
    assert table(targets) == [(10, 0, 90), (45, 90, 0), (120, 90, 180), (280, 270, 0), (300, 270, 0)]
    assert [t.gap for t in targets] == [0, 0, 1, 3, 3]


def test_cameras_stand_at_the_targets_and_look_like_the_ring():
    like = Camera.orbit(MAIN, projection="perspective", fov_deg=40.0)
    targets = plan_targets(MAIN, "+30/-15", 2)
    cameras = cameras_of(targets, like)
    torch.testing.assert_close(cameras.azimuth_deg, torch.tensor([t.azimuth_deg for t in targets]), atol=1e-3, rtol=0)
    torch.testing.assert_close(cameras.elevation_deg, torch.tensor([30.0, -15.0] * 4), atol=1e-3, rtol=0)
    torch.testing.assert_close(cameras.intrinsics, like.intrinsics[:1].expand(8, 3, 3))
    torch.testing.assert_close(cameras.position.norm(dim=-1), like.position.norm(dim=-1)[:1].expand(8))


def test_ring_order_takes_a_rounded_front_as_the_front():
    order = ring_order(Camera.orbit([180.0, -1e-6, 90.0, 90.0], [0.0, 0.0, 15.0, 0.0]))
    assert order.tolist() == [1, 3, 2, 0]


@pytest.mark.parametrize(
    ("ring", "trajectory", "num_between", "says"),
    [
        ([0.0], "flat", 2, "at least 2 views"),
        ([0.0, 90.0, 360.0], "flat", 2, "azimuth 0.000"),
        (MAIN, "+45/-45", 2, r"\+15/-15"),
        (MAIN, "flat", 0, "at least 1"),
        (MAIN, [], 2, "empty"),
        (MAIN, [(0.0, 90.0)], 2, "elevation 90"),
    ],
)
def test_impossible_rings_and_trajectories_say_what_is_needed(
    ring: list, trajectory: str | list, num_between: int, says: str
):
    with pytest.raises(InputError, match=says):
        plan_targets(ring, trajectory, num_between)
