"""The truth's place in a photograph's frame: exact where it can be written down, and never read off the result."""

import json
import math
from dataclasses import replace

import pytest
import torch
from PIL import Image

from infinitemesh.evaluate.framing import outline_box, photo_from_truth, place_by_front
from infinitemesh.evaluate.jobs import RunOptions
from infinitemesh.evaluate.protocol import Protocol, load_protocol
from infinitemesh.evaluate.rigs import Rig
from infinitemesh.evaluate.runner import run_protocol
from infinitemesh.evaluate.synthetic import write_synthetic
from infinitemesh.evaluate.systems import System
from infinitemesh.evaluate.tables import markdown_report
from infinitemesh.evaluate.truth import Case, TruthCache, list_truth
from infinitemesh.stages.foreground import AlphaForeground
from infinitemesh.types import Mesh

# The box is 1 x 0.6 x 0.4. In these photographs its outline, that of the front face, is 50 x 30 whole pixels.
FLAT = Rig(size=90)  # 0.02 units a pixel
DEEP = Rig(size=100, projection="perspective", distance=0.2 + 1 / math.tan(math.radians(15)))


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return write_synthetic(tmp_path_factory.mktemp("truth"))


def small(photo: Rig) -> Protocol:
    """The finished protocol with another photograph, fewer samples and pictures."""
    protocol = load_protocol("photo")
    assert protocol.surface is not None
    assert protocol.images is not None
    images = replace(protocol.images, elevations_deg=(0.0,), azimuths_deg=(0.0, 120.0, 240.0), size=96)
    return replace(protocol, photo=photo, surface=replace(protocol.surface, samples=5000), images=images)


def case_of(name: str, protocol: Protocol, truth) -> Case:
    return Case(list_truth(truth, [name])[0], protocol, TruthCache())


class Placed(System):
    """The truth in the photograph's frame, times `size`: what a perfect pipeline makes, or one that errs in scale."""

    frame = "photo"

    def __init__(self, scale: float | None = None, size: float = 1.0):
        self.name, self.scale, self.size = f"placed {scale} {size}", scale, size

    def mesh_of(self, case: Case) -> Mesh:
        mesh = case.mesh
        if self.scale is None:
            mesh = photo_from_truth(case).apply(mesh)
        else:
            mesh = replace(mesh, vertices=mesh.vertices * self.scale)
        return replace(mesh, vertices=mesh.vertices * self.size)


@pytest.mark.parametrize("photo", [FLAT, DEEP], ids=["orthographic", "perspective"])
def test_the_true_mesh_placed_by_the_framing_rule_is_perfect(tmp_path, truth, photo):
    """By the rule its longer side from the front is 0.6 x 1.8 = 1.08 units, however near the camera was."""
    protocol = small(photo)
    found = photo_from_truth(case_of("box", protocol, truth))
    assert found.scale == pytest.approx(1.08, abs=1e-5)
    torch.testing.assert_close(found.shift, torch.zeros(3), atol=1e-5, rtol=0)
    result = run_protocol(protocol, Placed(scale=1.08), truth, tmp_path, objects=["box"])
    metrics = result.records[0].metrics
    assert metrics["iou"] == metrics["f@0.05"] == 1
    assert metrics["chamfer"] < 0.01  # two sets of samples of one surface
    assert metrics["mask_iou"] > 0.999
    assert metrics["psnr"] > 45
    assert not result.notes
    assert result.records[0].alignment["photo_from_truth"]["scale"] == pytest.approx(1.08, abs=1e-5)


def test_the_size_of_a_result_is_its_own(tmp_path, truth):
    """Nothing is fitted: twice as large is wrong, and so is the truth's own size, which no photograph shows."""
    protocol = small(DEEP)
    double = run_protocol(protocol, Placed(size=2.0), truth, tmp_path / "double", objects=["box"]).records[0]
    assert double.metrics["iou"] == pytest.approx(1 / min(8, 1.75 * 1.2 * 0.8 / 0.24), abs=0.01)  # what the grid sees
    assert "another scale" in double.notes["frame"]
    asis = run_protocol(protocol, Placed(scale=1.0), truth, tmp_path / "asis", objects=["box"]).records[0]
    assert asis.metrics["iou"] == pytest.approx(1 / 1.08**3, abs=0.01)


def test_a_result_that_is_too_deep_pays_for_what_leaves_the_unit_box(tmp_path, truth):
    class TooDeep(Placed):
        def mesh_of(self, case: Case) -> Mesh:
            return replace(mesh := super().mesh_of(case), vertices=mesh.vertices * torch.tensor([1.0, 1.0, 4.0]))

    record = run_protocol(small(DEEP), TooDeep(), truth, tmp_path, objects=["box"]).records[0]
    assert record.metrics["iou"] == pytest.approx(0.25, abs=0.005)


