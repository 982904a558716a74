"""A quick look at a reconstruction in training: occupancy and colour of held-out objects at points, in seconds.

The figures steer nothing but the log; reported ones come from `infinitemesh evaluate`, on meshes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from infinitemesh.data.object_pack import ObjectPack
from infinitemesh.data.points import PointCache
from infinitemesh.data.rigs import plain_rigs
from infinitemesh.data.training_views import render_batch
from infinitemesh.data.view_cameras import orbit_cameras
from infinitemesh.models.lrm import LargeReconstructionModel


@torch.no_grad()
def point_scores(
    model: LargeReconstructionModel,
    pack: ObjectPack,
    cache: PointCache,
    *,
    num_views: Sequence[int] = (12, 4, 1),
    size: int = 256,
) -> dict[str, float]:
    """Mean over the pack, from true flat rings: `iou_V` of points uniform in each object's box, and PSNR (dB) of colour
    within 0.01 of the surface."""
    scores = {}
    for views in num_views:
        ious, errors = [], []
        for i in range(len(pack)):
            ids = torch.tensor([i], device=pack.device)
            azimuth = torch.arange(views, device=pack.device)[None] * (360.0 / views)
            camera = orbit_cameras(azimuth, torch.zeros_like(azimuth))
            seen = render_batch(pack, ids, plain_rigs(pack, ids), camera, size=size)
            with torch.autocast(pack.device.type, torch.bfloat16, enabled=pack.device.type == "cuda"):
                planes = model(torch.cat([seen.rgb, seen.alpha], dim=2), camera).float()
            points = cache.points[ids].float() / model.config["half_extent"]
            sdf, colour = model.decoders.sdf_and_colour(planes, points)
            ious.append(_iou(sdf[0, cache.num_near :: 2] < 0, cache.distance[i, cache.num_near :: 2] < 0))
            near = cache.distance[i].abs() < 0.01
            errors.append((colour[0, near] - cache.rgb[i, near].float() / 255).square().mean())
        scores[f"iou_{views}"] = round(float(torch.stack(ious).mean()), 4)
        scores[f"colour_db_{views}"] = round(float((-10 * torch.stack(errors).log10()).mean()), 2)
    return scores


def _iou(ours: Tensor, truth: Tensor) -> Tensor:
    return (ours & truth).sum() / (ours | truth).sum().clamp(min=1)
