"""The fifth step: a triplane to a closed mesh (Sec. 3.3)."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from infinitemesh.errors import InputError
from infinitemesh.geometry.cleanup import decimate, large_components, select_faces
from infinitemesh.geometry.surface_extraction import CHUNK, CUDA_CHUNKS, extract_surface
from infinitemesh.geometry.topology import components
from infinitemesh.stages.base import Stage
from infinitemesh.stages.thin_parts import thin_parts
from infinitemesh.types import Mesh, Triplane


class Surface(Stage):
    """Decides where the object ends. Subclasses make the mesh; colours come later (`Texturing`)."""

    @abstractmethod
    def forward(self, triplane: Triplane) -> Mesh:
        """A mesh in world units, faces outwards; GenerationError where the field has no surface."""


@runtime_checkable
class SurfaceDecoders(Protocol):
    """The part of `models.field_decoders.FieldDecoders` that a surface needs.

    Points are in field coordinates: the planes span [-1, 1]^3.
    """

    def sdf(self, planes: Float[Tensor, "b 3 c r r"], points: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n"]: ...

    def sdf_and_deformation(
        self, planes: Float[Tensor, "b 3 c r r"], points: Float[Tensor, "b n 3"]
    ) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n 3"]]: ...

    def weights(
        self, planes: Float[Tensor, "b 3 c r r"], corners: Float[Tensor, "b n 8 3"]
    ) -> Float[Tensor, "b n 21"]: ...


Distances = Callable[[Float[Tensor, "p 3"]], Float[Tensor, " p"]]


@dataclass(frozen=True)
class TriplaneField:
    """One object's planes and their decoders as the `Field` that `extract_surface` asks, in field coordinates."""

    decoders: SurfaceDecoders
    planes: Float[Tensor, "3 c r r"]
    level: float = 0.0  # the signed distance that is the surface
    least: Distances | None = None  # what is known of the distance there,
    most: Distances | None = None  # from both sides

    def sdf(self, points: Float[Tensor, "p 3"]) -> Float[Tensor, " p"]:
        return self._bounded(self.decoders.sdf(self.planes[None], points[None])[0], points)

    def sdf_and_deformation(self, points: Float[Tensor, "p 3"]) -> tuple[Float[Tensor, " p"], Float[Tensor, "p 3"]]:
        sdf, deformation = self.decoders.sdf_and_deformation(self.planes[None], points[None])
        return self._bounded(sdf[0], points), deformation[0].float()

    def weights(self, corners: Float[Tensor, "c 8 3"]) -> Float[Tensor, "c 21"]:
        return self.decoders.weights(self.planes[None], corners[None])[0].float()

    def _bounded(self, sdf: Float[Tensor, " p"], points: Float[Tensor, "p 3"]) -> Float[Tensor, " p"]:
        sdf = sdf.float() - self.level
        if self.most is not None:
            sdf = torch.minimum(sdf, self.most(points))
        return sdf if self.least is None else torch.maximum(sdf, self.least(points))


class FlexiCubesSurface(Surface):
    """FlexiCubes' surface without floaters and cavities, within a budget of faces.

    `grid_scale` is the grid's extent relative to the planes' (InstantMesh: 1.05). `target_faces` None keeps every face.
    `level` is the signed distance, in the decoders' units, that is taken for the surface: a network that is unsure of
    thin walls gives them small positive distances, and a level above 0 keeps them. Where the triplane has outlines,
    nothing reaches outside them, and `level_in_outlines` is added to the level: what is too much is cut. Where it has a
    photograph's outline, thin parts that the field lost are put in (`thin_parts`). `coarse_stride` > 1 skips most
    signed-distance queries (`geometry.coarse_to_fine`). Training needs gradients and the raw surface:
    `extract_surface(TriplaneField(decoders, planes), resolution, grid_scale, training=True)`.
    """

    def __init__(
        self,
        decoders: SurfaceDecoders,
        *,
        resolution: int = 128,
        grid_scale: float = 1.0,
        target_faces: int | None = 30_000,
        min_component_fraction: float = 0.01,
        drop_cavities: bool = True,
        coarse_stride: int = 1,
        chunk: int = CHUNK,
        level: float = 0.0,
        level_in_outlines: float = 0.0,
    ):
        super().__init__()
        if resolution % coarse_stride:
            raise InputError(f"coarse_stride must divide the resolution {resolution}, got {coarse_stride}")
        self.decoders = decoders
        self.resolution = resolution
        self.grid_scale = grid_scale
        self.target_faces = target_faces
        self.min_component_fraction = min_component_fraction
        self.drop_cavities = drop_cavities
        self.coarse_stride = coarse_stride
        self.chunk = chunk
        self.level = level
        self.level_in_outlines = level_in_outlines

    @torch.no_grad()
    def forward(self, triplane: Triplane) -> Mesh:
        """On the planes' device; decimation runs on the CPU. `metadata["surface"]` says what was done."""
        field = self._field(triplane)
        raw = extract_surface(
            field,
            self.resolution,
            self.grid_scale,
            coarse_stride=self.coarse_stride,
            chunk=self.chunk,
            device=triplane.planes.device,
        )
        pieces = components(raw.vertices, raw.faces)
        keep = large_components(pieces, min_fraction=self.min_component_fraction, drop_cavities=self.drop_cavities)
        kept = select_faces(raw.vertices, raw.faces, keep[pieces.of_face].to(raw.faces.device))
        vertices, faces = kept if self.target_faces is None else decimate(*kept, self.target_faces)
        done = {
            "resolution": self.resolution,
            "outlines": field.least is not None,
            "thin_parts": field.most is not None,
            "surface_cubes": raw.num_cubes,
            "components": int(keep.sum()),
            "components_dropped": int((~keep).sum()),
            "faces_extracted": len(raw.faces),
            "faces": len(faces),
        }
        return Mesh(triplane.world_from_field(vertices), faces, metadata={"surface": done})

    def _field(self, triplane: Triplane) -> TriplaneField:
        """The triplane's field, at least as far outside as its outlines say, and with the thin parts that its
        photograph shows; all these distances are world units."""
        plain = TriplaneField(self.decoders, triplane.planes, self.level)
        if (outlines := triplane.outlines) is not None:
            return replace(
                plain,
                level=self.level + self.level_in_outlines,
                least=lambda points: outlines.distance(triplane.world_from_field(points)),
            )
        if triplane.photograph is not None:
            at_once = self.chunk * (CUDA_CHUNKS if triplane.planes.is_cuda else 1)
            cell = 2 * triplane.half_extent * self.grid_scale / self.resolution
            sheet = thin_parts(
                lambda points: _within_planes(plain, triplane.field_from_world(points)),
                triplane.photograph,
                chunk=at_once,
                cell=cell,
            )
            if sheet is not None:
                return replace(plain, most=lambda points: sheet.distance(triplane.world_from_field(points)))
        return plain


def _within_planes(field: TriplaneField, points: Float[Tensor, "p 3"]) -> Float[Tensor, " p"]:
    """The field, far outside where there are no planes."""
    return torch.where(points.abs().amax(-1) <= 1, field.sdf(points), 1.0)
