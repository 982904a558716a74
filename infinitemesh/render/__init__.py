"""Rasterisers behind one interface, shading, contact sheets, films, and volume rendering of fields."""

from typing import TYPE_CHECKING

from infinitemesh.errors import InputError

if TYPE_CHECKING:
    from infinitemesh.render.fragments import Rasterizer


def get_rasterizer(name: str = "torch") -> "Rasterizer":
    """`torch` runs everywhere; `nvdiffrast` needs CUDA, its extra, and (its licence) a non-commercial purpose."""
    if name == "torch":
        from infinitemesh.render.torch_rasterizer import TorchRasterizer

        return TorchRasterizer()
    if name == "nvdiffrast":
        from infinitemesh.render.nvdiffrast import NvdiffrastRasterizer

        return NvdiffrastRasterizer()
    raise InputError(f"there is no rasteriser called {name!r}: choose 'torch' or 'nvdiffrast'")
