"""Functions on view sets that several stages share: joining, ordering, checking, batching."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from infinitemesh.errors import InputError
from infinitemesh.stages.trajectories import ring_order
from infinitemesh.types import Camera, ViewSet


def join_views(parts: Sequence[ViewSet]) -> ViewSet:
    """One set of all views, in the given order. Where some parts have normals, the others' are zero: unknown."""
    some = any(part.normal is not None for part in parts)
    normals = [torch.zeros_like(part.rgb) if part.normal is None else part.normal for part in parts]
    return ViewSet(
        torch.cat([part.rgb for part in parts]),
        torch.cat([part.alpha for part in parts]),
        Camera.cat([part.camera for part in parts]),
        torch.cat([part.is_main for part in parts]),
        torch.cat(normals) if some else None,
    )


def sort_ring(views: ViewSet) -> ViewSet:
    """The views by azimuth, front first."""
    return views[ring_order(views.camera)]


def distinct_views(parts: Sequence[ViewSet]) -> ViewSet:
    """Every view once, where the parts repeat views of one ring (the same camera is the same view)."""
    views = join_views(parts)
    rows = views.camera.cam_from_world.flatten(1).tolist()
    first = {tuple(row): index for index, row in reversed(list(enumerate(rows)))}
    return sort_ring(views[sorted(first.values())])


def rgba(views: ViewSet) -> Float[Tensor, "v 4 h w"]:
    """What the networks read: straight colour and alpha."""
    return torch.cat([views.rgb, views.alpha], dim=1)


def stack_cameras(cameras: Sequence[Camera]) -> Camera:
    """Cameras of several objects with axes (object, view); all have as many views."""
    return Camera(
        torch.stack([camera.cam_from_world for camera in cameras]),
        torch.stack([camera.intrinsics for camera in cameras]),
        cameras[0].projection,
    )


def from_rgba(pictures: Float[Tensor, "v 4 h w"], camera: Camera, *, is_main: bool) -> ViewSet:
    """Clamps to [0, 1]: decoders overshoot."""
    pictures = pictures.clamp(0, 1)
    flags = torch.full((len(pictures),), is_main, device=pictures.device)
    return ViewSet(pictures[:, :3], pictures[:, 3:], camera, flags)


def check_views(views: ViewSet, *, least: int = 1) -> ViewSet:
    """The same views, or an InputError that says which of them cannot be used and why."""
    if len(views) < least:
        raise InputError(f"got {len(views)} view, at least {least} are needed; for one photograph use image_to_mesh")
    counts = {
        "alpha": len(views.alpha),
        "camera": len(views.camera),
        "is_main": len(views.is_main),
        "normal": len(views) if views.normal is None else len(views.normal),
    }
    for name, count in counts.items():
        if count != len(views):
            raise InputError(f"{len(views)} pictures came with {count} entries of `{name}`: give one for each picture")
    if views.rgb.shape[-1] != views.rgb.shape[-2]:
        raise InputError(f"views are {views.rgb.shape[-1]} x {views.rgb.shape[-2]} pixels; pad or crop them to squares")
    named = {"rgb": views.rgb, "alpha": views.alpha}
    for name, values in named.items():
        if bad := _rows(~torch.isfinite(values)):
            raise InputError(f"{name} of view {bad} holds NaN or infinity; load or render these pictures again")
        if bad := _rows((values < -1e-3) | (values > 1 + 1e-3)):
            raise InputError(f"{name} of view {bad} leaves [0, 1]; divide 8-bit pictures by 255")
    if bad := _rows(~torch.isfinite(views.camera.cam_from_world)) or _rows(~torch.isfinite(views.camera.intrinsics)):
        raise InputError(f"the camera of view {bad} holds NaN or infinity; give 4 x 4 and 3 x 3 matrices of numbers")
    if bad := _rows(views.alpha.amax((1, 2, 3)) < 0.5):
        raise InputError(f"view {bad} shows no object: its alpha is empty; cut the object out, or leave the view away")
    return views


def same_size(views: ViewSet, size: int) -> ViewSet:
    """Resized to size x size; colours are premultiplied while they are mixed, so edges stay clean."""
    if views.size == size:
        return views
    alpha = _resize(views.alpha, size)
    rgb = _resize(views.rgb * views.alpha, size) / alpha.clamp(min=1e-4)
    normal = None if views.normal is None else torch.nn.functional.normalize(_resize(views.normal, size), dim=1)
    return replace(views, rgb=rgb.clamp(0, 1), alpha=alpha.clamp(0, 1), normal=normal)


def _resize(images: Tensor, size: int) -> Tensor:
    return torch.nn.functional.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)


def _rows(bad: Tensor) -> str:
    """The numbers of the rows where anything is bad, for a message; empty when none is."""
    return ", ".join(str(k) for k in bad.reshape(len(bad), -1).any(1).nonzero()[:, 0].tolist())
