"""Procedural objects, packed once, and how training finds them."""

from pathlib import Path

import pytest

from infinitemesh.data.object_pack import ObjectPack, load_packs
from infinitemesh.data.packs import pack_objects
from infinitemesh.data.procedural import write_objects


@pytest.fixture(scope="session")
def pack_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("objects")
    paths = write_objects(folder, 3, seed=0)
    (folder / "index.csv").write_text("path,source,tier\n" + "".join(f"{path.name},made,A\n" for path in paths))
    pack_objects(folder / "index.csv", folder / "packs", texture_px=16, max_faces=1000)
    return folder / "packs"


@pytest.fixture(scope="session")
def pack(pack_folder) -> ObjectPack:
    return load_packs(pack_folder)
