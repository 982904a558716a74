import numpy as np
import pytest
import torch
import trimesh

from infinitemesh.data import procedural
from infinitemesh.data.procedural_parts import arrays_of
from infinitemesh.data.procedural_shapes import NAMED_OBJECTS
from infinitemesh.errors import InputError
from infinitemesh.types import Camera, Mesh

HEADLIGHT_AND_TYRE = ((0.95, 0.80, 0.30), (0.13, 0.13, 0.15))


def parts_of(monkeypatch, make) -> list:
    caught = []
    real = procedural.assemble
    monkeypatch.setattr(
        procedural, "assemble", lambda parts, metadata=None: caught.extend(parts) or real(parts, metadata)
    )
    make()
    return caught


def check_mesh(mesh: Mesh) -> None:
    low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
    assert (high - low).max() == pytest.approx(1, abs=1e-5) and (low + high).abs().max() < 1e-5
    assert mesh.faces.min() >= 0 and mesh.faces.max() < len(mesh.vertices) and len(mesh.faces) <= 20_000
    assert mesh.uv.min() >= 0 and mesh.uv.max() <= 1 and torch.isfinite(mesh.vertices).all()
    assert 0 <= mesh.texture.min() and mesh.texture.max() <= 1


@pytest.mark.parametrize("name", NAMED_OBJECTS)
def test_named_objects_are_made_of_closed_solids_and_face_the_front(name, monkeypatch):
    parts = parts_of(monkeypatch, lambda: check_mesh(procedural.named_object(name)))
    for part in parts:
        vertices, faces = arrays_of(part.solid)
        solid = trimesh.Trimesh(vertices, faces, process=False)
        assert solid.is_watertight and solid.volume > 0


@pytest.mark.parametrize("seed", range(6))
def test_random_objects_are_made_of_closed_solids(seed, monkeypatch):
    parts = parts_of(monkeypatch, lambda: check_mesh(procedural.random_object(seed)))
    assert 1 <= len(parts) <= 9
    for part in parts:
        vertices, faces = arrays_of(part.solid)
        assert trimesh.Trimesh(vertices, faces, process=False).is_watertight


def test_a_seed_gives_the_same_bytes(tmp_path):
    first = procedural.write_objects(tmp_path / "a", 2, 7)
    again = procedural.write_objects(tmp_path / "b", 2, 7)
    assert [p.name for p in first] == ["random_00000007.glb", "random_00000008.glb"]
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]
    assert first[0].read_bytes() != first[1].read_bytes()
    assert Mesh.load(first[0]).metadata["licence"] == "CC0-1.0"
    assert procedural.named_object("mug", 1).vertices.shape == procedural.named_object("mug", 1).vertices.shape


def test_the_atlas_paints_every_part_with_its_own_texture():
    picture = procedural.named_object("toy_car").render(Camera.orbit([0.0], [0.0]), 96)
    colours = (picture.rgb[0, :, picture.alpha[0, 0] > 0.99] * 255).round().T
    share = np.array(
        [((colours - torch.tensor(c) * 255).abs().amax(-1) < 12).float().mean() for c in HEADLIGHT_AND_TYRE]
    )
    assert (share > 0.005).all()


def test_packs_take_procedural_objects(tmp_path):
    from infinitemesh.data.packs import load_packs, pack_objects

    procedural.named_object("mug").save(tmp_path / "mug.glb")
    pack_objects(tmp_path, tmp_path / "packs", texture_px=512)
    mesh, source = load_packs(tmp_path / "packs").mesh(0), procedural.named_object("mug")
    camera = Camera.orbit([20.0], [10.0])
    packed, true = mesh.render(camera, 96), source.render(camera, 96)
    assert (packed.alpha - true.alpha).abs().mean() < 2e-3
    assert (packed.rgb - true.rgb).abs().mean() < 0.01


def test_an_unknown_name_lists_the_known():
    with pytest.raises(InputError, match="mug"):
        procedural.named_object("sofa")


def test_the_command_writes_what_it_says(tmp_path, capsys):
    procedural.main([str(tmp_path), "1", "3"])
    assert "1 objects" in capsys.readouterr().out and (tmp_path / "random_00000003.glb").exists()
    with pytest.raises(InputError):
        procedural.main([str(tmp_path), "1", "3"])
