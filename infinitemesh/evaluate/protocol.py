"""A protocol: all that makes an evaluation's numbers comparable, in one declarative file with a name and a version.

The finished ones are the YAML files of `evaluate/protocols`; `load_protocol` takes a name or a path of your own file.
A change that changes numbers gets a new version. The whole protocol is printed in every result.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from infinitemesh.errors import InputError
from infinitemesh.evaluate.align import Alignment
from infinitemesh.evaluate.metrics_mesh import ChamferKind
from infinitemesh.evaluate.rigs import Rig
from infinitemesh.evaluate.strict import build, read_yaml

FOLDER = Path(__file__).parent / "protocols"
OLDER = ("framed", False)


@dataclass(frozen=True, kw_only=True)
class SurfaceRule:
    """Distances between surface samples (`metrics_mesh`)."""

    samples: int = 100_000
    chamfer: ChamferKind = "mean"
    f_thresholds: tuple[float, ...] = (0.05,)
    points: Literal["surface", "depth"] = "surface"  # depth: what the official cameras see (SyncDreamer's code)
    voxel: float = 0.01  # depth points are thinned to one a voxel of this edge


@dataclass(frozen=True, kw_only=True)
class VolumeRule:
    """IoU of occupancy at one point in each cell of [-half_extent, half_extent]^3 (`occupancy.occupancy_grid`).

    What a result has outside the cube is not seen.
    """

    resolution: int = 64
    half_extent: float = 0.5
    inside: Literal["winding", "visibility"] = "winding"
    exact: bool = False  # also by boolean operations, where both meshes are closed manifolds


@dataclass(frozen=True, kw_only=True)
class ViewRule:
    """Which generated views are compared, and how the truth is brought into their frame.

    `frame` exact: the views show the truth as it stands. `front_box`: a photograph does not say how large an object is,
    so the truth is scaled and shifted until its orthographic front view has the bounding box of the result's front.
    """

    azimuths_deg: tuple[float, ...]  # at elevation 0; views that the system adds are not compared
    size: int = 256
    frame: Literal["exact", "front_box"] = "exact"
    consistency: bool = False  # also: the system's own mesh of its views, rendered from their cameras, against them


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What a system is given, how its result is framed, and what is measured of it."""

    name: str
    version: int
    about: str
    source: Literal["folder", "synthetic"] = "folder"
    objects: tuple[str, ...] | None = None  # None: every object of the folder
    truth_side: float | None = 1.0  # the truth is centred and its longest side made this; None: as stored
    photo: Rig | None = None  # the photograph that a whole system is given (RGBA)
    official_views: bool = False  # photo and pictures are the folder's renders/NAME/*.webp at cameras.json
    given: Rig | None = None  # the posed true views that a reconstruction or an interpolation is given
    fit_box: bool = True  # the result's box is centred on the truth's and takes its longest side
    framed: bool = False  # a photograph's result stands where the framing rule puts the truth (`framing`)
    alignment: Alignment = Alignment()
    surface: SurfaceRule | None = None
    volume: VolumeRule | None = None
    images: Rig | None = None
    views: ViewRule | None = None  # generated views are measured instead of a mesh

    def __post_init__(self) -> None:
        if self.views is not None and (self.surface or self.volume or self.images):
            raise InputError(f"{self.name}: a protocol measures views or a mesh, not both")
        if self.photo is not None and len(self.photo.camera) != 1:
            raise InputError(f"{self.name}: the photograph has one camera, the protocol names {len(self.photo.camera)}")
        if self.framed and (self.fit_box or self.views or not self.gives_photo):
            raise InputError(
                f"{self.name}: framed says where the mesh made of a photograph stands: it needs a photo, "
                "fit_box: false, and no views"
            )

    @property
    def gives_photo(self) -> bool:
        """Whether a whole system is given a picture."""
        return self.photo is not None or self.official_views

    @property
    def label(self) -> str:
        return f"{self.name} v{self.version}"

    def as_dict(self) -> dict[str, Any]:
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @property
    def sha256(self) -> str:
        """Of all values but the words about it, and a `framed` that is off: stored results are older than it."""
        values = {key: value for key, value in self.as_dict().items() if key != "about" and (key, value) != OLDER}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def protocol_names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_protocol(name: str | Path) -> Protocol:
    """A finished protocol by name, or your own from a .yaml file."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return build(Protocol, read_yaml(path), str(path))
    path = FOLDER / f"{name}.yaml"
    if str(name) not in protocol_names():
        raise InputError(
            f"no protocol is called {str(name)!r}; there are {', '.join(protocol_names())}, or give a .yaml"
        )
    return build(Protocol, read_yaml(path), path.name)
