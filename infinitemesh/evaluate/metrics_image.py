"""How alike pictures in [0, 1] are: PSNR, SSIM, silhouette IoU, one number a view (LPIPS: `evaluate.lpips`).

Protocols average over the views of an object first and over objects second.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

PSNR_CEILING_DB = 100.0  # equal pictures; infinity would swallow every average it enters
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5  # Wang et al. 2004
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2


def psnr(result: Float[Tensor, "v c h w"], truth: Float[Tensor, "v c h w"]) -> Float[Tensor, " v"]:
    """10 log10(1 / mean squared error) in dB over all pixels and channels of a view, at most 100."""
    error = (result.double() - truth.double()).square().mean((1, 2, 3))
    return (-10 * error.clamp(min=10 ** (-PSNR_CEILING_DB / 10)).log10()).float()


def psnr_within(
    result: Float[Tensor, "v c h w"], truth: Float[Tensor, "v c h w"], mask: Bool[Tensor, "v 1 h w"]
) -> Float[Tensor, " v"]:
    """PSNR over the pixels of `mask` only, so it does not depend on how much of the picture is background.

    NaN where a view's mask is empty.
    """
    squared = (result.double() - truth.double()).square().mean(1, keepdim=True) * mask
    error = squared.sum((1, 2, 3)) / mask.sum((1, 2, 3))
    return (-10 * error.clamp(min=10 ** (-PSNR_CEILING_DB / 10)).log10()).float()


def ssim(result: Float[Tensor, "v c h w"], truth: Float[Tensor, "v c h w"]) -> Float[Tensor, " v"]:
    """Structural similarity: gaussian 11x11 window, sigma 1.5, K = 0.01 and 0.03, population covariance, data range 1.

    The mean over channels and all pixels with reflected borders: torchmetrics' convention. (scikit-image leaves out the
    five outermost pixels, which scores lower where the border is white; its map is the same.) At least 11 pixels wide.
    """
    margin = SSIM_WINDOW // 2
    pairs = F.pad(torch.stack([result, truth]).flatten(0, 1), (margin,) * 4, mode="reflect").unflatten(0, (2, -1))
    return torch.stack([_ssim_of_view(a, b) for a, b in pairs.unbind(1)])


def _ssim_of_view(result: Float[Tensor, "c h w"], truth: Float[Tensor, "c h w"]) -> Float[Tensor, ""]:
    height, width = (side - SSIM_WINDOW + 1 for side in result.shape[-2:])
    differs = (result != truth).any(0)
    if not differs.any():
        return torch.ones((), device=result.device)
    # a window without a difference scores exactly 1: only the box around the differences has to be filtered
    rows, columns = differs.any(1).nonzero()[:, 0], differs.any(0).nonzero()[:, 0]
    top, bottom = max(int(rows[0]) - SSIM_WINDOW + 1, 0), min(int(rows[-1]) + 1, height)
    left, right = max(int(columns[0]) - SSIM_WINDOW + 1, 0), min(int(columns[-1]) + 1, width)
    a, b = (image[:, top : bottom + SSIM_WINDOW - 1, left : right + SSIM_WINDOW - 1] for image in (result, truth))
    mean_a, mean_b, mean_aa, mean_bb, mean_ab = _blur(torch.stack([a, b, a * a, b * b, a * b]))
    variance_a, variance_b = (mean_aa - mean_a**2).clamp(min=0), (mean_bb - mean_b**2).clamp(min=0)
    covariance = mean_ab - mean_a * mean_b
    similarity = ((2 * mean_a * mean_b + SSIM_C1) * (2 * covariance + SSIM_C2)) / (
        (mean_a**2 + mean_b**2 + SSIM_C1) * (variance_a + variance_b + SSIM_C2)
    )
    total = height * width * len(result)
    return ((similarity.double().sum() + total - similarity.numel()) / total).float()


def _blur(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
    """Valid gaussian filtering, one axis after the other."""
    at = torch.arange(SSIM_WINDOW, dtype=images.dtype, device=images.device) - SSIM_WINDOW // 2
    kernel = torch.softmax(-(at**2) / (2 * SSIM_SIGMA**2), dim=0)
    planes = rearrange(images, "n c h w -> 1 (n c) h w")
    count = planes.shape[1]
    planes = F.conv2d(planes, kernel.reshape(1, 1, -1, 1).expand(count, -1, -1, -1), groups=count)
    planes = F.conv2d(planes, kernel.reshape(1, 1, 1, -1).expand(count, -1, -1, -1), groups=count)
    return rearrange(planes, "1 (n c) h w -> n c h w", n=len(images))


def mask_iou(result: Float[Tensor, "v 1 h w"], truth: Float[Tensor, "v 1 h w"]) -> Float[Tensor, " v"]:
    """Silhouette IoU of two alphas cut at 0.5; 1 where both are empty."""
    a, b = result > 0.5, truth > 0.5
    union = (a | b).sum((1, 2, 3))
    return torch.where(union > 0, (a & b).sum((1, 2, 3)) / union.clamp(min=1), 1.0)
