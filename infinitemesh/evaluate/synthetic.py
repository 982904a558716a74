"""Solids with exact truth, made of formulas: for the `synthetic` protocol, which needs no data and runs in seconds."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray

from infinitemesh.types import Mesh

VERSION = 1  # of the shapes; a change makes other objects


def synthetic_objects() -> dict[str, Mesh]:
    """Closed manifolds with vertex colours, longest side 1, centred, fronts towards +Z."""
    shapes: dict[str, Callable[[], trimesh.Trimesh]] = {
        "sphere": lambda: trimesh.creation.icosphere(subdivisions=4, radius=0.5),
        "box": lambda: trimesh.creation.box((1.0, 0.6, 0.4)).subdivide().subdivide().subdivide(),
        "torus": lambda: trimesh.creation.torus(0.36, 0.14, major_sections=64, minor_sections=32),
        "egg": _egg,
        "lobes": _lobes,
    }
    return {name: _coloured(make()) for name, make in shapes.items()}


def write_synthetic(folder: Path) -> Path:
    """The objects as .glb files, byte for byte the same every time; files that are there are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, mesh in synthetic_objects().items():
        path = folder / f"{name}.glb"
        if not path.is_file():
            mesh.save(path)
    return folder


def _egg() -> trimesh.Trimesh:
    shape = trimesh.creation.icosphere(subdivisions=4)
    y = shape.vertices[:, 1]
    shape.vertices = shape.vertices * np.stack([0.7 - 0.15 * y, np.ones_like(y), 0.6 - 0.2 * y], axis=-1)
    return shape


def _lobes() -> trimesh.Trimesh:
    """A star-shaped surface whose sides all differ, and which is no mirror image of itself."""
    shape = trimesh.creation.icosphere(subdivisions=5)
    x, y, z = shape.vertices.T
    radius = 1 + 0.3 * np.sin(3 * x + 1) * np.cos(2 * y - x) + 0.25 * np.sin(4 * z + 2 * x + 3 * y)
    shape.vertices = shape.vertices * radius[:, None]
    return shape


def _coloured(shape: trimesh.Trimesh) -> Mesh:
    mesh = Mesh(torch.tensor(shape.vertices, dtype=torch.float32), torch.tensor(shape.faces)).normalized()
    return Mesh(mesh.vertices, mesh.faces, vertex_rgb=torch.from_numpy(_pattern(mesh.vertices.numpy())))


def _pattern(at: NDArray[np.float32]) -> NDArray[np.float32]:
    x, y, z = at.T.astype(np.float64)
    bands = np.stack([np.sin(9 * x + 1), np.sin(8 * y + 2 * z), np.sin(7 * z - 3 * x)], axis=-1)
    return (0.5 + 0.35 * bands).astype(np.float32)
