"""Main views around a front view: placing, mirroring, and a user's own pictures."""

import pytest
import torch

from infinitemesh.errors import GenerationError, InputError
from infinitemesh.stages.main_views import GivenViews, MainViews, MirrorMainViews, given_views
from infinitemesh.types import Camera, ViewSet


def picture(width: int, height: int, *, size: int = 32, shift: int = 0, red: float = 1.0) -> ViewSet:
    """A front view of a red box, `shift` pixels off the middle."""
    alpha = torch.zeros(1, 1, size, size)
    top, left = (size - height) // 2, (size - width) // 2 + shift
    alpha[:, :, top : top + height, left : left + width] = 1
    rgb = torch.cat([red * alpha, torch.zeros(1, 2, size, size)], dim=1)
    return ViewSet(rgb, alpha, Camera.orbit([0.0]), torch.tensor([True]))


def test_the_front_stays_and_the_back_is_its_mirror_image():
    front = picture(8, 16, shift=5)
    main = MirrorMainViews()(front)
    assert main.camera.azimuth_deg.round().tolist() == [0.0, 90.0, 180.0, 270.0]
    assert main.is_main.all()
    torch.testing.assert_close(main.rgb[0], front.rgb[0])
    torch.testing.assert_close(main.rgb[2], front.rgb[0].flip(-1))
    torch.testing.assert_close(main.rgb[1], front.rgb[0])
    torch.testing.assert_close(main.camera.intrinsics, front.camera.intrinsics.expand(4, 3, 3))


class Seeded(MainViews):
    def generate(self, front: ViewSet, cameras: Camera, *, seed: int) -> ViewSet:
        rgb = torch.rand(len(cameras), 3, front.size, front.size, generator=torch.Generator().manual_seed(seed))
        return ViewSet(rgb, torch.ones_like(rgb[:, :1]), cameras, torch.ones(len(cameras), dtype=torch.bool))


def test_a_batch_gives_each_object_what_it_gets_alone():
    fronts, stage = [picture(8, 16), picture(10, 10)], Seeded(azimuths_deg=(0.0, 120.0, 240.0))
    together = stage.batch(fronts, seeds=[5, 5])
    for front, made in zip(fronts, together, strict=True):
        torch.testing.assert_close(stage(front, seed=5).rgb, made.rgb)
    assert not torch.equal(stage(fronts[0], seed=6).rgb, together[0].rgb)
    assert together[0].camera.azimuth_deg.round().tolist() == [0.0, 120.0, 240.0]


def test_given_views_come_out_by_azimuth_and_level():
    views = given_views({90.0: picture(6, 26), 0.0: picture(26, 14, red=0.5)})
    main = GivenViews(views)(picture(3, 3))
    assert main.camera.azimuth_deg.round().tolist() == [0.0, 90.0]
    heights = (main.alpha > 0.5).any(-1).sum(-1)[:, 0]
    assert heights.tolist() == [14, 14]  # the narrow side view was framed twice as large
    torch.testing.assert_close(main.rgb[0], views.rgb[0])
    assert main.rgb[1, 0][main.alpha[1, 0] > 0.5].min() > 0.99  # colours do not fade at the rim


def test_what_is_not_given_is_made_by_the_rest():
    views = given_views({0.0: picture(8, 16, shift=4), 95.0: picture(4, 16)})
    main = GivenViews(views, rest=MirrorMainViews())(views[:1], seed=3)
    assert main.camera.azimuth_deg.round().tolist() == [0.0, 95.0, 180.0, 270.0]
    torch.testing.assert_close(main.rgb[2], views.rgb[0].flip(-1))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: MirrorMainViews()(given_views({0.0: picture(8, 8), 90.0: picture(8, 8)})), "one front view, got 2"),
        (lambda: given_views({}), "no views given"),
        (lambda: given_views({0.0: picture(0, 0)}), "alpha is empty"),
        (lambda: GivenViews(picture(0, 0)), "view 0 shows no object"),
        (lambda: GivenViews(picture(8, 8)).batch([picture(8, 8)] * 2, seeds=[0, 0]), "batch of 2"),
    ],
)
def test_what_cannot_be_placed_is_said(call, says: str):
    with pytest.raises(InputError, match=says):
        call()


def test_a_filling_that_makes_too_few_views_is_named():
    class Lazy(MainViews):
        def generate(self, front: ViewSet, cameras: Camera, *, seed: int) -> ViewSet:
            return front

    with pytest.raises(GenerationError, match="made 1 views of 32 px; asked were 3"):
        Lazy()(picture(8, 8))
