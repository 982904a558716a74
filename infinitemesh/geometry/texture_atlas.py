"""Several repeating textures as one: each is unrolled as often as its coordinates repeat it; all stand side by side."""

from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from infinitemesh.geometry.mesh_part import WHITE, Part, tinted

MAX_SIDE = 8192
MAX_TILE = 4096  # texels a side of one unrolled texture
MAX_REPEATS = 8  # unrolled copies a side; what repeats more often is folded back, and cut where a face spans more
PADDING = 4  # texels of the neighbouring repetition, so that filtering does not mix tiles
SWATCH = 4  # texels a side of a plain colour
SLACK = 1e-4  # how far coordinates may overshoot a whole number by rounding


def with_one_texture(parts: list[Part]) -> list[Part]:
    """The parts with uv into one common image. Parts without a texture get a swatch of their factor.

    Texels keep their size unless the atlas would outgrow 8192; vertices whose faces lie in different repetitions split.
    """
    unrolled = [_unrolled(part) for part in parts]
    tiles: dict[tuple, np.ndarray] = {}
    keys = []
    for part, repeats in unrolled:
        key = (id(part.image), part.factor, repeats)
        if key not in tiles:
            tiles[key] = _tile(part, repeats)
        keys.append(key)
    images = _shrunk(list(tiles.values()))
    corners, width, height = _shelves([(image.shape[1], image.shape[0]) for image in images])
    atlas = np.zeros((height, width, 3), np.uint8)
    for image, (x, y) in zip(images, corners, strict=True):
        atlas[y : y + image.shape[0], x : x + image.shape[1]] = image
    place = {key: (corner, image) for key, corner, image in zip(tiles, corners, images, strict=True)}
    placed = []
    for (part, repeats), key in zip(unrolled, keys, strict=True):
        (x, y), image = place[key]
        inner = np.array([image.shape[1], image.shape[0]]) - 2 * PADDING
        assert part.uv is not None
        uv = (np.array([x, y]) + PADDING + part.uv / repeats * inner) / (width, height)
        placed.append(replace(part, uv=uv.astype(np.float32), image=atlas, factor=WHITE, vertex_rgb=None))
    return placed


def _unrolled(part: Part) -> tuple[Part, tuple[int, int]]:
    """The part with every face's uv moved by whole numbers to start in [0, 1), and the repetitions it then needs."""
    if part.uv is None or part.image is None:
        return replace(part, uv=np.full((len(part.vertices), 2), 0.5, np.float32), image=None), (1, 1)
    shift = np.floor(part.uv[part.faces].min(axis=1) + SLACK).astype(np.int64)  # f 2
    corner_shift = np.repeat(shift, 3, axis=0)
    keys, inverse = np.unique(
        np.concatenate([part.faces.reshape(-1, 1), corner_shift], axis=1), axis=0, return_inverse=True
    )
    part = part.at_vertices(keys[:, 0], inverse.reshape(-1, 3))
    assert part.uv is not None
    uv = part.uv - keys[:, 1:]
    across, down = np.clip(np.ceil(uv.max(axis=0) - SLACK), 1, MAX_REPEATS).astype(int).tolist()
    return replace(part, uv=uv.clip(0, (across, down)).astype(np.float32)), (across, down)


def _tile(part: Part, repeats: tuple[int, int]) -> np.ndarray:
    image = np.full((SWATCH, SWATCH, 3), 255, np.uint8) if part.image is None else part.image
    if part.factor != WHITE:
        colours = tinted(torch.from_numpy(image.copy()).float() / 255, part.factor)
        image = (colours * 255).round().byte().numpy()
    across, down = repeats
    height, width = image.shape[:2]
    if (shrink := min(MAX_TILE / (across * width), MAX_TILE / (down * height))) < 1:
        size = (max(int(width * shrink), 1), max(int(height * shrink), 1))
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
    return np.pad(np.tile(image, (down, across, 1)), [(PADDING, PADDING), (PADDING, PADDING), (0, 0)], mode="wrap")


def _shrunk(images: list[np.ndarray]) -> list[np.ndarray]:
    """The tiles, all halved until they fit."""
    while True:
        _, width, height = _shelves([(image.shape[1], image.shape[0]) for image in images])
        if max(width, height) <= MAX_SIDE:
            return images
        images = [_halved(image) for image in images]


def _halved(tile: np.ndarray) -> np.ndarray:
    inner = tile[PADDING:-PADDING, PADDING:-PADDING]
    size = (max(inner.shape[1] // 2, 1), max(inner.shape[0] // 2, 1))
    small = np.asarray(Image.fromarray(inner).resize(size, Image.Resampling.BOX))
    return np.pad(small, [(PADDING, PADDING), (PADDING, PADDING), (0, 0)], mode="wrap")


def _shelves(sizes: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], int, int]:
    """(x, y) of every rectangle, highest first along shelves of about a square's width; then width, height of all."""
    area = sum(width * height for width, height in sizes)
    limit = max(max(width for width, _ in sizes), int(np.ceil(np.sqrt(area))))
    corners = [(0, 0)] * len(sizes)
    x = y = shelf = total_width = 0
    for index in sorted(range(len(sizes)), key=lambda i: (-sizes[i][1], -sizes[i][0])):
        width, height = sizes[index]
        if x + width > limit:
            x, y, shelf = 0, y + shelf, 0
        corners[index] = (x, y)
        x, shelf, total_width = x + width, max(shelf, height), max(total_width, x + width)
    return corners, total_width, y + shelf
