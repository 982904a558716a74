"""Views on disk: a folder of cut-out pictures (PNG or WebP with alpha) and a `cameras.json`.

    {
      "format": 1,
      "projection": "orthographic",                     or "perspective"
      "span": 1.8,                                      width of an orthographic view, in world units (optional)
      "fov_deg": 30.0, "distance": 3.4,                 of a perspective view (optional)
      "views": [
        {"file": "000.png", "azimuth_deg": 0, "elevation_deg": 0, "is_main": true},
        {"file": "001.png", "cam_from_world": [4 x 4], "intrinsics": [3 x 3], "normal": "001_normal.png"}
      ]
    }

A view has angles or matrices; frames and units are those of `infinitemesh.types`. `is_main` defaults to true at
elevation 0 and a multiple of 90 degrees. Normals are stored as n / 2 + 0.5 in the world frame. Every PNG and WebP of
the folder is listed.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from infinitemesh.errors import InputError
from infinitemesh.files import atomic_folder, read_bytes, sibling
from infinitemesh.images import load_image
from infinitemesh.messages import nearest
from infinitemesh.stages.view_sets import check_views
from infinitemesh.types import FIELD_HALF_EXTENT, Camera, ViewSet

FORMAT = 1
CAMERAS_FILE = "cameras.json"
MAX_VIEWS = 512
TOP_KEYS = ("format", "projection", "span", "fov_deg", "distance", "views")
VIEW_KEYS = ("file", "azimuth_deg", "elevation_deg", "cam_from_world", "intrinsics", "is_main", "normal")

Matte = Callable[[Float[Tensor, "3 h w"]], Float[Tensor, "1 h w"]]


def views_from_folder(folder: str | Path, *, matte: Matte | None = None) -> ViewSet:
    """The views of a folder, checked. `matte`, such as `Foreground.matte`, cuts out pictures that have no alpha."""
    folder = Path(folder)
    described = _described(folder)
    pictures, normals = [], []
    for view in described["views"]:
        pictures.append(_picture(folder / view["file"], matte))
        normals.append(load_image(folder / view["normal"])[:3] if "normal" in view else None)
    _check_sizes(described["views"], pictures)
    camera = Camera.cat([_camera(view, described, folder) for view in described["views"]])
    rgba = torch.stack(pictures)
    normal = None
    if any(n is not None for n in normals):
        _check_sizes(described["views"], [p[:3] if n is None else n for p, n in zip(pictures, normals, strict=True)])
        normal = torch.stack([torch.zeros_like(rgba[0, :3]) if n is None else _unit(n) for n in normals])
    is_main = [bool(view.get("is_main", _stands_on_axis(camera[[k]]))) for k, view in enumerate(described["views"])]
    return check_views(ViewSet(rgba[:, :3], rgba[:, 3:], camera, torch.tensor(is_main), normal))


def save_views(views: ViewSet, folder: str | Path, *, overwrite: bool = False) -> Path:
    """Writes pictures and cameras so that `views_from_folder` gives the views back, colours rounded to 8 bits."""
    views = views.to("cpu")
    described = []
    with atomic_folder(folder, overwrite=overwrite) as temporary:
        for k in range(len(views)):
            name = f"{k:03d}.png"
            _write(temporary / name, torch.cat([views.rgb[k], views.alpha[k]]))
            entry: dict[str, Any] = {
                "file": name,
                "cam_from_world": views.camera.cam_from_world[k].tolist(),
                "intrinsics": views.camera.intrinsics[k].tolist(),
                "is_main": bool(views.is_main[k]),
            }
            if views.normal is not None:
                entry["normal"] = f"{k:03d}_normal.png"
                _write(temporary / entry["normal"], views.normal[k] / 2 + 0.5)
            described.append(entry)
        content = {"format": FORMAT, "projection": views.camera.projection, "views": described}
        (temporary / CAMERAS_FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return Path(folder)


def _described(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise InputError(f"no folder at {folder}; views are a folder of pictures with a {CAMERAS_FILE}")
    if not (folder / CAMERAS_FILE).is_file():
        raise InputError(f"{folder} has no {CAMERAS_FILE}; it says where each picture was taken from (view_folder.py)")
    path = folder / CAMERAS_FILE
    try:
        content = json.loads(read_bytes(path, max_bytes=10_000_000).decode())
    except ValueError as error:
        raise InputError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("views"), list):
        raise InputError(f"{path} needs an object with a list `views`, one entry for each picture")
    _only(content, TOP_KEYS, f"{path}")
    if content.get("format", FORMAT) != FORMAT:
        raise InputError(f"{path} has format {content['format']!r}; this version reads format {FORMAT}")
    if not 0 < len(content["views"]) <= MAX_VIEWS:
        raise InputError(f"{path} lists {len(content['views'])} views; give 1 to {MAX_VIEWS}")
    for number, view in enumerate(content["views"]):
        where = f"{path}: view {number}"
        if not isinstance(view, dict) or not isinstance(view.get("file"), str):
            raise InputError(f"{where} needs a `file`, the name of its picture")
        _only(view, VIEW_KEYS, where)
        for key in ("file", "normal"):
            if key in view:
                _check_file(folder, str(view[key]))
        if ("azimuth_deg" in view) == ("cam_from_world" in view):
            raise InputError(f"{where} has no camera: give either azimuth_deg and elevation_deg, or cam_from_world")
    listed = {view.get(key) for view in content["views"] for key in ("file", "normal")}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in (".png", ".webp") and file.name not in listed:
            raise InputError(f"{file.name} has no camera: list it in {path}, or move it out of the folder")
    return content


def _only(entries: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in entries:
        if key not in known:
            raise InputError(f"{where}: unknown key `{key}`{nearest(key, known)}")


def _camera(view: Mapping[str, Any], top: Mapping[str, Any], folder: Path) -> Camera:
    where = f"{folder / CAMERAS_FILE}: {view['file']}"
    projection = top.get("projection", "orthographic")
    if projection not in ("orthographic", "perspective"):
        raise InputError(f"{folder / CAMERAS_FILE}: projection {projection!r} is neither orthographic nor perspective")
    at = [_number(view.get(key, 0), f"{where}: {key}") for key in ("azimuth_deg", "elevation_deg")]
    distance = _number(top["distance"], f"{where}: distance") if "distance" in top else None
    camera = Camera.orbit(
        [at[0]],
        [at[1]],
        projection=projection,
        span=_number(top.get("span", 2 * FIELD_HALF_EXTENT), f"{where}: span"),
        fov_deg=_number(top.get("fov_deg", 30.0), f"{where}: fov_deg"),
        distance=distance,
    )
    if "cam_from_world" not in view:
        return camera
    matrix = _matrix(view["cam_from_world"], 4, f"{where}: cam_from_world")
    rotation = matrix[0, :3, :3]
    if not torch.allclose(rotation @ rotation.T, torch.eye(3), atol=1e-3) or torch.linalg.det(rotation) < 0:
        raise InputError(f"{where}: cam_from_world is not a rotation and a shift; do not scale or mirror it")
    intrinsics = camera.intrinsics
    if "intrinsics" in view:
        intrinsics = _matrix(view["intrinsics"], 3, f"{where}: intrinsics")
    return Camera(matrix, intrinsics, projection)


def _number(value: Any, where: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not np.isfinite(value):
        raise InputError(f"{where} is {value!r}; give a finite number")
    return float(value)


def _matrix(value: Any, size: int, where: str) -> Float[Tensor, "1 n n"]:
    try:
        matrix = torch.tensor(value, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{where} is not a matrix of numbers: {error}") from error
    if tuple(matrix.shape) != (size, size) or not torch.isfinite(matrix).all():
        raise InputError(f"{where} has shape {tuple(matrix.shape)}; give {size} x {size} finite numbers")
    return matrix[None]


def _check_file(folder: Path, name: str) -> None:
    if not sibling(folder / CAMERAS_FILE, name).is_file():
        raise InputError(f"{folder / CAMERAS_FILE} names {name}, which is not in the folder")


def _picture(file: Path, matte: Matte | None) -> Float[Tensor, "4 h w"]:
    picture = load_image(file)
    if len(picture) == 4:
        return picture
    if matte is None:
        raise InputError(f"{file} has no alpha channel: save cut-out pictures, or pass a matte that cuts them out")
    return torch.cat([picture, matte(picture)])


def _check_sizes(described: list[dict[str, Any]], pictures: list[Tensor]) -> None:
    sizes = {f"{view['file']} {p.shape[-1]} x {p.shape[-2]}" for view, p in zip(described, pictures, strict=True)}
    if len({tuple(picture.shape[-2:]) for picture in pictures}) > 1:
        raise InputError(f"views differ in size ({', '.join(sorted(sizes)[:3])}, ...): resize them to one square size")


def _unit(picture: Float[Tensor, "3 h w"]) -> Float[Tensor, "3 h w"]:
    return torch.nn.functional.normalize(picture * 2 - 1, dim=0)


def _stands_on_axis(camera: Camera) -> bool:
    quarter = float(camera.azimuth_deg[0]) / 90
    return abs(float(camera.elevation_deg[0])) < 0.5 and abs(quarter - round(quarter)) < 0.005


def _write(file: Path, picture: Float[Tensor, "c h w"]) -> None:
    levels = (picture.clamp(0, 1) * 255).round().to(torch.uint8)
    Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy()).save(file)
