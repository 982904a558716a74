"""The objects that results are compared with: found in a folder, put into the protocol's frame, and cached.

What costs time (surface samples, occupancy, pictures) is kept in a cache folder under the file's sha256 and everything
the value depends on, so a second evaluation reads it and gives the same numbers.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool
from numpy.typing import NDArray
from torch import Tensor

from infinitemesh.errors import InputError
from infinitemesh.evaluate.metrics_mesh import SurfaceSamples, sample_surface
from infinitemesh.evaluate.protocol import Protocol, VolumeRule
from infinitemesh.evaluate.rigs import Pictures, Rig
from infinitemesh.types import Camera, Mesh, ViewSet

if TYPE_CHECKING:
    from PIL.Image import Image

CACHE_FORMAT = 2  # raise it when a cached value changes its meaning
SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl")


@dataclass(frozen=True)
class TruthObject:
    """One file of the data folder; `sha256` is that of its bytes."""

    name: str
    path: Path
    sha256: str


def list_truth(folder: str | Path, names: Sequence[str] | None = None) -> list[TruthObject]:
    """The folder's meshes by name; `names` asks for some of them and raises InputError where one is not there."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"no folder at {folder}: give one that holds the true meshes ({', '.join(SUFFIXES)})")
    found = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES}
    if missing := sorted(set(names or ()) - set(found)):
        raise InputError(f"{folder} lacks {len(missing)} of the asked objects: {', '.join(missing)}")
    if not found:
        raise InputError(f"{folder} holds no mesh ({', '.join(SUFFIXES)})")
    return [TruthObject(name, found[name], sha256_of(found[name])) for name in (names or found)]


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class TruthCache:
    """Arrays on disk by content; without a folder nothing is kept."""

    folder: Path | None = None

    def arrays(
        self, depends_on: Mapping[str, Any], compute: Callable[[], dict[str, NDArray[Any]]]
    ) -> dict[str, NDArray[Any]]:
        """What `compute` gives, from the cache where it was computed from the same values before."""
        if self.folder is None:
            return compute()
        text = json.dumps({**depends_on, "format": CACHE_FORMAT}, sort_keys=True)
        path = self.folder / f"{depends_on['what']}-{hashlib.sha256(text.encode()).hexdigest()[:24]}.npz"
        if path.is_file():
            with np.load(path) as stored:
                return dict(stored)
        made = compute()
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.stem}.{secrets.token_hex(6)}.npz")
        try:
            np.savez_compressed(temporary, **made)  # pyright: ignore[reportArgumentType]
            os.replace(temporary, path)  # a worker beside this one writes the same bytes
        finally:
            temporary.unlink(missing_ok=True)
        return made


