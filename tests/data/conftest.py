"""A few small objects of known shape, packed once."""

import numpy as np
import pytest
import trimesh
from PIL import Image

from infinitemesh.data.packs import ObjectPack, load_packs, pack_objects


def textured(mesh: trimesh.Trimesh, seed: int) -> trimesh.Trimesh:
    """Wears a smooth picture, projected along z."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(20, 236, (4, 4, 3), dtype=np.uint8))
    side = np.ptp(mesh.vertices, axis=0).max()
    uv = mesh.vertices[:, :2] / side * 0.95 + 0.5
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=coarse.resize((64, 64), Image.Resampling.BICUBIC))
    visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False, visual=visual)


@pytest.fixture(scope="session")
def pack(tmp_path_factory) -> ObjectPack:
    """0 ball (radius 0.5), 1 box (1 x 0.5 x 0.25), 2 lamp (asymmetric, three parts), 3 cube without texture."""
    folder = tmp_path_factory.mktemp("objects")
    ball = trimesh.creation.icosphere(subdivisions=4)
    box = trimesh.creation.box((4, 2, 1))
    foot, pole = trimesh.creation.cylinder(1, 0.4), trimesh.creation.box((0.4, 0.4, 3))
    shade = trimesh.creation.icosphere(subdivisions=2, radius=0.8)
    lamp = trimesh.util.concatenate(
        [foot, pole.apply_translation([0.2, 0, 1.5]), shade.apply_translation([0.7, 0.1, 3])]
    )
    shapes = {"a_ball": ball, "b_box": box, "c_lamp": lamp}
    for seed, (name, mesh) in enumerate(shapes.items()):
        textured(mesh, seed).export(folder / f"{name}.glb")
    trimesh.creation.box((1, 1, 1)).export(folder / "d_plain.glb")
    rows = ["path,source,tier"] + [f"{name}.glb,test,A" for name in shapes] + ["d_plain.glb,test,U"]
    (folder / "index.csv").write_text("\n".join(rows))
    pack_objects(folder / "index.csv", folder / "packs", texture_px=64)
    return load_packs(folder / "packs")
