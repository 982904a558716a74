"""The command line on a tiny pipeline's folder: what is written, what is said, how it ends."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny import cut_out, tiny_pipeline

from infinitemesh.cli import main
from infinitemesh.convert.instantmesh import to_instantmesh
from infinitemesh.hub import load_network
from infinitemesh.models.lrm import LargeReconstructionModel
from infinitemesh.models.multiview_unet import MultiViewUNet
from infinitemesh.pipeline import InfiniteMeshPipeline
from infinitemesh.types import Camera, Mesh


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(tiny_pipeline().save_pretrained(tmp_path_factory.mktemp("bundle") / "tiny", dtype=None))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    cut_out().save(tmp_path / "egg.png")
    return tmp_path / "egg.png"


def run(*words: object) -> int:
    return main([str(word) for word in words])


def test_help_needs_no_torch_and_no_time():
    said = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "infinitemesh.cli", "--help"], capture_output=True, text=True
    )
    assert said.returncode == 0 and "mesh" in said.stdout and "train" in said.stdout
    loaded = said.stderr
    assert all(f"| {name}\n" not in loaded.replace("|   ", "| ") for name in ("torch", "numpy", "diffusers", "PIL"))


def test_a_photograph_becomes_a_mesh_file(photo: Path, model: str, tmp_path: Path, capsys):
    out = tmp_path / "egg.glb"
    assert run("mesh", photo, "-o", out, "--model", model, "--seed", 3, "--faces", 200, "--num-between", 1) == 0
    assert len(Mesh.load(out).faces) <= 200
    said = capsys.readouterr()
    assert "egg.glb" in said.out and "view interpolation" in said.err
    quiet = tmp_path / "quiet.glb"
    again = ("--model", model, "--seed", 3, "--faces", 200, "--num-between", 1, "--quiet")
    assert run("mesh", photo, "-o", quiet, *again) == 0
    assert capsys.readouterr().err == ""
    assert quiet.read_bytes() == out.read_bytes()


def test_views_then_mesh_is_the_same_as_mesh(photo: Path, model: str, tmp_path: Path):
    assert run("views", photo, "-o", tmp_path / "views", "--model", model, "--quiet") == 0
    assert (tmp_path / "views" / "cameras.json").is_file()
    assert run("mesh", tmp_path / "views", "-o", tmp_path / "a.obj", "--model", model, "--quiet") == 0
    assert run("mesh", photo, "-o", tmp_path / "b.obj", "--model", model, "--quiet") == 0
    one, other = (Mesh.load(tmp_path / name) for name in ("a.obj", "b.obj"))
    assert len(one.faces) > 100
    distance = (one.vertices[:, None] - other.vertices[None]).norm(dim=-1)
    assert distance.amin(0).mean() < 0.02 and distance.amin(1).mean() < 0.02  # views were rounded to 8 bits


def test_own_pictures_at_azimuths(model: str, tmp_path: Path):
    cut_out("red").save(tmp_path / "front.png")
    cut_out("blue").save(tmp_path / "side.png")
    given = ("--view", f"0={tmp_path / 'front.png'}", "--view", f"90={tmp_path / 'side.png'}")
    out = tmp_path / "own.glb"
    kept = ("--save-intermediates", tmp_path / "all", "--turntable", tmp_path / "turn.gif")
    assert run("mesh", *given, "-o", out, "--model", model, "--quiet", *kept) == 0
    assert out.is_file() and (tmp_path / "turn.gif").is_file() and (tmp_path / "all" / "run.json").is_file()
    side = Image.open(tmp_path / "all" / "views" / "003.png").convert("RGB")
    red, _, blue = side.getpixel((side.width // 2, int(side.height * 0.7)))
    assert blue > 200 and red < 50


def test_a_batch_of_photographs_goes_to_a_folder_and_bad_ones_are_named(model: str, tmp_path: Path, capsys):
    for name in ("red", "green", "blue"):
        cut_out(name).save(tmp_path / f"{name}.png")
    (tmp_path / "text.png").write_text("not a picture")
    photos = [tmp_path / f"{name}.png" for name in ("red", "text", "green", "blue")]
    assert run("mesh", *photos, "-o", tmp_path / "out", "--model", model, "--batch-size", 2, "--quiet") == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["blue.glb", "green.glb", "red.glb"]
    said = capsys.readouterr().err
    assert "1 of 4 photographs" in said and "text.png" in said and "Traceback" not in said


def test_render_writes_sheets_and_films(photo: Path, model: str, tmp_path: Path):
    assert run("mesh", photo, "-o", tmp_path / "m.ply", "--model", model, "--texture-size", 0, "--quiet") == 0
    sheet, film = tmp_path / "sheet.png", tmp_path / "turn.webp"
    assert run("render", tmp_path / "m.ply", "-o", sheet, "--azimuth", 0, 90, -45, "--size", 32) == 0
    assert Image.open(sheet).width == 3 * 32 + 2 * 2
    assert run("render", tmp_path / "m.ply", "-o", film, "--frames", 3, "--size", 32) == 0
    assert Image.open(film).n_frames == 3


def test_convert_writes_a_network_folder_and_tells_the_licence(tmp_path: Path, capsys):
    fixture, source = Path(__file__).parent / "fixtures" / "mvunet", tmp_path / "unet"
    source.mkdir()
    (source / "config.json").write_bytes((fixture / "unet_config.json").read_bytes())
    (source / "diffusion_pytorch_model.safetensors").write_bytes((fixture / "unet_tiny.safetensors").read_bytes())
    assert run("convert", "wonder3d", source, "-o", tmp_path / "ours", "--without-cross-domain") == 0
    assert "AGPL" in capsys.readouterr().out
    unet = load_network(MultiViewUNet, tmp_path / "ours")
    assert not unet.config["cross_domain"] and unet.config["in_channels"] == 8
    assert run("convert", "zero123", tmp_path / "ours" / "config.json", "-o", tmp_path / "z") == 1
    assert "neither .safetensors" in capsys.readouterr().err and not (tmp_path / "z").exists()


def test_convert_takes_instantmesh_and_refuses_what_is_not_it(tmp_path: Path, capsys):
    sizes = dict(encoder_dim=64, encoder_heads=1, encoder_layers=1, transformer_dim=64, transformer_heads=1)
    theirs = LargeReconstructionModel.preset(
        "paper", fusion_reading=None, transformer_layers=2, triplane_low_res=4, triplane_dim=8, **sizes
    )
    source, out = tmp_path / "instant_mesh_tiny.ckpt", tmp_path / "ours"
    torch.save({"state_dict": to_instantmesh(theirs.state_dict())}, source)
    assert run("convert", "instantmesh", source, "-o", out, "--fusion", "joint") == 0
    assert "CC-BY-NC-4.0" in capsys.readouterr().out
    ours = load_network(LargeReconstructionModel, out)
    rgba, camera = torch.rand(1, 4, 4, 32, 32), Camera.orbit(torch.tensor([[0.0, 90.0, 180.0, 270.0]]))
    with torch.no_grad():
        torch.testing.assert_close(ours(rgba, camera), theirs.eval()(rgba, camera))
    torch.save({"state_dict": {"unet.conv_in.weight": torch.ones(2)}}, source)
    assert run("convert", "instantmesh", source, "-o", tmp_path / "none") == 1
    assert "no InstantMesh checkpoint" in capsys.readouterr().err and not (tmp_path / "none").exists()
    torch.save({"state_dict": {}, "callbacks": Path("x")}, source)
    assert run("convert", "instantmesh", source, "-o", tmp_path / "none") == 1
    assert "could run code" in capsys.readouterr().err
    for option in (["--without-cross-domain"], ["--fusion", "joint"]):
        kind = "zero123" if option[0] == "--fusion" else "instantmesh"
        assert run("convert", kind, source, "-o", tmp_path / "none", *option) == 1
        assert f"{option[0]} is for" in capsys.readouterr().err


def test_bench_prints_every_stage(model: str, photo: Path, capsys):
    assert run("bench", photo, "--model", model, "--repeats", 1, "--device", "cpu") == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("main views", "texturing", "in all", "peak memory"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["mesh", "PHOTO", "-o", "OUT.glb", "--model", "nowhere"], "no weights called 'nowhere'"),
        (["mesh", "PHOTO", "-o", "OUT.xyz", "--model", "MODEL"], "suffix must be one of .glb"),
        (["mesh", "PHOTO", "-o", "PHOTO", "--model", "MODEL"], "suffix must be one of"),
        (["mesh", "gone.jpg", "-o", "OUT.glb", "--model", "MODEL"], "no file or folder at gone.jpg"),
        (["mesh", "-o", "OUT.glb", "--model", "MODEL"], "nothing to do"),
        (["mesh", "PHOTO", "PHOTO", "-o", "OUT.glb", "--model", "MODEL"], "overwrite each other"),
        (["mesh", "PHOTO", "--view", "0=PHOTO", "-o", "OUT.glb", "--model", "MODEL"], "not both"),
        (["mesh", "--view", "0=PHOTO", "--view", "360=PHOTO", "-o", "OUT.glb", "--model", "MODEL"], "one azimuth"),
        (["mesh", "PHOTO", "-o", "OUT.glb", "--interpolate", "--model", "MODEL"], "--interpolate is for"),
        (["mesh", "PHOTO", "-o", "OUT.glb", "--trajectory", "up", "--model", "MODEL"], "unknown trajectory 'up'"),
        (["mesh", "PHOTO", "-o", "OUT.glb", "--device", "cuda:99", "--model", "MODEL"], "cuda"),
        (["mesh", "FOLDER", "-o", "OUT.glb", "--model", "MODEL"], "has no cameras.json"),
        (["views", "PHOTO", "-o", "FOLDER", "--model", "MODEL"], "exists already"),
        (["render", "PHOTO", "-o", "OUT.webp"], "suffix must be one of"),
        (["train", "--config", "gone.yaml"], "gone.yaml"),
        (["evaluate", "nothing", "-o", "OUT"], "nothing"),
    ],
)
def test_an_error_is_one_line_and_leaves_nothing(
    words: list[str], says: str, photo: Path, model: str, tmp_path: Path, capsys
):
    (tmp_path / "folder").mkdir()
    stand_in = {"PHOTO": photo, "MODEL": model, "FOLDER": tmp_path / "folder"}
    before = sorted(tmp_path.rglob("*"))

    def real(word: str) -> str:
        for name, path in stand_in.items():
            word = word.replace(name, str(path))
        return word.replace("OUT", str(tmp_path / "out"))

    assert main([real(word) for word in words]) == 1
    said = capsys.readouterr().err
    assert says in said and said.startswith("infinitemesh: ") and "Traceback" not in said
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("words", [["mesh", "PHOTO"], ["views", "PHOTO"], ["mesh", "--view", "0=PHOTO"]])
def test_what_is_no_photograph_is_refused_before_weights_are_loaded(
    words: list[str], photo: Path, tmp_path: Path, capsys, monkeypatch
):
    """Within a second: the weights take several."""
    monkeypatch.setattr(InfiniteMeshPipeline, "from_pretrained", lambda *_: pytest.fail("weights were loaded"))
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(photo.read_bytes()[:20])
    Image.new("RGB", (1, 1)).save(tmp_path / "one.png")
    Image.new("1", (9000, 9000)).save(tmp_path / "large.png")
    says = {"text": "not a readable PNG", "cut": "not a readable PNG", "one": "1 x 1 pixels", "large": "9000 x 9000"}
    for name, message in says.items():
        asked = [word.replace("PHOTO", str(tmp_path / f"{name}.png")) for word in words]
        assert run(*asked, "-o", tmp_path / ("out" if words[0] == "views" else "out.glb"), "--quiet") == 1
        assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))


def test_a_film_that_cannot_be_written_is_told_before_the_mesh_is_made(
    photo: Path, tmp_path: Path, capsys, monkeypatch
):
    monkeypatch.setattr(InfiniteMeshPipeline, "from_pretrained", lambda *_: pytest.fail("weights were loaded"))
    assert run("mesh", photo, "-o", tmp_path / "a.glb", "--turntable", tmp_path / "a.mov", "--quiet") == 1
    assert "a turntable is written as .gif, .webp, .mp4" in capsys.readouterr().err


def test_an_existing_mesh_is_kept_unless_told(photo: Path, model: str, tmp_path: Path, capsys):
    out = tmp_path / "egg.stl"
    out.write_text("mine")
    assert run("mesh", photo, "-o", out, "--model", model, "--quiet") == 1
    assert "exists already" in capsys.readouterr().err and out.read_text() == "mine"
    assert run("mesh", photo, "-o", out, "--model", model, "--quiet", "--overwrite") == 0
    assert len(Mesh.load(out).faces) > 100


@pytest.mark.parametrize(
    "words",
    [
        ["mesh"],
        ["mehs", "a"],
        ["mesh", "a", "-o", "b.glb", "--steps", "0"],
        ["mesh", "a", "-o", "b.glb", "--view", "front.png"],
        ["mesh", "a", "-o", "b.glb", "--trajectory", "10,20;x,3"],
    ],
)
def test_a_wrong_command_line_ends_with_2(words: list[str]):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2


def test_free_poses_and_debug(photo: Path, model: str, tmp_path: Path):
    from infinitemesh.errors import InputError

    words = ("mesh", photo, "-o", tmp_path / "a.glb", "--model", model, "--quiet", "--trajectory", "45,10;200,-20")
    assert run(*words, "--save-intermediates", tmp_path / "all") == 0
    assert len(list((tmp_path / "all" / "views").glob("*.png"))) == 6
    with pytest.raises(InputError):
        run("--debug", *words)
