"""Do the views of one object fit together? Two answers: by reconstruction, and by outlines alone."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from infinitemesh.evaluate.metrics_image import mask_iou, psnr, ssim
from infinitemesh.types import FIELD_HALF_EXTENT, Mesh, ViewSet

HULL_RESOLUTION = 96
HULL_VIEW_PX = 96


def reprojection_consistency(views: ViewSet, mesh: Mesh) -> dict[str, float]:
    """The mesh reconstructed from the views, rendered from their cameras and compared with them over white.

    It says how well one shape explains all views, and so depends on the reconstruction too: compare view sources under
    the same one.
    """
    from infinitemesh.render.shading import render_mesh

    shown = render_mesh(mesh, views.camera, views.size)
    seen, wanted = shown.composite(), views.composite()
    return {
        "psnr": float(psnr(seen, wanted).double().mean()),
        "ssim": float(ssim(seen, wanted).double().mean()),
        "mask_iou": float(mask_iou(shown.alpha, views.alpha).double().mean()),
    }


def silhouette_coherence(views: ViewSet) -> float:
    """Mean over views of IoU(view's outline, outline of the visual hull of all views); 1: one shape explains all.

    The hull lies inside every outline, so what is missing was contradicted by another view. No reconstruction is
    involved. Outlines are compared at 96 pixels with a hull of 96^3 points over the field's cube; a perfect set of
    views scores about 0.97 to 0.99 there, not 1.
    """
    masks = _masks(views)
    hull = _hull_points(views, masks)
    pixel, inside = _pixels(views, hull)
    scores = []
    for k, mask in enumerate(masks):
        covered = torch.zeros(HULL_VIEW_PX**2, dtype=torch.bool)
        covered[pixel[k][inside[k]]] = True
        covered = _closed(covered.reshape(HULL_VIEW_PX, HULL_VIEW_PX)) & mask
        scores.append(float((covered & mask).sum()) / max(float(mask.sum()), 1.0))
    return sum(scores) / len(scores)


def _masks(views: ViewSet) -> Bool[Tensor, "v h w"]:
    size = (HULL_VIEW_PX, HULL_VIEW_PX)
    return torch.nn.functional.interpolate(views.alpha.cpu(), size, mode="area")[:, 0] > 0.5


def _hull_points(views: ViewSet, masks: Bool[Tensor, "v h w"]) -> Float[Tensor, "p 3"]:
    at = ((torch.arange(HULL_RESOLUTION) + 0.5) / HULL_RESOLUTION * 2 - 1) * FIELD_HALF_EXTENT
    points = torch.stack(torch.meshgrid(at, at, at, indexing="ij"), dim=-1).reshape(-1, 3)
    for k, mask in enumerate(masks):
        pixel, inside = _pixels(views[[k]], points)
        points = points[inside[0] & mask.flatten()[pixel[0]]]
    return points


def _pixels(views: ViewSet, points: Float[Tensor, "p 3"]) -> tuple[Tensor, Tensor]:
    """The pixel of each point in each view, and whether it is in the picture."""
    at = (views.camera.to("cpu").project(points)[0] * HULL_VIEW_PX).floor().long()
    inside = ((at >= 0) & (at < HULL_VIEW_PX)).all(-1)
    at = at.clamp(0, HULL_VIEW_PX - 1)
    return at[..., 1] * HULL_VIEW_PX + at[..., 0], inside


def _closed(mask: Bool[Tensor, "h w"]) -> Bool[Tensor, "h w"]:
    """Without the one-pixel gaps that a grid of points leaves between its projections."""
    wide = torch.nn.functional.max_pool2d(mask.float()[None], 3, stride=1, padding=1)
    return (-torch.nn.functional.max_pool2d(-wide, 3, stride=1, padding=1))[0] > 0.5
