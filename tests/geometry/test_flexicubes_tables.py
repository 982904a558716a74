from collections import Counter

import pytest
import torch

from infinitemesh.geometry.flexicubes_tables import EDGE_CORNERS, case_tables, crosses, face_corners, face_edges

TABLES = case_tables()
CASES = range(256)


def reflected(corner: int, axis: int) -> int:
    return corner ^ 1 << axis


def permuted(case: int, corner_map: list[int]) -> int:
    return sum(1 << corner_map[corner] for corner in range(8) if case >> corner & 1)


def partition(case: int, edge_map: list[int] | None = None) -> set[frozenset[int]]:
    """The case's groups of edges, renamed by a symmetry of the cube."""
    edge_map = edge_map or list(range(12))
    duals = TABLES.dual_of_edge[case].tolist()
    return {
        frozenset(edge_map[e] for e in range(12) if duals[e] == dual) for dual in range(int(TABLES.num_duals[case]))
    }


def edge_map_of(corner_map: list[int]) -> list[int]:
    number = {frozenset(ends): edge for edge, ends in enumerate(EDGE_CORNERS)}
    return [number[frozenset(corner_map[c] for c in ends)] for ends in EDGE_CORNERS]


def test_edges_are_the_twelve_pairs_of_corners_that_differ_in_one_bit():
    pairs = {frozenset(ends) for ends in EDGE_CORNERS}
    assert pairs == {frozenset((c, c ^ bit)) for c in range(8) for bit in (1, 2, 4)}


def test_every_crossing_edge_belongs_to_exactly_one_dual_and_no_other_edge_does():
    for case in CASES:
        duals = TABLES.dual_of_edge[case].tolist()
        assert [d >= 0 for d in duals] == [crosses(case, edge) for edge in range(12)]
        assert set(duals) - {-1} == set(range(int(TABLES.num_duals[case])))


def test_every_dual_is_a_closed_polygon():
    """Its edges meet each cube face an even number of times, so lines on the faces can close around it."""
    for case in CASES:
        for group in partition(case):
            assert len(group) >= 3
            assert all(len(group.intersection(face_edges(face))) % 2 == 0 for face in range(6))


def test_inside_corners_stay_apart_on_every_ambiguous_face():
    for case in CASES:
        duals = TABLES.dual_of_edge[case]
        for face in range(6):
            edges = [e for e in face_edges(face) if crosses(case, e)]
            if len(edges) != 4:
                continue
            for corner in (c for c in face_corners(face) if case >> c & 1):
                a, b = (e for e in edges if corner in EDGE_CORNERS[e])
                assert duals[a] == duals[b]


@pytest.mark.parametrize("axis", range(3))
def test_tables_have_the_cube_s_mirror_symmetry(axis: int):
    corner_map = [reflected(corner, axis) for corner in range(8)]
    for case in CASES:
        image = permuted(case, corner_map)
        assert partition(image) == partition(case, edge_map_of(corner_map))
        flipped = TABLES.ambiguous_direction[case].clone()
        flipped[axis] *= -1
        assert torch.equal(TABLES.ambiguous_direction[image], flipped)


def test_tables_have_the_cube_s_threefold_symmetry():
    corner_map = [(c << 1 | c >> 2) & 7 for c in range(8)]  # x -> y -> z -> x
    for case in CASES:
        image = permuted(case, corner_map)
        assert partition(image) == partition(case, edge_map_of(corner_map))
        assert torch.equal(TABLES.ambiguous_direction[image], TABLES.ambiguous_direction[case].roll(1))


def test_the_published_counts():
    assert Counter(TABLES.num_duals.tolist()) == {0: 2, 1: 162, 2: 82, 3: 8, 4: 2}
    assert int(TABLES.is_ambiguous.sum()) == 36
    assert TABLES.ambiguous_direction.abs().sum(dim=1).max() == 1


def test_an_ambiguous_case_is_one_dual_and_its_complement_two():
    cases = TABLES.is_ambiguous.nonzero()[:, 0]
    assert (TABLES.num_duals[cases] == 1).all()
    assert (TABLES.num_duals[255 - cases] == 2).all()
    for case in cases.tolist():
        axis = int(TABLES.ambiguous_direction[case].nonzero()[0])
        side = int(TABLES.ambiguous_direction[case, axis] > 0)
        assert sum(crosses(case, edge) for edge in face_edges(2 * axis + side)) == 4


def test_tables_are_made_once():
    assert case_tables() is case_tables()
