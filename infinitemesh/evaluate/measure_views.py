"""Generated views against the truth's, view by view: the front half's quality.

A photograph does not say how large its object is or where its middle is, so a system's world differs from the truth's
by a scale and a shift. `front_box` takes both from the one thing that the photograph shows: the outline of the front.
"""

import secrets
from pathlib import Path

import numpy as np
import torch

from infinitemesh.errors import CheckpointError, GenerationError, InputError
from infinitemesh.evaluate.consistency import reprojection_consistency, silhouette_coherence
from infinitemesh.evaluate.framing import place_by_front
from infinitemesh.evaluate.lpips import Lpips
from infinitemesh.evaluate.measure import Measured, picture_rows
from infinitemesh.evaluate.protocol import ViewRule
from infinitemesh.evaluate.rigs import Pictures, Rig
from infinitemesh.evaluate.truth import Case
from infinitemesh.types import Camera, Mesh, ViewSet

SAME_POSE_DEG = 0.5


def measure_views(views: ViewSet, case: Case, *, lpips: Lpips | None = None, mesh: Mesh | None = None) -> Measured:
    """The compared views of `views` against the truth from the same cameras; GenerationError where one is missing.

    `mesh` is what the system itself made of the views: it adds the consistency score.
    """
    rule = case.protocol.views
    assert rule is not None
    chosen = views[[_index(views.camera, azimuth) for azimuth in rule.azimuths_deg]]
    if chosen.size != rule.size:
        from infinitemesh.stages.view_sets import same_size

        chosen = same_size(chosen, rule.size)
    truth = _truth(views, case, rule)
    result = Pictures.of(chosen)
    rows = picture_rows(result, truth, lpips=lpips, device=case.device)
    per_view = [
        {"azimuth_deg": azimuth, **{name: float(values[k]) for name, values in rows.items()}}
        for k, azimuth in enumerate(rule.azimuths_deg)
    ]
    metrics = {name: float(values.double().nanmean()) for name, values in rows.items()}
    metrics["silhouette_coherence"] = silhouette_coherence(views)
    if mesh is not None:
        again = reprojection_consistency(views.to(case.device), mesh.to(case.device))
        metrics |= {f"consistency_{name}": value for name, value in again.items()}
    return Measured(metrics, per_view=per_view, pictures=result, truth_pictures=truth)


def measure_no_views(case: Case, *, lpips: Lpips | None = None) -> Measured:
    """What a system scores that made nothing: empty pictures, against the truth as it stands."""
    rule = case.protocol.views
    assert rule is not None
    truth = Pictures.of(case.true_views(_rig(rule)))
    rows = picture_rows(truth.blank(), truth, lpips=lpips, device=case.device)
    metrics = {name: float(values.double().nanmean()) for name, values in rows.items()}
    return Measured({**metrics, "silhouette_coherence": 0.0}, pictures=truth.blank(), truth_pictures=truth)


def save_views(views: ViewSet, path: Path) -> Path:
    """Views as 8-bit arrays with their cameras, whole or not at all."""
    pictures = Pictures.straight(views)
    arrays = {
        "rgb": pictures.rgb.numpy(),
        "alpha": pictures.alpha.numpy(),
        "cam_from_world": views.camera.cam_from_world.cpu().numpy(),
        "intrinsics": views.camera.intrinsics.cpu().numpy(),
        "projection": np.array(views.camera.projection),
        "is_main": views.is_main.cpu().numpy(),
    }
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(6)}.npz")
    try:
        np.savez_compressed(temporary, **arrays)  # pyright: ignore[reportArgumentType]
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def load_views(path: Path) -> ViewSet:
    try:
        with np.load(path) as stored:
            arrays = {name: stored[name] for name in stored}
        camera = Camera(
            torch.from_numpy(arrays["cam_from_world"]),
            torch.from_numpy(arrays["intrinsics"]),
            "perspective" if str(arrays["projection"]) == "perspective" else "orthographic",
        )
        pictures = Pictures(torch.from_numpy(arrays["rgb"]), torch.from_numpy(arrays["alpha"]))
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} holds no views: {error!r}") from error
    return ViewSet(pictures.colours, pictures.coverage, camera, torch.from_numpy(arrays["is_main"]))


def _truth(views: ViewSet, case: Case, rule: ViewRule) -> Pictures:
    if rule.frame == "exact":
        return Pictures.of(case.true_views(_rig(rule)))
    front = views[[_index(views.camera, 0.0)]]
    return _rig(rule).pictures(place_by_front(case.mesh.to(case.device), front))


def _rig(rule: ViewRule) -> Rig:
    return Rig(azimuths_deg=rule.azimuths_deg, size=rule.size, supersample=2)


def _index(camera: Camera, azimuth_deg: float) -> int:
    """The level orthographic view at an azimuth."""
    if camera.projection != "orthographic":
        raise InputError("the compared views are orthographic, the system's are perspective")
    turned = (camera.azimuth_deg - azimuth_deg + 180) % 360 - 180
    away = turned.abs() + camera.elevation_deg.abs()
    best = int(away.argmin())
    if float(away[best]) > SAME_POSE_DEG:
        have = ", ".join(f"{a:.0f}" for a in sorted(camera.azimuth_deg.tolist()))
        raise GenerationError(f"no view at azimuth {azimuth_deg:g}, elevation 0; the system made azimuths {have}")
    return best
