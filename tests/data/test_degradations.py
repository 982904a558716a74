import pytest
import torch

from infinitemesh.data.degradations import DegradationRanges, degrade_views


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def views() -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth colours in a disc."""
    coarse = torch.rand(3, 4, 3, 4, 4, generator=seeded(9))
    rgb = torch.nn.functional.interpolate(coarse.flatten(0, 1), (60, 60), mode="bilinear").unflatten(0, (3, 4))
    at = torch.linspace(-1, 1, 60)
    disc = (at[:, None] ** 2 + at**2 < 0.4).float()
    alpha = disc.expand(3, 4, 1, 60, 60).clone()
    return rgb * alpha, alpha


ONLY = dict(warp=0.0, blur=0.0, coarsen=1.0, gain=0.0, bias=0.0, log_gamma=0.0, outline=0.0, block_step=0.0, noise=0.0)


def only(**kind: float) -> DegradationRanges:
    return DegradationRanges(**{**ONLY, "drop": 0.0, "chance": 1.0, **kind})


def test_strength_zero_changes_nothing_and_little_strength_little(views):
    rgb, alpha = views
    same = degrade_views(rgb, alpha, seeded(), strength=0.0)
    assert torch.equal(same.rgb, rgb) and torch.equal(same.alpha, alpha) and same.is_kept.all()
    nearly = degrade_views(rgb, alpha, seeded(), strength=1e-3)
    assert (nearly.alpha - alpha).abs().max() < 0.02 and ((nearly.rgb - rgb) * alpha).abs().max() < 0.02


def test_no_kind_alone_changes_a_view_when_its_maximum_is_zero(views):
    rgb, alpha = views
    out = degrade_views(rgb, alpha, seeded(), ranges=only())
    torch.testing.assert_close(out.rgb, rgb, atol=1e-5, rtol=0)
    torch.testing.assert_close(out.alpha, alpha, atol=1e-5, rtol=0)


def test_strength_is_chosen_by_object(views):
    rgb, alpha = views
    out = degrade_views(rgb, alpha, seeded(), strength=torch.tensor([0.0, 1.0, 0.0]))
    assert torch.equal(out.rgb[[0, 2]], rgb[[0, 2]]) and (out.rgb[1] - rgb[1]).abs().max() > 0.05


@pytest.mark.parametrize(
    "kind", [{"warp": 0.05}, {"blur": 0.03}, {"coarsen": 4.0}, {"block_step": 0.5}, {"noise": 0.1}, {"gain": 0.3}]
)
def test_every_kind_changes_what_it_says_and_stays_in_range(views, kind):
    rgb, alpha = views
    out = degrade_views(rgb, alpha, seeded(), ranges=only(**kind))
    assert (out.rgb - rgb).abs().mean() > 1e-4
    assert 0 <= out.rgb.min() and out.rgb.max() <= 1 and 0 <= out.alpha.min() and out.alpha.max() <= 1
    assert (out.rgb * (out.alpha == 0)).abs().max() == 0
    if set(kind) & {"block_step", "noise", "gain"}:
        torch.testing.assert_close(out.alpha, alpha)


def test_outlines_move_by_what_is_asked(views):
    rgb, alpha = views
    out = degrade_views(rgb, alpha, seeded(), ranges=only(outline=0.05))
    change = (out.alpha - alpha).sum((2, 3, 4)) / alpha.sum((2, 3, 4))
    assert change.max() > 0.02 and change.min() < -0.02
    colour_beyond = out.rgb.sum(2)[(out.alpha[:, :, 0] > 0.5) & (alpha[:, :, 0] == 0)]
    assert (colour_beyond > 0.1).all()  # the new rim is coloured, not black


def test_views_of_one_object_no_longer_agree(views):
    rgb, alpha = views
    same = rgb[:, :1].expand(-1, 4, -1, -1, -1), alpha[:, :1].expand(-1, 4, -1, -1, -1)
    out = degrade_views(*same, seeded(), ranges=only(warp=0.05))
    assert (out.rgb[:, 0] - out.rgb[:, 1]).abs().mean() > 1e-3


def test_the_first_view_is_never_lost_and_others_are_at_the_rate(views):
    rgb, alpha = (x.repeat(40, 1, 1, 1, 1)[..., :8, :8] for x in views)
    kept = degrade_views(rgb, alpha, seeded(), ranges=only(drop=0.5)).is_kept
    assert kept[:, 0].all() and 0.4 < kept[:, 1:].float().mean() < 0.6


def test_same_seed_same_damage(views):
    first, again, other = (degrade_views(*views, seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(first.rgb, again.rgb) and not torch.equal(first.rgb, other.rgb)
