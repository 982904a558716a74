"""Stretched objects are in the box frame again, and are what they were along the other axes."""

from dataclasses import replace

import pytest
import torch

from infinitemesh.data.stretch import StretchOptions, stretched
from infinitemesh.data.surface import face_normals
from infinitemesh.errors import InputError


def test_the_share_that_is_stretched_fills_the_box_frame_and_the_rest_stays_to_the_bit(pack):
    options = StretchOptions(share=0.5, log_deviation=0.4)
    wide = stretched(pack, options, seed=4)
    changed = 0
    for i in range(len(pack)):
        rows = slice(int(pack.vertex_start[i]), int(pack.vertex_start[i + 1]))
        before, after = pack.vertices[rows], wide.vertices[rows]
        if before.equal(after):
            continue
        changed += 1
        low, high = after.amin(0), after.amax(0)
        torch.testing.assert_close(low, -high, atol=1e-5, rtol=0)
        torch.testing.assert_close((high - low).max(), torch.tensor(1.0), atol=1e-5, rtol=0)
        side = before.amax(0) - before.amin(0)
        factor = ((high - low) / side.clamp(min=1e-6))[side > 1e-3]
        odd = (factor / factor.median() - 1).abs() > 1e-4
        assert int(odd.sum()) <= 1  # one axis alone
    assert 0 < changed < len(pack)
    assert stretched(pack, options, seed=4).vertices.equal(wide.vertices)
    assert not stretched(pack, options, seed=5).vertices.equal(wide.vertices)
    assert stretched(pack, StretchOptions()) is pack


@pytest.mark.parametrize("seed", range(4))
def test_what_is_longer_now_is_made_smaller(pack, seed: int):
    wide = stretched(pack, StretchOptions(share=1.0, log_deviation=0.5), seed=seed)
    for i in range(len(pack)):
        rows = slice(int(pack.vertex_start[i]), int(pack.vertex_start[i + 1]))
        side = wide.vertices[rows].amax(0) - wide.vertices[rows].amin(0)
        torch.testing.assert_close(side.max(), torch.tensor(1.0), atol=1e-5, rtol=0)
        torch.testing.assert_close(wide.vertices[rows].amax(0), side / 2, atol=1e-5, rtol=0)


def test_normals_stay_at_right_angles_to_the_surface(pack):
    """Of flat faces: the normals of an unwelded object are those of its faces."""
    owner = torch.arange(len(pack)).repeat_interleave(pack.face_start.diff())
    corner = pack.faces + pack.vertex_start[owner][:, None]
    of_vertex = torch.zeros_like(pack.vertices)
    of_vertex[corner[:, 0]] = face_normals(pack.vertices[corner])
    flat = replace(pack, normals=of_vertex)
    wide = stretched(flat, StretchOptions(share=1.0, log_deviation=0.5), seed=1)
    last = torch.full((len(pack.vertices),), -1).scatter(0, corner[:, 0], torch.arange(len(corner)))
    used = last >= 0
    expected = face_normals(wide.vertices[corner[last[used]]])
    agreement = (expected * wide.normals[used]).sum(-1)
    assert float(agreement[expected.norm(dim=-1) > 0.5].min()) > 0.999


@pytest.mark.parametrize("wrong", [{"share": 1.5}, {"log_deviation": -1.0}, {"largest": 0.5}])
def test_impossible_choices_are_refused(wrong: dict):
    with pytest.raises(InputError, match="share in"):
        StretchOptions(**wrong)
