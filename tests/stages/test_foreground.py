import math

import numpy as np
import pytest
import torch
from PIL import Image

from infinitemesh.data.rigs import FRONT_FILL
from infinitemesh.errors import InputError, MissingBackend
from infinitemesh.hub import BUNDLED, load_network
from infinitemesh.models.matting import U2NetP
from infinitemesh.stages.foreground import (
    FRAME_FILL,
    AlphaForeground,
    Foreground,
    RembgForeground,
    U2NetForeground,
    foreground_colour,
    largest_object,
)


def ellipse(height, width, centre, radii, softness=0.0):
    """Alpha of an ellipse, antialiased; `softness` in pixels widens its edge."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    r = torch.hypot((x - centre[0]) / radii[0], (y - centre[1]) / radii[1])
    return ((1 - r) * min(radii) / max(1.0, softness) + 0.5).clamp(0, 1)[None]


def cut_out(alpha, colour=(0.8, 0.4, 0.1)):
    rgb = torch.tensor(colour)[:, None, None].expand(3, *alpha.shape[1:])
    return torch.cat([rgb, alpha])


class KnownMatte(Foreground):
    """The matte that a test wants."""

    def __init__(self, alpha, **options):
        super().__init__(**options)
        self.alpha = alpha

    def matte(self, rgb):
        return self.alpha


def box_of(alpha):
    rows, columns = ((alpha[0, 0] > 0.5).any(dim).nonzero()[:, 0] for dim in (1, 0))
    return [int(v) for v in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)]


@pytest.mark.parametrize(
    "height, width, centre, radii",
    [(300, 500, (160, 120), (100, 60)), (900, 500, (250, 420), (120, 310)), (64, 64, (20, 40), (12, 12))],
)
def test_the_longer_side_fills_three_fifths_of_the_view_centred(height, width, centre, radii):
    views = AlphaForeground()(cut_out(ellipse(height, width, centre, radii)))
    assert views.rgb.shape == (1, 3, 256, 256) and views.is_main.tolist() == [True]
    left, top, right, bottom = box_of(views.alpha)
    assert max(right - left, bottom - top) == pytest.approx(0.6 * 256, abs=2.5 * 256 * 0.6 / (2 * max(radii)) + 1)
    assert left + right == pytest.approx(256, abs=3) and top + bottom == pytest.approx(256, abs=3)
    assert (right - left) / (bottom - top) == pytest.approx(radii[0] / radii[1], rel=0.1)
    assert views.camera.projection == "orthographic"
    assert float(views.camera.azimuth_deg) == float(views.camera.elevation_deg) == 0


def test_training_frames_its_front_views_alike():
    assert FRAME_FILL == FRONT_FILL == AlphaForeground().fill


def test_where_the_object_stands_in_the_photograph_does_not_matter():
    views = [
        AlphaForeground(size=64)(cut_out(ellipse(400, 600, centre, (80, 50)))) for centre in ((100, 80), (430.0, 310.0))
    ]
    torch.testing.assert_close(views[0].alpha, views[1].alpha, atol=1e-5, rtol=0)


def test_an_object_at_the_border_is_framed_with_transparency_beyond_it():
    alpha = torch.zeros(1, 80, 80)
    alpha[:, 30:, 40:] = 1  # cut off at the right and at the bottom
    views = AlphaForeground()(cut_out(alpha))
    assert box_of(views.alpha) == pytest.approx([66, 51, 189, 205], abs=3)
    assert views.alpha[0, 0, 128, 128] == 1 and views.alpha[0, 0, :40].max() == 0


def test_colours_hidden_behind_transparency_do_not_show():
    alpha = ellipse(200, 200, (100, 100), (50, 50))
    picture = cut_out(alpha)
    picture[:3] = torch.where(alpha > 0.02, picture[:3], torch.tensor([0.0, 1.0, 0.0])[:, None, None])
    views = AlphaForeground()(picture)
    shown = views.alpha[0] > 0.1
    expected = torch.tensor([0.8, 0.4, 0.1])[:, None].expand(3, int(shown.sum()))
    torch.testing.assert_close(views.rgb[0][:, shown[0]], expected, atol=1e-3, rtol=0)


def test_soft_edges_stay_soft():
    widths = []
    for softness in (1.0, 24.0):
        alpha = KnownMatte(ellipse(300, 300, (150, 150), (90, 90), softness))(torch.full((3, 300, 300), 0.5)).alpha
        widths.append(((alpha > 0.1) & (alpha < 0.9)).float().mean().item())
    assert widths[1] > 5 * widths[0]


def test_the_backgrounds_colour_is_taken_out_of_soft_edges():
    alpha = ellipse(512, 512, (256, 256), (150, 150), softness=12.0)
    u = torch.linspace(0, 1, 512).expand(1, 512, 512)
    front = torch.cat([0.6 + 0.2 * u, 0.2 + 0 * u, 0.7 - 0.2 * u])
    back = torch.cat([0.1 * u, 0.9 - 0.1 * u, 0.2 + 0 * u])
    seen = front * alpha + back * (1 - alpha)
    edge = ((alpha > 0.2) & (alpha < 0.95))[0]
    error_before = (seen - front)[:, edge].abs().mean()
    error = (foreground_colour(seen, alpha) - front)[:, edge].abs().mean()
    assert error < 0.03 and error < 0.15 * error_before
    views = KnownMatte(alpha)(seen)
    on_edge = ((views.alpha > 0.2) & (views.alpha < 0.95))[0, 0]
    assert (views.rgb[0, 1][on_edge] - 0.2).abs().mean() < 0.04  # no green halo
    solid = alpha[0] == 1
    torch.testing.assert_close(foreground_colour(seen, alpha)[:, solid], seen[:, solid], atol=0, rtol=0)


def test_specks_and_smaller_things_go_and_split_objects_stay():
    chair = torch.zeros(1, 200, 200)
    chair[:, 50:100, 50:110] = 1
    chair[:, 104:140, 50:64] = 1  # a leg that the matte cut off
    littered = chair.clone()
    littered[:, 10:20, 150:160] = 1
    littered[:, 9, 150:160] = 0.3  # its soft edge goes with it
    littered[:, 49, 50:110] = 0.3
    found = largest_object(littered)
    expected = chair.clone()
    expected[:, 49, 50:110] = 0.3
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


def test_alpha_counts_where_it_says_something():
    opaque = torch.cat([torch.rand(3, 64, 64), torch.full((1, 64, 64), 0.996)])
    with pytest.raises(InputError, match="no transparent pixel"):
        AlphaForeground()(opaque)
    alpha = ellipse(64, 64, (32, 32), (20, 20))
    given = KnownMatte(torch.zeros(1, 64, 64))(cut_out(alpha))
    assert given.alpha.mean() > 0.1


@pytest.mark.parametrize(
    "alpha, message",
    [
        (torch.zeros(1, 64, 64), "no object was found"),
        (torch.full((1, 64, 64), 0.4), "no object was found"),
        (torch.ones(1, 64, 64), "touches the picture's border"),
        (torch.nn.functional.pad(torch.ones(1, 3, 3), (30, 31, 30, 31)), "too small"),
    ],
)
def test_pictures_without_a_usable_object_say_so(alpha, message):
    with pytest.raises(InputError, match=message):
        KnownMatte(alpha)(torch.rand(3, 64, 64))


def test_a_tightly_trimmed_cut_out_is_fine():
    views = AlphaForeground()(cut_out(ellipse(60, 100, (50, 30), (50, 30))))
    assert box_of(views.alpha) == pytest.approx([51, 82, 205, 174], abs=2)


def test_a_photograph_becomes_a_front_view_with_the_bundled_network(tmp_path):
    size, rng = 240, np.random.default_rng(0)
    alpha = ellipse(size, size, (130, 110), (60, 60))[0].numpy()[..., None]
    v = np.linspace(0, 1, size)[:, None, None]
    photo = alpha * (np.array([0.85, 0.3, 0.2]) * (0.4 + 0.6 * v)) + (1 - alpha) * np.array([0.8, 0.85, 0.9])
    photo = np.clip(photo + rng.normal(0, 0.01, photo.shape), 0, 1)
    Image.fromarray((photo * 255).astype(np.uint8)).save(tmp_path / "ball.jpg", quality=95)
    stage = U2NetForeground(load_network(U2NetP, BUNDLED / "small" / "matting"))
    views = stage(tmp_path / "ball.jpg")
    truth = ellipse(256, 256, (128, 128), (76.8, 76.8))[None]
    overlap = torch.minimum(views.alpha, truth).sum() / torch.maximum(views.alpha, truth).sum()
    assert overlap > 0.93
    edge = (views.alpha > 0.3) & (views.alpha < 0.9)
    assert views.rgb[0, 2][edge[0, 0]].mean() < 0.35  # red, not the wall's blue
    for blank in (torch.ones(3, 64, 64), torch.zeros(3, 64, 64)):
        with pytest.raises(InputError, match="no object"):
            stage(blank)


def test_rembg_is_asked_for_by_name_only():
    try:
        import rembg  # noqa: F401
    except ImportError:
        with pytest.raises(MissingBackend, match=r"infinitemesh\[rembg\]"):
            RembgForeground("u2netp")(torch.rand(3, 64, 64))
    assert math.isclose(RembgForeground("u2netp").fill, FRAME_FILL)