@pytest.mark.parametrize("name", ["lobes", "egg"])
def test_it_is_the_frame_in_which_the_pipeline_and_the_view_protocols_stand(truth, name):
    """Photographed in perspective, cut by the pipeline's own stage, to what its soft edges leave: two pixels of 256."""
    case = case_of(name, load_protocol("photo"), truth)
    front = AlphaForeground()(case.photo())
    placed = photo_from_truth(case).apply(case.mesh)
    shown, seen = outline_box(Rig(size=512).views(placed).alpha[0, 0]), outline_box(front.alpha[0, 0])
    torch.testing.assert_close(shown[:2] + shown[2:], seen[:2] + seen[2:], atol=2 / 256, rtol=0)
    torch.testing.assert_close((shown[2:] - shown[:2]).max(), (seen[2:] - seen[:2]).max(), atol=2 / 256, rtol=0)
    torch.testing.assert_close(placed.vertices, place_by_front(case.mesh, front).vertices, atol=1e-2, rtol=0)
    assert (shown[2:] - shown[:2]).max() == pytest.approx(0.6, abs=0.01)


def test_photographs_from_elsewhere_are_turned_and_centred(tmp_path, truth):
    """From above and beside, by a camera at which the object is not in the middle of its outline."""
    photo = Rig(azimuths_deg=(40.0,), elevations_deg=(25.0,), size=200, projection="perspective", distance=2.5)
    case = case_of("lobes", small(photo), truth)
    placed = photo_from_truth(case).apply(case.mesh)
    low, high = placed.vertices.amin(0), placed.vertices.amax(0)
    assert (high - low)[:2].max() == pytest.approx(1.08, abs=0.015)
    torch.testing.assert_close((high + low)[2], torch.tensor(0.0), atol=1e-5, rtol=0)
    result = run_protocol(case.protocol, Placed(), truth, tmp_path, objects=["lobes"])
    assert result.records[0].metrics["iou"] > 0.999


def test_finished_meshes_in_the_truths_frame_are_not_moved(tmp_path, truth):
    from infinitemesh.evaluate.systems import FinishedMeshes

    result = run_protocol(small(DEEP), FinishedMeshes(truth), truth, tmp_path, objects=["egg"], options=RunOptions())
    assert result.records[0].metrics["iou"] == 1
    assert "photo_from_truth" not in result.records[0].alignment


def test_a_table_says_how_the_truth_was_placed(tmp_path, truth):
    protocol = small(FLAT)
    report = markdown_report([run_protocol(protocol, Placed(), truth, tmp_path, objects=["box"])])
    for words in ("The result is not rescaled.", "No alignment.", "framing rule", "The result has no part in it."):
        assert words in report


def test_official_photographs_from_above_are_turned_back_too(tmp_path, truth):
    """A pipeline's mesh stands before its photograph, which sync30 takes from elevation 30."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "lobes.glb").write_bytes((truth / "lobes.glb").read_bytes())
    rig = Rig(azimuths_deg=(0.0, 120.0, 240.0), elevations_deg=(30.0,), size=64, projection="perspective", distance=4.0)
    focal = 32 / math.tan(math.radians(15))
    cameras = {"K": [[focal, 0, 32], [0, focal, 32], [0, 0, 1]]}
    cameras |= {"azimuth_deg": [0, 120, 240], "elevation_deg": [30] * 3, "distance": [4.0] * 3}
    (data / "cameras.json").write_text(json.dumps(cameras))
    pictures = rig.pictures(Mesh.load(data / "lobes.glb"), straight=True)
    (data / "renders" / "lobes").mkdir(parents=True)
    for k, rgba in enumerate(torch.cat([pictures.rgb, pictures.alpha], 1).movedim(1, -1).contiguous().numpy()):
        Image.fromarray(rgba, "RGBA").save(data / "renders" / "lobes" / f"{k:03}.png")

    class Perfect(System):
        name, frame = "perfect", "photo"

        def mesh_of(self, case: Case) -> Mesh:
            photo_from_world = case.photo_camera().cam_from_world[0, :3, :3]
            return replace(case.mesh, vertices=case.mesh.vertices @ photo_from_world.T)

    metrics = run_protocol("sync30", Perfect(), data, tmp_path / "out").records[0].metrics
    assert metrics["iou"] > 0.999
    assert metrics["mask_iou"] > 0.99
    assert metrics["psnr"] > 35
