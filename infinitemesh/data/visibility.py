"""What can be seen of objects from all around: orthographic depth maps, and which points lie in front of them."""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from infinitemesh.data.exact import applied
from infinitemesh.data.gather import GatheredObjects, repeat_per_view
from infinitemesh.data.view_cameras import orbit_cameras
from infinitemesh.render.torch_rasterizer import rasterize_packed
from infinitemesh.types import Camera

NEAR, FAR = 0.5, 3.5  # cameras stand 2 away from objects of radius below 0.9
DEPTH_MARGIN = 0.003  # a point nearer to the surface than this is not in front of it


@dataclass(frozen=True)
class DepthMaps:
    """Depths (-z of the camera) of b objects from d directions; infinite where nothing is hit.

    Each entry (r, c) is the nearest depth of the four pixels whose centres surround the corner between pixels
    r - 1, c - 1 and r, c: a slanted surface is never missed, so what is seen is really outside.
    """

    depth: Float[Tensor, "b d s1 s1"]
    camera: Camera  # " d", the same for every object

    def part(self, rows: slice) -> "DepthMaps":
        return replace(self, depth=self.depth[rows])

    def sees(self, points: Float[Tensor, "b p 3"]) -> Bool[Tensor, "b p"]:
        """Does any view see the point in front of all the surface around it? Points outside the picture are seen."""
        size = self.depth.shape[-1]
        seen = torch.zeros(points.shape[:2], dtype=torch.bool, device=points.device)
        for depth, matrix, focal in zip(
            self.depth.unbind(1), self.camera.cam_from_world, self.camera.intrinsics[:, 0, 0], strict=True
        ):
            in_cam = applied(matrix[:3, :3], points) + matrix[:3, 3]
            on_screen = (in_cam[..., :2] * focal * in_cam.new_tensor([1.0, -1.0]) + 0.5) * (size - 1)
            column, row = (on_screen + 0.5).floor().long().clamp(0, size - 1).unbind(-1)
            surface = depth.flatten(1).gather(1, row * size + column)
            seen |= -in_cam[..., 2] < surface - DEPTH_MARGIN
        return seen


def render_depth_maps(objects: GatheredObjects, *, directions: int = 48, size: int = 128) -> DepthMaps:
    """Views spread evenly over the sphere that span the object's whole ball (radius 0.9, object space)."""
    device = objects.vertices.device
    camera = sphere_cameras(directions, device)
    num_objects = len(objects.texture_of)
    instances = repeat_per_view(objects, directions)
    matrices = camera.clip_from_world(NEAR, FAR)[instances.image_of_vertex % directions]
    clip = applied(matrices, F.pad(objects.vertices[instances.vertex], (0, 1), value=1.0))
    fragments = rasterize_packed(
        clip,
        instances.faces,
        instances.image_of_face,
        num_objects * directions,
        (size, size),
        fragments_per_chunk=fragments_at_once(device),
    )
    depth = (fragments.depth * (FAR - NEAR) + FAR + NEAR) / 2
    depth = depth.masked_fill(fragments.triangle < 0, torch.inf)
    around = -F.max_pool2d(F.pad(-depth, (1, 1, 1, 1), value=-torch.inf), 2, stride=1)
    return DepthMaps(rearrange(around, "(b d) h w -> b d h w", b=num_objects), camera)


def fragments_at_once(device: torch.device) -> int:
    """How many pixels of triangles to test together: on CUDA few launches count more than 2.5 GB."""
    return 1 << (24 if device.type == "cuda" else 20)


def sphere_cameras(num: int, device: torch.device | str) -> Camera:
    """Orthographic cameras on a Fibonacci spiral."""
    at = torch.arange(num, device=device) + 0.5
    elevation = torch.rad2deg(torch.asin(1 - 2 * at / num))
    azimuth = torch.rad2deg(at * math.pi * (3 - 5**0.5)) % 360
    return orbit_cameras(azimuth[None], elevation[None])[0]
