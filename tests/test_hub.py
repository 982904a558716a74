import hashlib
import json
import pickle
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import pytest
import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from safetensors.torch import load_file, save_file
from torch import nn

from infinitemesh import hub
from infinitemesh.errors import CheckpointError, InputError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class TwoLayers(ModelMixin, ConfigMixin):
    """Parameters, a persistent buffer and one that is computed, not stored."""

    @register_to_config
    def __init__(self, width: int = 4, names: tuple[str, ...] = ("a", "b")) -> None:
        super().__init__()
        self.first = nn.Linear(3, width)
        self.norm = nn.BatchNorm1d(width)
        self.register_buffer("scale", torch.arange(width) + 1.0, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.first(x)) * self.scale


class Narrow(TwoLayers):
    """Fixes one option of its base, which still stands in config.json."""

    @register_to_config
    def __init__(self, names: tuple[str, ...] = ("a", "b")) -> None:
        super().__init__(2, names)


class Wider(TwoLayers):
    @register_to_config
    def __init__(self, width: int = 4, names: tuple[str, ...] = ("a", "b"), extra: float = 1.0) -> None:
        super().__init__(width, names)


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    network = TwoLayers(width=5)
    return network, hub.save_network(network, tmp_path / "net")


def change(folder, edit):
    tensors = load_file(folder / hub.WEIGHTS)
    edit(tensors)
    save_file(tensors, folder / hub.WEIGHTS)


def test_a_saved_network_computes_the_same_after_loading(saved):
    network, folder = saved
    loaded = hub.load_network(TwoLayers, folder)
    x = torch.rand(7, 3)
    torch.testing.assert_close(loaded(x), network.eval()(x), rtol=0, atol=0)
    assert not loaded.training and {p.device.type for p in loaded.parameters()} == {"cpu"}
    assert [loaded.config[key] for key in ("width", "names")] == [5, ("a", "b")]


def test_half_precision_files_load_as_float32_unless_asked_otherwise(tmp_path):
    network = TwoLayers()
    folder = hub.save_network(network, tmp_path / "half", dtype=torch.float16)
    assert load_file(folder / hub.WEIGHTS)["first.weight"].dtype == torch.float16
    loaded = hub.load_network(TwoLayers, folder)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(loaded.first.weight, network.first.weight.half().float(), rtol=0, atol=0)
    assert hub.load_network(TwoLayers, folder, dtype=torch.bfloat16).first.weight.dtype == torch.bfloat16


def test_diffusers_itself_reads_our_folders_and_we_read_its_shards(saved, tmp_path):
    network, folder = saved
    theirs = TwoLayers.from_pretrained(folder)
    torch.testing.assert_close(theirs.first.weight, network.first.weight)
    network.save_pretrained(tmp_path / "shards", max_shard_size=60)
    assert (tmp_path / "shards" / hub.SHARD_INDEX).is_file()
    ours = hub.load_network(TwoLayers, tmp_path / "shards")
    for key, tensor in network.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], tensor)


def test_a_subclass_loads_the_folder_of_its_base_but_not_the_other_way(saved, tmp_path):
    _, folder = saved
    assert hub.load_network(Wider, folder).config.extra == 1.0
    hub.save_network(Wider(), tmp_path / "wider")
    with pytest.raises(CheckpointError, match="of a Wider, not of a TwoLayers"):
        hub.load_network(TwoLayers, tmp_path / "wider")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.pop("first.bias"), r"1 missing \(first.bias\)"),
        (lambda t: t.update(more=torch.ones(1)), r"1 unexpected \(more\)"),
        (lambda t: t.update({"first.weight": torch.ones(5, 2)}), r"first.weight has shape \(5, 2\).* needs \(5, 3\)"),
        (lambda t: t["first.bias"].fill_(torch.nan), "first.bias holds NaN"),
    ],
)
def test_wrong_tensors_are_named(saved, edit, message):
    _, folder = saved
    change(folder, edit)
    with pytest.raises(CheckpointError, match=message):
        hub.load_network(TwoLayers, folder)


def test_a_cut_file_is_named_as_damaged(saved):
    _, folder = saved
    file = folder / hub.WEIGHTS
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="damaged"):
        hub.load_network(TwoLayers, folder)


def test_pickles_are_never_opened(saved):
    _, folder = saved
    (folder / hub.WEIGHTS).unlink()

    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was opened",))

    (folder / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match="infinitemesh convert"):
        hub.load_network(TwoLayers, folder)


