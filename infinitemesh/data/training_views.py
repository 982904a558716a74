"""Posed views of packed objects as training needs them: many objects, many views, one call, no loop over objects.

ids = draw_objects(pack, 32, generator)
rig = random_rigs(pack, ids, generator)
camera = orbit_cameras(*ring_angles(32, generator))
views = render_batch(pack, ids, rig, camera, size=192)
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from infinitemesh.data.exact import applied, exact_matmul, mixed
from infinitemesh.data.gather import GatheredObjects, gather_objects, repeat_per_view
from infinitemesh.data.lighting import Lighting, shade
from infinitemesh.data.materials import Materials, paint, sample_textures
from infinitemesh.data.object_pack import ObjectPack
from infinitemesh.data.rigs import Rig
from infinitemesh.data.surface import crease_normals
from infinitemesh.data.visibility import fragments_at_once
from infinitemesh.errors import InputError
from infinitemesh.render.torch_rasterizer import rasterize_packed
from infinitemesh.types import Camera


@dataclass(frozen=True)
class RenderedBatch:
    """v views of b objects. Everything is 0 where alpha is 0.

    `rgb` is the unlit base colour, straight; `shaded` the same under lights. `depth` is -z of the camera, in world
    units; `normal` a unit vector of the world that faces the camera. `camera` has the axes (b, v).
    """

    rgb: Float[Tensor, "b v 3 h w"]
    alpha: Float[Tensor, "b v 1 h w"]
    depth: Float[Tensor, "b v 1 h w"]
    normal: Float[Tensor, "b v 3 h w"]
    shaded: Float[Tensor, "b v 3 h w"] | None
    camera: Camera


def draw_objects(pack: ObjectPack, num: int, generator: torch.Generator) -> Int[Tensor, " n"]:
    """Positions in the pack, by the objects' weights, with repetition."""
    return torch.multinomial(pack.weights, num, replacement=True, generator=generator)


