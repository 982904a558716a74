"""What cannot be read or written says so, fast, with an InputError, and leaves nothing behind."""

import json
import struct
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from mesh_files import IMAGE, SQUARE, TRIANGLE, glb_tree, image_uri, lopsided, triangles, write_gltf
from PIL import Image

from infinitemesh.errors import InputError
from infinitemesh.geometry.mesh_io import SUFFIXES, load_mesh, save_mesh
from infinitemesh.types import Mesh


def nothing_left(folder) -> bool:
    return list(folder.iterdir()) == []


# ------------------------------------------------------------------------------------------------------------ writing


@pytest.mark.parametrize("name", ["a", "a.fbx", "a.glb.zip", "glb", "a.GLTF2"])
def test_an_unknown_suffix_names_the_known_ones(tmp_path, name):
    with pytest.raises(InputError, match=r"suffix must be one of \.glb, \.gltf, \.obj, \.ply, \.stl"):
        lopsided().save(tmp_path / name)
    assert nothing_left(tmp_path)
    with pytest.raises(InputError, match="suffix must be one of"):
        load_mesh(tmp_path / name)


def test_suffixes_in_capitals_are_the_same_formats(tmp_path):
    for suffix in SUFFIXES:
        path = lopsided().save(tmp_path / f"a{suffix.upper()}")
        assert triangles(load_mesh(path)) == triangles(lopsided())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_existing_output_stays(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"mine")
    with pytest.raises(InputError, match="exists already"):
        lopsided("textured").save(path)
    assert path.read_bytes() == b"mine" and len(list(tmp_path.iterdir())) == 1
    lopsided("textured").save(path, overwrite=True)
    assert load_mesh(path).vertices.shape == (162, 3)


def test_an_existing_companion_stays_too(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"a\.bin exists already"):
        lopsided().save(tmp_path / "a.gltf")
    assert [f.name for f in tmp_path.iterdir()] == ["a.bin"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="new does not exist; create it first"):
        lopsided().save(tmp_path / "new" / "a.glb")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("faces", torch.zeros(0, 3, dtype=torch.long), "empty"),
        ("faces", torch.tensor([[0, 1, 162]]), r"0\.\.162, but there are 162"),
        ("faces", torch.tensor([[0, 1, -1]]), r"-1\.\.1"),
        ("vertices", torch.full((162, 3), torch.nan), "vertices holds NaN"),
        ("normals", torch.full((162, 3), torch.inf), "normals holds NaN or infinity"),
        ("uv", torch.full((162, 2), torch.nan), "uv holds NaN"),
        ("texture", torch.full((3, 2, 2), torch.nan), "texture holds NaN"),
        ("uv", None, "needs uv coordinates"),
        ("texture", torch.full((3, 2, 2), 200.0), r"spans 200 to 200, but colours are sRGB in \[0, 1\]"),
    ],
)
def test_a_mesh_that_is_none_is_not_written(tmp_path, suffix, field, value, message):
    mesh = replace(lopsided("textured"), **{field: value})
    with pytest.raises(InputError, match=message):
        mesh.save(tmp_path / f"a{suffix}")
    assert nothing_left(tmp_path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_at_all_is_not_written(tmp_path, suffix):
    with pytest.raises(InputError, match="0 vertices and 0 faces cannot be saved: it is empty"):
        Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.long)).save(tmp_path / f"a{suffix}")
    assert nothing_left(tmp_path)


def test_metadata_must_be_json(tmp_path):
    for value in (torch.zeros(1), float("nan"), {1, 2}):
        with pytest.raises(InputError, match=r"metadata is not plain JSON"):
            replace(lopsided(), metadata={"value": value}).save(tmp_path / "a.glb")
    assert nothing_left(tmp_path)


