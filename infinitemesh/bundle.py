"""A pipeline on disk: `pipeline.json` (stage -> class and plain values) and one folder a network.

A part that two networks share (a frozen backbone) is stored with one of them, and `pipeline.json` says with which.

What a part is made of is read off its constructor: every argument is kept on the part under its own name, and is a
plain value, a network, or another part. Classes come from the closed registries below, never from a file's words alone.
"""

import inspect
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from infinitemesh.errors import CheckpointError, InputError
from infinitemesh.files import atomic_folder, write_json
from infinitemesh.hub import Network, class_name, load_network, save_network, sha256_of
from infinitemesh.messages import nearest

Part = TypeVar("Part")

FORMAT = 1
PIPELINE_FILE = "pipeline.json"

NETWORKS: Mapping[str, tuple[str, str]] = {  # class: (module, folder)
    "MultiViewUNet": ("infinitemesh.models.multiview_unet", "multiview_unet"),
    "ImageAutoencoder": ("infinitemesh.models.autoencoder", "autoencoder"),
    "ImageEncoder": ("infinitemesh.models.image_encoder", "image_encoder"),
    "LargeReconstructionModel": ("infinitemesh.models.lrm", "reconstruction"),
    "SingleViewModel": ("infinitemesh.models.single_view", "single_view"),
    "U2NetP": ("infinitemesh.models.matting", "matting"),
    "AutoencoderKL": ("diffusers", "vae"),
    "CLIPVisionModelWithProjection": ("transformers", "clip_vision"),
    "PoseProjection": ("infinitemesh.models.conditioning", "pose_projection"),
}

PARTS: Mapping[str, str] = {  # class: module
    "AlphaForeground": "infinitemesh.stages.foreground",
    "U2NetForeground": "infinitemesh.stages.foreground",
    "RembgForeground": "infinitemesh.stages.foreground",
    "DiffusedMainViews": "infinitemesh.stages.main_views",
    "MirrorMainViews": "infinitemesh.stages.main_views",
    "CoarseMainViews": "infinitemesh.stages.main_views",
    "DiffusedInterpolation": "infinitemesh.stages.view_interpolation",
    "CoarseInterpolation": "infinitemesh.stages.view_interpolation",
    "WarpInterpolation": "infinitemesh.stages.view_interpolation",
    "NearestView": "infinitemesh.stages.view_interpolation",
    "NoInterpolation": "infinitemesh.stages.view_interpolation",
    "TriplaneReconstruction": "infinitemesh.stages.reconstruction",
    "FlexiCubesSurface": "infinitemesh.stages.surface",
    "BakedTexture": "infinitemesh.stages.texturing",
    "VertexColour": "infinitemesh.stages.texturing",
    "CoarseRenderer": "infinitemesh.stages.coarse",
    "ViewDiffusion": "infinitemesh.stages.denoise",
    "Sampling": "infinitemesh.stages.denoise",
    "ViewChannels": "infinitemesh.stages.view_query",
    "PaperAutoencoder": "infinitemesh.models.autoencoder",
    "ClipImageEncoder": "infinitemesh.models.image_encoder",
    "NoiseSchedule": "infinitemesh.models.schedulers",
    "ProjectionOptions": "infinitemesh.render.projection",
}


def arguments(part: Any) -> dict[str, Any]:
    """What a part was built from."""
    try:
        return {name: getattr(part, name) for name in parameters(type(part))}
    except AttributeError as error:
        raise InputError(
            f"{type(part).__name__} does not keep its constructor's argument `{error.name}` as an attribute; "
            "a part that is saved or changed keeps each of them under its own name"
        ) from error