@dataclass(frozen=True)
class Case:
    """One object under one protocol: what a system is given, and what its result is compared with."""

    truth: TruthObject
    protocol: Protocol
    cache: TruthCache = field(default_factory=TruthCache)
    device: str = "cpu"  # where pictures are rendered
    seed: int = 0

    @property
    def name(self) -> str:
        return self.truth.name

    @cached_property
    def mesh(self) -> Mesh:
        """The truth in the protocol's frame."""
        mesh = Mesh.load(self.truth.path)
        if self.protocol.truth_side is None:
            return mesh
        unit = mesh.normalized()
        return replace(unit, vertices=unit.vertices * self.protocol.truth_side)

    def photo(self) -> "Image":
        """The one picture that a whole system is given: RGBA, the object cut out."""
        from PIL import Image

        if self.protocol.official_views:
            return Image.open(self._official_files()[0]).convert("RGBA")
        if self.protocol.photo is None:
            raise InputError(f"{self.protocol.label} gives posed views, not a photograph: measure a reconstruction")
        views = self._pictures(self.protocol.photo, straight=True)
        rgba = torch.cat([views.rgb, views.alpha], dim=1)[0]
        return Image.fromarray(rgba.movedim(0, -1).contiguous().numpy(), "RGBA")

    def photo_camera(self) -> Camera:
        """Where the photograph was taken from (a row of one)."""
        if self.protocol.official_views:
            return self._official_camera()[:1]
        assert self.protocol.photo is not None
        return self.protocol.photo.camera

    def given_views(self) -> ViewSet:
        """The posed true views that the protocol hands out; those at elevation 0 and multiples of 90 are main views."""
        rig = self.protocol.given
        if rig is None:
            raise InputError(f"{self.protocol.label} gives a photograph, not posed views: measure a whole pipeline")
        return self.true_views(rig)

    def true_views(self, rig: Rig) -> ViewSet:
        """The truth as the rig sees it, 8 bits deep, straight colour."""
        pictures = self._pictures(rig, straight=True)
        camera = rig.camera
        turned = (camera.azimuth_deg + 45) % 90 - 45
        is_main = (turned.abs() < 1e-2) & (camera.elevation_deg.abs() < 1e-2)
        return ViewSet(pictures.colours, pictures.coverage, camera, is_main)

    def camera(self) -> Camera:
        """The cameras that pictures are compared under."""
        if self.protocol.official_views:
            return self._official_camera()
        assert self.protocol.images is not None
        return self.protocol.images.camera

    def pictures(self) -> Pictures | None:
        """The truth under `camera`, over the background; None where the protocol compares no pictures."""
        if self.protocol.official_views:
            return self._official_pictures()
        return None if self.protocol.images is None else self._pictures(self.protocol.images, straight=False)

    def samples(self, count: int) -> SurfaceSamples:
        depends_on = {"what": "samples", **self._frame(), "count": count, "seed": self.seed}

        def compute() -> dict[str, NDArray[Any]]:
            made = sample_surface(self.mesh, count, seed=self.seed)
            return {"points": made.points.numpy(), "normals": made.normals.numpy()}

        stored = self.cache.arrays(depends_on, compute)
        return SurfaceSamples(torch.from_numpy(stored["points"]), torch.from_numpy(stored["normals"]))

    def occupancy(self, rule: VolumeRule) -> Bool[Tensor, "r r r"]:
        from infinitemesh.evaluate.occupancy import occupancy_grid

        depends_on = {"what": "occupancy", **self._frame(), **asdict(rule)}
        shape = (rule.resolution,) * 3

        def compute() -> dict[str, NDArray[Any]]:
            grid = occupancy_grid(self.mesh, rule.resolution, half_extent=rule.half_extent, definition=rule.inside)
            return {"bits": np.packbits(grid.numpy().ravel())}

        bits = self.cache.arrays(depends_on, compute)["bits"]
        return torch.from_numpy(np.unpackbits(bits, count=rule.resolution**3).astype(bool).reshape(shape))

    def _frame(self) -> dict[str, Any]:
        return {"sha256": self.truth.sha256, "truth_side": self.protocol.truth_side}

    def _pictures(self, rig: Rig, *, straight: bool) -> Pictures:
        depends_on = {"what": "pictures", **self._frame(), **asdict(rig), "straight": straight}

        def compute() -> dict[str, NDArray[Any]]:
            pictures = rig.pictures(self.mesh.to(self.device), straight=straight)
            return {"rgb": pictures.rgb.numpy(), "alpha": pictures.alpha.numpy()}

        stored = self.cache.arrays(depends_on, compute)
        return Pictures(torch.from_numpy(stored["rgb"]), torch.from_numpy(stored["alpha"]))

    def _official_camera(self) -> Camera:
        path = self.truth.path.parent / "cameras.json"
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            focal, size = float(stored["K"][0][0]), 2 * float(stored["K"][0][2])
            azimuths, elevations, distances = stored["azimuth_deg"], stored["elevation_deg"], stored["distance"]
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise InputError(f"{self.protocol.label} needs the official cameras in {path}: {error!r}") from error
        fov_deg = float(np.rad2deg(2 * np.arctan(size / 2 / focal)))
        return Camera.orbit(azimuths, elevations, projection="perspective", fov_deg=fov_deg, distance=distances[0])

    def official_size(self) -> int:
        """Of the official views, in pixels."""
        from PIL import Image

        with Image.open(self._official_files()[0]) as image:
            return image.width

    def _official_files(self) -> list[Path]:
        folder = self.truth.path.parent / "renders" / self.name
        files = sorted(folder.glob("*.webp")) + sorted(folder.glob("*.png"))
        if not files:
            raise InputError(f"{self.protocol.label} needs the official views of {self.name} in {folder}")
        return files

    def _official_pictures(self) -> Pictures:
        from PIL import Image

        rgba = torch.stack([_pixels(Image.open(path).convert("RGBA")) for path in self._official_files()])
        camera = self._official_camera()
        is_main = torch.zeros(len(rgba), dtype=torch.bool)
        return Pictures.of(ViewSet(rgba[:, :3], rgba[:, 3:], camera, is_main))


def _pixels(image: "Image") -> Tensor:
    return torch.from_numpy(np.array(image)).movedim(-1, 0).float() / 255
