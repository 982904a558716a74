"""What we write as glTF keeps the laws that Khronos' validator checks (run too, where node has it)."""

import io
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch
from mesh_files import (
    KINDS,
    glb_tree,
    gltf_tree,
    lopsided,
)
from PIL import Image
from torch.testing import assert_close

from infinitemesh.errors import InputError
from infinitemesh.geometry.mesh_io import load_mesh, save_mesh

KNOWN = {
    *("asset", "scene", "scenes", "nodes", "meshes", "materials", "accessors", "bufferViews", "buffers"),
    *("images", "samplers", "textures", "extensionsUsed", "extensionsRequired"),
}


def assert_valid(tree: dict, binary: bytes, *, folder=None) -> None:
    """What Khronos' validator checks in files like ours: layout, bounds, ranges, unit normals, references."""
    sizes = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
    dtypes = {5123: "<u2", 5125: "<u4", 5126: "<f4"}
    assert set(tree) <= KNOWN
    assert tree["asset"]["version"] == "2.0"
    assert tree["buffers"][0]["byteLength"] == len(binary)
    end = 0
    for view in tree["bufferViews"]:  # in order, aligned, without overlap or hole
        assert view["byteOffset"] % 4 == 0 and end <= view["byteOffset"] < end + 4
        end = view["byteOffset"] + view["byteLength"]
    assert end <= len(binary) < end + 4
    arrays = []
    for accessor in tree["accessors"]:
        view, width = tree["bufferViews"][accessor["bufferView"]], sizes[accessor["type"]]
        array = np.frombuffer(
            binary, dtypes[accessor["componentType"]], accessor["count"] * width, view["byteOffset"]
        ).reshape(-1, width)
        assert array.nbytes == view["byteLength"]
        assert np.isfinite(array).all()
        if "min" in accessor:
            assert accessor["min"] == array.min(0).tolist() and accessor["max"] == array.max(0).tolist()
        arrays.append(array)
    (primitive,) = tree["meshes"][0]["primitives"]
    attributes = primitive["attributes"]
    assert "min" in tree["accessors"][attributes["POSITION"]]
    counts = {len(arrays[i]) for i in attributes.values()}
    assert len(counts) == 1
    restart = 2 ** (8 * arrays[primitive["indices"]].dtype.itemsize) - 1
    assert arrays[primitive["indices"]].max() < min(*counts, restart) and len(arrays[primitive["indices"]]) % 3 == 0
    np.testing.assert_allclose(np.linalg.norm(arrays[attributes["NORMAL"]], axis=1), 1, atol=5e-4)
    if "COLOR_0" in attributes:
        assert arrays[attributes["COLOR_0"]].min() >= 0 and arrays[attributes["COLOR_0"]].max() <= 1
    for i in attributes.values():
        assert tree["bufferViews"][tree["accessors"][i]["bufferView"]]["target"] == 34962
    assert tree["bufferViews"][tree["accessors"][primitive["indices"]]["bufferView"]]["target"] == 34963
    used = {tree["accessors"][i]["bufferView"] for i in (*attributes.values(), primitive["indices"])}
    for image in tree.get("images", []):
        if "uri" in image:
            content = (folder / image["uri"]).read_bytes()
        else:
            view = tree["bufferViews"][image["bufferView"]]
            assert "target" not in view
            used.add(image["bufferView"])
            content = binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        assert Image.open(io.BytesIO(content)).get_format_mimetype() == image["mimeType"]
    assert used == set(range(len(tree["bufferViews"])))  # nothing unused


@pytest.mark.parametrize("texture_format", ["png", "webp"])
@pytest.mark.parametrize("kind", KINDS)
def test_gltf_files_keep_the_laws(tmp_path, kind, texture_format):
    glb = save_mesh(lopsided(kind), tmp_path / "a.glb", texture_format=texture_format)
    gltf = save_mesh(lopsided(kind), tmp_path / "b.gltf", texture_format=texture_format)
    assert_valid(*glb_tree(glb))
    assert_valid(*gltf_tree(gltf), folder=tmp_path)
    if kind == "textured" and texture_format == "webp":
        assert glb_tree(glb)[0]["extensionsRequired"] == ["EXT_texture_webp"]


def test_webp_is_close_to_the_texture_and_for_gltf_alone(tmp_path):
    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij")
    mesh = replace(lopsided("textured"), texture=torch.stack([x, y, (x * 9).sin() * 0.5 + 0.5]))
    webp = save_mesh(mesh, tmp_path / "webp.glb", texture_format="webp")
    assert_close(load_mesh(webp).texture, mesh.texture, atol=0.1, rtol=0)
    assert (load_mesh(webp).texture - mesh.texture).abs().mean() < 0.02
    with pytest.raises(InputError, match=r"a \.obj file takes 'png'"):
        save_mesh(mesh, tmp_path / "a.obj", texture_format="webp")


VALIDATOR = """
const validator = require('gltf-validator'), fs = require('fs'), path = require('path');
(async () => { for (const file of process.argv.slice(1)) {
  const beside = (uri) => Promise.resolve(
    new Uint8Array(fs.readFileSync(path.join(path.dirname(file), decodeURIComponent(uri)))));
  const report = await validator.validateBytes(
    new Uint8Array(fs.readFileSync(file)), {uri: file, externalResourceFunction: beside});
  console.log(report.issues.numErrors + report.issues.numWarnings, JSON.stringify(report.issues.messages)); } })();
"""


def test_khronos_validator_finds_nothing(tmp_path):
    """Runs where node finds the npm package gltf-validator (NODE_PATH); `assert_valid` covers the rest."""
    try:
        subprocess.run(["node", "-e", "require('gltf-validator')"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("node or its package gltf-validator is not here")
    files = [
        save_mesh(lopsided(kind), tmp_path / f"{kind}{suffix}") for kind in KINDS for suffix in (".glb", ".gltf")
    ] + [save_mesh(lopsided("textured"), tmp_path / "webp.glb", texture_format="webp")]
    report = subprocess.run(["node", "-e", VALIDATOR, *map(str, files)], check=True, capture_output=True, text=True)
    lines = report.stdout.strip().splitlines()
    assert len(lines) == len(files) and all(line.startswith("0 ") for line in lines), report.stdout


def test_dark_vertex_colours_keep_their_steps(tmp_path):
    levels = torch.arange(162)[:, None].expand(-1, 3) / 255 * 0.1
    mesh = replace(lopsided(), vertex_rgb=levels)
    assert_close(load_mesh(mesh.save(tmp_path / "a.glb")).vertex_rgb, levels, atol=1e-6, rtol=0)


def test_texture_wins_over_vertex_colours_since_gltf_would_multiply_them(tmp_path):
    mesh = replace(lopsided("textured"), vertex_rgb=torch.full((162, 3), 0.5))
    tree, _ = glb_tree(mesh.save(tmp_path / "a.glb"))
    assert "COLOR_0" not in tree["meshes"][0]["primitives"][0]["attributes"]
    assert load_mesh(tmp_path / "a.glb").vertex_rgb is None


def test_repeating_uv_repeat_in_the_file(tmp_path):
    for scale, wrap in ((1.0, 33071), (3.0, 10497)):
        mesh = lopsided("textured")
        tree, _ = glb_tree(replace(mesh, uv=mesh.uv * scale).save(tmp_path / "a.glb", overwrite=True))
        assert tree["samplers"][0]["wrapS"] == tree["samplers"][0]["wrapT"] == wrap
