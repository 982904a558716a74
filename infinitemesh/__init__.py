"""infinitemesh: one photograph of an object in, one textured mesh out.

Public names load on first use: importing the package costs no torch, diffusers or trimesh.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME_OF = {
    "Camera": "infinitemesh.types",
    "ViewSet": "infinitemesh.types",
    "Triplane": "infinitemesh.types",
    "Mesh": "infinitemesh.types",
    "InfiniteMeshError": "infinitemesh.errors",
    "InputError": "infinitemesh.errors",
    "CheckpointError": "infinitemesh.errors",
    "MissingBackend": "infinitemesh.errors",
    "GenerationError": "infinitemesh.errors",
    "InfiniteMeshPipeline": "infinitemesh.pipeline",
    "image_to_mesh": "infinitemesh.pipeline",
    "views_to_mesh": "infinitemesh.pipeline",
    "Trace": "infinitemesh.trace",
    "views_from_folder": "infinitemesh.view_folder",
    "save_views": "infinitemesh.view_folder",
    "load_image": "infinitemesh.images",
    "mesh_report": "infinitemesh.geometry.report",
    "MeshReport": "infinitemesh.geometry.report",
}

__all__ = [*_HOME_OF, "__version__"]


def __getattr__(name: str):
    if name not in _HOME_OF:
        raise AttributeError(f"module 'infinitemesh' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