@torch.no_grad()
@exact_matmul()
def render_batch(
    pack: ObjectPack,
    object_ids: Int[Tensor, " b"],
    rig: Rig,
    camera: Camera,
    *,
    size: int = 192,
    supersample: int = 2,
    materials: Materials | None = None,
    lighting: Lighting | None = None,
    max_pixels: int = 1 << 26,
) -> RenderedBatch:
    """Renders every object from its own row of cameras (`camera` has the axes b, v).

    Pixels are the mean of `supersample`^2 samples, so edges are soft. `materials` None is the objects' own colour;
    `lighting` None makes no `shaded`. At most `max_pixels` samples are rasterised at once (about 40 bytes each).
    """
    axes = tuple(camera.cam_from_world.shape[:-2])
    if len(axes) != 2 or axes[0] != len(object_ids):
        raise InputError(f"{len(object_ids)} objects need cameras with the axes (objects, views), got {axes}")
    objects = gather_objects(pack, object_ids)
    world = _to_world(objects, rig)
    num_views = camera.cam_from_world.shape[1]
    views_at_once = max(1, max_pixels // (len(object_ids) * (size * supersample) ** 2))
    parts = [
        _render_views(
            pack, objects, world, rig, camera[:, i : i + views_at_once], size, supersample, materials, lighting
        )
        for i in range(0, num_views, views_at_once)
    ]
    rgb, normal, depth, alpha, shaded = torch.cat(parts, dim=1).split([3, 3, 1, 1, parts[0].shape[2] - 8], dim=2)
    return RenderedBatch(rgb, alpha, depth, normal, shaded if lighting is not None else None, camera)


def _to_world(objects: GatheredObjects, rig: Rig) -> Float[Tensor, "v 3"]:
    owner = objects.owner_of_vertex
    turned = applied(rig.rotation[owner], objects.vertices)
    return turned * rig.scale[owner, None] + rig.offset[owner]


def _render_views(
    pack: ObjectPack,
    objects: GatheredObjects,
    world: Float[Tensor, "vertices 3"],
    rig: Rig,
    camera: Camera,
    size: int,
    supersample: int,
    materials: Materials | None,
    lighting: Lighting | None,
) -> Float[Tensor, "b v c h w"]:
    """Channels: rgb, normal, depth, alpha and, with lights, shaded rgb."""
    num_objects, num_views = camera.cam_from_world.shape[:2]
    instances = repeat_per_view(objects, num_views)
    clip_from_world = camera.clip_from_world().flatten(0, 1)[instances.image_of_vertex]
    homogeneous = F.pad(world[instances.vertex], (0, 1), value=1.0)
    clip = applied(clip_from_world, homogeneous)
    full = size * supersample
    fragments = rasterize_packed(
        clip,
        instances.faces,
        instances.image_of_face,
        num_objects * num_views,
        (full, full),
        fragments_per_chunk=fragments_at_once(world.device),
    )
    channels = 8 if lighting is None else 11
    total = torch.zeros(num_objects * num_views * size * size, channels, device=world.device)
    for row in range(supersample):  # each pass meets a pixel at most once: no two samples are added at the same time
        for column in range(supersample):
            triangle = fragments.triangle[:, row::supersample, column::supersample].reshape(-1)
            pixel = (triangle >= 0).nonzero()[:, 0]
            barycentric = fragments.barycentric[:, row::supersample, column::supersample].reshape(-1, 3)[pixel]
            corner = instances.vertex[instances.faces[triangle[pixel]]]
            image = pixel // size**2
            total[pixel] += _appearance(
                pack, objects, world, corner, barycentric, image, camera, rig, materials, lighting
            )
    mean = _mean_of_samples(total, supersample**2)
    return rearrange(mean, "(b v h w) c -> b v c h w", b=num_objects, v=num_views, h=size)


def _appearance(
    pack: ObjectPack,
    objects: GatheredObjects,
    world: Float[Tensor, "vertices 3"],
    corner: Int[Tensor, "p 3"],
    barycentric: Float[Tensor, "p 3"],
    image: Int[Tensor, " p"],
    camera: Camera,
    rig: Rig,
    materials: Materials | None,
    lighting: Lighting | None,
) -> Float[Tensor, "p c"]:
    """What the samples at p places of the surface show, in the order of `_render_views`."""
    owner = image // camera.cam_from_world.shape[1]
    at = mixed(barycentric, world[corner])
    normal = crease_normals(objects.normals[corner], objects.vertices[corner], barycentric)
    uv = mixed(barycentric, objects.uv[corner])
    rgb = sample_textures(pack.textures, objects.texture_of[owner], uv)
    if materials is not None:
        in_object = mixed(barycentric, objects.vertices[corner])
        rgb = paint(materials, pack.textures, rgb, in_object, normal, owner)
    normal = applied(rig.rotation[owner], normal)
    to_camera, depth = _towards_camera(at, camera, image)
    normal = normal * torch.where((normal * to_camera).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    channels = [rgb, normal, depth[:, None], torch.ones_like(depth)[:, None]]
    if lighting is not None:
        channels.append(shade(lighting, rgb, normal, to_camera, owner))
    return torch.cat(channels, dim=-1)


def _towards_camera(
    at: Float[Tensor, "p 3"], camera: Camera, image: Int[Tensor, " p"]
) -> tuple[Float[Tensor, "p 3"], Float[Tensor, " p"]]:
    """Unit vectors from world points to their cameras, and depths (-z of the camera)."""
    cam_from_world = camera.cam_from_world.flatten(0, 1)
    backward, shift = cam_from_world[:, 2, :3][image], cam_from_world[:, 2, 3][image]
    depth = -(backward * at).sum(-1) - shift
    if camera.projection == "orthographic":
        return backward, depth
    return F.normalize(camera.position.flatten(0, 1)[image] - at, dim=-1), depth


def _mean_of_samples(total: Float[Tensor, "p c"], samples_per_pixel: int) -> Float[Tensor, "p c"]:
    """Means over the samples that hit; alpha is their share; normals get their length back."""
    hits = total[:, 7:8]
    mean = total / hits.clamp(min=1)
    mean[:, 3:6] = F.normalize(mean[:, 3:6], dim=-1)
    mean[:, 7:8] = hits / samples_per_pixel
    return mean
