"""A quick look at the front half in training, on held-out objects and beside what needs no training.

    python -m infinitemesh.train.view_monitor views RUN/weights HELD_OUT_PACKS --reconstruction FOLDER --sheet views.png
    python -m infinitemesh.train.view_monitor autoencoder RUN/weights HELD_OUT_PACKS

PSNR is in dB over white, IoU of silhouettes; means over objects, then views. Reported figures come from `infinitemesh
evaluate`, on whole meshes; these take a minute on a GPU.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from infinitemesh.data.object_pack import ObjectPack, load_packs
from infinitemesh.data.rigs import Rig, frame_like_inference, plain_rigs
from infinitemesh.data.training_views import render_batch
from infinitemesh.data.view_cameras import photograph_cameras
from infinitemesh.evaluate.metrics_image import mask_iou, psnr
from infinitemesh.evaluate.view_systems import CopyFront
from infinitemesh.files import atomic_write
from infinitemesh.hub import load_network
from infinitemesh.models.autoencoder import ImageAutoencoder
from infinitemesh.render.sheet import contact_sheet
from infinitemesh.stages.coarse import CoarseRenderer
from infinitemesh.stages.denoise import Sampling, ViewDiffusion
from infinitemesh.stages.main_views import DiffusedMainViews, MainViews, MirrorMainViews
from infinitemesh.stages.view_interpolation import (
    CoarseInterpolation,
    DiffusedInterpolation,
    NearestView,
    ViewInterpolation,
    WarpInterpolation,
)
from infinitemesh.stages.view_sets import rgba
from infinitemesh.train.views import coarse_renderers, load_diffusion
from infinitemesh.types import MAIN_AZIMUTHS_DEG, Camera, ViewSet

PHOTO_FOV_DEG = 30.0  # the protocols'
Scores = dict[str, dict[str, float]]  # of every system
Pictures = dict[str, Float[Tensor, "b v 4 s s"]]  # of the truth and every system


@torch.no_grad()
def main_view_scores(
    diffusion: ViewDiffusion, coarse: CoarseRenderer | None, pack: ObjectPack, sampling: Sampling
) -> tuple[Scores, Pictures]:
    """Right, back and left from a photograph (perspective, level, unlit), framed as the pipeline frames it."""
    size, ids = diffusion.size, torch.arange(len(pack), device=pack.device)
    upright = torch.eye(3, device=pack.device).expand(len(pack), 3, 3)
    rig = frame_like_inference(pack, ids, upright)
    fov = (PHOTO_FOV_DEG, PHOTO_FOV_DEG)
    photo = photograph_cameras(pack, ids, rig, torch.Generator(pack.device).manual_seed(0), fov_deg=fov)
    fronts = _view_sets(_pictures(pack, rig, photo, size), MAIN_AZIMUTHS_DEG[:1])
    systems: dict[str, MainViews] = {
        "ours": DiffusedMainViews(diffusion, coarse=coarse, sampling=sampling),
        "copy": CopyFront(),
        "mirror": MirrorMainViews(),
    }
    made = {name: _stacked(stage.batch(fronts, seeds=[0] * len(fronts)), MAIN_AZIMUTHS_DEG[1:])
            for name, stage in systems.items()}  # fmt: skip
    others = Camera.orbit(MAIN_AZIMUTHS_DEG[1:], device=pack.device)
    if coarse is not None:
        made["coarse"] = torch.stack([rgba(views) for views in coarse.batch(fronts, [others] * len(fronts))])
    truth = _pictures(pack, rig, _for_all(others, len(pack)), size)
    return _scores(made, truth, ("right", "back", "left")), {"truth": truth, **made}


@torch.no_grad()
def interpolation_scores(
    diffusion: ViewDiffusion, coarse: CoarseRenderer | None, pack: ObjectPack, sampling: Sampling
) -> tuple[Scores, Pictures]:
    """The eight level views between true main views, of objects as large as the pack has them (longest side 1)."""
    size, rig = diffusion.size, plain_rigs(pack, torch.arange(len(pack), device=pack.device))
    ring = Camera.orbit(MAIN_AZIMUTHS_DEG, device=pack.device)
    main = _view_sets(_pictures(pack, rig, _for_all(ring, len(pack)), size), MAIN_AZIMUTHS_DEG)
    systems: dict[str, ViewInterpolation] = {
        "ours": DiffusedInterpolation(diffusion, coarse=coarse, sampling=sampling, attend="ring"),
        "nearest": NearestView(),
        "warp": WarpInterpolation(),
    }
    if coarse is not None:
        systems["coarse"] = CoarseInterpolation(coarse)
    azimuths = tuple(float(a) for a in range(0, 360, 30) if a % 90)
    made = {
        name: _stacked(stage.batch(main, seeds=[0] * len(main)), azimuths, new=True) for name, stage in systems.items()
    }
    between = Camera.orbit(azimuths, device=pack.device)
    truth = _pictures(pack, rig, _for_all(between, len(pack)), size)
    return _scores(made, truth, ()), {"truth": truth, **made}


@torch.no_grad()
def autoencoder_scores(
    autoencoder: ImageAutoencoder,
    pack: ObjectPack,
    *,
    size: int = 256,
    azimuths_deg: Sequence[float] = (0, 60, 120, 200),
) -> dict[str, float]:
    """Of unlit level pictures through the latents and back: mean, the worst object's, and the silhouettes."""
    camera = _for_all(Camera.orbit(azimuths_deg, device=pack.device), len(pack))
    truth = _pictures(pack, plain_rigs(pack, torch.arange(len(pack), device=pack.device)), camera, size)
    back = torch.stack([autoencoder.decode(autoencoder.encode(each.to(autoencoder.dtype))).float() for each in truth])
    db, iou = _db_and_iou(back, truth)
    return {"db": _mean(db), "worst_db": round(float(db.mean(1).min()), 3), "iou": _mean(iou)}


