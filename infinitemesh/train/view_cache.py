"""Thousands of groups of the front half on the device, made once and drawn from for many steps.

    cache = ViewCache(maker, CacheOptions(entries=8192), seed=0)
    cache.advance(step)                                  # makes what is due by this step
    groups = cache.draw("between", 48, generator)

Batch k of a kind is a function of (seed, kind, k), and how many there are is one of the step: a resumed run finds the
cache of an uninterrupted one. In a `folder`, the first batches outlive the process, and several processes can make
them (`infinitemesh.train.fill_cache`).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from infinitemesh.errors import CheckpointError, InputError
from infinitemesh.files import atomic_write
from infinitemesh.stages.coarse import CoarseRenderer
from infinitemesh.stages.seeds import derive_seed
from infinitemesh.train.view_groups import KINDS, GroupMaker, Kind, ViewGroups
from infinitemesh.types import Camera

ENTRIES_PER_FILE = 1024  # about a gigabyte
HALF = ("latents", "coarse", "clean")


@dataclass(frozen=True, kw_only=True)
class CacheOptions:
    """Counts are of each kind. An entry takes 0.7 MB (main) and 1.4 MB (between) at 256 pixels."""

    entries: int = 8192  # kept; the oldest go first
    between: int | None = None  # of the views between; None: as many as of main views
    at_once: int = 32  # made in one go
    first: int | None = None  # made before the first step, of each kind at most what is kept; None: all of it
    every: int = 0  # steps from one batch of `at_once` to the next; 0 makes no more after the first
    half: bool = True  # latents in half precision
    folder: Path | None = None  # keeps the first entries for the next run of the same settings

    def __post_init__(self) -> None:
        counts = {"entries": self.entries, "between": self.of("between"), "first": self.first or self.at_once}
        for name, count in counts.items():
            if count % self.at_once or count < self.at_once or count > self.entries:
                raise InputError(
                    f"{name}={count} entries cannot be made {self.at_once} at once: "
                    f"give a multiple of {self.at_once} up to {self.entries // self.at_once * self.at_once}"
                )

    def of(self, kind: Kind) -> int:
        """Entries kept of a kind."""
        return self.between if kind == "between" and self.between is not None else self.entries


class ViewCache:
    """Entries of both kinds; empty until `advance` is called."""

    def __init__(self, maker: GroupMaker, options: CacheOptions, *, seed: int, kinds: Sequence[Kind] = KINDS):
        self.maker, self.options, self.seed = maker, options, seed
        self.kinds: tuple[Kind, ...] = tuple(dict.fromkeys(kinds))
        self.stores = {kind: _Store(options.of(kind), half=options.half) for kind in self.kinds}
        self.made = dict.fromkeys(self.kinds, 0)  # batches so far, those that were written over included

    def advance(self, step: int) -> None:
        """Makes the batches that are due by `step` and missing; the first call makes, or reads, the first ones."""
        options = self.options
        if options.folder is not None and not any(self.made.values()):
            self._first_from(options.folder)
        later = step // options.every if options.every else 0
        self._fill({kind: batches + later for kind, batches in self._first().items()})

    def draw(self, kind: Kind, num: int, generator: torch.Generator) -> ViewGroups:
        """Random entries, with repetition."""
        filled = min(self.made[kind] * self.options.at_once, self.options.of(kind))
        device = self.maker.pack.device
        return self.stores[kind].rows(torch.randint(filled, (num,), generator=generator, device=device))

    def keep(self, part: int = 0, parts: int = 1) -> None:
        """Makes those of the first entries that `folder` lacks, without keeping them in memory.

        Files part, part + parts, ... of it: several processes make a folder together, bit for bit that of one.
        """
        if self.options.folder is None or not 0 <= part < parts:
            raise InputError(f"part {part} of {parts} of a cache needs cache.folder, and parts count from 0")
        for kind, batches, file in self._files(self.options.folder)[part::parts]:
            if not file.is_file():
                self._save(file, [_columns(self._make(kind, k)) for k in batches])

    def _make(self, kind: Kind, k: int) -> ViewGroups:
        generator = torch.Generator(self.maker.pack.device)
        generator.manual_seed(derive_seed(self.seed, "view_cache", kind, k))
        return self.maker.make(kind, self.options.at_once, generator)

    def _fill(self, wanted: Mapping[Kind, int]) -> None:
        """`wanted` counts batches, those that were written over included."""
        kept = {kind: self.options.of(kind) // self.options.at_once for kind in self.kinds}
        due: list[tuple[int, Kind]] = [
            (k, kind)
            for kind in self.kinds
            for k in range(max(self.made[kind], wanted[kind] - kept[kind]), wanted[kind])
        ]
        bar = tqdm(desc="view cache", total=len(due), disable=len(due) <= len(self.kinds), mininterval=5)
        for k, kind in sorted(due):
            bar.update()
            self.stores[kind].put(k % kept[kind] * self.options.at_once, _columns(self._make(kind, k)))
        self.made = {kind: max(self.made[kind], wanted[kind]) for kind in self.kinds}

    def _first(self) -> dict[Kind, int]:
        """Batches before the first step."""
        options = self.options
        return {
            kind: min(options.first or options.of(kind), options.of(kind)) // options.at_once for kind in self.kinds
        }

    def _files(self, folder: Path) -> list[tuple[Kind, range, Path]]:
        """Of the first entries: which batches each file holds."""
        name, each = self.fingerprint(), max(1, ENTRIES_PER_FILE // self.options.at_once)
        return [
            (kind, range(begin, min(begin + each, batches)), folder / f"{name}-{kind}-{begin:06d}.safetensors")
            for kind, batches in self._first().items()
            for begin in range(0, batches, each)
        ]

    def _first_from(self, folder: Path) -> None:
        """Reads the first entries; files that are missing are made and written."""
        files = self._files(folder)
        for kind, batches, file in tqdm(files, desc="view cache", mininterval=5):
            if file.is_file():
                columns = _load(file, self.maker.pack.device)
            else:
                columns = self._save(file, [_columns(self._make(kind, k)) for k in batches])
            self.stores[kind].put(batches[0] * self.options.at_once, columns)
        self.made = self._first()

    def _save(self, file: Path, batches: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """As they are kept: in half precision where the options say so."""
        joined = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
        columns = {name: _as_kept(name, values, half=self.options.half) for name, values in joined.items()}
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file, overwrite=True) as temporary:
            save_file({name: column.cpu().contiguous() for name, column in columns.items()}, temporary)
        return columns

    def _description(self) -> dict:
        options, maker = self.options, self.maker
        return {
            "entries": {kind: batches * options.at_once for kind, batches in self._first().items()},
            "at_once": options.at_once,
            "half": options.half,
            "seed": self.seed,
            "kinds": list(self.kinds),
            "size": maker.size,
            "groups": asdict(maker.options),
            "objects": [len(maker.pack), hashlib.sha256("\n".join(maker.pack.names).encode()).hexdigest()],
            "autoencoder": _hash_of(maker.autoencoder.state_dict()),
            "coarse": _described(maker.coarse),
            "front_coarse": _described(maker.front_coarse),
        }

    def fingerprint(self) -> str:
        """Of everything that the entries depend on."""
        return hashlib.sha256(json.dumps(self._description(), sort_keys=True).encode()).hexdigest()[:16]


class _Store:
    """Groups as one tensor a field, allocated when the first are written."""

    def __init__(self, capacity: int, *, half: bool):
        self.capacity, self.half = capacity, half
        self.columns: dict[str, Tensor] = {}

    def rows(self, index: Int[Tensor, " n"]) -> ViewGroups:
        part = {name: column[index] for name, column in self.columns.items()}
        part |= {name: part[name].float() for name in HALF if name in part}
        return ViewGroups(
            Camera(part["camera"], part["camera_intrinsics"]),
            Camera(part["picture_camera"], part["picture_intrinsics"]),
            part["pictures"],
            part["reference"],
            part["condition"],
            int(self.columns["num_known"][0]),
            part["latents"],
            part.get("coarse"),
            part["clean"],
        )

    def put(self, begin: int, part: dict[str, Tensor]) -> None:
        for name, given in part.items():
            values = _as_kept(name, given, half=self.half)
            if name not in self.columns:
                shape = (self.capacity, *values.shape[1:])
                self.columns[name] = torch.zeros(shape, dtype=values.dtype, device=values.device)
            self.columns[name][begin : begin + len(values)] = values


def _as_kept(name: str, values: Tensor, *, half: bool) -> Tensor:
    return values.half() if half and name in HALF else values


def _load(file: Path, device: torch.device) -> dict[str, Tensor]:
    try:
        return load_file(file, device=str(device))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} of the view cache cannot be read ({error}); delete the folder") from error


def _columns(groups: ViewGroups) -> dict[str, Tensor]:
    columns = {
        "camera": groups.camera.cam_from_world,
        "camera_intrinsics": groups.camera.intrinsics,
        "picture_camera": groups.picture_camera.cam_from_world,
        "picture_intrinsics": groups.picture_camera.intrinsics,
        "pictures": groups.pictures,
        "reference": groups.reference,
        "condition": groups.condition,
        "num_known": torch.full_like(groups.reference[:, 0], groups.num_known),
        "latents": groups.latents,
        "clean": groups.clean,
    }
    return columns if groups.coarse is None else columns | {"coarse": groups.coarse}


def _described(renderer: CoarseRenderer | None) -> dict | None:
    if renderer is None:
        return None
    settings = {name: getattr(renderer, name) for name in ("second_share", "resolution", "size")}
    return {"networks": _hash_of(renderer.state_dict()), **settings}


def _hash_of(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
