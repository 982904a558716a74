"""Where objects come from: an index.csv with tiers or any folder of GLBs; and one GLB as plain arrays."""

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from infinitemesh.errors import InputError
from infinitemesh.types import Mesh

TRAINING_TIERS = ("A", "B", "U")
EVALUATION_TIER = "eval"


@dataclass(frozen=True, kw_only=True)
class SamplingWeights:
    """How often an object is drawn: real scans and detailed objects more, tile-like and plain ones less."""

    source: dict[str, float] = field(
        default_factory=lambda: {
            "ycb": 3.0,
            "polyhaven": 3.0,
            "sh3d": 1.5,
            "infinigen": 1.5,
            "aws": 1.5,
            "gazebo": 1.5,
            "kenney": 0.5,
            "basemeshes": 0.4,
        }
    )
    tier: dict[str, float] = field(default_factory=lambda: {"B": 0.4})

    def of(self, source: str, tier: str) -> float:
        return self.source.get(source, 1.0) * self.tier.get(tier, 1.0)


@dataclass(frozen=True)
class SourceObject:
    """One file of a collection. Tier A is good, B simple (drawn less), U untextured, eval for measuring only."""

    path: Path
    name: str
    source: str
    tier: str


@dataclass(frozen=True)
class TexturedArrays:
    """A mesh in the box frame (centred, longest side 1); `uv` in [0, 1], glTF's top left origin."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    uv: Float[np.ndarray, "v 2"]
    texture: Image.Image | None


def list_objects(collection: str | Path, tiers: tuple[str, ...] = TRAINING_TIERS) -> list[SourceObject]:
    """The objects of an index.csv (columns path, source, tier) or of a folder of .glb files (all tier A).

    A folder that a nearby index.csv knows takes its tiers from there, so evaluation objects cannot slip in.
    """
    collection = Path(collection)
    if collection.is_dir():
        objects = _list_folder(collection)
    elif collection.suffix == ".csv" and collection.is_file():
        objects = _list_index(collection)
    else:
        raise InputError(f"{collection} is neither an index.csv nor a folder of .glb files")
    chosen = [o for o in objects if o.tier in tiers]
    if not chosen:
        found = sorted({o.tier for o in objects})
        raise InputError(
            f"{collection} has no object of the tiers {', '.join(tiers)}; it has {found or 'no .glb file'}"
        )
    return sorted(chosen, key=lambda o: (o.source, o.name))


def _list_index(index: Path) -> list[SourceObject]:
    with index.open(newline="") as file:
        rows = list(csv.DictReader(file))
    missing = {"path", "source", "tier"} - set(rows[0] if rows else ())
    if missing:
        raise InputError(f"{index} lacks the columns {sorted(missing)}; it needs path, source and tier")
    return [
        SourceObject(index.parent / r["path"], f"{r['source']}/{Path(r['path']).stem}", r["source"], r["tier"])
        for r in rows
    ]


def _list_folder(folder: Path) -> list[SourceObject]:
    folder = folder.resolve()
    known: dict[Path, SourceObject] = {}
    for level in (folder, *list(folder.parents)[:2]):
        if (level / "index.csv").is_file():
            known |= {o.path.resolve(): o for o in _list_index(level / "index.csv")}
    return [
        known.get(
            path.resolve(),
            SourceObject(path, f"{folder.name}/{path.relative_to(folder).with_suffix('')}", folder.name, "A"),
        )
        for path in sorted(folder.rglob("*.glb"))
    ]


def read_object(path: str | Path, *, max_faces: int = 24_000) -> TexturedArrays:
    """Reads a GLB, moves it to the box frame and decimates what has more than `max_faces` faces.

    Vertex colours become a texture with one texel a face. Raises InputError for a file that is not a mesh with at least
    4 faces.
    """
    mesh = Mesh.load(path)
    if len(mesh.faces) < 4:
        raise InputError(f"{path} has {len(mesh.faces)} faces; an object needs at least 4")
    vertices, faces, uv, texture = _with_texture(mesh)
    if len(faces) > max_faces:
        vertices, faces, uv = _decimate(vertices, faces, uv, max_faces)
    uv, texture = _into_unit_square(uv, texture)
    low, high = vertices[faces].min((0, 1)), vertices[faces].max((0, 1))
    vertices = (vertices - (low + high) / 2) / max(float((high - low).max()), 1e-12)
    return TexturedArrays(vertices, faces, uv, texture)


def _with_texture(mesh: Mesh) -> tuple[np.ndarray, np.ndarray, np.ndarray, Image.Image | None]:
    vertices, faces = mesh.vertices.numpy().astype(np.float64), mesh.faces.numpy().astype(np.int64)
    if mesh.uv is not None and mesh.texture is not None:
        texture = (mesh.texture.permute(1, 2, 0) * 255).round().byte().numpy()
        return vertices, faces, mesh.uv.numpy().astype(np.float64), Image.fromarray(texture)
    if mesh.vertex_rgb is None:
        return vertices, faces, np.zeros((len(vertices), 2)), None
    side = int(np.ceil(np.sqrt(len(faces))))
    texels = np.zeros((side * side, 3))
    texels[: len(faces)] = mesh.vertex_rgb.numpy()[faces].mean(1)
    place = np.stack(np.divmod(np.arange(len(faces)), side)[::-1], axis=-1)
    texture = Image.fromarray(np.round(texels.reshape(side, side, 3) * 255).astype(np.uint8))
    return (
        vertices[faces].reshape(-1, 3),
        np.arange(faces.size).reshape(-1, 3),
        np.repeat((place + 0.5) / side, 3, axis=0),
        texture,
    )


def _decimate(
    vertices: np.ndarray, faces: np.ndarray, uv: np.ndarray, max_faces: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices split at seams stay split, so each new vertex takes the uv of the nearest old one merged into it."""
    import fast_simplification

    simplified = fast_simplification.simplify(vertices, faces, target_count=max_faces, return_collapses=True)
    new_vertices, new_faces, new_from_old = fast_simplification.replay_simplification(vertices, faces, simplified[-1])
    moved = np.linalg.norm(vertices - new_vertices[new_from_old], axis=1)
    order = np.argsort(-moved)  # the nearest is written last and stays
    new_uv = np.zeros((len(new_vertices), 2))
    new_uv[new_from_old[order]] = uv[order]
    return new_vertices.astype(np.float64), new_faces.astype(np.int64), new_uv


def _into_unit_square(uv: np.ndarray, texture: Image.Image | None) -> tuple[np.ndarray, Image.Image | None]:
    """Textures that repeat are laid out side by side, so that coordinates need no wrapping."""
    if texture is None or (uv.min() >= -0.02 and uv.max() <= 1.02):
        return uv.clip(0, 1), texture
    start = np.floor(uv.min(0) + 0.02)
    tiles = np.ceil(uv.max(0) - 0.02 - start).astype(int).clip(1, 8)  # more repeats than that are noise at our sizes
    repeated = np.tile(np.asarray(texture), (tiles[1], tiles[0], 1))
    return ((uv - start) / tiles).clip(0, 1), Image.fromarray(repeated)
