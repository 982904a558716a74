"""Every example runs, on the tiny pipeline."""

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import cut_out, tiny_pipeline

from infinitemesh.types import Mesh

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(tiny_pipeline().save_pretrained(tmp_path_factory.mktemp("bundle") / "tiny", dtype=None))


@pytest.fixture
def photo(tmp_path: Path) -> str:
    cut_out().save(tmp_path / "egg.png")
    return str(tmp_path / "egg.png")


def main_of(name: str):
    (path,) = EXAMPLES.glob(f"{name}_*.py")
    return runpy.run_path(str(path))["main"]


def test_01_one_line(photo: str, model: str, tmp_path: Path):
    main_of("01")(photo, str(tmp_path / "egg.glb"), model)
    assert len(Mesh.load(tmp_path / "egg.glb").faces) > 100


def test_02_everything_in_between(photo: str, model: str, tmp_path: Path, capsys):
    main_of("02")(photo, str(tmp_path / "all"), model)
    assert (tmp_path / "all" / "views" / "cameras.json").is_file()
    said = capsys.readouterr().out
    assert "texturing 1/1" in said and "torch.Size([12, 3, 64, 64])" in said


def test_03_your_own_stage(photo: str, model: str, tmp_path: Path):
    main_of("03")(photo, str(tmp_path / "egg.obj"), model)
    assert len(Mesh.load(tmp_path / "egg.obj").faces) > 100


def test_03_fades_from_one_neighbour_to_the_other():
    from infinitemesh.types import Camera

    (path,) = EXAMPLES.glob("03_*.py")
    stage = runpy.run_path(str(path))["CrossFade"](num_between=2)
    main = tiny_pipeline().main_views(tiny_pipeline().foreground(cut_out()))
    ring = stage(main)
    first = main.composite()[:2]
    expected = (first[0] * 2 + first[1]) / 3
    assert ring.camera.azimuth_deg[1].round() == Camera.orbit(30.0).azimuth_deg.round()
    assert (ring.rgb[1] - expected).abs().max() < 1e-4


def test_04_your_own_views(photo: str, model: str, tmp_path: Path):
    main = main_of("04")
    main({0: photo, 90: photo}, None, str(tmp_path / "a.glb"), model)
    tiny_pipeline().trace(photo).save(tmp_path / "all")
    main(None, str(tmp_path / "all" / "views"), str(tmp_path / "b.glb"), model)
    assert all(len(Mesh.load(tmp_path / name).faces) > 100 for name in ("a.glb", "b.glb"))


@pytest.mark.slow
def test_05_train_on_ten_objects(tmp_path: Path, capsys):
    main_of("05")(str(tmp_path / "ten"), 1.0, smoke=True)
    assert (tmp_path / "ten" / "run" / "weights" / "config.json").is_file()


def test_06_batch_of_a_folder(model: str, tmp_path: Path, capsys):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("red", "green", "blue"):
        cut_out(name).save(photos / f"{name}.png")
    Image.new("RGB", (64, 64), "white").save(photos / "white.png")
    main_of("06")(str(photos), str(tmp_path / "meshes"), model, batch_size=2)
    assert sorted(path.stem for path in (tmp_path / "meshes").iterdir()) == ["blue", "green", "red"]
    assert "white.png: the picture has no transparent pixel" in capsys.readouterr().out


def test_an_example_is_a_program(photo: str, model: str, tmp_path: Path):
    (path,) = EXAMPLES.glob("01_*.py")
    words = ["--photo", photo, "--out", str(tmp_path / "egg.ply"), "--model", model]
    subprocess.run([sys.executable, path, *words], check=True)
    assert len(Mesh.load(tmp_path / "egg.ply").faces) > 100


def test_the_drawn_pictures_are_those_of_the_repository():
    made = runpy.run_path(str(EXAMPLES / "make_images.py"))
    names = {path.stem for path in (EXAMPLES / "images").glob("*.jpg")}
    assert names == {*made["VIEWS"], "coffee"}
    drawn, stored = made["photograph"]("mug"), Image.open(EXAMPLES / "images" / "mug.jpg")
    small = [np.asarray(picture.resize((8, 8)).convert("L"), dtype=float) for picture in (drawn, stored)]
    assert np.abs(small[0] - small[1]).max() < 6


def test_the_example_rings_are_what_the_reconstruction_takes():
    from infinitemesh import views_from_folder

    for folder in (EXAMPLES / "views").iterdir():
        views = views_from_folder(folder)
        assert views.camera.azimuth_deg.round().tolist() == [30.0 * k for k in range(12)]
        assert views.is_main.nonzero().flatten().tolist() == [0, 3, 6, 9]


def test_the_sheet_of_truth_and_result(model: str, tmp_path: Path):
    (path,) = EXAMPLES.glob("make_sheet.py")
    runpy.run_path(str(path))["main"](str(tmp_path / "sheet.jpg"), model, ["mug"], 48)
    assert Image.open(tmp_path / "sheet.jpg").size[0] >= 8 * 48


def test_the_overview_of_photographs_and_of_objects(photo: str, model: str, tmp_path: Path):
    from infinitemesh.evaluate.synthetic import synthetic_objects

    main = runpy.run_path(str(EXAMPLES / "make_overview.py"))["main"]
    main(str(tmp_path / "photos.png"), model, str(Path(photo).parent), size=48)
    (tmp_path / "meshes").mkdir()
    synthetic_objects()["box"].save(tmp_path / "meshes" / "box.glb")
    main(str(tmp_path / "objects.png"), model, objects=str(tmp_path / "meshes"), size=48)
    for name, columns in (("photos", 17), ("objects", 21)):
        drawn = np.asarray(Image.open(tmp_path / f"{name}.png"), dtype=float)
        assert drawn.shape[:2] == (48, columns * 50 - 2)
        pictures = [drawn[:, 50 * k : 50 * k + 48] for k in range(columns)]
        assert all((picture.min(-1) < 200).mean() > 0.02 for picture in pictures)  # none is empty


def test_the_strip_from_photograph_to_mesh(photo: str, model: str, tmp_path: Path):
    strip = runpy.run_path(str(EXAMPLES / "make_strip.py"))
    strip["main"](str(tmp_path / "strip.jpg"), model, [photo, photo], 48)
    drawn = np.asarray(Image.open(tmp_path / "strip.jpg"), dtype=float)
    columns = len(strip["LABELS"])
    assert drawn.shape[1] == columns * 50 - 2
    pictures = [drawn[14:62, 50 * k : 50 * k + 48] for k in range(columns)]
    assert all((picture.min(-1) < 200).mean() > 0.02 for picture in pictures)  # none is empty
