"""Many objects as flat tensors on one device: what training renders from."""

import io
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from torch import Tensor

from infinitemesh.data.geometry_codec import POSITION_STEP, UV_STEP, decode_faces, decode_rows
from infinitemesh.errors import InputError
from infinitemesh.types import Mesh

PACK_FORMAT = "infinitemesh-pack-1"


@dataclass(frozen=True)
class ObjectPack:
    """n objects in the box frame (centred, longest side 1). Faces index the object's own vertices.

    Object i owns the vertices `vertex_start[i]:vertex_start[i + 1]` and the faces likewise. `normals` are area-weighted
    over all vertices at one place, so texture seams do not show; hard edges are told apart where normals are used.
    `textures` (sRGB) are shared: object i wears `texture_of[i]`; uv has glTF's top left origin.
    `has_colour` False: the texture is a placeholder, take no colour supervision from it.
    """

    names: tuple[str, ...]
    sources: tuple[str, ...]
    weights: Float[Tensor, " n"]
    has_colour: Bool[Tensor, " n"]
    texture_of: Int[Tensor, " n"]
    vertex_start: Int[Tensor, " starts"]
    face_start: Int[Tensor, " starts"]
    vertices: Float[Tensor, "v 3"]
    normals: Float[Tensor, "v 3"]
    uv: Float[Tensor, "v 2"]
    faces: Int[Tensor, "f 3"]
    textures: UInt8[Tensor, "t 3 px px"]
    texture_is_palette: Bool[Tensor, " t"]  # a few flat colours: no use on any other object

    def __len__(self) -> int:
        return len(self.names)

    @property
    def device(self) -> torch.device:
        return self.vertices.device

    def to(self, device: torch.device | str) -> "ObjectPack":
        tensors = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **tensors)

    def first(self, num: int) -> "ObjectPack":
        """The first objects alone; textures stay shared."""
        vertices, faces = int(self.vertex_start[num]), int(self.face_start[num])
        return replace(
            self,
            names=self.names[:num],
            sources=self.sources[:num],
            weights=self.weights[:num],
            has_colour=self.has_colour[:num],
            texture_of=self.texture_of[:num],
            vertex_start=self.vertex_start[: num + 1],
            face_start=self.face_start[: num + 1],
            vertices=self.vertices[:vertices],
            normals=self.normals[:vertices],
            uv=self.uv[:vertices],
            faces=self.faces[:faces],
        )

    def mesh(self, i: int) -> Mesh:
        """One object as a Mesh of its own, in the box frame."""
        vertices = slice(int(self.vertex_start[i]), int(self.vertex_start[i + 1]))
        faces = slice(int(self.face_start[i]), int(self.face_start[i + 1]))
        return Mesh(
            vertices=self.vertices[vertices].clone(),
            faces=self.faces[faces].long(),
            uv=self.uv[vertices].clone(),
            texture=self.textures[int(self.texture_of[i])].float() / 255,
        )


def load_packs(
    paths: str | Path | Sequence[str | Path],
    *,
    device: torch.device | str = "cpu",
    texture_px: int | None = None,
    purpose: Literal["training", "evaluation"] = "training",
) -> ObjectPack:
    """Shards, or folders of shards, as one pack. `texture_px` None takes the shards' own texture size.

    Raises InputError for a file that is no shard, and for shards packed for the other purpose.
    """
    shards = [_read_shard(path, purpose) for path in _shard_paths(paths)]
    texture_px = texture_px or max(shard["header"]["texture_px"] for shard in shards)
    vertex_counts = np.concatenate([s["vertex_counts"] for s in shards])
    face_counts = np.concatenate([s["face_counts"] for s in shards])
    num_textures = [len(s["texture_sizes"]) for s in shards]
    texture_base = np.cumsum(num_textures) - num_textures
    vertices = _tensor([s["positions"] for s in shards], device).float() * POSITION_STEP
    faces = _tensor([s["faces"] for s in shards], device)
    vertex_start = _starts(vertex_counts, device)
    face_start = _starts(face_counts, device)
    normals = _welded_normals(vertices, faces, vertex_start, face_start)
    return ObjectPack(
        names=tuple(name for s in shards for name in s["header"]["names"]),
        sources=tuple(source for s in shards for source in s["header"]["sources"]),
        weights=_tensor([s["weights"] for s in shards], device),
        has_colour=_tensor([s["has_colour"] for s in shards], device),
        texture_of=_tensor([s["texture_of"] + b for s, b in zip(shards, texture_base, strict=True)], device).long(),
        vertex_start=vertex_start,
        face_start=face_start,
        vertices=vertices,
        normals=normals,
        uv=_tensor([s["uv"] for s in shards], device).float() * UV_STEP,
        faces=faces,
        textures=_decode_textures(shards, texture_px, device),
        texture_is_palette=_tensor([s["texture_is_palette"] for s in shards], device),
    )


