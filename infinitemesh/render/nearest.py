"""The nearest true cell of a mask, exactly: by scipy on a CPU, else in torch, along the rows and then across them."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.ndimage import distance_transform_edt
from torch import Tensor

REACHES = (16, 64)  # rows up and down that are searched first: of an atlas 8 % and 0 % lie farther from a chart
KEYS_PER_CHUNK = 1 << 22  # candidates compared at once: about 50 bytes each


def nearest_true(masks: Bool[Tensor, "*n h w"], *, within: int | None = None) -> Int[Tensor, "*n h w"]:
    """For every cell the flat index, in its own mask, of the nearest cell that is true; 0 in a mask without any.

    Among cells at one distance either may be named, but always the same. Where the nearest is farther than `within`,
    any cell may be named: a GPU then looks no farther.
    """
    flat = masks.reshape(-1, *masks.shape[-2:])
    if masks.device.type == "cpu":
        return torch.stack([_nearest_by_scipy(mask) for mask in flat]).reshape(masks.shape)
    return _nearest(flat, within).reshape(masks.shape)


def distance_to_false(masks: Bool[Tensor, "n h w"], *, within: int | None = None) -> Float[Tensor, "n h w"]:
    """For every cell the distance to the nearest one that is false, in cells; beyond the border all is false.

    Above `within` it may be larger than it is.
    """
    if masks.device.type == "cpu":
        distances = [np.asarray(distance_transform_edt(np.pad(mask.numpy(), 1))) for mask in masks]
        return torch.from_numpy(np.stack(distances)[:, 1:-1, 1:-1]).float()
    return _torch_distance_to_false(masks, within)


def _torch_distance_to_false(masks: Bool[Tensor, "n h w"], within: int | None = None) -> Float[Tensor, "n h w"]:
    padded = torch.nn.functional.pad(masks, (1, 1, 1, 1))  # so that every row has a false cell
    width = padded.shape[-1]
    nearest = _nearest(~padded, within)[:, 1:-1, 1:-1]
    row, column = (torch.arange(1, size + 1, device=masks.device) for size in masks.shape[-2:])
    return ((nearest // width - row[:, None]).square() + (nearest % width - column).square()).float().sqrt()


def _nearest_by_scipy(mask: Bool[Tensor, "h w"]) -> Int[Tensor, "h w"]:
    if not bool(mask.any()):
        return torch.zeros(mask.shape, dtype=torch.int64)
    rows_columns = distance_transform_edt(~mask.numpy(), return_distances=False, return_indices=True)
    row, column = np.asarray(rows_columns, dtype=np.int64)
    return torch.from_numpy(row * mask.shape[1] + column)


def _nearest(masks: Bool[Tensor, "n h w"], within: int | None = None) -> Int[Tensor, "n h w"]:
    """Along the rows first, then over the rows above and below, as many as the best distance so far asks for."""
    num, height, width = masks.shape
    far = 2 * (height + width)
    column = torch.arange(width, device=masks.device).expand_as(masks)
    before = torch.where(masks, column, -far).cummax(dim=-1).values
    after = torch.where(masks, column, far + width).flip(-1).cummin(dim=-1).values.flip(-1)
    in_row = torch.where(column - before <= after - column, before, after)
    square = (in_row - column).square()
    # (square of the distance, row) as one number; rows without a true cell stay the farthest
    best = (torch.arange(num * height * width, device=masks.device) // width) % height
    open_cells = (~masks).reshape(-1).nonzero()[:, 0]
    last = height - 1 if within is None else min(within, height - 1)
    for reach in (*(reach for reach in REACHES if reach < last), last):
        offset = torch.arange(-reach, reach + 1, device=masks.device)
        for cells in open_cells.split(max(KEYS_PER_CHUNK // len(offset), 1)):
            row = (cells // width % height)[:, None] + offset
            inside = row.clamp(0, height - 1)  # a row twice, the second time from farther away
            at = cells[:, None] + (inside - (cells // width % height)[:, None]) * width
            keys = (square.reshape(-1)[at] + offset.square()) * height + inside
            best[cells] = keys.amin(1)
        if reach < last:
            open_cells = open_cells[best[open_cells] // height > reach**2]
    best_row = (best % height).reshape(masks.shape)
    best_column = in_row.gather(1, best_row).clamp(0, width - 1)  # not of a row without a true cell
    return torch.where(masks.any(-1).any(-1)[:, None, None], best_row * width + best_column, 0)
