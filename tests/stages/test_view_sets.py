"""What stages share about view sets: resizing, telling views apart, refusing broken ones."""

from dataclasses import replace

import pytest
import torch

from infinitemesh.errors import InputError
from infinitemesh.stages.view_sets import check_views, distinct_views, join_views, same_size
from infinitemesh.types import Camera, ViewSet


def disc(azimuths: list[float], size: int = 48, radius: float = 0.6) -> ViewSet:
    """A red disc whose invisible surroundings are green."""
    at = (torch.arange(size) + 0.5) / size * 2 - 1
    inside = (at[:, None] ** 2 + at[None] ** 2).sqrt() < radius
    rgb = torch.stack([inside.float(), (~inside).float(), torch.zeros(size, size)])
    count = len(azimuths)
    main = torch.ones(count, dtype=torch.bool)
    return ViewSet(
        rgb.expand(count, 3, size, size).clone(),
        inside.float().expand(count, 1, size, size).clone(),
        Camera.orbit(azimuths),
        main,
    )


@pytest.mark.parametrize("size", [16, 31, 80])
def test_resizing_mixes_no_invisible_colour_into_edges_and_keeps_the_area(size: int):
    views = disc([0.0])
    resized = same_size(views, size)
    visible = resized.alpha[0, 0] > 0.02
    assert resized.rgb[0, 0][visible].min() > 0.99 and resized.rgb[0, 1][visible].max() < 0.01
    torch.testing.assert_close(resized.alpha.mean(), views.alpha.mean(), atol=0.01, rtol=0)
    assert same_size(views, 48) is views


def test_normals_stay_unit_when_resized_and_are_unknown_where_a_part_had_none():
    views = disc([0.0])
    turned = replace(views, normal=torch.nn.functional.normalize(torch.randn(1, 3, 48, 48), dim=1))
    torch.testing.assert_close(same_size(turned, 20).normal.norm(dim=1), torch.ones(1, 20, 20))
    both = join_views([views, turned])
    assert both.normal[0].abs().sum() == 0
    torch.testing.assert_close(both.normal[1], turned.normal[0])
    assert join_views([views, views]).normal is None


def test_repeated_views_are_one_view():
    ring = disc([90.0, 0.0, 270.0])
    again = distinct_views([ring[[0, 1, 1]], ring[[2, 0, 0]]])
    assert again.camera.azimuth_deg.round().tolist() == [0.0, 90.0, 270.0]


def changed(**fields) -> ViewSet:
    return replace(disc([0.0, 90.0]), **fields)


NAN = torch.full((2, 3, 48, 48), torch.nan)


@pytest.mark.parametrize(
    ("views", "says"),
    [
        (lambda: changed(rgb=NAN), "rgb of view 0, 1 holds NaN"),
        (lambda: changed(alpha=disc([0.0, 90.0]).alpha * 255), "alpha of view 0, 1 leaves"),
        (lambda: changed(rgb=disc([0.0, 90.0]).rgb - 0.5), "leaves .0, 1."),
        (lambda: changed(alpha=torch.zeros(2, 1, 48, 48)), "view 0, 1 shows no object"),
        (lambda: changed(camera=Camera.orbit([0.0])), "2 pictures came with 1 entries of `camera`"),
        (lambda: changed(camera=Camera.orbit([0.0, float("inf")])), "camera of view 1 holds NaN"),
        (lambda: changed(rgb=torch.zeros(2, 3, 48, 40), alpha=torch.ones(2, 1, 48, 40)), "40 x 48 pixels"),
        (lambda: disc([0.0])[:0], "got 0 view"),
    ],
)
def test_broken_views_are_refused_with_their_number(views, says: str):
    with pytest.raises(InputError, match=says):
        check_views(views())


def test_good_views_pass_unchanged():
    views = disc([0.0, 90.0])
    assert check_views(views, least=2) is views
