"""glTF files of other programs."""

import base64
import json

import numpy as np
import pytest
import torch
from mesh_files import (
    IMAGE,
    SQUARE,
    TRIANGLE,
    glb_tree,
    image_uri,
    write_gltf,
)
from torch.testing import assert_close

from infinitemesh.geometry.colour import linear_from_srgb, srgb_from_linear
from infinitemesh.geometry.mesh_io import load_mesh
from infinitemesh.types import Mesh


def test_nodes_move_turn_scale_and_mirror(tmp_path):
    half = np.sqrt(0.5)
    nodes = [
        {"children": [1, 2, 3], "translation": [10, 0, 0]},
        {"mesh": 0, "rotation": [0, 0, half, half]},  # 90 degrees about z: x to y
        {"mesh": 0, "scale": [-2, 1, 1]},
        {"mesh": 0, "matrix": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 5, 1]},
    ]
    normals = np.array([[0, 0, 1]] * 3, "<f4")
    meshes = [{"primitives": [{"attributes": {"POSITION": 0, "NORMAL": 1}}]}]
    write_gltf(tmp_path / "a.glb", {"nodes": nodes, "meshes": meshes}, {"p": TRIANGLE, "n": normals})
    mesh = load_mesh(tmp_path / "a.glb")
    expected = [
        [10, 0, 0],
        [10, 1, 0],
        [8, 0, 0],
        [10, 0, 0],
        [8, 0, 0],
        [10, 2, 0],
        [10, 0, 5],
        [11, 0, 5],
        [10, 2, 5],
    ]
    assert_close(mesh.vertices, torch.tensor(expected, dtype=torch.float32), atol=1e-6, rtol=0)
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    turned = torch.linalg.cross(b - a, c - a)
    assert (turned[:, 2] > 0).all()  # outside stays outside, mirrored or not
    assert_close(mesh.normals, torch.tensor([[0.0, 0, 1]]).expand(9, 3), atol=1e-6, rtol=0)


def test_normals_stay_perpendicular_under_uneven_scale(tmp_path):
    slope = np.array([[0, 0, 0], [1, 0, -1], [0, 1, 0]], "<f4")
    normal = np.array([[half := np.sqrt(0.5), 0, half]] * 3, "<f4")
    meshes = [{"primitives": [{"attributes": {"POSITION": 0, "NORMAL": 1}}]}]
    for scale in ([3, 1, 1], [3, -1, 1]):
        nodes = [{"mesh": 0, "scale": scale}]
        write_gltf(tmp_path / "a.glb", {"nodes": nodes, "meshes": meshes}, {"p": slope, "n": normal})
        mesh = load_mesh(tmp_path / "a.glb")
        a, b, c = mesh.vertices[mesh.faces[0]]
        flat = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=0)
        assert_close(mesh.normals, flat.expand(3, 3), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("mode", "indices", "expected"),
    [
        (None, [0, 1, 2, 2, 1, 3], [[0, 1, 2], [2, 1, 3]]),
        (5, [0, 1, 2, 3], [[0, 1, 2], [1, 3, 2]]),
        (6, [0, 1, 3, 2], [[1, 3, 0], [3, 2, 0]]),
    ],
)
def test_lists_strips_and_fans_turn_the_same_way(tmp_path, mode, indices, expected):
    primitive = {"attributes": {"POSITION": 0}, "indices": 1} | ({} if mode is None else {"mode": mode})
    arrays = {"p": SQUARE, "i": np.array(indices, "<u1")}
    write_gltf(tmp_path / "a.glb", {"meshes": [{"primitives": [primitive]}]}, arrays)
    mesh = load_mesh(tmp_path / "a.glb")
    assert mesh.faces.tolist() == expected
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    assert (torch.linalg.cross(b - a, c - a)[:, 2] > 0).all()


