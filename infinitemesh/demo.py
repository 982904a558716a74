"""A page in the browser of this machine: a photograph in, its views and its mesh out. Needs the `demo` extra."""

import tempfile
from pathlib import Path
from typing import Any

from infinitemesh.errors import InfiniteMeshError, MissingBackend
from infinitemesh.pipeline import InfiniteMeshPipeline


def gradio() -> Any:
    try:
        import gradio  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingBackend("the demo is a gradio page: pip install 'infinitemesh[demo]'") from error
    return gradio


def demo_page(pipeline: InfiniteMeshPipeline, folder: str | Path | None = None) -> Any:
    """A gradio page, to be launched. Meshes are written below `folder` (None: a temporary one)."""
    gr = gradio()
    meshes = Path(tempfile.mkdtemp(prefix="infinitemesh-")) if folder is None else Path(folder)

    def made(photo: str | None, seed: int) -> tuple[Any, str]:
        if photo is None:
            raise gr.Error("choose a photograph first")
        try:
            trace = pipeline.trace(photo, seed)
        except InfiniteMeshError as error:
            raise gr.Error(str(error)) from error
        path = Path(tempfile.mkdtemp(dir=meshes)) / "mesh.glb"
        return trace.views.to("cpu").grid(), str(trace.mesh.save(path))

    return gr.Interface(
        made,
        inputs=[
            gr.Image(type="filepath", image_mode=None, label="photograph"),  # as it is, alpha and rotation too
            gr.Number(value=0, precision=0, label="seed"),
        ],
        outputs=[gr.Image(label="views"), gr.Model3D(label="mesh")],
        title="infinitemesh",
        flagging_mode="never",
        analytics_enabled=False,
    )
