"""Where weights are and how they are opened: a bundled name, a folder, or a pinned repository of a model hub.

A network folder is config.json + diffusion_pytorch_model.safetensors (or shards with their index), as diffusers writes
it, so each loads by itself too, but for parts that two networks of a pipeline share (`bundle.open_network`); a network
of transformers (CLIP) lies as transformers writes it. Large tensors may be stored in 8 or 6 bits
(`infinitemesh.eight_bit`), and such a folder is read by `load_network` alone. Classes come from the caller, never from
a file; pickles are never read; nothing is downloaded unless asked for, and then one exact revision whose files have the
expected SHA-256.
"""

import hashlib
import inspect
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import torch
from accelerate import init_empty_weights
from diffusers import ModelMixin
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from infinitemesh.eight_bit import (
    ENTRY,
    ENTRY_INT6,
    INT6,
    INT8,
    MARK,
    SCALE,
    fits_int6,
    from_int6,
    from_int8,
    is_large,
    is_marked,
    stored_as,
    to_int6,
    to_int8,
)
from infinitemesh.errors import CheckpointError, InputError
from infinitemesh.files import atomic_folder, read_bytes, sibling, write_text
from infinitemesh.messages import nearest

BUNDLED = Path(__file__).parent / "weights"
CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
WEIGHTS_FP16 = "diffusion_pytorch_model.fp16.safetensors"
WEIGHTS_TRANSFORMERS = "model.safetensors"
SHARD_INDEX = "diffusion_pytorch_model.safetensors.index.json"
CHECKSUMS = "SHA256SUMS"
MAX_JSON_BYTES = 10_000_000
NOT_SETTINGS = ("architectures", "transformers_version", "dtype", "torch_dtype")  # transformers' notes on a file
MANY = 5  # names shown in one message

Network = TypeVar("Network", bound=nn.Module)  # of diffusers (ModelMixin) or of transformers (PreTrainedModel)


@dataclass(frozen=True, kw_only=True)
class Pin:
    """Exactly which files of a hub repository are meant."""

    revision: str  # a commit, 40 hexadecimal digits: tags and branches move
    files: Mapping[str, str]  # path in the repository -> SHA-256
    licence: str


PINS: Mapping[str, Pin] = {}
"""Hub repositories that can be named without giving a Pin."""


def resolve(name_or_path: str | Path, *, allow_download: bool = False, pin: Pin | None = None) -> Path:
    """The folder of a bundled preset ("small"), of a folder's own path, or of a hub repository ("owner/name").

    A bundled name wins over a folder of that name in the working directory (write "./small" for that one). A folder
    with SHA256SUMS is checked against it. Hub repositories need a Pin and, unless fetched before, `allow_download`.
    """
    if isinstance(name_or_path, str) and name_or_path in bundled_names():
        return verified(BUNDLED / name_or_path)
    if Path(name_or_path).is_dir():
        return verified(Path(name_or_path))
    name = str(name_or_path)
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name) and (pin or name in PINS):
        return _fetched(name, pin or PINS[name], allow_download=allow_download)
    raise CheckpointError(
        f"no weights called {name!r}: bundled are {', '.join(bundled_names()) or 'none'}; give one of these, a folder, "
        "or a hub repository `owner/name` with a Pin (revision and SHA-256 of its files)"
    )


def bundled_names() -> list[str]:
    """Presets that came with the package."""
    return sorted(folder.name for folder in BUNDLED.iterdir() if any(folder.rglob(CONFIG))) if BUNDLED.is_dir() else []


def load_network(
    cls: type[Network],
    folder: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    shared: Mapping[str, nn.Module] | None = None,
) -> Network:
    """A network in evaluation mode with the weights of a folder, converted to `dtype` whatever they are stored in.

    `cls` is the class that wrote the folder or a subclass of it. Every configuration key must be known, every tensor
    expected, of the right shape and finite; the CheckpointError names what is not. Weights stored in 8 or 6 bits become
    floats here, and nothing of the network says how they were stored. `shared` are parts that the folder is without
    since another network has them (`save_network`'s `without`): they take their places as they are, not as copies.
    """
    folder, shared = Path(folder), shared or {}
    config = _config(cls, folder)
    eight_bit = is_marked(config.pop(MARK, None), f"{folder / CONFIG}")
    try:
        with init_empty_weights():
            network = _untrained(cls, config)
    except (TypeError, ValueError, KeyError, ArithmeticError, AssertionError, StrictDataclassError) as error:
        raise CheckpointError(f"{folder / CONFIG} does not configure a {cls.__name__}: {error}") from error
    built = _with_tuples(_settings(network, defaults=True))
    for key, value in config.items():  # a base class' option that the subclass fixes
        if built.get(key) != value:
            raise CheckpointError(f"{folder / CONFIG}: {key} is {value!r}, but a {cls.__name__} has {built.get(key)!r}")
    stored = _without(network.state_dict(), shared)
    tensors = _tensors(folder, stored, eight_bit=eight_bit, dtype=dtype, device=device)
    network.load_state_dict(tensors, strict=not shared, assign=True)
    for name, part in shared.items():
        _put_in(network, name, part)
    nn.Module.to(network, device)  # buffers that are computed, not stored
    return network.eval()


