"""The four values that travel between stages: Camera, ViewSet, Triplane, Mesh. All frozen, one object each.

Frames (glTF's, everywhere in this library)

    world: right-handed, +Y up, the object's front faces +Z      camera: x right, y up, looks along -z

              +Y                                                        y
               |                                                        |
               |____ +X  (azimuth 90, "right")                          |____ x
              /                                                        /
            +Z  (azimuth 0, "front", the input view)                 z  (towards the viewer)

Azimuth grows counter-clockwise seen from above (front 0, right 90, back 180, left 270), elevation grows upwards.
The camera at (azimuth a, elevation e) stands in direction (sin a cos e, sin e, cos a cos e); its right is
(cos a, 0, -sin a).
Images: float [0, 1], straight (not premultiplied) sRGB with separate alpha, row 0 at the top.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from infinitemesh.errors import InputError

if TYPE_CHECKING:
    import trimesh
    from PIL.Image import Image

    from infinitemesh.render.outlines import Outlines

Projection = Literal["orthographic", "perspective"]

FIELD_HALF_EXTENT = 0.9  # the field lives in [-0.9, 0.9]^3 and an orthographic view spans the same 1.8 units
ORBIT_DISTANCE = 2.0  # where an orthographic camera stands; it changes depth values, not the picture
MAIN_AZIMUTHS_DEG = (0.0, 90.0, 180.0, 270.0)  # front, right, back, left


@dataclass(frozen=True)
class Camera:
    """One camera or a row of cameras of one projection.

    `intrinsics` are in image widths, so they survive a resize. A point (x, y, z) of the camera frame lands at
    u = fx x / d + cx (rightwards) and v = cy - fy y / d (downwards), in image widths, with d = -z for a perspective
    camera and d = 1 for an orthographic one.
    """

    cam_from_world: Float[Tensor, "*n 4 4"]
    intrinsics: Float[Tensor, "*n 3 3"]
    projection: Projection = "orthographic"

    @staticmethod
    def orbit(
        azimuth_deg: float | int | Sequence[float | int] | Tensor,
        elevation_deg: float | int | Sequence[float | int] | Tensor = 0.0,
        *,
        projection: Projection = "orthographic",
        span: float = 2 * FIELD_HALF_EXTENT,
        fov_deg: float = 30.0,
        distance: float | None = None,
        device: torch.device | str = "cpu",
    ) -> "Camera":
        """Cameras that look at the origin, upright.

        `span` is the width an orthographic view covers, in world units; `fov_deg` a perspective one's full angle of
        view. `distance` None is 2 for orthographic cameras and, for perspective ones, where `span` at the origin fills
        the width. Angles broadcast against each other; scalars give one camera without a leading axis.
        """
        azimuth, elevation = torch.broadcast_tensors(
            torch.as_tensor(azimuth_deg, dtype=torch.float64), torch.as_tensor(elevation_deg, dtype=torch.float64)
        )
        a, e = torch.deg2rad(azimuth), torch.deg2rad(elevation)
        back = torch.stack([a.sin() * e.cos(), e.sin(), a.cos() * e.cos()], dim=-1)
        right = torch.stack([a.cos(), torch.zeros_like(a), -a.sin()], dim=-1)
        up = torch.linalg.cross(back, right)
        half_tan = torch.tan(torch.deg2rad(torch.tensor(fov_deg / 2, dtype=torch.float64)))
        if distance is None:
            distance = ORBIT_DISTANCE if projection == "orthographic" else float(span / 2 / half_tan)
        matrix = torch.zeros(*a.shape, 4, 4, dtype=torch.float64)
        matrix[..., :3, :3] = torch.stack([right, up, back], dim=-2)
        matrix[..., 2, 3] = -distance
        matrix[..., 3, 3] = 1
        focal = 1 / span if projection == "orthographic" else float(0.5 / half_tan)
        intrinsics = torch.tensor([[focal, 0, 0.5], [0, focal, 0.5], [0, 0, 1]], dtype=torch.float64)
        return Camera(
            matrix.float().to(device), intrinsics.float().expand(*a.shape, 3, 3).clone().to(device), projection
        )

    @staticmethod
    def cat(cameras: "Sequence[Camera]") -> "Camera":
        """Rows of cameras one after the other; all must share the projection."""
        if len({camera.projection for camera in cameras}) != 1:
            raise InputError("cameras of different projections cannot share one Camera: convert or keep them apart")
        return Camera(
            torch.cat([c.cam_from_world.reshape(-1, 4, 4) for c in cameras]),
            torch.cat([c.intrinsics.reshape(-1, 3, 3) for c in cameras]),
            cameras[0].projection,
        )

    def __len__(self) -> int:
        if self.cam_from_world.ndim == 2:
            raise TypeError("this is one camera, not a row of cameras: it has no length")
        return self.cam_from_world.shape[0]

    def __getitem__(self, index: Any) -> "Camera":
        if self.cam_from_world.ndim == 2:
            raise TypeError("this is one camera, not a row of cameras: it has no parts")
        return replace(self, cam_from_world=self.cam_from_world[index], intrinsics=self.intrinsics[index])

    def to(self, device: torch.device | str) -> "Camera":
        return replace(self, cam_from_world=self.cam_from_world.to(device), intrinsics=self.intrinsics.to(device))

    @property
    def world_from_cam(self) -> Float[Tensor, "*n 4 4"]:
        rotation = self.cam_from_world[..., :3, :3].transpose(-1, -2)
        inverse = self.cam_from_world.clone()
        inverse[..., :3, :3] = rotation
        inverse[..., :3, 3] = -_rotated(rotation, self.cam_from_world[..., :3, 3])
        return inverse

    @property
    def position(self) -> Float[Tensor, "*n 3"]:
        return self.world_from_cam[..., :3, 3]

    @property
    def backward(self) -> Float[Tensor, "*n 3"]:
        """Unit vector from the scene towards the camera (the camera's +z in the world)."""
        return self.cam_from_world[..., 2, :3]

    @property
    def azimuth_deg(self) -> Float[Tensor, "*n"]:
        """In [0, 360)."""
        back = self.backward
        return torch.rad2deg(torch.atan2(back[..., 0], back[..., 2])) % 360

    @property
    def elevation_deg(self) -> Float[Tensor, "*n"]:
        return torch.rad2deg(torch.asin(self.backward[..., 1].clamp(-1, 1)))

    def clip_from_world(self, near: float = 0.05, far: float = 20.0) -> Float[Tensor, "*n 4 4"]:
        """OpenGL clip space with y pointing DOWN, so that row 0 of a raster image (clip y = -1) is the top."""
        k = self.intrinsics
        clip_from_cam = torch.zeros_like(self.cam_from_world)
        clip_from_cam[..., 0, 0] = 2 * k[..., 0, 0]
        clip_from_cam[..., 1, 1] = -2 * k[..., 1, 1]
        if self.projection == "orthographic":
            clip_from_cam[..., 0, 3] = 2 * k[..., 0, 2] - 1
            clip_from_cam[..., 1, 3] = 2 * k[..., 1, 2] - 1
            clip_from_cam[..., 2, 2] = -2 / (far - near)
            clip_from_cam[..., 2, 3] = -(far + near) / (far - near)
            clip_from_cam[..., 3, 3] = 1
        else:
            clip_from_cam[..., 0, 2] = -(2 * k[..., 0, 2] - 1)
            clip_from_cam[..., 1, 2] = -(2 * k[..., 1, 2] - 1)
            clip_from_cam[..., 2, 2] = -(far + near) / (far - near)
            clip_from_cam[..., 2, 3] = -2 * far * near / (far - near)
            clip_from_cam[..., 3, 2] = -1
        products = clip_from_cam[..., :, :, None] * self.cam_from_world[..., None, :, :]
        return products.sum(-2)  # not a matmul: TF32 would move silhouettes

    def project(self, points: Float[Tensor, "p 3"]) -> tuple[Float[Tensor, "*n p 2"], Float[Tensor, "*n p"]]:
        """Where world points land, as (u, v) in [0, 1] from the top left corner, and their depth (-z, world units)."""
        matrix = self.cam_from_world[..., None, :, :]
        in_cam = _rotated(matrix[..., :3, :3], points) + matrix[..., :3, 3]
        depth = -in_cam[..., 2]
        scale = torch.ones_like(depth) if self.projection == "orthographic" else 1 / depth.clamp(min=1e-6)
        k = self.intrinsics[..., None, :, :]
        u = k[..., 0, 0] * in_cam[..., 0] * scale + k[..., 0, 2]
        v = k[..., 1, 2] - k[..., 1, 1] * in_cam[..., 1] * scale
        return torch.stack([u, v], dim=-1), depth

    def rays(self, size: int) -> tuple[Float[Tensor, "*n h w 3"], Float[Tensor, "*n h w 3"]]:
        """World origins (on the camera plane) and unit directions through the pixel centres of a size x size image."""
        at = (torch.arange(size, device=self.intrinsics.device, dtype=self.intrinsics.dtype) + 0.5) / size
        v, u = torch.meshgrid(at, at, indexing="ij")
        k = self.intrinsics[..., None, None, :, :]
        x, y = (u - k[..., 0, 2]) / k[..., 0, 0], (k[..., 1, 2] - v) / k[..., 1, 1]
        zero, minus_one = torch.zeros_like(x), -torch.ones_like(x)
        world_from_cam = self.world_from_cam[..., None, None, :, :]
        rotation, position = world_from_cam[..., :3, :3], world_from_cam[..., :3, 3]
        if self.projection == "orthographic":
            origin = _rotated(rotation, torch.stack([x, y, zero], dim=-1)) + position
            return origin, _rotated(rotation, torch.stack([zero, zero, minus_one], dim=-1))
        direction = _rotated(rotation, torch.stack([x, y, minus_one], dim=-1))
        return position.expand_as(direction), torch.nn.functional.normalize(direction, dim=-1)


def _rotated(rotation: Tensor, vectors: Tensor) -> Tensor:
    """rotation @ vectors as sums, which autocast and TF32 leave alone: half precision is pixels off."""
    along_x, along_y, along_z = (rotation[..., :, j] * vectors[..., j : j + 1] for j in range(3))
    return along_x + along_y + along_z


@dataclass(frozen=True)
class ViewSet:
    """Posed pictures of one object: `rgb` straight (not premultiplied) sRGB, `normal` in the world, in [-1, 1]."""

    rgb: Float[Tensor, "v 3 h w"]
    alpha: Float[Tensor, "v 1 h w"]
    camera: Camera
    is_main: Bool[Tensor, " v"]
    normal: Float[Tensor, "v 3 h w"] | None = None

    def __len__(self) -> int:
        return self.rgb.shape[0]

    def __getitem__(self, index: slice | list[int] | Tensor) -> "ViewSet":
        """Some of the views; the index keeps the view axis (a slice, a list or a tensor)."""
        return ViewSet(
            self.rgb[index],
            self.alpha[index],
            self.camera[index],
            self.is_main[index],
            None if self.normal is None else self.normal[index],
        )

    @property
    def size(self) -> int:
        """Height and width in pixels: views are square."""
        return self.rgb.shape[-1]

    def to(self, device: torch.device | str) -> "ViewSet":
        return ViewSet(
            self.rgb.to(device),
            self.alpha.to(device),
            self.camera.to(device),
            self.is_main.to(device),
            None if self.normal is None else self.normal.to(device),
        )

    def composite(self, background: float | Sequence[float] = 1.0) -> Float[Tensor, "v 3 h w"]:
        """The pictures over one colour (white by default)."""
        colour = torch.as_tensor(background, dtype=self.rgb.dtype, device=self.rgb.device).reshape(-1, 1, 1)
        return self.rgb * self.alpha + colour * (1 - self.alpha)

    def grid(self, columns: int | None = None, background: float | Sequence[float] = 1.0) -> "Image":
        """A contact sheet of the views, row by row."""
        from infinitemesh.render.sheet import contact_sheet

        return contact_sheet(self.composite(background), columns=columns)


@dataclass(frozen=True)
class Triplane:
    """Feature planes of a field over the cube [-half_extent, half_extent]^3 (plane axes: `geometry.triplane`).

    Decoders take field coordinates ([-1, 1]^3 is the whole cube). `frame` names the field's axes: "gltf" is the world,
    "instantmesh" is z up with the front on +x, as public weights have it: (x, y, z) of the world is (z, x, y) there.
    `outlines` are those of the views where they are known to be true: the object is nowhere outside them. `photograph`
    is the outline of the one true view among guesses: every ray inside it meets the object (perspective moves the rays
    a little, so that nothing is cut along it).
    """

    planes: Float[Tensor, "3 c r r"]
    half_extent: float = FIELD_HALF_EXTENT
    frame: Literal["gltf", "instantmesh"] = "gltf"
    outlines: "Outlines | None" = None
    photograph: "Outlines | None" = None

    def field_from_world(self, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """Field coordinates of world points."""
        return (points if self.frame == "gltf" else points[..., [2, 0, 1]]) / self.half_extent

    def world_from_field(self, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """World points of field coordinates."""
        return (points if self.frame == "gltf" else points[..., [1, 2, 0]]) * self.half_extent

    def to(self, device: torch.device | str) -> "Triplane":
        outlines, photograph = (x and x.to(device) for x in (self.outlines, self.photograph))
        return replace(self, planes=self.planes.to(device), outlines=outlines, photograph=photograph)


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh in world units, counter-clockwise faces seen from outside.

    `vertex_rgb` and `texture` are sRGB in [0, 1]; where both are given the texture is the colour. `uv` has one row a
    vertex and glTF's origin: (0, 0) is the top left corner of the texture's first row; outside [0, 1] it repeats.
    `normals` None means area-weighted vertex normals, computed where needed. `metadata` is plain JSON data and travels
    in a GLB's `asset.extras`.
    """

    vertices: Float[Tensor, "v 3"]
    faces: Int[Tensor, "f 3"]
    normals: Float[Tensor, "v 3"] | None = None
    vertex_rgb: Float[Tensor, "v 3"] | None = None
    uv: Float[Tensor, "v 2"] | None = None
    texture: Float[Tensor, "3 th tw"] | None = None
    metadata: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @staticmethod
    def load(path: str | Path) -> "Mesh":
        """Reads .glb, .gltf, .obj, .ply or .stl; raises InputError for anything else or for a damaged file."""
        from infinitemesh.geometry.mesh_io import load_mesh

        return load_mesh(path)

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Writes the format that the suffix names (.glb .gltf .obj .ply .stl), whole or not at all."""
        from infinitemesh.geometry.mesh_io import save_mesh

        return save_mesh(self, path, overwrite=overwrite)

    def to_trimesh(self) -> "trimesh.Trimesh":
        from infinitemesh.geometry.mesh_io import to_trimesh

        return to_trimesh(self)

    def to(self, device: torch.device | str) -> "Mesh":
        tensors = ("vertices", "faces", "normals", "vertex_rgb", "uv", "texture")
        return replace(self, **{n: None if (t := getattr(self, n)) is None else t.to(device) for n in tensors})

    def normalized(self) -> "Mesh":
        """Centred, longest side of the bounding box 1: the frame of data files and metrics."""
        low, high = self.vertices.amin(0), self.vertices.amax(0)
        return replace(self, vertices=(self.vertices - (low + high) / 2) / (high - low).amax().clamp(min=1e-12))

    def render(self, camera: Camera, size: int = 512, *, background: float | Sequence[float] = 1.0) -> ViewSet:
        """Unlit views of the mesh (base colour), antialiased at silhouettes, with world normals.

        `rgb` is straight colour; compositing it over `background` is the caller's `ViewSet.composite`.
        """
        from infinitemesh.render.shading import render_mesh

        return render_mesh(self, camera, size, background=background)

    def turntable(self, path: str | Path, *, frames: int = 48, size: int = 512, overwrite: bool = False) -> Path:
        """A film of one turn; the suffix chooses .gif, .webp or .mp4 (needs the `video` extra)."""
        from infinitemesh.render.turntable import save_turntable

        return save_turntable(self, path, frames=frames, size=size, overwrite=overwrite)
