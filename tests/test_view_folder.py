"""Views on disk: what is written comes back, and what cannot be used is said."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from infinitemesh.errors import InputError
from infinitemesh.types import Camera, ViewSet
from infinitemesh.view_folder import save_views, views_from_folder


def some_views(camera: Camera, size: int = 16, *, normal: bool = False) -> ViewSet:
    random = torch.Generator().manual_seed(0)
    rgb = torch.rand(len(camera), 3, size, size, generator=random)
    alpha = torch.rand(len(camera), 1, size, size, generator=random)
    unit = torch.nn.functional.normalize(torch.randn(len(camera), 3, size, size, generator=random), dim=1)
    return ViewSet(rgb, alpha, camera, torch.arange(len(camera)) % 2 == 0, unit if normal else None)


@pytest.mark.parametrize("projection", ["orthographic", "perspective"])
@pytest.mark.parametrize("normal", [False, True])
def test_what_is_saved_comes_back(tmp_path: Path, projection: str, normal: bool):
    views = some_views(Camera.orbit([0.0, 30.0, 200.0], [0.0, 15.0, -20.0], projection=projection), normal=normal)
    back = views_from_folder(save_views(views, tmp_path / "views"))
    torch.testing.assert_close(back.rgb, views.rgb, atol=0.5 / 255 + 1e-6, rtol=0)
    torch.testing.assert_close(back.alpha, views.alpha, atol=0.5 / 255 + 1e-6, rtol=0)
    torch.testing.assert_close(back.camera.cam_from_world, views.camera.cam_from_world)
    torch.testing.assert_close(back.camera.intrinsics, views.camera.intrinsics)
    assert back.camera.projection == projection and back.is_main.tolist() == views.is_main.tolist()
    if normal:
        torch.testing.assert_close(back.normal, views.normal, atol=0.02, rtol=0)
    else:
        assert back.normal is None


def folder(path: Path, views: list[dict], *, sizes: tuple[int, ...] = (), mode: str = "RGBA", **top) -> Path:
    path.mkdir()
    for number, view in enumerate(views):
        side = sizes[number] if sizes else 32
        if isinstance(view, dict) and "file" in view:
            Image.new(mode, (side, side), (200, 10, 10, 255)[: len(mode)]).save(path / Path(view["file"]).name)
    (path / "cameras.json").write_text(json.dumps({"views": views, **top}))
    return path


def at(azimuth: float, file: str | None = None, **more) -> dict:
    return {"file": file or f"{azimuth}.png", "azimuth_deg": azimuth, **more}


def test_angles_are_enough_and_views_on_the_axes_are_main(tmp_path: Path):
    views = views_from_folder(
        folder(tmp_path / "v", [at(0), at(90), at(45), at(180, is_main=False), at(270, elevation_deg=10)])
    )
    torch.testing.assert_close(
        views.camera.cam_from_world, Camera.orbit([0, 90, 45, 180, 270], [0, 0, 0, 0, 10]).cam_from_world
    )
    assert views.is_main.tolist() == [True, True, False, False, False]
    wide = views_from_folder(folder(tmp_path / "w", [at(0)], span=3.6))
    torch.testing.assert_close(wide.camera.intrinsics[0, 0, 0], torch.tensor(1 / 3.6))


def test_pictures_without_alpha_are_cut_out_by_a_matte(tmp_path: Path):
    path = folder(tmp_path / "v", [at(0)], mode="RGB")
    views = views_from_folder(path, matte=lambda rgb: rgb[:1] * 0 + 0.75)
    assert (views.alpha == 0.75).all()
    with pytest.raises(InputError, match="no alpha channel"):
        views_from_folder(path)


SCALED = [[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, -2], [0, 0, 0, 1]]
NAN = [[float("nan")] * 4] * 4


@pytest.mark.parametrize(
    ("views", "more", "says"),
    [
        ([at(0), at(90)], {"sizes": (32, 48)}, "differ in size .*48 x 48.*resize"),
        ([at(0), {"file": "a.png"}], {}, "view 1 has no camera"),
        ([at(0, cam_from_world=SCALED)], {}, "view 0 has no camera: give either"),
        ([{"file": "a.png", "cam_from_world": SCALED}], {}, "not a rotation and a shift"),
        ([{"file": "a.png", "cam_from_world": NAN}], {}, "4 x 4 finite numbers"),
        ([{"file": "a.png", "cam_from_world": [[1, 2], [3]]}], {}, "not a matrix"),
        ([at(float("nan"), "a.png")], {}, "azimuth_deg is nan"),
        ([at(0, elevation=10)], {}, "unknown key `elevation`. Did you mean `elevation_deg`"),
        ([at(0)], {"projektion": "x"}, "Did you mean `projection`"),
        ([at(0)], {"projection": "fisheye"}, "neither orthographic nor perspective"),
        ([at(0)], {"span": "wide"}, "span is 'wide'"),
        ([at(0)], {"format": 7}, "format 7"),
        ([], {}, "lists 0 views"),
        ([{"azimuth_deg": 0}], {}, "needs a `file`"),
        ([at(0, "../a.png")], {}, "plain name"),
    ],
)
def test_bad_descriptions_say_what_is_wrong(tmp_path: Path, views: list, more: dict, says: str):
    path = folder(tmp_path / "v", views, **more)
    with pytest.raises(InputError, match=says):
        views_from_folder(path)


def test_missing_and_unreadable_files_are_named(tmp_path: Path):
    with pytest.raises(InputError, match="no folder at"):
        views_from_folder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"has no cameras\.json"):
        views_from_folder(tmp_path / "empty")
    path = folder(tmp_path / "v", [at(0)])
    Image.new("RGBA", (32, 32)).save(path / "more.png")
    with pytest.raises(InputError, match=r"more\.png has no camera"):
        views_from_folder(path)
    (path / "more.png").unlink()
    (path / "0.png").write_text("no picture")
    with pytest.raises(InputError, match=r"0\.png is not a readable"):
        views_from_folder(path)
    (path / "0.png").unlink()
    with pytest.raises(InputError, match=r"names 0\.png, which is not in the folder"):
        views_from_folder(path)
    (path / "cameras.json").write_text("{")
    with pytest.raises(InputError, match="not readable JSON"):
        views_from_folder(path)


def test_a_view_without_an_object_is_named(tmp_path: Path):
    path = folder(tmp_path / "v", [at(0), at(90)])
    Image.new("RGBA", (32, 32), (0, 0, 0, 0)).save(path / "90.png")
    with pytest.raises(InputError, match="view 1 shows no object"):
        views_from_folder(path)


def test_nothing_is_left_when_writing_fails(tmp_path: Path):
    views = some_views(Camera.orbit([0.0]))
    save_views(views, tmp_path / "views")
    before = sorted(p.name for p in tmp_path.rglob("*"))
    with pytest.raises(InputError, match="exists already"):
        save_views(views, tmp_path / "views")
    assert sorted(p.name for p in tmp_path.rglob("*")) == before
