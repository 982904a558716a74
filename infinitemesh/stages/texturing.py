"""Mesh, field and views -> coloured mesh: the field's colour everywhere, sharpened by the views where they see well."""

from abc import abstractmethod
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from infinitemesh.errors import InputError
from infinitemesh.geometry.normals import same_point, vertex_normals
from infinitemesh.geometry.uv import UnwrapMethod, unwrap
from infinitemesh.render.bake import paint, surface_texels
from infinitemesh.render.fragments import Rasterizer
from infinitemesh.render.projection import ProjectedColour, ProjectionOptions, project_views
from infinitemesh.render.spread import spread
from infinitemesh.stages.base import Stage
from infinitemesh.steps import step
from infinitemesh.types import Mesh, Triplane, ViewSet

POINTS_PER_QUERY = 1 << 16
CUDA_QUERIES = 4  # so many times more on a GPU, where a query of the default size is all launching
WELL_SEEN = 0.9  # trust from which a point may correct the field
POINTS_TO_CORRECT_WITH = 30_000  # enough for the 32^3 cells of `spread`


@runtime_checkable
class ColourDecoder(Protocol):
    """What texturing asks of `FieldDecoders`: sRGB in [0, 1], or a little beyond, at points of [-1, 1]^3."""

    def colour(self, planes: Float[Tensor, "b 3 c r r"], points: Float[Tensor, "b n 3"]) -> Float[Tensor, "b n 3"]: ...


class Texturing(Stage):
    """Gives a mesh its colour. Subclasses fill `forward`; `surface_colour` is what both finished ways share.

    `project_views` False leaves the views unused; `correct_field` shifts the field's colour towards the views' where
    these do not reach, so that a tint of the field does not show.
    """

    def __init__(
        self,
        decoders: ColourDecoder,
        *,
        project_views: bool = True,
        correct_field: bool = True,
        projection: ProjectionOptions | None = None,
        rasterizer: Rasterizer | None = None,
        points_per_query: int = POINTS_PER_QUERY,
    ):
        super().__init__()
        self.decoders = decoders
        self.project_views = project_views
        self.correct_field = correct_field
        self.projection = projection or ProjectionOptions()
        self.rasterizer = rasterizer
        self.points_per_query = points_per_query

    @abstractmethod
    def forward(self, mesh: Mesh, triplane: Triplane, views: ViewSet) -> Mesh:
        """The same triangles, with colour. The three must be of one object in one world."""

    def surface_colour(
        self,
        points: Float[Tensor, "p 3"],
        normals: Float[Tensor, "p 3"],
        mesh: Mesh,
        triplane: Triplane,
        views: ViewSet,
    ) -> tuple[Float[Tensor, "p 3"], Float[Tensor, " p"]]:
        """Colour in [0, 1] at points of `mesh`, and how far the views decided it (0: the field alone)."""
        if not self.project_views or len(views) == 0:
            return self.field_colour(points, triplane), points.new_zeros(len(points))
        _check(views)
        views = views.to(points.device)
        seen = project_views(points, normals, mesh, views, options=self.projection, rasterizer=self.rasterizer)
        unsure = (seen.trust < 1).nonzero()[:, 0]
        beside = self.field_colour(points[unsure], triplane)
        if self.correct_field:
            beside = (beside + self._correction(points, seen, points[unsure], triplane)).clamp(0, 1)
        share = seen.trust[unsure, None]
        colour = seen.rgb.clone()
        colour[unsure] = share * seen.rgb[unsure] + (1 - share) * beside
        return colour, seen.trust

    @step("correction")
    def _correction(
        self, points: Float[Tensor, "p 3"], seen: ProjectedColour, at: Float[Tensor, "q 3"], triplane: Triplane
    ) -> Float[Tensor, "q 3"]:
        """How the views differ from the field where both are known, smoothly carried on to where only the field is."""
        known = (seen.trust > WELL_SEEN).nonzero()[:, 0]
        known = known[:: len(known) // POINTS_TO_CORRECT_WITH + 1]
        difference = seen.rgb[known] - self.field_colour(points[known], triplane)
        return spread(points[known], difference, at)

    @step("field colour")
    def field_colour(self, points: Float[Tensor, "p 3"], triplane: Triplane) -> Float[Tensor, "p 3"]:
        """What the field alone says, in [0, 1], at world points."""
        planes = triplane.planes
        at = triplane.field_from_world(points).to(planes)
        at_once = self.points_per_query * (CUDA_QUERIES if at.is_cuda else 1)
        parts = [self.decoders.colour(planes[None], part[None])[0] for part in at.split(at_once)]
        return torch.cat(parts).clamp(0, 1).to(points) if parts else torch.zeros_like(points)


class BakedTexture(Texturing):
    """UV atlas and texture. Sharper than vertex colours at any number of faces."""

    def __init__(
        self,
        decoders: ColourDecoder,
        *,
        texture_size: int = 1024,
        padding: int = 4,
        unwrap_method: UnwrapMethod = "box",
        **options: Any,
    ):
        super().__init__(decoders, **options)
        self.texture_size, self.padding = texture_size, padding
        self.unwrap_method: UnwrapMethod = unwrap_method

    @torch.inference_mode()
    def forward(self, mesh: Mesh, triplane: Triplane, views: ViewSet) -> Mesh:
        with step("unwrap"):
            cut = unwrap(
                mesh.vertices, mesh.faces, resolution=self.texture_size, padding=self.padding, method=self.unwrap_method
            )
        uncoloured = Mesh(
            vertices=mesh.vertices[cut.vertex_of],
            faces=cut.faces,
            normals=None if mesh.normals is None else mesh.normals[cut.vertex_of],
            uv=cut.uv,
            metadata=mesh.metadata,
        )
        texels = surface_texels(uncoloured, self.texture_size, rasterizer=self.rasterizer)
        colour, trust = self.surface_colour(texels.points, texels.normals, uncoloured, triplane, views)
        how = {"method": "texture", "size": self.texture_size, "seen": round(float(trust.mean()), 4)}
        return replace(uncoloured, texture=paint(texels, colour), metadata={**mesh.metadata, "texturing": how})


class VertexColour(Texturing):
    """One colour a vertex: no atlas, the fast way. As sharp as the mesh is fine."""

    @torch.inference_mode()
    def forward(self, mesh: Mesh, triplane: Triplane, views: ViewSet) -> Mesh:
        joined = same_point(mesh.vertices)
        normals = F.normalize(vertex_normals(mesh.vertices, joined[mesh.faces])[joined], dim=-1)
        colour, trust = self.surface_colour(mesh.vertices, normals, mesh, triplane, views)
        how = {"method": "vertices", "seen": round(float(trust.mean()), 4)}
        metadata = {**mesh.metadata, "texturing": how}
        return replace(mesh, vertex_rgb=colour, uv=None, texture=None, metadata=metadata)


def _check(views: ViewSet) -> None:
    for name in ("rgb", "alpha"):
        if not bool(torch.isfinite(getattr(views, name)).all()):
            raise InputError(f"the views' {name} has NaN or infinite pixels: check what made the views")
