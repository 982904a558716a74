"""Pieces of graphs: the way for GPUs numbers them as scipy's does."""

import pytest
import torch

from infinitemesh.geometry.topology import _connected_by_labels, connected, topology


def path(length: int, order: torch.Tensor) -> torch.Tensor:
    return torch.stack([order[:-1], order[1:]], dim=1)[: length - 1]


@pytest.mark.parametrize("num_pairs", [0, 30, 100, 400])
def test_both_ways_number_pieces_by_their_first_nodes(num_pairs):
    pairs = torch.randint(200, (num_pairs, 2), generator=torch.Generator().manual_seed(num_pairs))
    expected = connected(200, pairs)
    assert torch.equal(_connected_by_labels(200, pairs), expected)
    firsts = [int((expected == piece).nonzero()[0]) for piece in range(int(expected.max()) + 1)]
    assert firsts == sorted(firsts)
    assert bool((expected[pairs[:, 0]] == expected[pairs[:, 1]]).all())


@pytest.mark.parametrize("order", ["up", "down", "mixed"])
def test_a_long_path_is_one_piece(order):
    nodes = {
        "up": torch.arange(5000),
        "down": torch.arange(5000).flip(0),
        "mixed": torch.randperm(5000, generator=torch.Generator().manual_seed(0)),
    }[order]
    assert bool((_connected_by_labels(5000, path(5000, nodes)) == 0).all())
    cut = _connected_by_labels(5000, path(4000, nodes))
    assert cut.bincount().max() == 4000 and cut.max() == 1000


def test_two_cones_at_one_tip_are_two_fans():
    ring = torch.tensor([1, 2, 3])
    cones = [torch.stack([torch.zeros(3, dtype=torch.int64), r, r.roll(-1)], dim=1) for r in (ring, ring + 3)]
    assert topology(cones[0]).non_manifold_vertices == 0
    assert topology(torch.cat(cones)).non_manifold_vertices == 1


def test_no_faces_have_no_edges():
    empty = topology(torch.zeros(0, 3, dtype=torch.int64))
    assert empty.manifold and empty.balanced and empty.euler_number == 0
