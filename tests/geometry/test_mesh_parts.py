"""Several objects and materials of a file become one mesh with one texture or with vertex colours."""

import numpy as np
import pytest
import torch
import trimesh
from mesh_files import (
    IMAGE,
    SQUARE,
    image_uri,
    sampled,
    triangles,
    write_gltf,
)
from PIL import Image
from torch.testing import assert_close

from infinitemesh.errors import InputError
from infinitemesh.geometry.colour import linear_from_srgb, srgb_from_linear
from infinitemesh.geometry.mesh_io import from_trimesh, load_mesh
from infinitemesh.types import Mesh


def squares(path, materials: list[dict], uvs: list[np.ndarray | None], images: list[np.ndarray], colours=None) -> Mesh:
    """One unit square a material, side by side along x."""
    arrays = {"p": SQUARE, "i": np.array([0, 1, 2, 2, 1, 3], "<u1")}
    primitives = []
    for number, uv in enumerate(uvs):
        attributes = {"POSITION": 0}
        if uv is not None:
            arrays[f"uv{number}"] = np.ascontiguousarray(uv, "<f4")
            attributes["TEXCOORD_0"] = len(arrays) - 1
        if colours is not None and colours[number] is not None:
            arrays[f"c{number}"] = colours[number]
            attributes["COLOR_0"] = len(arrays) - 1
        primitives.append({"attributes": attributes, "indices": 1, "material": number})
    tree = {
        "nodes": [{"mesh": n, "translation": [n, 0, 0]} for n in range(len(uvs))],
        "scenes": [{"nodes": list(range(len(uvs)))}],
        "meshes": [{"primitives": [primitive]} for primitive in primitives],
        "materials": materials,
        "textures": [{"source": n} for n in range(len(images))],
        "images": [{"uri": image_uri(image)} for image in images],
    }
    write_gltf(path, tree, arrays)
    return load_mesh(path)


def textured(index: int, factor=(1, 1, 1, 1)) -> dict:
    return {"pbrMetallicRoughness": {"baseColorTexture": {"index": index}, "baseColorFactor": list(factor)}}


def plain(*factor: float) -> dict:
    return {"pbrMetallicRoughness": {"baseColorFactor": [*factor, 1]}}


def repeated_sample(image: np.ndarray, uv: torch.Tensor) -> torch.Tensor:
    tiled = torch.from_numpy(np.tile(image, (3, 3, 1))).permute(2, 0, 1) / 255
    return sampled(tiled, (uv - uv.floor() + 1) / 3)


def test_several_textures_become_one_with_the_same_colours_everywhere(tmp_path):
    generator = np.random.default_rng(2)
    images = [generator.integers(0, 256, shape, dtype=np.uint8) for shape in ((16, 8, 3), (5, 12, 3))]
    base = SQUARE[:, :2]
    uvs = [base * 0.9 + 0.05, base * (2.5, 1.5) + (-3.25, 7.5), None, base[:, ::-1]]
    materials = [textured(0), textured(1), plain(1, 0.25, 0), textured(0, (0.5, 1, 1, 1))]
    mesh = squares(tmp_path / "a.glb", materials, uvs, images)
    assert mesh.texture is not None and mesh.uv is not None and mesh.vertex_rgb is None
    assert mesh.uv.min() >= 0 and mesh.uv.max() <= 1
    weights = torch.from_numpy(generator.dirichlet((1, 1, 1), (len(mesh.faces), 40)).astype(np.float32))
    at = torch.einsum("fsc,fcd->fsd", weights, mesh.vertices[mesh.faces]).reshape(-1, 3)
    uv = torch.einsum("fsc,fcd->fsd", weights, mesh.uv[mesh.faces]).reshape(-1, 2)
    found = sampled(mesh.texture, uv)
    number, local = at[:, 0].floor().long(), torch.stack([at[:, 0] % 1, at[:, 1]], dim=1)
    assert set(number.tolist()) == {0, 1, 2, 3}
    plain_rgb = srgb_from_linear(torch.tensor([1, 0.25, 0]))
    dimmed = srgb_from_linear(linear_from_srgb(torch.from_numpy(images[0]) / 255) * torch.tensor([0.5, 1, 1]))
    dimmed_image = (dimmed * 255).round().byte().numpy()
    expected = torch.stack(
        [
            repeated_sample(images[0], local * 0.9 + 0.05),
            repeated_sample(images[1], local * torch.tensor([2.5, 1.5]) + torch.tensor([-3.25, 7.5])),
            plain_rgb.expand(len(at), 3),
            repeated_sample(dimmed_image, local.flip(1)),
        ]
    )[number, torch.arange(len(at))]
    assert_close(found, expected, atol=1.1 / 255, rtol=0)