def save_network(
    network: nn.Module,
    folder: str | Path,
    *,
    dtype: torch.dtype | None = None,
    eight_bit: bool = False,
    six_bit: Collection[str] = (),
    without: Collection[str] = (),
    overwrite: bool = False,
) -> Path:
    """Writes config.json and one safetensors file, whole or not at all; floats as `dtype` where that is given.

    `without` names parts that are stored with another network.
    `eight_bit` stores large matrices and kernels in 8 bits and the rest as `dtype`: half of half precision, rounded.
    `six_bit` are prefixes of tensors, such as "semantics.backbone.", for which 6 of the 8 bits are enough.
    """
    config, state = _settings(network, defaults=False), _without(network.state_dict(), without)
    in_6_bits = _in_6_bits(state, six_bit, of=type(network).__name__)
    if six_bit and not eight_bit:
        raise InputError("six_bit says what eight_bit=True stores in less than 8 bits; give both, or neither")
    if eight_bit:
        if not isinstance(network, ModelMixin):  # transformers warns of formats that it does not know, and goes on
            raise InputError(f"{type(network).__name__} is of transformers; 8 bits are for networks of diffusers")
        config[MARK] = dict(ENTRY_INT6 if in_6_bits else ENTRY)
    tensors = {}
    for key, tensor in state.items():
        is_rounded = eight_bit and is_large(tensor)
        wanted = torch.float32 if is_rounded else dtype
        tensor = tensor.detach().cpu()
        if wanted is not None and tensor.is_floating_point():
            tensor = tensor.to(wanted)
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{key} is not finite as {tensor.dtype}; these weights are not worth keeping")
        if key in in_6_bits:
            tensors[key + INT6], tensors[key + SCALE] = to_int6(tensor)
        elif is_rounded:
            tensors[key + INT8], tensors[key + SCALE] = to_int8(tensor)
        else:
            tensors[key] = tensor.contiguous().clone()
    with atomic_folder(folder, overwrite=overwrite) as temporary:
        config.pop("_name_or_path", None)  # where these weights lay on the machine that made them is nobody's business
        (temporary / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        weights = WEIGHTS if isinstance(network, ModelMixin) else WEIGHTS_TRANSFORMERS
        save_file(tensors, temporary / weights, metadata={"format": "pt"})
    return Path(folder)


def _without(state: Mapping[str, Tensor], parts: Collection[str]) -> dict[str, Tensor]:
    prefixes = tuple(f"{name}." for name in parts)
    return {key: tensor for key, tensor in state.items() if not key.startswith(prefixes)}


def _in_6_bits(state: Mapping[str, Tensor], prefixes: Collection[str], *, of: str) -> set[str]:
    """The tensors that 6 bits are asked for, some for each prefix."""
    if isinstance(prefixes, str):
        raise InputError(f"six_bit is the text {prefixes!r}; it takes several prefixes, so write ({prefixes!r},)")
    large = [key for key, tensor in state.items() if fits_int6(tensor)]
    for prefix in prefixes:
        if not any(key.startswith(prefix) for key in large):
            have = f"{', '.join(large[:MANY])}{', ...' if len(large) > MANY else ''}" or "none"
            raise InputError(f"this {of} stores no tensor {prefix}* that could be in 6 bits; those are {have}")
    return {key for key in large if key.startswith(tuple(prefixes))}


def _put_in(network: nn.Module, name: str, part: nn.Module) -> None:
    """`part` in the place of the network's own, which it must equal in shape."""
    own_part = dict(network.named_modules()).get(name) if name else None
    if own_part is None or type(own_part) is not type(part):
        raise CheckpointError(f"{type(network).__name__} has no part {name!r} that could be shared")
    own = {key: tensor.shape for key, tensor in own_part.state_dict().items()}
    given = {key: tensor.shape for key, tensor in part.state_dict().items()}
    if not own or own != given:
        raise CheckpointError(f"{name} of a {type(network).__name__} cannot be shared with a part of other tensors")
    outer, _, last = name.rpartition(".")
    setattr(network.get_submodule(outer), last, part)


def sha256_of(folder: str | Path) -> str:
    """One hash for the configuration and weights of a folder and its subfolders: what provenance records."""
    return hashlib.sha256(_checksums(Path(folder)).encode()).hexdigest()


def write_checksums(folder: str | Path) -> Path:
    """Writes SHA256SUMS (as `sha256sum -c` reads it) for the .json and .safetensors files of a folder."""
    return write_text(Path(folder) / CHECKSUMS, _checksums(Path(folder)), overwrite=True)


def verified(folder: Path) -> Path:
    """The folder, after comparing its files with its SHA256SUMS where it has one."""
    sums = folder / CHECKSUMS
    if not sums.is_file():
        return folder
    lines = [line.split("  ", 1) for line in _text(sums).splitlines() if "  " in line]
    _compare(folder, {name: digest for digest, name in lines})
    return folder


def _fetched(repository: str, pin: Pin, *, allow_download: bool) -> Path:
    """The repository's folder in the hub's cache, downloaded where allowed, with every hash compared."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if not re.fullmatch(r"[0-9a-f]{40}", pin.revision):
        raise InputError(f"{repository}: revision {pin.revision!r} is not a commit of 40 hexadecimal digits")
    folder = Path()
    for name in pin.files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise InputError(f"{repository}: {name!r} is not a path inside a repository")
        try:
            file = hf_hub_download(repository, name, revision=pin.revision, local_files_only=not allow_download)
        except LocalEntryNotFoundError as error:
            todo = "the hub cannot be reached" if allow_download else "pass allow_download=True to fetch it"
            raise CheckpointError(
                f"{repository}/{name} ({pin.licence}) is not on this machine: {todo}, or give a folder that holds it"
            ) from error
        except (HfHubHTTPError, OSError) as error:
            raise CheckpointError(f"{repository}/{name} could not be fetched: {error}") from error
        folder = Path(file).parents[len(PurePosixPath(name).parts) - 1]
    _compare(folder, pin.files)
    return folder


def _compare(folder: Path, expected: Mapping[str, str]) -> None:
    for name, digest in expected.items():
        file = folder / name
        if not file.is_file():
            raise CheckpointError(f"{file} is missing; install or fetch the weights again")
        if (found := _sha256(file)) != digest:
            raise CheckpointError(f"{file} has SHA-256 {found}, expected {digest}: it is damaged or was changed")


def _checksums(folder: Path) -> str:
    files = sorted(f for f in folder.rglob("*") if f.suffix in (".json", ".safetensors") and f.is_file())
    if not files:
        raise CheckpointError(f"{folder} holds no weights: neither .json nor .safetensors files")
    return "".join(f"{_sha256(file)}  {file.relative_to(folder).as_posix()}\n" for file in files)


def _sha256(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _config(cls: type[nn.Module], folder: Path) -> dict[str, Any]:
    """config.json, if it is of this class and every key is one of its arguments."""
    file = folder / CONFIG
    if not file.is_file():
        raise CheckpointError(f"{folder} is not a network folder: it has no {CONFIG}")
    try:
        config = _with_tuples(json.loads(_text(file)))
    except ValueError as error:
        raise CheckpointError(f"{file} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{file} holds a {type(config).__name__}, not an object with fields")
    written_by = class_name(config) or cls.__name__
    if written_by not in [base.__name__ for base in cls.__mro__]:
        raise CheckpointError(f"{file} is of a {written_by}, not of a {cls.__name__}; load it with that class")
    config = {key: value for key, value in config.items() if not key.startswith("_") and key not in NOT_SETTINGS}
    known = _options(cls)
    for key in config:
        if key not in known and key != MARK:
            raise CheckpointError(f"{file}: {cls.__name__} has no option `{key}`{nearest(key, sorted(known))}")
    return config


def class_name(config: Mapping[str, Any]) -> Any:
    """What a config.json says it configures, or None."""
    return config.get("_class_name") or next(iter(config.get("architectures") or ()), None)


def _untrained(cls: type[Network], config: Mapping[str, Any]) -> Network:
    if not issubclass(cls, ModelMixin):
        return cls(_config_class(cls)(**config))
    own = inspect.signature(cls.__init__).parameters
    return cls(**{key: value for key, value in config.items() if key in own})


def _options(cls: type[nn.Module]) -> set[str]:
    """Names that a configuration of this class may have."""
    if not issubclass(cls, ModelMixin):
        return set(_config_class(cls)().to_dict())
    return {name for base in cls.__mro__ for name in inspect.signature(base.__init__).parameters} - {"self"}


def _settings(network: nn.Module, *, defaults: bool) -> dict[str, Any]:
    """What config.json says of a network, its class included; transformers' own `defaults` need not be told."""
    if isinstance(network, ModelMixin):
        return json.loads(network.to_json_string())
    _config_class(type(network))
    config: Any = network.config
    told = json.loads(config.to_json_string(use_diff=not defaults))
    settings = {key: value for key, value in told.items() if key not in NOT_SETTINGS}
    return {"architectures": [type(network).__name__], **settings}


def _config_class(cls: type[nn.Module]) -> Any:
    """Of a network of transformers."""
    from transformers import PreTrainedModel

    if not issubclass(cls, PreTrainedModel):
        raise InputError(
            f"{cls.__name__} has no configuration that could be written beside its weights: make it a ModelMixin and "
            "ConfigMixin of diffusers"
        )
    return cls.config_class


def _with_tuples(value: Any) -> Any:
    """JSON has lists where configurations have tuples."""
    if isinstance(value, Mapping):
        return {key: _with_tuples(v) for key, v in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list | tuple) else value


def _tensors(
    folder: Path, network: Mapping[str, Tensor], *, eight_bit: bool, dtype: torch.dtype, device: torch.device | str
) -> dict[str, Tensor]:
    """The folder's tensors, exactly the network's; headers are compared before anything is read."""
    try:
        files = {file: _header(file) for file in _weight_files(folder)}
        headers = {key: (file, *header) for file, found in files.items() for key, header in found.items()}
        needed = stored_as(network, set(headers)) if eight_bit else network
        for key, (file, shape, kind) in headers.items():
            if key in needed:
                _same_header(f"{file}: {key}", shape, kind, needed[key])
        _same_keys(folder, set(headers), set(needed))
        read: dict[str, Tensor] = {}
        for file in sorted(files):
            with safe_open(file, framework="pt", device=str(device)) as opened:
                read |= {key: opened.get_tensor(key) for key in opened.keys()}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{folder}: a safetensors file is damaged: {error}") from error
    tensors: dict[str, Tensor] = {}
    for key, own in network.items():
        if key + INT6 in needed:
            name = f"{headers[key + INT6][0]}: {key}"
            tensor = from_int6(read.pop(key + INT6), read.pop(key + SCALE), name, own.shape)
        elif key + INT8 in needed:
            name = f"{headers[key + INT8][0]}: {key}"
            tensor = from_int8(read.pop(key + INT8), read.pop(key + SCALE), name)
        else:
            tensor, name = read.pop(key), f"{headers[key][0]}: {key}"
        tensors[key] = _converted(tensor, dtype, name)
    return tensors


def _header(file: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and kind (F16, I64, ...) of every tensor."""
    with safe_open(file, framework="pt") as opened:
        slices = {key: opened.get_slice(key) for key in opened.keys()}
        return {key: (tuple(part.get_shape()), part.get_dtype()) for key, part in slices.items()}


def _same_header(name: str, shape: tuple[int, ...], kind: str, needed: Tensor) -> None:
    if shape != tuple(needed.shape):
        raise CheckpointError(f"{name} has shape {shape}, the network needs {tuple(needed.shape)}")
    if kind.startswith(("F", "BF")) != needed.is_floating_point():
        raise CheckpointError(f"{name} is stored as {kind}, the network needs {needed.dtype}")


def _converted(tensor: Tensor, dtype: torch.dtype, name: str) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    tensor = tensor.to(dtype)
    if not torch.isfinite(tensor).all():
        raise CheckpointError(f"{name} holds NaN or infinity as {dtype}; the weights are damaged or too large for it")
    return tensor


def _same_keys(folder: Path, found: set[str], expected: set[str]) -> None:
    missing, unexpected = sorted(expected - found), sorted(found - expected)
    if missing or unexpected:
        parts = [
            f"{len(keys)} {label} ({', '.join(keys[:MANY])}{', ...' if len(keys) > MANY else ''})"
            for keys, label in ((missing, "missing"), (unexpected, "unexpected"))
            if keys
        ]
        raise CheckpointError(f"{folder} is damaged or of another architecture: {' and '.join(parts)} tensors")


def _weight_files(folder: Path) -> list[Path]:
    for name in (WEIGHTS, WEIGHTS_FP16, WEIGHTS_TRANSFORMERS):
        if (folder / name).is_file():
            return [folder / name]
    index = folder / SHARD_INDEX
    if index.is_file():
        try:
            names = sorted(set(json.loads(_text(index))["weight_map"].values()))
            return [sibling(index, name) for name in names]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{index} is not an index of shards: {error}") from error
    pickles = [f.name for f in folder.iterdir() if f.suffix in (".bin", ".pt", ".pth", ".ckpt")]
    advice = (
        f"; {pickles[0]} may run code when opened: turn it into safetensors with `infinitemesh convert`"
        if pickles
        else ""
    )
    raise CheckpointError(f"{folder} has no {WEIGHTS}{advice}")


def _text(file: Path) -> str:
    try:
        return read_bytes(file, max_bytes=MAX_JSON_BYTES).decode()
    except (InputError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
