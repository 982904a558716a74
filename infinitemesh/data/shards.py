"""Rendered views on disk, for training that scales past one machine: tar shards in webdataset's layout.

    write_view_shards(pack, "views", num_samples=10_000)
    for sample in read_view_shards(sorted(Path("views").glob("*.tar"))): ...

A sample is four neighbouring members of one key: `KEY.rgba.png` (views side by side), `KEY.normal.png`, `KEY.depth.npy`
(float16) and `KEY.json` (name, cameras), so `webdataset.WebDataset(urls).decode("pil")` streams them as well. The same
seed gives the same bytes.
"""

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from infinitemesh.data.object_pack import ObjectPack
from infinitemesh.data.rigs import random_rigs
from infinitemesh.data.training_views import RenderedBatch, draw_objects, render_batch
from infinitemesh.data.view_cameras import orbit_cameras, ring_angles
from infinitemesh.errors import InputError
from infinitemesh.files import atomic_write
from infinitemesh.types import MAIN_AZIMUTHS_DEG, Camera, ViewSet


@dataclass(frozen=True)
class StoredViews:
    """One object's ring as it was rendered; colours and normals rounded to 8 bits, depth to half floats."""

    views: ViewSet
    depth: Float[Tensor, "v 1 h w"]
    name: str


def write_view_shards(
    pack: ObjectPack,
    out_dir: str | Path,
    *,
    num_samples: int,
    samples_per_shard: int = 1000,
    num_views: int = 12,
    size: int = 256,
    batch: int = 16,
    seed: int = 0,
    overwrite: bool = False,
) -> list[Path]:
    """Random objects in random rigs, rendered on the pack's device. A shard is written whole or not at all."""
    if min(num_samples, samples_per_shard, num_views, batch) < 1:
        raise InputError("num_samples, samples_per_shard, num_views and batch must be at least 1")
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator(pack.device).manual_seed(seed)
    paths = []
    for first in range(0, num_samples, samples_per_shard):
        last = min(first + samples_per_shard, num_samples)
        path = out_dir / f"views-{len(paths):06d}.tar"
        with atomic_write(path, overwrite=overwrite) as temporary, tarfile.open(temporary, "w") as tar:
            for start in range(first, last, batch):
                ids = draw_objects(pack, min(batch, last - start), generator)
                camera = orbit_cameras(*ring_angles(len(ids), generator, num_views=num_views))
                rendered = render_batch(pack, ids, random_rigs(pack, ids, generator), camera, size=size)
                for row, object_id in enumerate(ids.tolist()):
                    _add_sample(tar, f"{start + row:08d}", rendered, row, pack.names[object_id])
        paths.append(path)
    return paths


def read_view_shards(paths: Sequence[str | Path]) -> Iterator[StoredViews]:
    """Samples in the order they were written; raises InputError for a damaged shard."""
    for path in paths:
        try:
            with tarfile.open(path) as tar:
                members: dict[str, bytes] = {}
                for member in tar:
                    _, _, kind = member.name.partition(".")
                    file = tar.extractfile(member)
                    assert file is not None, "shards hold plain files only"
                    members[kind] = file.read()
                    if kind == "json":  # the last of its key
                        yield _sample(members)
                        members = {}
        except (tarfile.TarError, OSError, KeyError, ValueError) as error:
            raise InputError(f"{path} is not a readable shard of views ({error}): write it again") from error


def _add_sample(tar: tarfile.TarFile, key: str, rendered: RenderedBatch, row: int, name: str) -> None:
    rgba = torch.cat([rendered.rgb[row], rendered.alpha[row]], dim=1)
    depth = io.BytesIO()
    np.save(depth, rendered.depth[row].half().cpu().numpy())
    camera = rendered.camera[row]
    description = {
        "name": name,
        "projection": camera.projection,
        "cam_from_world": camera.cam_from_world.tolist(),
        "intrinsics": camera.intrinsics.tolist(),
    }
    _add_file(tar, f"{key}.rgba.png", _png(rgba))
    _add_file(tar, f"{key}.normal.png", _png(rendered.normal[row] / 2 + 0.5))
    _add_file(tar, f"{key}.depth.npy", depth.getvalue())
    _add_file(tar, f"{key}.json", json.dumps(description).encode())


def _add_file(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)  # no time and no owner: the same samples are the same bytes
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _sample(members: dict[str, bytes]) -> StoredViews:
    description: dict[str, Any] = json.loads(members["json"])
    camera = Camera(
        torch.tensor(description["cam_from_world"]), torch.tensor(description["intrinsics"]), description["projection"]
    )
    rgba, normal = _views(members["rgba.png"], len(camera)), _views(members["normal.png"], len(camera))
    off_main = (camera.azimuth_deg[:, None] - torch.tensor(MAIN_AZIMUTHS_DEG) + 180) % 360 - 180
    is_main = off_main.abs().amin(1) < 0.5
    covered = (rgba[:, 3:] > 0).float()
    views = ViewSet(rgba[:, :3], rgba[:, 3:], camera, is_main, normal=(normal * 2 - 1) * covered)
    depth = torch.from_numpy(np.load(io.BytesIO(members["depth.npy"]), allow_pickle=False)).float()
    return StoredViews(views, depth, description["name"])


def _png(pictures: Float[Tensor, "v c h w"]) -> bytes:
    row = rearrange((pictures.clamp(0, 1) * 255).round().byte().cpu(), "v c h w -> h (v w) c")
    buffer = io.BytesIO()
    Image.fromarray(row.numpy()).save(buffer, "PNG")
    return buffer.getvalue()


def _views(png: bytes, num_views: int) -> Float[Tensor, "v c h w"]:
    row = torch.from_numpy(np.array(Image.open(io.BytesIO(png))))
    return rearrange(row, "h (v w) c -> v c h w", v=num_views).float() / 255