def _scores(made: Mapping[str, Tensor], truth: Tensor, names: Sequence[str]) -> Scores:
    scores: Scores = {}
    for system, pictures in made.items():
        db, iou = _db_and_iou(pictures, truth)
        each = {f"{name}_db": _mean(db[:, k]) for k, name in enumerate(names)}
        each |= {f"{name}_iou": _mean(iou[:, k]) for k, name in enumerate(names)}
        scores[system] = {"db": _mean(db), "iou": _mean(iou), **each}
    return scores


def _db_and_iou(
    made: Float[Tensor, "b v 4 s s"], truth: Float[Tensor, "b v 4 s s"]
) -> tuple[Float[Tensor, "b v"], Float[Tensor, "b v"]]:
    a, b = (rearrange(pictures, "b v c s1 s2 -> (b v) c s1 s2") for pictures in (made.to(truth), truth))
    over_white = [x[:, :3] * x[:, 3:] + 1 - x[:, 3:] for x in (a, b)]
    rows = psnr(*over_white), mask_iou(a[:, 3:], b[:, 3:])
    db, iou = (rearrange(values, "(b v) -> b v", b=len(truth)) for values in rows)
    return db, iou


def _pictures(pack: ObjectPack, rig: Rig, camera: Camera, size: int) -> Float[Tensor, "b v 4 s s"]:
    views = render_batch(pack, torch.arange(len(pack), device=pack.device), rig, camera, size=size)
    return torch.cat([views.rgb, views.alpha], dim=2)


def _for_all(camera: Camera, num: int) -> Camera:
    return Camera(camera.cam_from_world.expand(num, -1, -1, -1), camera.intrinsics.expand(num, -1, -1, -1))


def _view_sets(pictures: Float[Tensor, "b v 4 s s"], azimuths_deg: Sequence[float]) -> list[ViewSet]:
    camera = Camera.orbit(azimuths_deg, device=pictures.device)
    main = torch.ones(len(azimuths_deg), dtype=torch.bool, device=pictures.device)
    return [ViewSet(each[:, :3], each[:, 3:], camera, main) for each in pictures]


def _stacked(made: Sequence[ViewSet], azimuths_deg: Sequence[float], *, new: bool = False) -> Tensor:
    """The views at these azimuths (of a main ring, all but the front; of a denser ring, the `new` ones)."""
    chosen = [rgba(views[~views.is_main if new else slice(1, None)]) for views in made]
    assert all(len(views) == len(azimuths_deg) for views in chosen)
    return torch.stack(chosen)


def _mean(values: Tensor) -> float:
    return round(float(values.mean()), 4)


def _write_sheet(pictures: Sequence[Mapping[str, Tensor]], file: Path, objects: int = 8) -> None:
    """For each object a row of the truth and one of each system, for main views and the views between."""
    rows = [
        made[i, :, :3] * made[i, :, 3:] + 1 - made[i, :, 3:]
        for kind in pictures
        for i in range(min(objects, len(kind["truth"])))
        for made in kind.values()
    ]
    widest = max(len(row) for row in rows)
    padded = [torch.cat([row.cpu(), torch.ones(widest - len(row), *row.shape[1:])]) for row in rows]
    with atomic_write(file, overwrite=True) as temporary:
        contact_sheet(torch.cat(padded), columns=widest).save(temporary)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Quick figures of a front half in training, on held-out objects.")
    parser.add_argument("what", choices=("views", "autoencoder"))
    parser.add_argument("weights", type=Path)
    parser.add_argument("packs", type=Path, nargs="+", help="packed for evaluation")
    parser.add_argument("--reconstruction", type=Path, help="folder of the reconstruction that makes coarse renders")
    parser.add_argument("--single-view", type=Path, help="of the network that makes those of the front alone with it")
    parser.add_argument("--second-share", type=float, default=0.5, help="of the reconstruction beside that")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--sheet", type=Path, help="a PNG of the first objects' views")
    args = parser.parse_args(arguments)
    pack = load_packs(args.packs, device=args.device, purpose="evaluation")
    if args.what == "autoencoder":
        autoencoder = load_network(ImageAutoencoder, args.weights, device=args.device)
        sys.stdout.write(json.dumps(autoencoder_scores(autoencoder, pack)) + "\n")
        return
    diffusion = load_diffusion(args.weights, device=args.device)
    front_coarse, several = coarse_renderers(
        args.reconstruction,
        args.single_view,
        second_share=args.second_share,
        device=args.device,
    )
    sampling = Sampling(steps=args.steps)
    seen = []
    for kind, measure, coarse in (
        ("main", main_view_scores, front_coarse),
        ("between", interpolation_scores, several),
    ):
        scores, pictures = measure(diffusion, coarse, pack, sampling)
        seen.append(pictures)
        for system, values in scores.items():
            sys.stdout.write(json.dumps({"views": kind, "system": system, **values}) + "\n")
    if args.sheet is not None:
        _write_sheet(seen, args.sheet)


if __name__ == "__main__":
    main()
