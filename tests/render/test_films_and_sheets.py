import sys

import pytest
import torch
from PIL import Image
from render_shapes import bumpy

from infinitemesh.errors import InputError, MissingBackend
from infinitemesh.render.sheet import contact_sheet
from infinitemesh.types import Camera, Mesh


def test_a_sheet_shows_every_picture_in_reading_order():
    colours = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    sheet = contact_sheet(colours[:, :, None, None].expand(5, 3, 8, 10), columns=3, padding=2)
    assert sheet.size == (3 * 12 - 2, 2 * 10 - 2)
    for i, colour in enumerate(colours):
        assert sheet.getpixel((i % 3 * 12 + 4, i // 3 * 10 + 4)) == tuple((colour * 255).round().int().tolist())
    assert sheet.getpixel((30, 15)) == (255, 255, 255)
    assert contact_sheet(torch.rand(9, 3, 8, 8), padding=0).size == (24, 24)


def test_labels_stand_above_their_pictures_and_must_match_them():
    dark = torch.zeros(2, 3, 20, 40)
    plain, labelled = contact_sheet(dark, columns=1), contact_sheet(dark, columns=1, labels=["truth", "result"])
    assert labelled.height > plain.height and labelled.width == plain.width
    head = labelled.crop((0, 0, 40, labelled.height - plain.height >> 1))
    assert head.getextrema()[0][0] < 128 and head.getextrema()[0][1] == 255
    with pytest.raises(InputError, match="2 pictures need 2 labels, got 1"):
        contact_sheet(dark, labels=["truth"])
    with pytest.raises(InputError, match="at least one"):
        contact_sheet(dark[:0])


def test_a_view_set_shows_itself_as_a_grid():
    views = Mesh(*bumpy(1)).render(Camera.orbit([0.0, 90.0, 180.0, 270.0]), 16)
    assert views.grid(columns=2).size == (34, 34)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_a_turntable_turns_once_and_loops(tmp_path, suffix):
    mesh = Mesh(*bumpy(2))
    path = mesh.turntable(tmp_path / f"film{suffix}", frames=10, size=32)
    with Image.open(path) as film:
        assert film.n_frames == 10 and film.size == (32, 32) and film.info["loop"] == 0
        shown = []
        for i in range(10):
            film.seek(i)
            shown.append(torch.tensor(film.convert("RGB").get_flattened_data()).float() / 255)
    camera = Camera.orbit(torch.arange(10) * 36.0, 15.0, projection="perspective")
    expected = mesh.normalized().render(camera, 32).composite().permute(0, 2, 3, 1).reshape(10, -1, 3)
    assert (torch.stack(shown) - expected).abs().mean() < 0.03
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(InputError, match="overwrite"):
        mesh.turntable(path, frames=2, size=16)
    mesh.turntable(path, frames=2, size=16, overwrite=True)


def test_films_that_cannot_be_written_leave_nothing(tmp_path, monkeypatch):
    mesh = Mesh(*bumpy(1))
    with pytest.raises(InputError, match=r"\.gif, \.webp, \.mp4"):
        mesh.turntable(tmp_path / "film.avi")
    with pytest.raises(InputError, match="at least 1 frame"):
        mesh.turntable(tmp_path / "film.gif", frames=0)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(MissingBackend, match=r"infinitemesh\[video\]"):
        mesh.turntable(tmp_path / "film.mp4")
    assert not list(tmp_path.iterdir())


def test_a_video_holds_every_frame(tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    path = Mesh(*bumpy(1)).turntable(tmp_path / "film.mp4", frames=12, size=64)
    frames, _ = ffmpeg.count_frames_and_secs(str(path))
    assert frames == 12
    with pytest.raises(InputError, match="even"):
        Mesh(*bumpy(1)).turntable(tmp_path / "odd.mp4", size=33)
