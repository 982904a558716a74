"""A mesh as files hold it: numpy arrays with one material. Readers make parts, writers take one."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from einops import rearrange

from infinitemesh.errors import InputError
from infinitemesh.geometry.colour import linear_from_srgb, srgb_from_linear
from infinitemesh.steps import step
from infinitemesh.types import Mesh

WHITE = (1.0, 1.0, 1.0)
COLOUR_TOLERANCE = 0.01  # what rounding may push a colour out of [0, 1]; more is a caller's 0..255


@dataclass(frozen=True, eq=False)
class Part:
    """Vertices with one base colour: `image` (or white) times `factor`, or `vertex_rgb` times `factor`."""

    vertices: np.ndarray  # v 3, float32
    faces: np.ndarray  # f 3, int64
    normals: np.ndarray | None = None  # v 3, float32
    vertex_rgb: np.ndarray | None = None  # v 3, float32, sRGB in [0, 1]
    uv: np.ndarray | None = None  # v 2, float32, origin at the top left; outside [0, 1] the image repeats
    image: np.ndarray | None = None  # h w 3, uint8, sRGB
    factor: tuple[float, float, float] = WHITE  # linear

    def check(self, source: object) -> None:
        """InputError, naming the source, where a number is not finite or a face names no vertex."""
        for name in ("vertices", "normals", "vertex_rgb", "uv", "factor"):
            values = getattr(self, name)
            if values is not None and not np.isfinite(values).all():
                raise InputError(f"{source}: {name} holds NaN or infinity; repair the mesh and export it again")
        low, high = self.faces.min(initial=0), self.faces.max(initial=-1)
        if low < 0 or high >= len(self.vertices):
            raise InputError(f"{source}: faces name vertices {low} to {high}, but there are {len(self.vertices)}")

    def referenced(self) -> "Part":
        """Without the vertices that no face uses."""
        used, faces = np.unique(self.faces, return_inverse=True)
        return self.at_vertices(used, faces.reshape(-1, 3))

    def at_vertices(self, index: np.ndarray, faces: np.ndarray) -> "Part":
        """The vertices of `index`, joined by `faces`, which count along `index`."""
        rows = {name: getattr(self, name) for name in ("vertices", "normals", "vertex_rgb", "uv")}
        return replace(self, faces=faces, **{k: None if a is None else a[index] for k, a in rows.items()})


@step("arrays")
def part_of(mesh: Mesh) -> Part:
    """The mesh as arrays ready for a file: InputError where it is empty, not finite or inconsistent.

    A texture wins over vertex colours: glTF would multiply the two.
    """
    vertices = mesh.vertices.detach().cpu().float().numpy()
    faces = mesh.faces.detach().cpu().long().numpy()
    if len(vertices) == 0 or len(faces) == 0:
        raise InputError(f"a mesh of {len(vertices)} vertices and {len(faces)} faces cannot be saved: it is empty")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise InputError(
            f"faces refer to vertices {faces.min()}..{faces.max()}, but there are {len(vertices)}: check Mesh.faces"
        )
    fields = ("vertices", "normals", "vertex_rgb", "uv", "texture")
    if broken := [n for n in fields if (t := getattr(mesh, n)) is not None and not _finite(t)]:
        raise InputError(f"Mesh.{broken[0]} holds NaN or infinity; repair the mesh before saving it")
    if mesh.texture is not None and mesh.uv is None:
        raise InputError("a mesh with a texture needs uv coordinates; give Mesh.uv or drop Mesh.texture")
    image = None if mesh.texture is None else (_colours(mesh.texture, "texture") * 255).round_().byte()
    vertex_rgb = (
        None if mesh.vertex_rgb is None or image is not None else _colours(mesh.vertex_rgb, "vertex_rgb").numpy()
    )
    return Part(
        vertices,
        faces,
        normals=None if mesh.normals is None else _unit(mesh.normals.detach().cpu().float().numpy()),
        vertex_rgb=vertex_rgb,
        uv=None if mesh.uv is None else mesh.uv.detach().cpu().float().numpy(),
        image=None if image is None else rearrange(image, "c h w -> h w c").numpy(),
    )


def mesh_of(part: Part, metadata: dict | None = None) -> Mesh:
    """One part as a Mesh, its factor folded into the texture or the vertex colours (white stays no colour at all)."""
    texture = vertex_rgb = None
    if part.image is not None:
        texture = tinted(torch.from_numpy(part.image.copy()).float() / 255, part.factor)
        texture = rearrange(texture, "h w c -> c h w").contiguous()
    elif part.vertex_rgb is not None:
        vertex_rgb = tinted(torch.from_numpy(part.vertex_rgb), part.factor)
    elif part.factor != WHITE:
        vertex_rgb = tinted(torch.ones(len(part.vertices), 3), part.factor)
    return Mesh(
        torch.from_numpy(part.vertices.astype(np.float32)),
        torch.from_numpy(part.faces.astype(np.int64)),
        normals=None if part.normals is None else torch.from_numpy(part.normals.astype(np.float32)),
        vertex_rgb=vertex_rgb,
        uv=None if part.uv is None else torch.from_numpy(part.uv.astype(np.float32)),
        texture=texture,
        metadata=metadata or {},
    )


def tinted(srgb: torch.Tensor, factor: tuple[float, float, float]) -> torch.Tensor:
    """sRGB colours (last axis) times a linear factor."""
    if factor == WHITE:
        return srgb
    return srgb_from_linear(linear_from_srgb(srgb) * torch.tensor(factor, dtype=torch.float32)).clamp(0, 1)


def image_at(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """sRGB in [0, 1] of a repeating image at uv, bilinear between texel centres."""
    height, width = image.shape[:2]
    at = uv.astype(np.float64) * (width, height) - 0.5
    low = np.floor(at).astype(np.int64)
    x, y = (at - low).T[..., None]
    left, top = low.T
    left, right, top, bottom = left % width, (left + 1) % width, top % height, (top + 1) % height
    upper = image[top, left] * (1 - x) + image[top, right] * x
    lower = image[bottom, left] * (1 - x) + image[bottom, right] * x
    return ((upper * (1 - y) + lower * y) / 255).astype(np.float32)


def _finite(values: torch.Tensor) -> bool:
    """Extremes tell of NaN and infinity in one pass over the values."""
    return values.numel() == 0 or bool(torch.isfinite(torch.stack(values.detach().aminmax())).all())


def _colours(colours: torch.Tensor, name: str) -> torch.Tensor:
    colours = colours.detach().cpu().float()
    low, high = map(float, colours.aminmax())
    if low < -COLOUR_TOLERANCE or high > 1 + COLOUR_TOLERANCE:
        raise InputError(f"Mesh.{name} spans {low:.3g} to {high:.3g}, but colours are sRGB in [0, 1]; rescale it")
    return colours.clamp(0, 1)


def _unit(normals: np.ndarray) -> np.ndarray:
    """Unit length; a zero normal (of a vertex without area) points up, since files know no missing normal."""
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 1e-12, normals / np.maximum(length, 1e-12), np.array([0.0, 1.0, 0.0])).astype(np.float32)
