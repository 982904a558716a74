"""What every rasteriser answers, and the interface they share (nvdiffrast-shaped)."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Fragments:
    """The front-most triangle under every pixel centre. Row 0 is clip y = -1: the top, by `Camera.clip_from_world`."""

    triangle: Int[Tensor, "n h w"]  # -1 where nothing is hit
    barycentric: Float[Tensor, "n h w 3"]  # perspective-correct, differentiable; 0 where nothing is hit
    depth: Float[Tensor, "n h w"]  # clip z / w in [-1, 1]; 1 where nothing is hit


@runtime_checkable
class Rasterizer(Protocol):
    """One mesh seen by n cameras."""

    def rasterize(
        self, clip: Float[Tensor, "n v 4"], faces: Int[Tensor, "f 3"], size: tuple[int, int]
    ) -> Fragments: ...

    def interpolate(
        self, attributes: Float[Tensor, "#n v c"], fragments: Fragments, faces: Int[Tensor, "f 3"]
    ) -> Float[Tensor, "n h w c"]:
        """Attributes at the pixels; zeros where nothing is hit."""
        ...

    def antialias(
        self,
        colour: Float[Tensor, "n h w c"],
        fragments: Fragments,
        clip: Float[Tensor, "n v 4"],
        faces: Int[Tensor, "f 3"],
    ) -> Float[Tensor, "n h w c"]:
        """Blends across silhouettes; the one place where coverage has a gradient with respect to vertices."""
        ...
