"""A finished mesh against the truth, by a protocol's rules: every number of a table comes from here."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from infinitemesh.errors import InputError
from infinitemesh.evaluate.align import Alignment, align, fit_box
from infinitemesh.evaluate.lpips import Lpips
from infinitemesh.evaluate.metrics_image import mask_iou, psnr, psnr_within, ssim
from infinitemesh.evaluate.metrics_mesh import (
    SurfaceSamples,
    chamfer_distance,
    f_score,
    normal_consistency,
    sample_surface,
    surface_distances,
    volume_iou,
    volume_iou_exact,
)
from infinitemesh.evaluate.occupancy import occupancy_grid
from infinitemesh.evaluate.rigs import Pictures
from infinitemesh.evaluate.truth import Case
from infinitemesh.geometry.report import mesh_report
from infinitemesh.types import Mesh

FRAME_HINT_CHAMFER = 0.03  # of the box's side: below it a result is not suspected of standing in another frame
FRAME_HINT_GAIN = 0.6  # a rotation, scale or shift that leaves less than this share of the distance is worth naming
VIEWS_AT_ONCE = 4


@dataclass(frozen=True)
class Measured:
    """One object's numbers; notes name what a reader of the table should know about this object."""

    metrics: dict[str, float]
    notes: dict[str, str] = field(default_factory=dict)  # kind -> words; kinds are counted
    health: dict[str, Any] = field(default_factory=dict)
    alignment: dict[str, Any] = field(default_factory=dict)
    per_view: list[dict[str, float]] = field(default_factory=list)
    pictures: Pictures | None = None  # the result as the protocol's cameras see it
    truth_pictures: Pictures | None = None


def measure_mesh(result: Mesh, case: Case, *, lpips: Lpips | None = None) -> Measured:
    """All metrics that the protocol names; raises InputError for a mesh that has no surface or is not finite."""
    result = check_finite(result)
    notes: dict[str, str] = {}
    health = mesh_report(result).as_dict()
    if health["watertight"] and health["volume"] < 0:
        notes["inside out"] = "the faces look inwards; they were turned"
        result = replace(result, faces=result.faces.flip(1), normals=None)
    protocol = case.protocol
    if protocol.fit_box:
        result = fit_box(result, case.mesh)
    elif hint := _box_hint(result, case.mesh):  # before anything moves it
        notes["frame"] = hint
    result, similarity = align(result, case.mesh, protocol.alignment, seed=case.seed)
    if protocol.fit_box:
        result = fit_box(result, case.mesh)
    if protocol.alignment.starts == "none" and (hint := _rotation_hint(result, case.mesh, similarity.score)):
        notes.setdefault("frame", hint)
    metrics = _surface_metrics(result, case) | _volume_metrics(result, case)
    pictures, truth_pictures = _pictures(result, case), case.pictures()
    if pictures is not None and truth_pictures is not None:
        metrics |= picture_metrics(pictures, truth_pictures, lpips=lpips, device=case.device)
    return Measured(metrics, notes, health, similarity.as_dict(), pictures=pictures, truth_pictures=truth_pictures)


def measure_failure(case: Case, *, lpips: Lpips | None = None) -> Measured:
    """What a system scores that made nothing: a point in the middle of the truth's box, in empty pictures."""
    metrics: dict[str, float] = {}
    protocol = case.protocol
    if protocol.surface is not None:
        low, high = case.mesh.vertices.amin(0), case.mesh.vertices.amax(0)
        point = SurfaceSamples((low + high)[None] / 2, torch.zeros(1, 3))
        metrics |= _distance_metrics(point, case)
    if protocol.volume is not None:
        metrics["iou"] = 0.0
    truth = case.pictures()
    if truth is None:
        return Measured(metrics)
    blank = truth.blank(1.0 if protocol.images is None else protocol.images.background)
    metrics |= picture_metrics(blank, truth, lpips=lpips, device=case.device)
    return Measured(metrics, pictures=blank, truth_pictures=truth)


def picture_metrics(
    result: Pictures, truth: Pictures, *, lpips: Lpips | None = None, device: str = "cpu"
) -> dict[str, float]:
    """Means over the views."""
    rows = picture_rows(result, truth, lpips=lpips, device=device)
    return {name: float(values.double().nanmean()) for name, values in rows.items()}


