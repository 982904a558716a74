"""Objects as a few quantised shards (`pack_objects`), and shards as one set of flat tensors (`load_packs`).

    python -m infinitemesh.data.packs objects/index.csv packs --texture-px 256

A shard is an .npz of at most `max_shard_mib`: coordinates and faces as `geometry_codec` writes them, textures as WebP
(each picture once, however many objects share it; one of a single colour is one pixel), names, sources, weights.
Objects for measuring (the index's tier `eval`) are packed only by `pack_evaluation_objects`, and a training run that is
handed such a shard refuses it.
"""

import argparse
import hashlib
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from infinitemesh.data.geometry_codec import QuantizedMesh, encode_faces, encode_rows, quantize
from infinitemesh.data.object_pack import PACK_FORMAT, ObjectPack, load_packs
from infinitemesh.data.sources import (
    EVALUATION_TIER,
    TRAINING_TIERS,
    SamplingWeights,
    SourceObject,
    list_objects,
    read_object,
)
from infinitemesh.errors import InputError
from infinitemesh.files import atomic_write_all

__all__ = ["ObjectPack", "PackReport", "load_packs", "pack_evaluation_objects", "pack_objects"]

PALETTE_PX = 64  # smaller pictures are palettes: kept exactly, enlarged without blending


@dataclass(frozen=True)
class PackReport:
    shards: tuple[Path, ...]
    num_objects: int
    num_bytes: int
    skipped: tuple[str, ...]  # "path: reason"


def pack_objects(
    collection: str | Path,
    out_dir: str | Path,
    *,
    texture_px: int = 256,
    tiers: Sequence[str] = TRAINING_TIERS,
    max_shard_mib: float = 16.0,
    max_faces: int = 24_000,
    webp_quality: int = 85,
    weights: SamplingWeights | None = None,
    overwrite: bool = False,
) -> PackReport:
    """Packs an index.csv or a folder of GLBs for training. Files that cannot be read are reported, not fatal.

    Raises InputError when the tiers ask for evaluation objects or when shards are there already.
    """
    if EVALUATION_TIER in tiers:
        raise InputError("objects of the tier `eval` are for measuring only: use pack_evaluation_objects")
    objects = list_objects(collection, tuple(tiers))
    return _pack(
        objects, Path(out_dir), "training", texture_px, max_shard_mib, max_faces, webp_quality, weights, overwrite
    )


def pack_evaluation_objects(
    collection: str | Path,
    out_dir: str | Path,
    *,
    texture_px: int = 256,
    max_shard_mib: float = 16.0,
    max_faces: int = 24_000,
    webp_quality: int = 90,
    overwrite: bool = False,
) -> PackReport:
    """Packs the tier `eval` of an index.csv; the shards load only with `load_packs(..., purpose="evaluation")`."""
    objects = list_objects(collection, (EVALUATION_TIER,))
    return _pack(
        objects, Path(out_dir), "evaluation", texture_px, max_shard_mib, max_faces, webp_quality, None, overwrite
    )


@dataclass(frozen=True)
class _Packed:
    mesh: QuantizedMesh
    texture: bytes
    is_palette: bool
    has_colour: bool
    origin: SourceObject
    weight: float


def _pack(
    objects: list[SourceObject],
    out_dir: Path,
    purpose: Literal["training", "evaluation"],
    texture_px: int,
    max_shard_mib: float,
    max_faces: int,
    webp_quality: int,
    weights: SamplingWeights | None,
    overwrite: bool,
) -> PackReport:
    out_dir.mkdir(parents=True, exist_ok=True)
    old = sorted(out_dir.glob("pack-*.npz"))
    if old and not overwrite:
        raise InputError(f"{out_dir} holds {len(old)} shards already: choose another folder or pass overwrite=True")
    weights = weights or SamplingWeights()
    packed, skipped = [], []
    for origin in objects:
        try:
            arrays = read_object(origin.path, max_faces=max_faces)
        except InputError as error:
            skipped.append(str(error))
            continue
        picture = arrays.texture or Image.new("RGB", (1, 1), (180, 180, 180))
        texture, is_palette = _encode_texture(picture, texture_px, webp_quality)
        packed.append(
            _Packed(
                quantize(arrays.vertices, arrays.uv, arrays.faces),
                texture,
                is_palette,
                has_colour=arrays.texture is not None and origin.tier != "U",
                origin=origin,
                weight=weights.of(origin.source, origin.tier),
            )
        )
    if not packed:
        raise InputError(f"none of the {len(objects)} objects could be read; the first reason: {skipped[0]}")
    shards = _shards_below(packed, int(max_shard_mib * 2**20), purpose, texture_px)
    paths = tuple(out_dir / f"pack-{i:03d}.npz" for i in range(len(shards)))
    with atomic_write_all(paths, overwrite=overwrite) as temporaries:
        for temporary, shard in zip(temporaries, shards, strict=True):
            temporary.write_bytes(shard)
    for path in set(old) - set(paths):
        path.unlink()
    return PackReport(paths, len(packed), sum(map(len, shards)), tuple(skipped))