def test_configuration_keys_must_be_known(saved):
    _, folder = saved
    config = json.loads((folder / hub.CONFIG).read_text())
    (folder / hub.CONFIG).write_text(json.dumps(config | {"widht": 3}))
    with pytest.raises(CheckpointError, match=r"no option `widht`\. Did you mean `width`\?"):
        hub.load_network(TwoLayers, folder)
    (folder / hub.CONFIG).write_text(json.dumps(config | {"width": "many"}))
    with pytest.raises(CheckpointError, match="does not configure"):
        hub.load_network(TwoLayers, folder)
    (folder / hub.CONFIG).write_text("{")
    with pytest.raises(CheckpointError, match="not JSON"):
        hub.load_network(TwoLayers, folder)
    (folder / hub.CONFIG).unlink()
    with pytest.raises(CheckpointError, match="not a network folder"):
        hub.load_network(TwoLayers, folder)


def test_options_that_a_class_fixes_must_agree_with_the_file(tmp_path):
    folder = hub.save_network(Narrow(), tmp_path / "net")
    assert hub.load_network(Narrow, folder).first.out_features == 2
    config = json.loads((folder / hub.CONFIG).read_text())
    (folder / hub.CONFIG).write_text(json.dumps(config | {"width": 3}))
    with pytest.raises(CheckpointError, match="width is 3, but a Narrow has 2"):
        hub.load_network(Narrow, folder)


def test_a_saved_value_wins_over_a_default_that_changed_since(saved):
    _, folder = saved
    config = json.loads((folder / hub.CONFIG).read_text())
    old = {"names": ["old", "default"], "_use_default_values": ["names"]}
    (folder / hub.CONFIG).write_text(json.dumps(config | old))
    assert hub.load_network(TwoLayers, folder).config.names == ("old", "default")


def test_shards_stay_in_their_folder(saved, tmp_path):
    _, folder = saved
    (folder / hub.WEIGHTS).rename(tmp_path / hub.WEIGHTS)
    (folder / hub.SHARD_INDEX).write_text(json.dumps({"weight_map": {"first.bias": f"../{hub.WEIGHTS}"}}))
    with pytest.raises(CheckpointError, match="same folder"):
        hub.load_network(TwoLayers, folder)


def test_weights_that_overflow_half_precision_are_not_written(tmp_path):
    network = TwoLayers()
    nn.init.constant_(network.first.weight, 1e6)
    with pytest.raises(CheckpointError, match=r"first.weight is not finite as torch.float16"):
        hub.save_network(network, tmp_path / "net", dtype=torch.float16)
    assert list(tmp_path.iterdir()) == []