def _shard_paths(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    given = [Path(paths)] if isinstance(paths, str | Path) else [Path(p) for p in paths]
    found = [shard for path in given for shard in (sorted(path.glob("pack-*.npz")) if path.is_dir() else [path])]
    if not found:
        raise InputError(f"no pack-*.npz in {', '.join(map(str, given))}: make some with pack_objects")
    return found


def _read_shard(path: Path, purpose: str) -> dict:
    try:
        with np.load(path, allow_pickle=False) as file:
            shard = {name: file[name] for name in file.files}
        header = json.loads(shard["header"].tobytes())
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} is not a readable object shard ({error}): pack it again") from error
    if header.get("format") != PACK_FORMAT:
        raise InputError(
            f"{path} has the format {header.get('format')!r}, this version reads {PACK_FORMAT!r}: pack again"
        )
    if header["purpose"] != purpose:
        raise InputError(
            f"{path} was packed for {header['purpose']}, asked for was {purpose}: objects never serve both"
        )
    faces = decode_faces(shard["faces"])
    starts = np.cumsum(shard["vertex_counts"]) - shard["vertex_counts"]
    local = faces - np.repeat(starts, shard["face_counts"])[:, None]
    return shard | {
        "header": header,
        "positions": decode_rows(shard["positions"]),
        "uv": decode_rows(shard["uv"]),
        "faces": local.astype(np.int32),
    }


def _tensor(parts: list[np.ndarray], device: torch.device | str) -> Tensor:
    return torch.from_numpy(np.concatenate(parts)).to(device)


def _starts(counts: np.ndarray, device: torch.device | str) -> Int[Tensor, " starts"]:
    return torch.from_numpy(np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])).to(device)


def _decode_textures(shards: list[dict], px: int, device: torch.device | str) -> UInt8[Tensor, "t 3 px px"]:
    """Stored channels last in memory, so that a texel is three neighbouring bytes."""

    def decode(job: tuple[bytes, bool]) -> np.ndarray:
        picture = Image.open(io.BytesIO(job[0])).convert("RGB")
        way = Image.Resampling.NEAREST if job[1] else Image.Resampling.BICUBIC
        return np.asarray(picture if picture.size == (px, px) else picture.resize((px, px), way))

    jobs = []
    for shard in shards:
        ends = np.cumsum(shard["texture_sizes"])
        blob = shard["texture_bytes"].tobytes()
        for end, size, is_palette in zip(ends, shard["texture_sizes"], shard["texture_is_palette"], strict=True):
            jobs.append((blob[end - size : end], bool(is_palette)))
    pictures = np.empty((len(jobs), px, px, 3), np.uint8)
    with ThreadPoolExecutor() as pool:
        for i, picture in enumerate(pool.map(decode, jobs)):
            pictures[i] = picture
    return rearrange(torch.from_numpy(pictures).to(device), "t h w c -> t c h w")


def _welded_normals(
    vertices: Float[Tensor, "v 3"],
    faces: Int[Tensor, "f 3"],
    vertex_start: Int[Tensor, " starts"],
    face_start: Int[Tensor, " starts"],
) -> Float[Tensor, "v 3"]:
    """Area-weighted normals over all vertices of an object that share a place; zero where faces cancel out."""
    objects = torch.arange(len(vertex_start) - 1, device=vertices.device)
    assert len(objects) < 2**15, "the key below holds 32767 objects"
    owner = objects.repeat_interleave(vertex_start.diff())
    steps = (vertices / POSITION_STEP).round().long() + 2**15
    place = ((owner * 2**16 + steps[:, 0]) * 2**16 + steps[:, 1]) * 2**16 + steps[:, 2]
    _, weld = torch.unique(place, return_inverse=True)
    corner_vertices = faces + vertex_start[:-1].repeat_interleave(face_start.diff())[:, None]
    corners = vertices[corner_vertices]
    face_normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    at = weld[corner_vertices]
    total = torch.zeros(int(weld.max()) + 1, 3, device=vertices.device)
    total.index_add_(0, at.flatten(), face_normals.repeat_interleave(3, dim=0))
    return torch.nn.functional.normalize(total, dim=-1)[weld]