def test_one_texture_of_several_parts_stays_as_it_is(tmp_path):
    base = SQUARE[:, :2]
    mesh = squares(tmp_path / "a.glb", [textured(0), textured(0)], [base * 0.5, base * 3], [IMAGE])
    assert_close(mesh.texture, torch.from_numpy(IMAGE).permute(2, 0, 1) / 255)
    assert_close(mesh.uv, torch.from_numpy(np.concatenate([base * 0.5, base * 3])))


def test_plain_materials_become_vertex_colours_and_white_stays_no_colour(tmp_path):
    mesh = squares(tmp_path / "a.glb", [plain(1, 0, 0), plain(0, 0.5, 1)], [None, None], [])
    expected = srgb_from_linear(torch.tensor([[1, 0, 0], [0, 0.5, 1]])).repeat_interleave(4, dim=0)
    assert_close(mesh.vertex_rgb, expected, atol=1e-6, rtol=0)
    assert squares(tmp_path / "b.glb", [plain(1, 1, 1)] * 2, [None, None], []).vertex_rgb is None


def test_vertex_colours_beside_textures_make_all_vertex_colours(tmp_path):
    linear = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0.5]], "<f4")
    at_centres = (np.array([[0.5, 0.5], [5.5, 0.5], [0.5, 3.5], [2.5, 1.5]]) / (6, 4)).astype("<f4")
    mesh = squares(tmp_path / "a.glb", [plain(1, 1, 1), textured(0)], [None, at_centres], [IMAGE], [linear, None])
    assert mesh.texture is None
    assert_close(mesh.vertex_rgb[:4], srgb_from_linear(torch.from_numpy(linear)), atol=1e-6, rtol=0)
    texels = torch.from_numpy(IMAGE[[0, 0, 3, 1], [0, 5, 0, 2]]) / 255
    assert_close(mesh.vertex_rgb[4:], texels, atol=1e-6, rtol=0)


def test_an_obj_with_several_materials_polygons_and_negative_indices(tmp_path):
    (tmp_path / "a.mtl").write_text("newmtl red\nKd 1 0 0\nnewmtl grey\nKd 0.5 0.5 0.5\n")
    (tmp_path / "a.obj").write_text(
        "mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nusemtl red\nf 1 2 3 4\nv 0 0 1\nusemtl grey\nf -1 -5 -4\n"
    )
    mesh = load_mesh(tmp_path / "a.obj")
    assert triangles(mesh) == {
        ((0, 0, 0), (1, 0, 0), (1, 1, 0)),
        ((0, 0, 0), (1, 1, 0), (0, 1, 0)),
        ((0, 0, 0), (1, 0, 0), (0, 0, 1)),
    }
    red, grey = torch.tensor([1.0, 0, 0]), torch.tensor([0.5] * 3)  # Kd is sRGB
    assert_close(mesh.vertex_rgb[mesh.faces[:2]], red.expand(2, 3, 3), atol=1e-6, rtol=0)
    assert_close(mesh.vertex_rgb[mesh.faces[2]], grey.expand(3, 3), atol=1e-6, rtol=0)


def test_obj_corners_with_own_texture_coordinates_split_vertices(tmp_path):
    Image.fromarray(IMAGE).save(tmp_path / "map.png")
    (tmp_path / "a.mtl").write_text("newmtl m\nKd 0.2 0.2 0.2\nmap_Kd map.png\n")
    (tmp_path / "a.obj").write_text(
        "mtllib a.mtl\nusemtl m\nv 0 0 0\nv 1 0 0\nv 0 1 0\nv 1 1 0\n"
        "vt 0 0\nvt 1 0\nvt 0 1\nvt 0.5 0.25\nf 1/1 2/2 3/3\nf 3/1 2/4 4/2\n"
    )
    mesh = load_mesh(tmp_path / "a.obj")
    assert len(mesh.vertices) == 6
    uv = mesh.uv[mesh.faces]
    assert_close(uv, torch.tensor([[[0, 1], [1, 1], [0, 0]], [[0, 1], [0.5, 0.75], [1, 1.0]]]))  # from the top left
    assert_close(mesh.texture, torch.from_numpy(IMAGE).permute(2, 0, 1) / 255)  # a picture replaces Kd


def test_scenes_and_face_colours_of_trimesh(tmp_path):
    box = trimesh.creation.box()
    box.visual = trimesh.visual.ColorVisuals(box, face_colors=np.random.default_rng(0).integers(0, 256, (12, 4)))
    mesh = from_trimesh(box)
    assert triangles(mesh) == triangles(box)
    expected = torch.from_numpy(box.visual.face_colors[:, :3] / 255.0).float()
    assert_close(mesh.vertex_rgb[mesh.faces], expected[:, None].expand(-1, 3, -1))
    scene = trimesh.Scene([box, trimesh.creation.icosphere(1)])
    scene.apply_translation([0, 5, 0])
    joined = from_trimesh(scene)
    assert len(joined.faces) == 12 + 80 and joined.vertices[:, 1].min() > 3.9
    with pytest.raises(InputError, match="no triangles"):
        from_trimesh(trimesh.Scene())
