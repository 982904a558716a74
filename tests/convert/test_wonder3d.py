import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from infinitemesh.convert.checkpoint import read_checkpoint
from infinitemesh.convert.wonder3d import from_wonder3d, read_wonder3d_unet, to_wonder3d, unet_from_wonder3d
from infinitemesh.errors import CheckpointError

MVUNET = Path(__file__).parents[1] / "fixtures" / "mvunet"
CONFIG = json.loads((MVUNET / "unet_config.json").read_text())


def released():
    return load_file(MVUNET / "unet_tiny.safetensors")


def answer(unet, name):
    cases = load_file(MVUNET / "unet_cases.safetensors")
    c = {key.removeprefix(f"{name}."): value for key, value in cases.items() if key.startswith(f"{name}.")}
    with torch.no_grad():
        found = unet(c["sample"], c["timestep"], c["encoder_hidden_states"], c["class_labels"]).sample
    return found, c["out"]


def test_files_of_newer_and_of_older_code_give_the_same_network():
    state = released()
    older = to_wonder3d(state, older_code=True)
    assert any("joint_twice" in key for key in older) and not any("joint_mid" in key for key in older)
    for names in (state, older):
        unet = unet_from_wonder3d(names, CONFIG)
        torch.testing.assert_close(*answer(unet, "joint_6v"), atol=1e-4, rtol=0)
    assert from_wonder3d(older).keys() == state.keys() and to_wonder3d(state).keys() == state.keys()


def test_without_cross_domain_layers_it_is_the_first_stage_network():
    unet = unet_from_wonder3d(released(), CONFIG, cross_domain=False)
    torch.testing.assert_close(*answer(unet, "mv_only_6v"), atol=1e-4, rtol=0)


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_a_released_folder_is_read(tmp_path, suffix):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    file = tmp_path / f"diffusion_pytorch_model.{suffix}"
    half = {key: value.half() for key, value in released().items()}
    save_file(half, file) if suffix == "safetensors" else torch.save(half, file)
    unet = read_wonder3d_unet(tmp_path)
    assert unet.dtype == torch.float16
    torch.testing.assert_close(unet.state_dict(), half, atol=0, rtol=0)
    file.unlink()
    with pytest.raises(CheckpointError, match="one of"):
        read_wonder3d_unet(tmp_path)


def test_missing_and_surplus_tensors_are_named():
    state = released()
    state.pop("conv_in.weight")
    with pytest.raises(CheckpointError, match=r"misses 1 tensors \(conv_in"):
        unet_from_wonder3d(state, CONFIG)
    with pytest.raises(CheckpointError, match=r"has besides 1 tensors \(more"):
        unet_from_wonder3d(released() | {"more": torch.zeros(1)}, CONFIG)


class Payload:
    """Pickles as a call."""

    def __reduce__(self):
        return (print, ("this must never be printed",))


def test_a_pickle_with_code_is_not_opened(tmp_path, capsys):
    torch.save({"weights": torch.zeros(2), "payload": Payload()}, tmp_path / "trap.ckpt")
    with pytest.raises(CheckpointError, match="could run code"):
        read_checkpoint(tmp_path / "trap.ckpt")
    assert "never" not in capsys.readouterr().out


def test_lightning_checkpoints_are_unwrapped_and_other_files_refused(tmp_path):
    torch.save({"state_dict": {"w": torch.ones(2)}, "epoch": 3}, tmp_path / "a.ckpt")
    assert torch.equal(read_checkpoint(tmp_path / "a.ckpt")["w"], torch.ones(2))
    torch.save({"w": torch.ones(2), "step": 3}, tmp_path / "b.pt")
    (tmp_path / "c.safetensors").write_bytes(b"nothing")
    (tmp_path / "d.bin").write_bytes(b"nothing")
    (tmp_path / "e.txt").write_text("nothing")
    for name in ("b.pt", "c.safetensors", "d.bin", "e.txt", "missing.bin"):
        with pytest.raises(CheckpointError):
            read_checkpoint(tmp_path / name)
