"""Vertex normals that ignore seams."""

import numpy as np


def smooth_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit area-weighted vertex normals [v, 3]; vertices at one place (a texture seam) share theirs.

    A vertex without area, or whose faces cancel, points up.
    """
    place = places(vertices)
    corners = vertices.astype(np.float64)[faces]
    twice_area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    count = place.max() + 1 if len(place) else 0
    at_place = np.stack(
        [np.bincount(place[faces].ravel(), np.repeat(twice_area[:, i], 3), minlength=count) for i in range(3)], axis=1
    )
    length = np.linalg.norm(at_place, axis=1, keepdims=True)
    usable = length > 1e-30
    unit = np.where(usable, at_place / np.where(usable, length, 1), [0.0, 1.0, 0.0])
    return unit[place].astype(np.float32)


def places(vertices: np.ndarray) -> np.ndarray:
    """[v] numbers from 0 on, equal where two vertices have exactly the same position."""
    rows = np.ascontiguousarray(vertices.astype(np.float32) + np.float32(0))  # -0 becomes 0
    _, place = np.unique(rows.view("V12").ravel(), return_inverse=True)
    return place.ravel()
