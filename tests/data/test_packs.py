import json

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from infinitemesh.data.geometry_codec import (
    POSITION_STEP,
    UV_STEP,
    decode_faces,
    decode_rows,
    encode_faces,
    encode_rows,
    quantize,
)
from infinitemesh.data.packs import load_packs, pack_evaluation_objects, pack_objects
from infinitemesh.data.sources import read_object
from infinitemesh.errors import InputError
from infinitemesh.types import Mesh


def textured_sphere(rng: np.random.Generator, subdivisions: int = 2, px: int = 96) -> trimesh.Trimesh:
    sphere = trimesh.creation.icosphere(subdivisions=subdivisions)
    uv = rng.uniform(0, 1, (len(sphere.vertices), 2))
    smooth = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)).resize((px, px), Image.Resampling.BICUBIC)
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=smooth)
    return trimesh.Trimesh(
        sphere.vertices * [0.5, 1.0, 0.3] + 3,
        sphere.faces,
        process=False,
        visual=trimesh.visual.TextureVisuals(uv=uv, material=material),
    )


@pytest.fixture
def collection(tmp_path):
    """Three training objects (one untextured, two sharing a texture) and one for measuring, with their index."""
    rng = np.random.default_rng(0)
    first = textured_sphere(rng)
    second = first.copy()
    second.vertices[:, 0] *= 2
    plain = trimesh.creation.box((1, 2, 3))
    for name, mesh in {"first": first, "second": second, "plain": plain, "kept": first}.items():
        mesh.export(tmp_path / f"{name}.glb")
    rows = ["path,source,tier", "first.glb,scans,A", "second.glb,scans,B", "plain.glb,shapes,U", "kept.glb,gso,eval"]
    (tmp_path / "index.csv").write_text("\n".join(rows))
    return tmp_path


def test_codec_is_lossless_for_any_mesh():
    rng = np.random.default_rng(1)
    vertices, uv = rng.uniform(-0.5, 0.5, (300, 3)), rng.uniform(0, 1, (300, 2))
    mesh = quantize(vertices, uv, rng.integers(0, 300, (500, 3)))
    np.testing.assert_array_equal(decode_faces(encode_faces(mesh.faces)), mesh.faces)
    np.testing.assert_array_equal(decode_rows(encode_rows(mesh.positions)), mesh.positions)
    np.testing.assert_array_equal(decode_rows(encode_rows(mesh.uv)), mesh.uv)


def test_quantising_keeps_every_corner_in_place():
    rng = np.random.default_rng(2)
    vertices, uv, faces = rng.uniform(-0.5, 0.5, (50, 3)), rng.uniform(0, 1, (50, 2)), rng.integers(0, 40, (30, 3))
    mesh = quantize(vertices, uv, faces)
    np.testing.assert_allclose(mesh.positions[mesh.faces] * POSITION_STEP, vertices[faces], atol=POSITION_STEP / 2)
    np.testing.assert_allclose(mesh.uv[mesh.faces] * UV_STEP, uv[faces], atol=UV_STEP / 2)
    assert len(mesh.positions) == len(np.unique(faces))


def test_packed_objects_come_back_within_quantisation(collection, tmp_path):
    report = pack_objects(collection / "index.csv", tmp_path / "packs", texture_px=96)
    pack = load_packs(tmp_path / "packs")
    assert report.num_objects == len(pack) == 3 and not report.skipped
    assert pack.names == ("scans/first", "scans/second", "shapes/plain")
    for i, name in enumerate(("first", "second", "plain")):
        source, mesh = read_object(collection / f"{name}.glb"), pack.mesh(i)
        corners = torch.tensor(source.vertices[source.faces], dtype=torch.float32)
        torch.testing.assert_close(mesh.vertices[mesh.faces], corners, atol=POSITION_STEP / 2 + 1e-7, rtol=0)
        if source.texture is not None:
            corner_uv = torch.tensor(source.uv[source.faces], dtype=torch.float32)
            torch.testing.assert_close(mesh.uv[mesh.faces], corner_uv, atol=UV_STEP / 2 + 1e-7, rtol=0)
            picture = torch.tensor(np.asarray(source.texture)).permute(2, 0, 1) / 255
            assert (mesh.texture - picture).abs().mean() < 0.02


def test_shared_textures_are_stored_once_and_untextured_objects_say_so(collection, tmp_path):
    pack_objects(collection / "index.csv", tmp_path / "packs", texture_px=32)
    pack = load_packs(tmp_path / "packs")
    assert pack.has_colour.tolist() == [True, True, False]
    assert pack.texture_of.tolist() == [0, 0, 1] and pack.textures.shape == (2, 3, 32, 32)
    assert pack.weights[1] < pack.weights[0]


