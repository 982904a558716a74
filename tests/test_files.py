import json
import os
import stat

import pytest

from infinitemesh.errors import InputError
from infinitemesh.files import (
    atomic_folder,
    atomic_write,
    atomic_write_all,
    check_output,
    read_bytes,
    sibling,
    write_bytes,
    write_json,
)


def listing(folder):
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def test_the_file_appears_when_the_block_ends_and_not_before(tmp_path):
    with atomic_write(tmp_path / "film.mp4") as temporary:
        temporary.write_bytes(b"whole")
        assert temporary.suffix == ".mp4" and temporary.parent == tmp_path and temporary.name.startswith(".")
        assert not (tmp_path / "film.mp4").exists()
    assert listing(tmp_path) == {"film.mp4": b"whole"}


def test_a_failure_leaves_what_was_there(tmp_path):
    write_bytes(tmp_path / "old.bin", b"old")
    for name in ("old.bin", "new.bin"):
        with pytest.raises(RuntimeError, match="halfway"), atomic_write(tmp_path / name, overwrite=True) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError("halfway")
    assert listing(tmp_path) == {"old.bin": b"old"}


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write_bytes(tmp_path / "atomic", b"")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "atomic")}
    assert len(modes) == 1


def test_nothing_is_overwritten_unless_asked(tmp_path):
    path = write_bytes(tmp_path / "a", b"1")
    with pytest.raises(InputError, match="exists already; choose another name or pass overwrite=True"):
        write_bytes(path, b"2")
    assert path.read_bytes() == b"1"
    assert write_bytes(path, b"2", overwrite=True).read_bytes() == b"2"


def test_a_file_that_came_during_the_work_is_not_overwritten(tmp_path):
    with pytest.raises(InputError, match="exists already"), atomic_write(tmp_path / "a") as temporary:
        temporary.write_bytes(b"mine")
        (tmp_path / "a").write_bytes(b"another's")
    assert listing(tmp_path) == {"a": b"another's"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing/a.glb", "the folder .*missing does not exist; create it first"),
        ("folder", "it is a folder, and a file was to be written"),
        ("file/a.glb", "the folder .*file does not exist"),
    ],
)
def test_places_that_cannot_be_written_are_named(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=message):
        check_output(tmp_path / name, overwrite=True)


def test_an_empty_name_is_refused():
    with pytest.raises(InputError, match="give a file name"):
        check_output("")


def test_files_that_belong_together_appear_together_or_not_at_all(tmp_path, monkeypatch):
    paths = [tmp_path / name for name in ("a.bin", "a.png", "a.gltf")]
    paths[0].write_bytes(b"old")

    def write_them():
        with atomic_write_all(paths, overwrite=True) as temporaries:
            for temporary in temporaries:
                temporary.write_bytes(b"new")

    replace, calls = os.replace, []

    def fails_on_the_third(source, target):
        calls.append(target)
        if len(calls) == 3:
            raise OSError("disk full")
        return replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", fails_on_the_third)
        with pytest.raises(OSError, match="disk full"):
            write_them()
    assert listing(tmp_path) == {"a.bin": b"old"}
    write_them()
    assert listing(tmp_path) == {"a.bin": b"new", "a.png": b"new", "a.gltf": b"new"}


def test_one_existing_file_of_several_stops_all(tmp_path):
    (tmp_path / "b").write_bytes(b"old")
    with pytest.raises(InputError, match="b exists already"), atomic_write_all([tmp_path / "a", tmp_path / "b"]):
        pytest.fail("the block must not run")
    assert listing(tmp_path) == {"b": b"old"}


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    with atomic_folder(tmp_path / "net") as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "old").write_bytes(b"1")
    with pytest.raises(InputError, match="exists already"), atomic_folder(tmp_path / "net"):
        pytest.fail("the block must not run")
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "net", overwrite=True) as temporary:
        (temporary / "new").write_bytes(b"2")
        raise RuntimeError
    assert listing(tmp_path) == {"net/sub/old": b"1"}
    with atomic_folder(tmp_path / "net", overwrite=True) as temporary:
        (temporary / "new").write_bytes(b"2")
    assert listing(tmp_path) == {"net/new": b"2"}
    assert [f.name for f in tmp_path.iterdir()] == ["net"]


def test_json_is_finite_and_plain(tmp_path):
    content = {"b": [1, 2.5], "a": "ü"}
    assert json.loads(write_json(tmp_path / "a.json", content).read_text(encoding="utf-8")) == content
    for value in (float("nan"), {1, 2}, b"bytes"):
        with pytest.raises(InputError, match="JSON holds"):
            write_json(tmp_path / "b.json", {"value": value})
    assert sorted(listing(tmp_path)) == ["a.json"]


def test_reading_has_a_limit_and_names_what_is_missing(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_bytes(tmp_path / "a", max_bytes=5) == b"12345"
    with pytest.raises(InputError, match="5 bytes, more than the limit of 4"):
        read_bytes(tmp_path / "a", max_bytes=4)
    with pytest.raises(InputError, match="no file at"):
        read_bytes(tmp_path / "b", max_bytes=4)
    with pytest.raises(InputError, match="it is a folder"):
        read_bytes(tmp_path, max_bytes=4)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a", "/etc/passwd", "sub/a", "sub\\a", "C:a", "http://host/a", "a\0b", "link"]
)
def test_names_found_in_files_stay_in_the_folder(tmp_path, name):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match=r"same folder|out of the folder"):
        sibling(folder / "a.obj", name)
    assert sibling(folder / "a.obj", "my chair.png") == folder / "my chair.png"