def _encode_texture(picture: Image.Image, texture_px: int, quality: int) -> tuple[bytes, bool]:
    """WebP bytes, and whether the picture is a palette (lossless, enlarged without blending)."""
    picture = picture.convert("RGB")
    if np.ptp(np.asarray(picture), axis=(0, 1)).max() <= 8:
        picture = picture.resize((1, 1), Image.Resampling.BOX)
    is_palette = min(picture.size) < PALETTE_PX
    if max(picture.size) > texture_px:
        size = (min(picture.width, texture_px), min(picture.height, texture_px))
        picture = picture.resize(size, Image.Resampling.NEAREST if is_palette else Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", lossless=is_palette, quality=100 if is_palette else quality, method=4)
    return buffer.getvalue(), is_palette


def _shards_below(packed: list[_Packed], max_bytes: int, purpose: str, texture_px: int) -> list[bytes]:
    """Halves the list until every part fits."""
    shard = _encode_shard(packed, purpose, texture_px)
    if len(shard) <= max_bytes:
        return [shard]
    if len(packed) == 1:
        raise InputError(
            f"{packed[0].origin.path} alone needs {len(shard) / 2**20:.1f} MiB: raise max_shard_mib or lower max_faces"
        )
    middle = len(packed) // 2
    return _shards_below(packed[:middle], max_bytes, purpose, texture_px) + _shards_below(
        packed[middle:], max_bytes, purpose, texture_px
    )


def _encode_shard(packed: list[_Packed], purpose: str, texture_px: int) -> bytes:
    vertex_counts = np.array([len(p.mesh.positions) for p in packed])
    starts = np.cumsum(vertex_counts) - vertex_counts
    textures: dict[str, int] = {}
    texture_of = np.array(
        [textures.setdefault(hashlib.sha256(p.texture).hexdigest(), len(textures)) for p in packed], np.int32
    )
    _, first_user = np.unique(texture_of, return_index=True)
    blobs = [packed[i].texture for i in first_user]
    header = {
        "format": PACK_FORMAT,
        "purpose": purpose,
        "texture_px": texture_px,
        "names": [p.origin.name for p in packed],
        "sources": [p.origin.source for p in packed],
    }
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        header=np.frombuffer(json.dumps(header).encode(), np.uint8),
        positions=encode_rows(np.concatenate([p.mesh.positions for p in packed])),
        uv=encode_rows(np.concatenate([p.mesh.uv for p in packed])),
        faces=encode_faces(np.concatenate([p.mesh.faces + s for p, s in zip(packed, starts, strict=True)])),
        vertex_counts=vertex_counts.astype(np.int32),
        face_counts=np.array([len(p.mesh.faces) for p in packed], np.int32),
        texture_bytes=np.frombuffer(b"".join(blobs), np.uint8),
        texture_sizes=np.array([len(b) for b in blobs], np.int32),
        texture_is_palette=np.array([packed[i].is_palette for i in first_user]),
        texture_of=texture_of,
        has_colour=np.array([p.has_colour for p in packed]),
        weights=np.array([p.weight for p in packed], np.float32),
    )
    return buffer.getvalue()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Packs objects into quantised shards.")
    parser.add_argument("collection", type=Path, help="an index.csv or a folder of .glb files")
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--texture-px", type=int, default=256)
    parser.add_argument("--tiers", nargs="+", default=list(TRAINING_TIERS))
    parser.add_argument("--evaluation", action="store_true", help="pack the tier `eval`, for measuring only")
    parser.add_argument("--overwrite", action="store_true")
    args = parser.parse_args(arguments)
    options = {"texture_px": args.texture_px, "overwrite": args.overwrite}
    if args.evaluation:
        report = pack_evaluation_objects(args.collection, args.out_dir, **options)
    else:
        report = pack_objects(args.collection, args.out_dir, tiers=args.tiers, **options)
    for line in report.skipped:
        sys.stderr.write(f"skipped: {line}\n")
    size = report.num_bytes / 2**20
    sys.stdout.write(f"{report.num_objects} objects, {size:.1f} MiB in {len(report.shards)} shards in {args.out_dir}\n")


if __name__ == "__main__":
    main()
