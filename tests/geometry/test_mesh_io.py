"""Every format is the same shape with the same colours, and trimesh agrees."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from mesh_files import (
    KINDS,
    as_set,
    lopsided,
    sampled,
    triangles,
)
from torch.testing import assert_close

from infinitemesh.geometry.colour import linear_from_srgb, srgb_from_linear
from infinitemesh.geometry.mesh_io import SUFFIXES, from_trimesh, load_mesh, to_trimesh
from infinitemesh.geometry.normals import smooth_normals
from infinitemesh.types import Mesh


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("normals", [False, True])
def test_what_is_saved_comes_back(tmp_path, suffix, kind, normals):
    mesh = lopsided(kind, normals=normals)
    back = Mesh.load(mesh.save(tmp_path / f"a{suffix}"))
    assert as_set(back.vertices) == as_set(mesh.vertices)
    assert triangles(back) == triangles(mesh)
    if suffix != ".stl":
        assert_close(back.vertices, mesh.vertices, rtol=0, atol=0)
        assert torch.equal(back.faces, mesh.faces.to(back.faces.dtype))
        if normals or suffix in (".glb", ".gltf"):
            expected = torch.from_numpy(smooth_normals(mesh.vertices.numpy(), mesh.faces.numpy()))
            assert_close(back.normals, expected, atol=1e-6, rtol=0)
        else:
            assert back.normals is None
    if kind == "coloured" and suffix != ".stl":
        assert_close(back.vertex_rgb, mesh.vertex_rgb, atol=0.5 / 255 + 1e-6 if suffix == ".ply" else 1e-6, rtol=0)
    if kind == "textured" and suffix in (".glb", ".gltf", ".obj"):
        assert_close(back.texture, mesh.texture, rtol=0, atol=0)
        assert_close(back.uv, mesh.uv, atol=1e-7, rtol=0)
        assert back.vertex_rgb is None
    if kind == "plain":
        assert back.vertex_rgb is None and back.texture is None
    if suffix in (".glb", ".gltf"):
        assert back.metadata == mesh.metadata


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", KINDS)
def test_trimesh_reads_the_same_shape_and_colours(tmp_path, suffix, kind):
    mesh = lopsided(kind)
    read = trimesh.load(mesh.save(tmp_path / f"a{suffix}"), process=False, force="mesh")
    assert as_set(read.vertices) == as_set(mesh.vertices)
    assert triangles(read) == triangles(mesh)
    expected_volume = to_trimesh(mesh).volume
    assert expected_volume > 0 and read.volume == pytest.approx(expected_volume, rel=1e-5)
    if kind == "coloured" and suffix in (".obj", ".ply"):
        assert_close(
            torch.tensor(read.visual.vertex_colors[:, :3] / 255.0).float(), mesh.vertex_rgb, atol=1 / 255, rtol=0
        )
    if kind == "coloured" and suffix in (".glb", ".gltf"):  # trimesh hands COLOR_0 on as it is (linear), in scenes only
        (geometry,) = trimesh.load(tmp_path / f"a{suffix}", process=False).geometry.values()
        linear = torch.tensor(geometry.visual.vertex_attributes["color"]).float()
        assert_close(srgb_from_linear(linear), mesh.vertex_rgb, atol=1e-6, rtol=0)
    if kind == "textured" and suffix in (".glb", ".gltf", ".obj"):
        material = read.visual.material
        image = material.image if suffix == ".obj" else material.baseColorTexture
        assert np.array_equal(np.asarray(image.convert("RGB")), (mesh.texture * 255).round().byte().permute(1, 2, 0))
        uv = torch.tensor(read.visual.uv).float() * torch.tensor([1, -1]) + torch.tensor([0, 1])
        assert_close(uv, mesh.uv, atol=1e-6, rtol=0)
        if suffix != ".obj":
            assert (material.metallicFactor, material.roughnessFactor, material.doubleSided) == (0.0, 1.0, True)
    if kind == "textured" and suffix == ".ply":  # no texture there: the colour at each vertex
        inside = ((mesh.uv > 1 / 32) & (mesh.uv < 31 / 32)).all(1)  # elsewhere the texture's repetition shines in
        read_rgb = torch.tensor(read.visual.vertex_colors[:, :3] / 255.0).float()
        assert_close(read_rgb[inside], sampled(mesh.texture, mesh.uv)[inside], atol=1 / 255, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back_through_trimesh(kind):
    mesh = lopsided(kind, normals=True)
    back = from_trimesh(to_trimesh(mesh))
    assert_close(back.vertices, mesh.vertices, rtol=0, atol=0)
    assert torch.equal(back.faces, mesh.faces)
    assert_close(back.normals, mesh.normals, atol=1e-6, rtol=0)
    for name in ("vertex_rgb", "uv", "texture"):
        ours, theirs = getattr(back, name), getattr(mesh, name)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert_close(ours, theirs, atol=0.5 / 255 + 1e-6 if name == "vertex_rgb" else 1e-7, rtol=0)
    assert back.metadata == mesh.metadata


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_mesh_is_the_same_bytes(tmp_path, suffix, kind):
    metadata = {"seed": 7, "settings": {"b": 1, "a": 2}}
    turned = {"settings": {"a": 2, "b": 1}, "seed": 7}
    for name, notes in (("one", metadata), ("two", turned)):
        (tmp_path / name).mkdir()
        replace(lopsided(kind), metadata=notes).save(tmp_path / name / f"a{suffix}")
    one, two = ({f.name: f.read_bytes() for f in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two


def test_every_format_can_stand_in_one_folder_beside_the_photograph(tmp_path):
    (tmp_path / "chair.png").write_bytes(b"the photograph")
    for suffix in SUFFIXES:
        lopsided("textured").save(tmp_path / f"chair{suffix}", overwrite=True)
    assert (tmp_path / "chair.png").read_bytes() == b"the photograph"
    names = {"chair.png", "chair.bin", "chair_gltf.png", "chair.mtl", "chair_obj.png"}
    assert {f.name for f in tmp_path.iterdir()} == names | {f"chair{suffix}" for suffix in SUFFIXES}


@pytest.mark.parametrize("stem", ["my chair", "стул", "a.b", "50%"])
@pytest.mark.parametrize("suffix", [".gltf", ".obj"])
def test_file_names_with_spaces_and_signs_are_found_again(tmp_path, stem, suffix):
    mesh = lopsided("textured")
    back = load_mesh(mesh.save(tmp_path / f"{stem}{suffix}"))
    assert_close(back.texture, mesh.texture, rtol=0, atol=0)


def test_colours_convert_both_ways_and_know_their_fixed_points():
    srgb = torch.linspace(0, 1, 1001)
    assert_close(srgb_from_linear(linear_from_srgb(srgb)), srgb, atol=1e-6, rtol=0)
    assert_close(
        linear_from_srgb(torch.tensor([0.0, 0.5, 1.0])), torch.tensor([0.0, 0.21404114, 1.0]), atol=1e-6, rtol=0
    )
    for convert in (linear_from_srgb, srgb_from_linear):
        at = torch.tensor([0.0, 1e-4, 0.5, 1.0], requires_grad=True)
        convert(at).sum().backward()
        assert torch.isfinite(at.grad).all()


def test_normals_are_smooth_across_seams_and_flat_where_nothing_is():
    box = trimesh.creation.box()
    corners = box.vertices[box.faces].reshape(-1, 3)  # every face on its own, as behind seams
    normals = smooth_normals(corners.astype(np.float32), np.arange(36).reshape(-1, 3))
    by_place: dict[tuple[float, ...], np.ndarray] = {}
    for place, normal in zip(map(tuple, corners.tolist()), normals, strict=True):
        np.testing.assert_array_equal(by_place.setdefault(place, normal), normal)
        assert normal @ np.array(place) > 0.8  # outwards
    lonely = smooth_normals(np.zeros((2, 3), np.float32), np.zeros((1, 3), np.int64))
    np.testing.assert_array_equal(lonely, [[0, 1, 0]] * 2)