def test_resolve_checks_a_folder_against_its_checksums(saved, tmp_path):
    _, folder = saved
    assert hub.resolve(folder) == folder == hub.resolve(str(folder))
    hub.write_checksums(folder)
    assert hub.resolve(folder) == folder
    with open(folder / hub.WEIGHTS, "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    with pytest.raises(CheckpointError, match=r"safetensors has SHA-256 [0-9a-f]{64}, expected [0-9a-f]{64}"):
        hub.resolve(folder)
    (folder / hub.WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        hub.resolve(folder)


def test_the_hash_of_a_folder_follows_its_weights_and_not_its_place(saved, tmp_path):
    network, folder = saved
    copy = hub.save_network(network, tmp_path / "copy")
    (copy / "README.md").write_text("words do not count")
    assert hub.sha256_of(copy) == hub.sha256_of(folder)
    change(copy, lambda t: t["first.bias"].add_(1))
    assert hub.sha256_of(copy) != hub.sha256_of(folder)
    with pytest.raises(CheckpointError, match="no weights"):
        (tmp_path / "empty").mkdir()
        hub.sha256_of(tmp_path / "empty")


def test_unknown_names_say_what_there_is():
    with pytest.raises(CheckpointError, match=r"no weights called 'smal'.*bundled are"):
        hub.resolve("smal")
    with pytest.raises(CheckpointError, match="with a Pin"):
        hub.resolve("someone/something", allow_download=True)


def test_a_hub_repository_needs_a_commit_and_a_permission():
    files = {"config.json": "0" * 64}
    with pytest.raises(InputError, match="40 hexadecimal digits"):
        hub.resolve("someone/something", pin=hub.Pin(revision="main", files=files, licence="MIT"))
    with pytest.raises(InputError, match="not a path inside"):
        pin = hub.Pin(revision="0" * 40, files={"../config.json": "0" * 64}, licence="MIT")
        hub.resolve("someone/something", pin=pin)
    with pytest.raises(CheckpointError, match=r"MIT.*pass allow_download=True"):
        hub.resolve("someone/something", pin=hub.Pin(revision="0" * 40, files=files, licence="MIT"))


@pytest.mark.parametrize("name", hub.bundled_names())
def test_bundled_presets_are_whole(name):
    assert hub.resolve(name).is_dir()


@pytest.fixture
def local_hub(tmp_path, monkeypatch):
    """A model hub on this machine that serves the files of a folder at one commit, and counts what it sends."""
    served, sent = tmp_path / "served", []
    served.mkdir()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            name = self.path.split(f"/resolve/{COMMIT}/", 1)[-1]
            file = served / name
            if COMMIT not in self.path or not file.is_file():
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha1(file.read_bytes()).hexdigest()}"')
            self.send_header("Content-Length", str(file.stat().st_size))
            self.end_headers()
            if self.command == "GET":
                sent.append(name)
                self.wfile.write(file.read_bytes())

        do_GET = do_HEAD

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(
        huggingface_hub.constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        f"http://127.0.0.1:{server.server_port}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
    )
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield served, sent
    server.shutdown()


def test_a_pinned_repository_is_fetched_once_when_allowed_and_its_hashes_compared(local_hub):
    served, sent = local_hub
    network = TwoLayers()
    hub.save_network(network, served / "unet")
    names = ("unet/config.json", f"unet/{hub.WEIGHTS}")
    files = {name: hashlib.sha256((served / name).read_bytes()).hexdigest() for name in names}
    pin = hub.Pin(revision=COMMIT, files=files, licence="MIT")
    with pytest.raises(CheckpointError, match=r"\(MIT\) is not on this machine: pass allow_download=True"):
        hub.resolve("someone/something", pin=pin)
    assert sent == []
    folder = hub.resolve("someone/something", pin=pin, allow_download=True)
    loaded = hub.load_network(TwoLayers, folder / "unet")
    torch.testing.assert_close(loaded.first.weight, network.first.weight)
    assert sorted(sent) == sorted(names)
    assert hub.resolve("someone/something", pin=pin) == folder and len(sent) == 2  # now without the hub
    other = hub.Pin(revision=COMMIT, files=files | {names[1]: "0" * 64}, licence="MIT")
    with pytest.raises(CheckpointError, match=f"expected {'0' * 64}"):
        hub.resolve("someone/something", pin=other, allow_download=True)
    missing = hub.Pin(revision=COMMIT, files={"other.json": "0" * 64}, licence="MIT")
    with pytest.raises(CheckpointError, match=r"other.json"):
        hub.resolve("someone/something", pin=missing, allow_download=True)


def test_saved_configs_do_not_say_where_weights_came_from(tmp_path):
    from infinitemesh.hub import load_network, save_network
    from infinitemesh.models.autoencoder import ImageAutoencoder

    first = save_network(ImageAutoencoder.preset("tiny"), tmp_path / "first")
    again = save_network(ImageAutoencoder.from_pretrained(first), tmp_path / "second")
    assert str(tmp_path) not in (again / "config.json").read_text()
    assert load_network(ImageAutoencoder, again).config["latent_channels"] == 8


def test_a_part_of_another_network_takes_its_place_and_must_fit(tmp_path):
    torch.manual_seed(1)
    network, linear = TwoLayers(width=5), nn.Linear(3, 5)
    folder = hub.save_network(network, tmp_path / "net", without=("first",))
    assert not any(key.startswith("first.") for key in load_file(folder / hub.WEIGHTS))
    loaded = hub.load_network(TwoLayers, folder, shared={"first": linear})
    assert loaded.first is linear and torch.equal(loaded.norm.weight, network.norm.weight)
    for name, part, says in (
        ("first", nn.Linear(3, 4), "a part of other tensors"),
        ("first", nn.Sequential(), "no part 'first' that could be shared"),
        ("second", linear, "no part 'second' that could be shared"),
        ("", network, "no part '' that could be shared"),
    ):
        with pytest.raises(CheckpointError, match=says):
            hub.load_network(TwoLayers, folder, shared={"first": linear, name: part})
    with pytest.raises(CheckpointError, match="missing"):
        hub.load_network(TwoLayers, folder)