@pytest.mark.parametrize("suffix", [".gltf", ".obj", ".glb"])
def test_a_full_disk_leaves_nothing(tmp_path, suffix, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        lopsided("textured").save(tmp_path / f"a{suffix}")
    assert nothing_left(tmp_path)


def test_zero_normals_are_written_as_unit_vectors(tmp_path):
    mesh = replace(lopsided(normals=True), normals=torch.zeros(162, 3))
    assert torch.equal(load_mesh(mesh.save(tmp_path / "a.glb")).normals.norm(dim=1), torch.ones(162))


# ------------------------------------------------------------------------------------------------------------ reading


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_and_foreign_files(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with pytest.raises(InputError, match="no file at"):
        load_mesh(path)
    for content in (b"", b"\0" * 200, b"this is a text file, not a mesh\n" * 9, b"\x89PNG\r\n\x1a\n" + b"\xff" * 300):
        path.write_bytes(content)
        with pytest.raises(InputError):
            load_mesh(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", ["coloured", "textured"])
def test_any_cut_of_a_file_is_an_input_error_or_a_mesh(tmp_path, suffix, kind):
    path = lopsided(kind).save(tmp_path / f"a{suffix}")
    content = path.read_bytes()
    generator = np.random.default_rng(0)
    refused = 0
    for size in generator.integers(0, len(content) - 1, 25).tolist():
        path.write_bytes(content[:size])
        try:
            load_mesh(path)
        except InputError:
            refused += 1
    assert refused == 25 or suffix == ".obj"  # lines of text may be cut between faces


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", ["coloured", "textured"])
def test_flipped_bytes_are_an_input_error_or_a_mesh(tmp_path, suffix, kind):
    path = lopsided(kind).save(tmp_path / f"a{suffix}")
    content = path.read_bytes()
    generator = np.random.default_rng(1)
    for _ in range(40):
        damaged = bytearray(content)
        for at in generator.integers(0, min(len(content), 2500), 3).tolist():  # headers are where it hurts
            damaged[at] = int(generator.integers(0, 256))
        path.write_bytes(damaged)
        try:
            mesh = load_mesh(path)
        except InputError:
            continue
        assert torch.isfinite(mesh.vertices).all() and mesh.faces.max() < len(mesh.vertices) and mesh.faces.min() >= 0


def edited(path, edit) -> None:
    tree, binary = glb_tree(path)
    edit(tree)
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body)


HUGE = 2**40
EDITS = {
    "an accessor of 2^40 elements": (lambda t: t["accessors"][0].update(count=HUGE), "over the limit"),
    "2^40 zeros": (lambda t: t["accessors"].append({"componentType": 5126, "count": HUGE, "type": "VEC3"})
                   or t["meshes"][0]["primitives"][0]["attributes"].update(POSITION=len(t["accessors"]) - 1), "limit"),
    "a negative count": (lambda t: t["accessors"][0].update(count=-1), "limit"),
    "a negative offset": (lambda t: t["bufferViews"][0].update(byteOffset=-4), "past its buffer"),
    "a view past the end": (lambda t: t["bufferViews"][0].update(byteLength=10**6), "past its buffer"),
    "a stride past the end": (lambda t: t["bufferViews"][0].update(byteStride=200), "do not fit"),
    "a node that is its own child": (lambda t: t["nodes"][0].update(children=[0]), "two parents"),
    "a missing node": (lambda t: t["scenes"][0].update(nodes=[5]), "damaged"),
    "a negative mesh number": (lambda t: t["nodes"][0].update(mesh=-7), "damaged"),
    "text for a number": (lambda t: t["accessors"][0].update(count="many"), "damaged"),
    "an unknown component": (lambda t: t["accessors"][0].update(componentType=1), "damaged"),
    "positions of two numbers": (lambda t: t["accessors"][0].update(type="VEC2"), "2 components, not 3"),
    "an infinite transform": (lambda t: t["nodes"][0].update(scale=[1, 1, float("inf")]), "not finite"),
    "a required extension": (
        lambda t: t.update(extensionsRequired=["KHR_draco_mesh_compression"]), "requires KHR_draco_mesh_compression"),
    "a factor that is no number": (
        lambda t: t["materials"][0]["pbrMetallicRoughness"].update(baseColorFactor=[float("nan"), 1, 1, 1]),
        "factor holds NaN"),
    "glTF 1": (lambda t: t["asset"].update(version="1.0"), "only version 2"),
    "no asset": (lambda t: t.pop("asset"), "damaged"),
    "lists for objects": (lambda t: t.update(meshes=[[]]), "damaged"),
    "only lines": (lambda t: t["meshes"][0]["primitives"][0].update(mode=1), "no triangles"),
    "an image of the disk": (
        lambda t: t.update(images=[{"uri": "/etc/hostname"}]), "a GLB is read by itself"),
    "an image of the net": (
        lambda t: t.update(images=[{"uri": "http://localhost/a.png"}]), "a GLB is read by itself"),
    "a buffer beside it": (lambda t: t["buffers"][0].update(uri="a.bin"), "a GLB is read by itself"),
    "an image that is text": (lambda t: t.update(images=[{"uri": "data:image/png;base64,aGVsbG8="}]), "not a readable"),
    "a damaged data URI": (lambda t: t.update(images=[{"uri": "data:image/png;base64,%%%"}]), "data URI"),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_a_hostile_glb_is_refused_at_once(tmp_path, edit):
    path = lopsided("textured").save(tmp_path / "a.glb")
    change, message = EDITS[edit]
    edited(path, change)
    start = time.perf_counter()
    with pytest.raises(InputError, match=message):
        load_mesh(path)
    assert time.perf_counter() - start < 1


def test_faces_in_a_glb_must_name_its_vertices(tmp_path):
    arrays = {"p": TRIANGLE, "i": np.array([0, 1, 3], "<u2")}
    tree = {"meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}]}
    write_gltf(tmp_path / "a.glb", tree, arrays)
    with pytest.raises(InputError, match="index 3 of 3 vertices"):
        load_mesh(tmp_path / "a.glb")


def test_instances_count_towards_the_limit(tmp_path):
    """A few hundred bytes that would unfold into a great many triangles."""
    tree = {"nodes": [{"mesh": 0}] * 2000, "scenes": [{"nodes": list(range(2000))}]}
    write_gltf(tmp_path / "a.glb", tree, {"p": TRIANGLE})
    assert len(load_mesh(tmp_path / "a.glb").faces) == 2000
    with pytest.raises(InputError, match="more than 1,000 faces"):
        load_mesh(tmp_path / "a.glb", max_faces=1000)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_limits_on_bytes_and_faces(tmp_path, suffix):
    path = lopsided().save(tmp_path / f"a{suffix}")
    with pytest.raises(InputError, match="more than the limit of 100"):
        load_mesh(path, max_bytes=100)
    with pytest.raises(InputError, match=r"limit of|more than 10 faces"):
        load_mesh(path, max_faces=10)
    assert len(load_mesh(path, max_faces=320).faces) == 320


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_vertices_that_are_not_numbers(tmp_path, suffix):
    path = lopsided().save(tmp_path / f"a{suffix}")
    content = path.read_bytes()
    if suffix == ".obj":
        path.write_bytes(content.replace(b"\nv ", b"\nv nan 0 0\nv ", 1))
    else:
        data = path.with_suffix(".bin") if suffix == ".gltf" else path
        content = data.read_bytes()
        first = lopsided().vertices[5].numpy().tobytes()
        assert first in content
        data.write_bytes(content.replace(first, np.float32([np.nan, 0, 0]).tobytes()))
    with pytest.raises(InputError, match="vertices holds NaN or infinity"):
        load_mesh(path)


@pytest.mark.parametrize(
    "uri", ["../secret.bin", "/etc/hostname", "sub/a.bin", "file:///etc/hostname", "..%2fsecret.bin"]
)
def test_a_gltf_reads_no_file_outside_its_folder(tmp_path, uri):
    (tmp_path / "secret.bin").write_bytes(b"secret" * 100_000)
    (tmp_path / "folder").mkdir()
    path = lopsided().save(tmp_path / "folder" / "a.gltf")
    path.write_text(path.read_text().replace('"a.bin"', json.dumps(uri)))
    with pytest.raises(InputError, match="same folder"):
        load_mesh(path)


def test_a_gltf_without_its_companions(tmp_path):
    path = lopsided("textured").save(tmp_path / "a.gltf")
    (tmp_path / "a_gltf.png").unlink()
    with pytest.raises(InputError, match=r"no file at .*a_gltf\.png"):
        load_mesh(path)


@pytest.mark.parametrize(
    ("mtl", "message"),
    [
        (None, r"no file at .*a\.mtl"),
        ("newmtl m\nmap_Kd ../secret.png\n", "same folder"),
        ("newmtl m\nmap_Kd /etc/hostname\n", "same folder"),
        ("newmtl m\nmap_Kd missing.png\n", "no file at"),
        ("newmtl m\nmap_Kd a.mtl\n", "not a readable PNG"),
        ("newmtl m\nmap_Kd -s 2 2 2 map.png\n", "options"),
        ("newmtl m\nKd red green blue\n", "damaged"),
    ],
)
def test_an_obj_reads_no_file_outside_its_folder_and_misses_none_silently(tmp_path, mtl, message):
    Image.fromarray(IMAGE).save(tmp_path / "secret.png")
    (tmp_path / "folder").mkdir()
    if mtl is not None:
        (tmp_path / "folder" / "a.mtl").write_text(mtl)
    obj = tmp_path / "folder" / "a.obj"
    obj.write_text("mtllib a.mtl\nusemtl m\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/1\n")
    with pytest.raises(InputError, match=message):
        load_mesh(obj)


@pytest.mark.parametrize(
    "text",
    ["v 0 0\nf 1 1 1", "v 0 0 0\nf 1 2 3", "v 0 0 0\nf 0 1 1", "v 0 0 0\nf 1/5 1/1 1/1", "v a b c\nf 1 1 1", "f 1 2 3",
     "v 0 0 0\nv 0 0 0 1 1 1\nf 1 1 2", "v 0 0 0\nf 1 1", "v 0 0 0\nf x y z", "v 0 0 0\nf -2 -1 -1",
     "v 1e99 0 0\nf 1 1 1", "v nan 0 0\nf 1 1 1"],
)  # fmt: skip
def test_obj_lines_that_make_no_sense(tmp_path, text):
    (tmp_path / "a.obj").write_text(text)
    with pytest.raises(InputError):
        load_mesh(tmp_path / "a.obj")


def test_a_ply_opens_no_other_file(tmp_path, monkeypatch):
    path = lopsided("coloured").save(tmp_path / "a.ply")
    content = path.read_bytes().replace(b"comment infinitemesh", b"comment TextureFile ../secret.png\ncomment i", 1)
    path.write_bytes(content)
    Image.fromarray(IMAGE).save(tmp_path.parent / "secret.png")
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("a picture was opened"))
    assert len(load_mesh(path).vertices) == 162


def test_a_picture_of_enormous_size_is_refused_before_it_is_decoded(tmp_path):
    header = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 40_000, 40_000, 8, 2, 0, 0, 0)
    import base64
    import zlib

    header += struct.pack(">I", zlib.crc32(header[12:29])) + struct.pack(">I4s", 10, b"IDAT") + b"\0" * 14
    uri = "data:image/png;base64," + base64.b64encode(header).decode()
    material = {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}
    tree = {
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "material": 0}]}],
        "materials": [material],
        "textures": [{"source": 0}],
        "images": [{"uri": uri}],
    }
    write_gltf(tmp_path / "a.glb", tree, {"p": SQUARE[:3], "uv": np.ascontiguousarray(SQUARE[:3, :2])})
    start = time.perf_counter()
    with pytest.raises(InputError, match=r"40000 x 40000|readable|exceeds"):
        load_mesh(tmp_path / "a.glb")
    assert time.perf_counter() - start < 1
    assert len(image_uri(IMAGE)) < 1000  # the same way works for an honest picture


def test_formats_beyond_the_allowed_ones_are_not_decoded(tmp_path):
    for kind in ("GIF", "TIFF", "BMP"):
        tree = {
            "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "material": 0}]}],
            "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
            "textures": [{"source": 0}],
            "images": [{"uri": image_uri(IMAGE, kind)}],
        }
        write_gltf(tmp_path / "a.glb", tree, {"p": SQUARE[:3], "uv": np.ascontiguousarray(SQUARE[:3, :2])})
        with pytest.raises(InputError, match="not a readable PNG, JPEG or WebP"):
            load_mesh(tmp_path / "a.glb")


def test_webp_is_refused_where_it_does_not_belong(tmp_path):
    with pytest.raises(InputError, match="'webp' is for"):
        save_mesh(lopsided("textured"), tmp_path / "a.ply", texture_format="webp")
