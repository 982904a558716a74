"""Flat charts packed by xatlas into a square texture. Without torch: `helpers` run it."""

import atexit
import ctypes
from collections import deque
from typing import NamedTuple

import numpy as np
import xatlas

PACKING_SCALES = (0.75, 0.71, 0.67)  # of a packing without waste
MAX_PACKINGS = 8
RESTING = 6  # atlases
_resting: deque[xatlas.Atlas] = deque(maxlen=RESTING)


def new_atlas() -> xatlas.Atlas:
    """An atlas that goes only when RESTING others have come after it.

    xatlas' destructor waits for its worker threads, whom it wakes without their lock: one that was just about to sleep
    after the last work sleeps through it, and the process stands still, with Python's lock (after 1,000 and 6,000
    packings on a busy machine). By then they have long been asleep.
    """
    atlas = xatlas.Atlas()
    _resting.append(atlas)
    return atlas


@atexit.register
def _leave_to_the_system() -> None:
    """What rests when Python ends is not destroyed at all."""
    for atlas in _resting:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(atlas))


def pack(flat: np.ndarray, faces: np.ndarray, resolution: int, padding: int) -> tuple[np.ndarray, np.ndarray]:
    """Texels of a square texture, from the densest of a few packings that fit, and which vertices have got a place.

    How well xatlas packs jumps with the scale by 10 % and more, so a few are tried. It packs blocks of texels, which is
    several times faster, and holds Python's lock all the while: a batch has it done by `helpers`.
    """
    room = resolution - 2  # charts reach up to half a texel beyond the atlas' border
    a, b, c = flat[faces].astype(np.float64).transpose(1, 0, 2)
    area = 0.5 * np.abs(_cross(b - a, c - a)).sum()
    flat = flat * np.float32(room / np.sqrt(max(area, 1e-30)))  # texels: xatlas drops areas below 1e-7
    packings = [_pack_at(flat, faces, scale, padding) for scale in PACKING_SCALES]
    while min(each.side for each in packings) > room and len(packings) < MAX_PACKINGS:
        last = packings[-1]
        packings.append(_pack_at(flat, faces, 0.97 * last.scale * room / last.side, padding))
    fitting = [each for each in packings if each.side <= room] or packings[-1:]  # padding alone can leave no room
    best = min(fitting, key=lambda each: each.side / each.scale)
    return best.texel * (room / best.side) + 1, best.packed


class _Packing(NamedTuple):
    texel: np.ndarray
    packed: np.ndarray  # false for vertices of faces without area
    scale: float
    side: int  # texels


def _pack_at(flat: np.ndarray, faces: np.ndarray, scale: float, padding: int) -> _Packing:
    block = padding // 2 + 1  # texels a side; one free block around each chart leaves more than `padding` between two
    options = xatlas.PackOptions()
    options.texels_per_unit = scale / block
    options.padding = 1
    options.bilinear = False  # would reserve a border for filtering, which the free blocks hold
    atlas = new_atlas()
    atlas.add_uv_mesh(flat, faces.astype(np.uint32))
    atlas.generate(xatlas.ChartOptions(), options)
    vertex_of, _, uv = atlas[0]
    texel, packed = np.empty_like(flat), np.empty(len(flat), dtype=bool)
    texel[vertex_of] = uv * np.array([atlas.width, atlas.height], dtype=np.float32) * block
    packed[vertex_of] = atlas.get_mesh_vertex_assignment(0)[0] == 0
    return _Packing(texel, packed, scale, max(atlas.width, atlas.height) * block)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