def test_one_or_many_shards_hold_the_same_objects(collection, tmp_path):
    pack_objects(collection / "index.csv", tmp_path / "one")
    report = pack_objects(collection / "index.csv", tmp_path / "many", max_shard_mib=0.0055)
    assert len(report.shards) > 1
    one, many = load_packs(tmp_path / "one"), load_packs(list(report.shards))
    for i in range(len(one)):
        a, b = one.mesh(i), many.mesh(i)
        torch.testing.assert_close(a.vertices, b.vertices)
        torch.testing.assert_close(a.texture, b.texture)
        assert torch.equal(a.faces, b.faces)


def test_evaluation_objects_never_reach_training(collection, tmp_path):
    with pytest.raises(InputError, match="measuring only"):
        pack_objects(collection / "index.csv", tmp_path / "a", tiers=("A", "eval"))
    pack_evaluation_objects(collection / "index.csv", tmp_path / "kept")
    with pytest.raises(InputError, match="packed for evaluation"):
        load_packs(tmp_path / "kept")
    assert load_packs(tmp_path / "kept", purpose="evaluation").names == ("gso/kept",)
    pack_objects(collection, tmp_path / "folder")  # a folder beside an index takes its tiers from there
    assert "gso/kept" not in load_packs(tmp_path / "folder").names


def test_normals_are_smooth_across_texture_seams(tmp_path):
    box = trimesh.creation.icosphere(subdivisions=2)
    split = trimesh.Trimesh(
        box.vertices[box.faces].reshape(-1, 3), np.arange(box.faces.size).reshape(-1, 3), process=False
    )
    split.export(tmp_path / "split.glb")
    pack_objects(tmp_path, tmp_path / "packs")
    pack = load_packs(tmp_path / "packs")
    outward = torch.nn.functional.normalize(pack.vertices, dim=-1)
    assert ((pack.normals * outward).sum(-1) > 0.99).all()


def test_errors_name_the_cure(collection, tmp_path):
    (collection / "broken.glb").write_bytes(b"not a mesh")
    report = pack_objects(collection, tmp_path / "packs")
    assert len(report.skipped) == 1 and "broken.glb" in report.skipped[0]
    with pytest.raises(InputError, match="overwrite=True"):
        pack_objects(collection, tmp_path / "packs")
    (tmp_path / "packs" / "pack-000.npz").write_bytes(b"PK damaged")
    with pytest.raises(InputError, match="pack it again"):
        load_packs(tmp_path / "packs")
    with pytest.raises(InputError, match="neither"):
        pack_objects(tmp_path / "nothing", tmp_path / "b")
    with pytest.raises(InputError, match="no pack"):
        load_packs(collection)


def test_shard_headers_are_plain_json(collection, tmp_path):
    report = pack_objects(collection / "index.csv", tmp_path / "packs")
    with np.load(report.shards[0], allow_pickle=False) as shard:
        assert json.loads(shard["header"].tobytes())["purpose"] == "training"


def test_vertex_colours_become_a_texture(tmp_path):
    box = trimesh.creation.box((1, 1, 1))
    sides = trimesh.Trimesh(box.vertices[box.faces].reshape(-1, 3), np.arange(36).reshape(-1, 3), process=False)
    rgb = np.repeat(np.random.default_rng(3).integers(0, 256, (12, 3)), 3, axis=0)
    Mesh(
        torch.tensor(sides.vertices).float(), torch.tensor(sides.faces), vertex_rgb=torch.tensor(rgb / 255).float()
    ).save(tmp_path / "box.glb")
    pack_objects(tmp_path, tmp_path / "packs", texture_px=64)
    pack = load_packs(tmp_path / "packs")
    mesh = pack.mesh(0)
    middle = (mesh.uv[mesh.faces].mean(1) * 64).long()
    painted = mesh.texture[:, middle[:, 1], middle[:, 0]].T
    torch.testing.assert_close(painted, torch.tensor(rgb[::3] / 255).float(), atol=0.01, rtol=0)
    assert pack.has_colour.all()


def test_decimated_objects_keep_shape_and_colours(tmp_path):
    sphere = textured_sphere(np.random.default_rng(0), subdivisions=4, px=128)
    u = sphere.vertices[:, 0]  # smooth coordinates
    sphere.visual.uv[:, 0], sphere.visual.uv[:, 1] = (u - u.min()) / np.ptp(u), 0.5
    sphere.export(tmp_path / "sphere.glb")
    full, few = (read_object(tmp_path / "sphere.glb", max_faces=n) for n in (10_000, 1000))
    assert len(full.faces) == 5120 and len(few.faces) <= 1000
    radii = np.linalg.norm(few.vertices / np.array([0.25, 0.5, 0.15]), axis=1)
    np.testing.assert_allclose(radii[np.unique(few.faces)], 1, atol=0.03)
    np.testing.assert_allclose(few.uv[:, 0], few.vertices[:, 0] / 0.5 + 0.5, atol=0.06)
