"""nvdiffrast behind the common interface: opt-in, CUDA only, for non-commercial use (its licence)."""

import sys
import warnings

import torch
from jaxtyping import Float, Int
from torch import Tensor

from infinitemesh.errors import MissingBackend
from infinitemesh.render.fragments import Fragments
from infinitemesh.render.torch_rasterizer import TorchRasterizer

LICENCE = "nvdiffrast is under the NVIDIA Source Code License: research or evaluation only, no commercial use."
INSTALL = "pip install 'infinitemesh[nvdiffrast]' (compiles at first use: needs nvcc and ninja), or use 'torch'"


class NvdiffrastRasterizer:
    """A `Rasterizer` on CUDA tensors; it antialiases by its own rule (`render.antialias` says how ours differs)."""

    def __init__(self) -> None:
        if not torch.cuda.is_available():
            raise MissingBackend("nvdiffrast runs on CUDA only and torch sees no CUDA device: use 'torch'")
        try:
            import nvdiffrast.torch as library  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise MissingBackend(f"nvdiffrast is missing: {INSTALL}") from error
        warnings.warn(LICENCE, stacklevel=2)
        self._library = library
        self._contexts: dict[torch.device, object] = {}

    def rasterize(self, clip: Float[Tensor, "n v 4"], faces: Int[Tensor, "f 3"], size: tuple[int, int]) -> Fragments:
        raster, _ = self._library.rasterize(
            self._context(clip.device),
            clip.contiguous(),
            faces.int().contiguous(),
            resolution=list(size),
            grad_db=False,
        )
        u, v, depth, number = raster.unbind(-1)  # u, v belong to corners 0 and 1; number is 0 where nothing is hit
        hit = number > 0
        barycentric = torch.stack([u, v, 1 - u - v], dim=-1)
        return Fragments(
            number.detach().long() - 1,
            torch.where(hit[..., None], barycentric, 0.0),
            torch.where(hit, depth, 1.0).detach(),
        )

    def interpolate(
        self, attributes: Float[Tensor, "#n v c"], fragments: Fragments, faces: Int[Tensor, "f 3"]
    ) -> Float[Tensor, "n h w c"]:
        return TorchRasterizer().interpolate(attributes, fragments, faces)

    def antialias(
        self,
        colour: Float[Tensor, "n h w c"],
        fragments: Fragments,
        clip: Float[Tensor, "n v 4"],
        faces: Int[Tensor, "f 3"],
    ) -> Float[Tensor, "n h w c"]:
        raster = torch.stack(
            [
                fragments.barycentric[..., 0],
                fragments.barycentric[..., 1],
                fragments.depth,
                (fragments.triangle + 1).float(),
            ],
            dim=-1,
        )
        return self._library.antialias(
            colour.contiguous(), raster.detach().contiguous(), clip.contiguous(), faces.int().contiguous()
        )

    def _context(self, device: torch.device) -> object:
        if device not in self._contexts:
            try:
                self._contexts[device] = self._library.RasterizeCudaContext(device=device)
            except ModuleNotFoundError as error:
                if error.name is None or not error.name.startswith("nvdiffrast_plugin"):
                    raise
                from torch.utils.cpp_extension import _get_build_directory

                # 0.3.3.1 compiles its plugin and then imports it by name, but torch >= 2.11 (pybind11 3) no longer
                # leaves a loaded extension in sys.modules: its build folder must be on the path
                sys.path.append(_get_build_directory(error.name, False))
                self._contexts[device] = self._library.RasterizeCudaContext(device=device)
        return self._contexts[device]