def parameters(cls: type) -> tuple[str, ...]:
    """The names of a constructor's arguments, those that it hands on as **options included."""
    names: dict[str, None] = {}
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        own = inspect.signature(base.__init__).parameters.values()
        names |= dict.fromkeys(p.name for p in own if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
        if all(p.kind != p.VAR_KEYWORD for p in own):
            break
    names.pop("self", None)
    return tuple(names)


def rebuilt(part: Part, **changes: Any) -> Part:
    """The same part with some values changed; networks are shared, not copied."""
    have = arguments(part)
    for name in changes:
        if name not in have:
            raise InputError(f"{type(part).__name__} has no setting `{name}`{nearest(name, have)}")
    return type(part)(**{**have, **changes})


@dataclass
class Describer:
    """Turns parts into plain JSON values and collects the networks that they hold, each once."""

    networks: dict[str, nn.Module] = field(default_factory=dict)  # folder -> network

    def plain(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, list | tuple):
            return [self.plain(item) for item in value]
        name = type(value).__name__
        if isinstance(value, nn.Module) and name in NETWORKS:
            return {"network": self._folder(value)}
        if isinstance(value, nn.Module) and (inside := self._inside(value)):
            return inside
        if name in PARTS:
            return {"class": name, **{key: self.plain(item) for key, item in arguments(value).items()}}
        raise InputError(
            f"{name} is not one of the parts that a pipeline folder can name ({', '.join([*PARTS, *NETWORKS])}); "
            "save its networks with save_pretrained and build it in code"
        )

    def _inside(self, module: nn.Module, folders: Collection[str] | None = None) -> dict[str, str] | None:
        """Where a module is part of a network that was described before (of `folders`), such as the decoders of the
        reconstruction."""
        for folder in self.networks if folders is None else folders:
            for name, part in self.networks[folder].named_modules():
                if part is module:
                    return {"network": folder, "module": name}
        return None

    def shared(self) -> dict[str, dict[str, dict[str, str]]]:
        """Network -> its part -> the larger network that is whole, and the part of it that this is the same as."""
        found: dict[str, dict[str, dict[str, str]]] = {}
        whole: list[str] = []
        for folder in sorted(self.networks, key=lambda name: -sum(p.numel() for p in self.networks[name].parameters())):
            parts: dict[str, dict[str, str]] = {}
            for name, part in self.networks[folder].named_modules():
                is_within = any(name.startswith(f"{outer}.") for outer in parts)
                if not is_within and any(True for _ in part.parameters()) and (place := self._inside(part, whole)):
                    parts[name] = place
            if parts:
                found[folder] = parts
            else:
                whole.append(folder)
        return found

    def _folder(self, network: nn.Module) -> str:
        kind = NETWORKS[type(network).__name__][1]
        number = 1
        while True:
            folder = kind if number == 1 else f"{kind}_{number}"
            if self.networks.setdefault(folder, network) is network:
                return folder
            number += 1


def save_bundle(
    folder: str | Path,
    stages: Mapping[str, Any],
    *,
    preset: str,
    dtype: torch.dtype | None = torch.float16,
    eight_bit: Collection[str] = (),
    six_bit: Mapping[str, Collection[str]] | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes stages and their networks, whole or not at all. `dtype` None keeps each weight as it is.

    `eight_bit` names the folders of networks whose large tensors are stored in 8 bits, `six_bit` (folder -> prefixes)
    those tensors of them for which 6 bits are enough. A part that networks share lies with the largest of them.
    """
    six_bit = six_bit or {}
    describer = Describer()
    described = {name: describer.plain(stage) for name, stage in stages.items()}
    for name in eight_bit:
        if name not in describer.networks:
            have = ", ".join(describer.networks)
            raise InputError(f"there is no network {name!r} to store in 8 bits; this pipeline has {have}")
    for name in six_bit:
        if name not in eight_bit:
            named = ", ".join(eight_bit) or "none"
            raise InputError(f"{name!r} is for 6 bits, but the networks in 8 bits are {named}: name it there too")
    with atomic_folder(folder, overwrite=overwrite) as temporary:
        shared = describer.shared()
        for name, network in describer.networks.items():
            without = tuple(shared.get(name, ()))
            save_network(
                network,
                temporary / name,
                dtype=dtype,
                eight_bit=name in eight_bit,
                six_bit=six_bit.get(name, ()),
                without=without,
            )
        content = {"format": FORMAT, "preset": preset, "stages": described}
        write_json(temporary / PIPELINE_FILE, {**content, "shared": shared} if shared else content)
    return Path(folder)


@dataclass
class Bundle:
    """An opened pipeline folder: networks load when a stage asks for them, each once."""

    folder: Path
    preset: str
    stages: Mapping[str, Any]
    shared: Mapping[str, Any] = field(default_factory=dict)
    networks: dict[str, nn.Module] = field(default_factory=dict)

    @staticmethod
    def open(folder: Path) -> "Bundle":
        path = folder / PIPELINE_FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{folder} is no pipeline folder: {path.name} cannot be read ({error})") from error
        if (
            not isinstance(content, dict)
            or content.get("format") != FORMAT
            or not isinstance(content.get("stages"), dict)
            or not _is_shared(content.get("shared", {}))
        ):
            raise CheckpointError(f"{path} is not of format {FORMAT}, the one that this version reads; save it again")
        return Bundle(folder, str(content.get("preset", "custom")), content["stages"], content.get("shared", {}))

    def absent_networks(self, stage: str) -> list[str]:
        """Folders that the stage's description names and that are not there."""
        named = _named_networks(self.stages.get(stage))
        named += [_plain_name(part["network"]) for name in named for part in self.shared.get(name, {}).values()]
        return [name for name in dict.fromkeys(named) if not (self.folder / name).is_dir()]

    def build(self, stage: str) -> Any:
        """The stage as described. CheckpointError for unknown classes and values, missing and damaged weights."""
        return self._built(self.stages[stage], where=f"{self.folder / PIPELINE_FILE}: {stage}")

    def hashes(self) -> dict[str, str]:
        """What provenance records of every loaded network."""
        return {name: sha256_of(self.folder / name) for name in sorted(self.networks)}

    def _built(self, value: Any, where: str) -> Any:
        if isinstance(value, list):
            return tuple(self._built(item, where) for item in value)
        if not isinstance(value, dict):
            return value
        if "class" not in value and "network" in value:
            network = self.network(_plain_name(value["network"]))
            return network if "module" not in value else _submodule(network, value["module"], where)
        name = str(value.get("class"))
        if name not in PARTS:
            raise CheckpointError(f"{where}: unknown class {name!r}{nearest(name, PARTS)}")
        cls = getattr(import_module(PARTS[name]), name)
        known = parameters(cls)
        given = {key: item for key, item in value.items() if key != "class"}
        for key in given:
            if key not in known:
                raise CheckpointError(f"{where}: {name} has no setting `{key}`{nearest(key, known)}")
        parts = {key: self._built(item, where) for key, item in given.items()}
        try:
            return cls(**parts)
        except (TypeError, ValueError, AttributeError, KeyError) as error:  # the last two: of a part that is another's
            raise CheckpointError(f"{where}: {name} cannot be built from these values: {error}") from error

    def network(self, name: str) -> nn.Module:
        """The network of a folder, with what it shares."""
        if name not in self.networks:
            cls = _class_of(self.folder / name)
            where = f"{self.folder / PIPELINE_FILE}: {name}"
            shared = {
                part: _submodule(self._owner(place["network"], where), place["module"], where)
                for part, place in self.shared.get(name, {}).items()
            }
            self.networks[name] = load_network(cls, self.folder / name, shared=shared)
        return self.networks[name]

    def _owner(self, name: str, where: str) -> nn.Module:
        """A network that others share parts of; it shares none of theirs."""
        if name in self.shared:
            raise CheckpointError(f"{where} shares a part of {name}, which itself is not whole")
        return self.network(_plain_name(name))


def open_network(cls: type[Network], folder: str | Path) -> Network:
    """The network of a folder, alone or one of a pipeline's, which may share a part with another there.

    `cls` may be a base of the class that wrote it. CheckpointError where it is none, and for what `load_network` says.
    """
    folder = Path(folder)
    is_in_pipeline = (folder.parent / PIPELINE_FILE).is_file()
    bundle = Bundle.open(folder.parent) if is_in_pipeline else Bundle(folder.parent, "", {})
    network = bundle.network(folder.name)
    if not isinstance(network, cls):
        raise CheckpointError(f"{folder} is of a {type(network).__name__}, not of a {cls.__name__}")
    return network


def _class_of(folder: Path) -> type[nn.Module]:
    try:
        name = class_name(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{folder} holds no network: config.json is missing or damaged ({error})") from error
    if name not in NETWORKS:
        raise CheckpointError(f"{folder / 'config.json'} names the class {name!r}{nearest(str(name), NETWORKS)}")
    return getattr(import_module(NETWORKS[name][0]), name)


def _is_shared(value: Any) -> bool:
    """Network -> part -> {"network", "module"}, all of it text."""
    return isinstance(value, dict) and all(
        isinstance(parts, dict)
        and all(
            isinstance(place, dict)
            and set(place) == {"network", "module"}
            and all(isinstance(text, str) for text in place.values())
            for place in parts.values()
        )
        for parts in value.values()
    )


def _submodule(network: nn.Module, name: str, where: str) -> nn.Module:
    try:
        return network.get_submodule(name)
    except AttributeError as error:
        raise CheckpointError(f"{where}: {type(network).__name__} has no part {name!r}") from error


def _named_networks(value: Any) -> list[str]:
    if isinstance(value, list):
        return [name for item in value for name in _named_networks(item)]
    if not isinstance(value, dict):
        return []
    if "class" not in value and "network" in value:
        return [_plain_name(value["network"])]
    return [name for item in value.values() for name in _named_networks(item)]


def _plain_name(name: Any) -> str:
    if not isinstance(name, str) or not name.replace("_", "").isalnum():
        raise CheckpointError(f"{PIPELINE_FILE} names the network folder {name!r}; letters, digits and _ are allowed")
    return name