def test_interleaved_quantised_and_sparse_arrays(tmp_path):
    rows = np.zeros(3, dtype=[("p", "<i2", 3), ("pad", "<u2"), ("c", "u1", 4)])
    rows["p"], rows["c"] = (
        [[0, 0, 0], [32767, 0, 0], [0, 32767, 0]],
        [[255, 0, 0, 255], [0, 51, 0, 255], [0, 0, 0, 255]],
    )
    moved = np.array([[0.5, 0.5, 0.5]], "<f4")
    arrays = {"rows": np.frombuffer(rows.tobytes(), "<u1"), "at": np.array([1], "<u1"), "values": moved}
    write_gltf(tmp_path / "a.glb", {}, arrays)
    tree, binary = glb_tree(tmp_path / "a.glb")
    tree["bufferViews"][0]["byteStride"] = 12
    sparse = {
        "count": 1,
        "indices": {"bufferView": 1, "componentType": 5121},
        "values": {"bufferView": 2},
    }
    position = {"bufferView": 0, "componentType": 5122, "count": 3, "type": "VEC3", "normalized": True}
    colour = {"bufferView": 0, "byteOffset": 8, "componentType": 5121, "count": 3, "type": "VEC4", "normalized": True}
    zeros = {"componentType": 5126, "count": 3, "type": "VEC3", "sparse": sparse}
    tree["accessors"] = [position, colour, zeros]
    tree["extensionsRequired"] = ["KHR_mesh_quantization"]
    tree["meshes"][0]["primitives"] = [{"attributes": {"POSITION": 0, "COLOR_0": 1}}, {"attributes": {"POSITION": 2}}]
    tree["buffers"][0]["uri"] = "data:application/octet-stream;base64," + base64.b64encode(binary).decode()
    (tmp_path / "a.gltf").write_text(json.dumps(tree))
    mesh = load_mesh(tmp_path / "a.gltf")
    expected = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0], [0.5, 0.5, 0.5], [0, 0, 0]]
    assert_close(mesh.vertices, torch.tensor(expected))
    colours = torch.tensor([[1, 0, 0], [0, 0.2, 0], [0, 0, 0], [1, 1, 1], [1, 1, 1], [1, 1, 1]])
    assert_close(linear_from_srgb(mesh.vertex_rgb), colours, atol=1e-6, rtol=0)


def textured_square(path, image: np.ndarray, *, material: dict, uv=SQUARE[:, :2], **tree) -> Mesh:
    arrays = {"p": SQUARE, "uv": np.ascontiguousarray(uv, "<f4"), "i": np.array([0, 1, 2, 2, 1, 3], "<u1")}
    primitive = {"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "indices": 2, "material": 0}
    base = {
        "meshes": [{"primitives": [primitive]}],
        "materials": [material],
        "textures": [{"source": 0}],
        "images": [{"uri": image_uri(image)}],
    }
    write_gltf(path, base | tree, arrays)
    return load_mesh(path)


def test_the_base_colour_factor_multiplies_the_texture_in_linear_light(tmp_path):
    material = {"pbrMetallicRoughness": {"baseColorFactor": [0.5, 1, 0, 1], "baseColorTexture": {"index": 0}}}
    mesh = textured_square(tmp_path / "a.glb", IMAGE, material=material)
    plain = torch.from_numpy(IMAGE).permute(2, 0, 1) / 255
    expected = srgb_from_linear(linear_from_srgb(plain) * torch.tensor([0.5, 1, 0])[:, None, None])
    assert_close(mesh.texture, expected, atol=1e-6, rtol=0)


def test_specular_glossy_materials_have_a_base_colour_too(tmp_path):
    glossy = {"diffuseTexture": {"index": 0}, "diffuseFactor": [1, 1, 1, 1]}
    material = {"extensions": {"KHR_materials_pbrSpecularGlossiness": glossy}}
    mesh = textured_square(tmp_path / "a.glb", IMAGE, material=material)
    assert_close(mesh.texture, torch.from_numpy(IMAGE).permute(2, 0, 1) / 255)


def test_texture_transforms_move_the_coordinates(tmp_path):
    transform = {"offset": [0, 1], "rotation": np.pi / 2, "scale": [0.5, 0.5]}  # the extension's own example
    info = {"index": 0, "extensions": {"KHR_texture_transform": transform}}
    material = {"pbrMetallicRoughness": {"baseColorTexture": info}}
    mesh = textured_square(tmp_path / "a.glb", IMAGE, material=material)
    low, high = mesh.uv.amin(0), mesh.uv.amax(0)
    assert_close(low, torch.tensor([0.0, 0.5]), atol=1e-6, rtol=0)  # the lower left quadrant
    assert_close(high, torch.tensor([0.5, 1.0]), atol=1e-6, rtol=0)
    assert_close(mesh.uv[1], torch.tensor([0.0, 0.5]), atol=1e-6, rtol=0)


def test_palettes_grey_and_alpha_become_rgb(tmp_path):
    material = {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}
    grey = IMAGE[..., 0]
    mesh = textured_square(tmp_path / "grey.glb", grey, material=material)
    assert_close(mesh.texture, torch.from_numpy(grey)[None].expand(3, -1, -1) / 255)
    rgba = np.dstack([IMAGE, np.zeros_like(grey)])
    mesh = textured_square(tmp_path / "rgba.glb", rgba, material=material)
    assert_close(mesh.texture, torch.from_numpy(IMAGE).permute(2, 0, 1) / 255)
