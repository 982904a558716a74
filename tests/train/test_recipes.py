"""Every recipe of configs/train runs by its command, in seconds, and what it writes loads."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from infinitemesh.data.object_pack import ObjectPack, load_packs
from infinitemesh.data.packs import pack_evaluation_objects
from infinitemesh.data.procedural import write_objects
from infinitemesh.errors import InputError
from infinitemesh.hub import load_network
from infinitemesh.models.autoencoder import ImageAutoencoder
from infinitemesh.models.lrm import LargeReconstructionModel
from infinitemesh.models.single_view import SingleViewModel
from infinitemesh.stages.coarse import CoarseRenderer
from infinitemesh.stages.denoise import Sampling
from infinitemesh.train import view_monitor
from infinitemesh.train.autoencoder import AutoencoderData, AutoencoderOptions, AutoencoderTask, crops_of_objects
from infinitemesh.train.autoencoder_loss import over
from infinitemesh.train.command import train_command
from infinitemesh.train.loop import LoopConfig, train
from infinitemesh.train.views import load_diffusion

CONFIGS = Path(__file__).parents[2] / "configs" / "train"
TINY = AutoencoderData(size=64, pictures=4, crop=32, objects=2, views=2, first=8, kept=8, every=2)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.yaml")))
def test_a_recipe_runs_by_its_command(name, pack_folder, tmp_path):
    arguments = ["--config", str(CONFIGS / f"{name}.yaml"), "--packs", f"[{pack_folder}]", "--smoke", "true"]
    progress = train_command([*arguments, "--out", str(tmp_path)])
    assert progress.step == 3
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3]
    kinds = {
        "AutoencoderRecipe": lambda: load_network(ImageAutoencoder, tmp_path / "weights"),
        "network: single": lambda: load_network(SingleViewModel, tmp_path / "weights"),
        "ReconstructionRecipe": lambda: load_network(LargeReconstructionModel, tmp_path / "weights"),
        "ViewsRecipe": lambda: load_diffusion(tmp_path / "weights"),
    }
    kind = next(kind for kind in kinds if kind in (CONFIGS / f"{name}.yaml").read_text())
    assert all(torch.isfinite(value).all() for value in kinds[kind]().parameters())


def test_objects_for_measuring_are_refused(tmp_path):
    held_out(tmp_path)
    arguments = ["--config", str(CONFIGS / "views.yaml"), "--packs", f"[{tmp_path / 'packs'}]", "--smoke", "true"]
    with pytest.raises(InputError, match="evaluation"):
        train_command([*arguments, "--out", str(tmp_path / "run")])


def held_out(folder: Path) -> ObjectPack:
    paths = write_objects(folder, 2, seed=7)
    (folder / "index.csv").write_text("path,source,tier\n" + "".join(f"{path.name},made,eval\n" for path in paths))
    pack_evaluation_objects(folder / "index.csv", folder / "packs", texture_px=16, max_faces=1000)
    return load_packs(folder / "packs", purpose="evaluation")


def test_an_autoencoder_learns_an_object_and_knows_its_latents_statistics(pack, tmp_path):
    task = AutoencoderTask(pack.first(1), AutoencoderOptions(preset="tiny", data=TINY), None)
    before = picture_error(task)
    train(task, LoopConfig(steps=40, learning_rate=1e-2, warmup_steps=5, precision="no", ema_decay=0.9), tmp_path)
    trained = load_network(ImageAutoencoder, tmp_path / "weights")
    assert picture_error(task) < 0.6 * before
    latents = trained.encode(task._render(seeded(), lit=0.0).float() / 255)
    torch.testing.assert_close(latents.mean((0, 2, 3)), torch.zeros(8), atol=0.05, rtol=0)
    torch.testing.assert_close(latents.std((0, 2, 3)), torch.ones(8), atol=0.05, rtol=0)


@torch.no_grad()
def picture_error(task: AutoencoderTask) -> float:
    """Over white: colour where nothing is stands free."""
    truth = task.batch(1, seeded())
    white = torch.ones(len(truth), 3)
    return float((over(task.autoencoder(truth, seeded())[0], white) - over(truth, white)).abs().mean())


def test_kept_pictures_depend_on_the_step_and_not_on_the_way(pack):
    walked, jumped = (AutoencoderTask(pack, AutoencoderOptions(preset="tiny", data=TINY), None) for _ in range(2))
    batches = [walked.batch(step, seeded(step)) for step in range(6)]
    assert torch.equal(jumped.batch(5, seeded(5)), batches[5])
    assert torch.equal(walked.pictures, jumped.pictures)
    assert [len(batch) for batch in batches[:2]] == [16, 4] and [b.shape[-1] for b in batches[:2]] == [32, 64]
    with pytest.raises(InputError, match="crop=300"):
        replace(TINY, crop=300)


def test_crops_are_parts_of_their_pictures_with_the_object_in_sight():
    pictures = torch.zeros(40, 4, 64, 64, dtype=torch.uint8)
    pictures[:, 0] = torch.arange(64, dtype=torch.uint8)[:, None]
    pictures[:, 1] = torch.arange(64, dtype=torch.uint8)
    pictures[:, 2] = torch.arange(40, dtype=torch.uint8)[:, None, None]
    pictures[:, 3, 4:12, 40:56] = 255
    crops = crops_of_objects(pictures, 16, seeded())
    for number, crop in enumerate(crops):
        top, left = int(crop[0, 0, 0]), int(crop[1, 0, 0])
        assert torch.equal(crop, pictures[number, :, top : top + 16, left : left + 16])
    assert (crops[:, 3] > 0).flatten(1).any(1).float().mean() > 0.95
    assert len({(int(c[0, 0, 0]), int(c[1, 0, 0])) for c in crops}) > 20


def test_lights_shine_on_the_chosen_share_of_kept_pictures(pack):
    task = AutoencoderTask(pack, AutoencoderOptions(preset="tiny", data=TINY), None)
    plain, half, lit = (task._render(seeded(), lit=share) for share in (0.0, 0.5, 1.0))
    changed = [(other != plain).flatten(1).any(1) for other in (half, lit)]
    assert changed[1].all() and not changed[0].all()


def test_the_monitor_measures_both_kinds_beside_what_needs_no_training(tmp_path, pack_folder, capsys):
    pack = held_out(tmp_path)
    arguments = ["--config", str(CONFIGS / "views.yaml"), "--packs", f"[{pack_folder}]", "--smoke", "true"]
    train_command([*arguments, "--out", str(tmp_path / "run")])
    lrm = LargeReconstructionModel.preset("tiny", image_size=64)
    lrm.save_pretrained(tmp_path / "lrm")
    capsys.readouterr()
    view_monitor.main(
        ["views", str(tmp_path / "run" / "weights"), str(tmp_path / "packs"), "--reconstruction", str(tmp_path / "lrm"),
         "--steps", "1", "--device", "cpu", "--sheet", str(tmp_path / "sheet.png")]
    )  # fmt: skip
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = {(row["views"], row["system"]): row for row in rows}
    assert set(found) == {("main", s) for s in ("ours", "copy", "mirror", "coarse")} | {
        ("between", s) for s in ("ours", "nearest", "warp", "coarse")
    }
    assert found["main", "mirror"]["back_iou"] > 0.7 > found["main", "ours"]["back_iou"]
    assert found["main", "mirror"]["right_db"] == found["main", "copy"]["right_db"]
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    again = view_monitor.main_view_scores(
        load_diffusion(tmp_path / "run" / "weights"), CoarseRenderer(lrm.eval()), pack, Sampling(steps=1)
    )[0]
    assert again["ours"]["db"] == found["main", "ours"]["db"]
    view_monitor.main(
        ["autoencoder", str(tmp_path / "run/weights/autoencoder"), str(tmp_path / "packs"), "--device", "cpu"]
    )
    scores = json.loads(capsys.readouterr().out)
    assert scores["worst_db"] <= scores["db"] and 0 <= scores["iou"] <= 1


def test_the_truth_scores_perfectly(pack):
    truth = torch.rand(2, 3, 4, 16, 16)
    scores = view_monitor._scores({"same": truth}, truth, ("a", "b", "c"))
    assert scores["same"]["db"] == 100 and scores["same"]["c_iou"] == 1