@torch.no_grad()
def picture_rows(
    result: Pictures, truth: Pictures, *, lpips: Lpips | None = None, device: str = "cpu"
) -> dict[str, Tensor]:
    """One value a view. `psnr_object` looks only at pixels that show the object in either picture."""
    rows: dict[str, list[Tensor]] = {}
    for start in range(0, len(truth.rgb), VIEWS_AT_ONCE):
        chosen = slice(start, start + VIEWS_AT_ONCE)
        a, b = result[chosen].to(device), truth[chosen].to(device)
        either = (a.coverage > 0) | (b.coverage > 0)
        values = {
            "psnr": psnr(a.colours, b.colours),
            "psnr_object": psnr_within(a.colours, b.colours, either),
            "ssim": ssim(a.colours, b.colours),
            "mask_iou": mask_iou(a.coverage, b.coverage),
        }
        if lpips is not None:
            values[lpips.label] = lpips(a.colours, b.colours)
        for name, value in values.items():
            rows.setdefault(name, []).append(value.cpu())
    return {name: torch.cat(value) for name, value in rows.items()}


def check_finite(mesh: Mesh) -> Mesh:
    """The same mesh, or InputError where it cannot be measured."""
    if not len(mesh.faces):
        raise InputError("the mesh has no faces")
    if not bool(torch.isfinite(mesh.vertices).all()):
        raise InputError("the mesh has vertices that are not finite numbers")
    if int(mesh.faces.max()) >= len(mesh.vertices) or int(mesh.faces.min()) < 0:
        raise InputError(f"the mesh's faces name vertices beyond its {len(mesh.vertices)}")
    return mesh


def _surface_metrics(result: Mesh, case: Case) -> dict[str, float]:
    rule = case.protocol.surface
    if rule is None:
        return {}
    if rule.points == "depth":
        from infinitemesh.evaluate.depth_points import depth_points

        return _distance_metrics(depth_points(result, case.camera(), voxel=rule.voxel), case)
    return _distance_metrics(sample_surface(result, rule.samples, seed=case.seed), case)


def _distance_metrics(samples: SurfaceSamples, case: Case) -> dict[str, float]:
    rule = case.protocol.surface
    assert rule is not None
    if rule.points == "depth":
        from infinitemesh.evaluate.depth_points import depth_points

        truth = depth_points(case.mesh, case.camera(), voxel=rule.voxel)
    else:
        truth = case.samples(rule.samples)
    distances = surface_distances(samples, truth)
    scores = {f"f@{threshold:g}": f_score(distances, threshold) for threshold in rule.f_thresholds}
    return {
        "chamfer": chamfer_distance(distances, rule.chamfer),
        **scores,
        "normal_consistency": normal_consistency(distances),
    }


def _volume_metrics(result: Mesh, case: Case) -> dict[str, float]:
    rule = case.protocol.volume
    if rule is None:
        return {}
    grid = occupancy_grid(result, rule.resolution, half_extent=rule.half_extent, definition=rule.inside)
    metrics = {"iou": volume_iou(grid, case.occupancy(rule))}
    if rule.exact and mesh_report(result).watertight and mesh_report(case.mesh).watertight:
        metrics["iou_exact"] = volume_iou_exact(result, case.mesh)
    return metrics


def _pictures(result: Mesh, case: Case) -> Pictures | None:
    from infinitemesh.render.shading import render_mesh

    rig = case.protocol.images
    if rig is not None:
        return rig.pictures(result.to(case.device))
    if not case.protocol.official_views:
        return None
    return Pictures.of(render_mesh(result.to(case.device), case.camera(), case.official_size()))


def _box_hint(result: Mesh, truth: Mesh) -> str:
    score = _distance(result, truth)
    if score < FRAME_HINT_CHAMFER * _side(truth):
        return ""
    fitted = _distance(fit_box(result, truth), truth)
    if fitted > FRAME_HINT_GAIN * score:
        return ""
    return (
        f"its longest side is {_side(result):.3g} (truth {_side(truth):.3g}); with the truth's box its distance is "
        f"{fitted:.3f} instead of {score:.3f}: another scale or centre?"
    )


def _distance(result: Mesh, truth: Mesh) -> float:
    return align(result, truth, Alignment(samples=500))[1].score


def _side(mesh: Mesh) -> float:
    return float((mesh.vertices.amax(0) - mesh.vertices.amin(0)).amax())


def _rotation_hint(result: Mesh, truth: Mesh, score: float) -> str:
    if score < FRAME_HINT_CHAMFER * _side(truth):
        return ""
    _, best = align(result, truth, Alignment(starts="rotations24", samples=500))
    if best.score > FRAME_HINT_GAIN * score:
        return ""
    matrix = [[round(value) for value in row] for row in best.rotation.tolist()]
    return f"turned by {matrix} its distance is {best.score:.3f} instead of {score:.3f}: another frame?"
