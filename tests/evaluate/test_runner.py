"""Whole evaluations of the `synthetic` protocol: the same numbers every way it is run, and every failure counted."""

import json
import pickle
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from infinitemesh.errors import CheckpointError, GenerationError, InputError, MissingBackend
from infinitemesh.evaluate.jobs import Job, RunOptions, Task
from infinitemesh.evaluate.protocol import load_protocol
from infinitemesh.evaluate.ray_runner import run_protocol_on_ray
from infinitemesh.evaluate.results import Result, read_result
from infinitemesh.evaluate.runner import prepare, run_protocol
from infinitemesh.evaluate.synthetic import synthetic_objects, write_synthetic
from infinitemesh.evaluate.systems import FinishedMeshes, ReconstructionSystem, System
from infinitemesh.evaluate.tables import latex_table, markdown_report
from infinitemesh.evaluate.truth import Case, list_truth
from infinitemesh.types import Camera, Mesh


def numbers(result: Result) -> list[dict]:
    return [record.numbers() for record in result.records]


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> Path:
    return write_synthetic(tmp_path_factory.mktemp("truth"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def meshes(tmp_path_factory) -> Path:
    """Results that are close to the truth but not it."""
    folder = tmp_path_factory.mktemp("meshes")
    for k, (name, mesh) in enumerate(synthetic_objects().items()):
        wobble = 0.02 * torch.sin(20 * mesh.vertices + k)
        Mesh(mesh.vertices + wobble, mesh.faces, vertex_rgb=mesh.vertex_rgb).save(folder / f"{name}.glb")
    return folder


@pytest.fixture(scope="module")
def reference(tmp_path_factory, meshes, cache) -> Result:
    out = tmp_path_factory.mktemp("reference")
    return run_protocol("synthetic", FinishedMeshes(meshes), None, out, options=RunOptions(cache=cache))


def test_the_truth_itself_is_perfect(tmp_path, truth, cache):
    result = run_protocol("synthetic", FinishedMeshes(truth), None, tmp_path, options=RunOptions(cache=cache))
    means = {name: summary.mean for name, summary in result.summaries.items()}
    assert len(result.records) == 5
    assert means["chamfer"] == 0
    assert means["f@0.05"] == means["iou"] == means["ssim"] == means["mask_iou"] == 1
    assert means["iou_exact"] == pytest.approx(1, abs=1e-5)
    assert means["psnr"] == 100
    assert not result.failures
    assert not result.notes


def test_numbers_are_sensible_and_written_down(tmp_path, meshes, cache):
    result = run_protocol("synthetic", FinishedMeshes(meshes), None, tmp_path, options=RunOptions(cache=cache))
    for record in result.records:
        assert 0 < record.metrics["chamfer"] < 0.03
        assert 0.8 < record.metrics["iou"] < 1
        assert record.metrics["iou"] == pytest.approx(record.metrics["iou_exact"], abs=0.005)
        assert 15 < record.metrics["psnr"] < 45
        assert record.health["watertight"]
    chamfer = result.summaries["chamfer"]
    assert chamfer.low <= chamfer.mean <= chamfer.high
    assert {path.name for path in tmp_path.iterdir()} >= {
        "result.json",
        "objects.csv",
        "table.md",
        "table.tex",
        "sheet.png",
    }
    assert len((tmp_path / "objects.csv").read_text().splitlines()) == 6
    table = (tmp_path / "table.md").read_text()
    assert "synthetic v1" in table
    assert load_protocol("synthetic").sha256[:12] in table
    assert "5,000 points" in table
    assert read_result(tmp_path) == result
    assert r"\begin{tabular}" in latex_table([result])


def test_twice_and_two_workers_give_the_same_numbers(tmp_path, meshes, reference):
    again = run_protocol("synthetic", FinishedMeshes(meshes), None, tmp_path / "again")
    assert numbers(again) == numbers(reference)
    options = RunOptions(workers=2)
    parallel = run_protocol(
        "synthetic", FinishedMeshes(meshes), None, tmp_path / "two", objects=["egg", "torus"], options=options
    )
    assert numbers(parallel) == [record.numbers() for record in reference.records if record.object in ("egg", "torus")]


@pytest.mark.slow
def test_a_system_that_stays_here_gives_the_same_numbers_with_workers(tmp_path, cache):
    """Its results cross to the workers as files."""
    system = ReconstructionSystem(lambda views: synthetic_objects()["egg"], name="always an egg")
    results = [
        run_protocol(
            "synthetic",
            system,
            None,
            tmp_path / str(workers),
            objects=["egg", "torus"],
            options=RunOptions(cache=cache, workers=workers),
        )
        for workers in (1, 2)
    ]
    assert numbers(results[0]) == numbers(results[1])


def test_an_interrupted_run_goes_on_and_gives_the_same_numbers(tmp_path, meshes, cache, reference):
    def stop(stage: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    options = RunOptions(cache=cache)
    with pytest.raises(KeyboardInterrupt):
        run_protocol("synthetic", FinishedMeshes(meshes), None, tmp_path, options=options, on_progress=stop)
    stored = sorted((tmp_path / "objects").glob("*.json"))
    assert len(stored) == 2
    assert not (tmp_path / "result.json").exists()
    written = {path: path.stat().st_mtime_ns for path in stored}
    resumed = run_protocol("synthetic", FinishedMeshes(meshes), None, tmp_path, options=options)
    assert numbers(resumed) == numbers(reference)
    assert {path: path.stat().st_mtime_ns for path in stored} == written


def test_a_changed_result_is_measured_again(tmp_path, meshes, cache):
    own = tmp_path / "meshes"
    own.mkdir()
    for path in meshes.glob("*.glb"):
        (own / path.name).write_bytes(path.read_bytes())
    options = RunOptions(cache=cache)
    first = run_protocol("synthetic", FinishedMeshes(own), None, tmp_path / "out", options=options)
    (own / "box.glb").write_bytes((meshes / "sphere.glb").read_bytes())
    second = run_protocol("synthetic", FinishedMeshes(own), None, tmp_path / "out", options=options)
    changed = [a.object for a, b in zip(first.records, second.records, strict=True) if a != b]
    assert changed == ["box"]


def test_whatever_is_broken_is_counted_and_named(tmp_path, meshes, cache):
    """A damaged file, an empty file, no file, one without area, one in another frame, one inside out."""
    own = tmp_path / "meshes"
    own.mkdir()
    (own / "box.glb").write_bytes((meshes / "box.glb").read_bytes()[:500])
    (own / "egg.obj").write_bytes(b"")
    flat = Mesh(torch.zeros(3, 3), torch.tensor([[0, 1, 2]]))
    flat.save(own / "torus.ply")
    lobes = Mesh.load(meshes / "lobes.glb")
    rotation = Camera.orbit(90.0).world_from_cam[:3, :3]
    Mesh(lobes.vertices @ rotation.T, lobes.faces.flip(1)).save(own / "lobes.glb")
    result = run_protocol("synthetic", FinishedMeshes(own), None, tmp_path / "out", options=RunOptions(cache=cache))
    assert result.failures == {"unreadable": ["box", "egg", "torus"], "missing": ["sphere"]}
    assert result.notes == {"inside out": ["lobes"], "frame": ["lobes"]}
    assert result.summaries["iou"].count == 5  # failures are in the mean, with the score of nothing
    sphere = next(record for record in result.records if record.object == "sphere")
    assert sphere.metrics["iou"] == 0
    assert sphere.metrics["chamfer"] == pytest.approx(0.5, abs=0.01)  # a point in the middle of a sphere of radius 0.5
    assert sphere.metrics["mask_iou"] == 0
    report = (tmp_path / "out" / "table.md").read_text()
    for word in ("3 of 5 failed", "1 of 5 failed", "box, egg, torus", "sphere", "frame: lobes", "inside out: lobes"):
        assert word in report


def test_a_result_of_another_scale_is_named(tmp_path, meshes, cache):
    own = tmp_path / "meshes"
    own.mkdir()
    lobes = Mesh.load(meshes / "lobes.glb")
    Mesh(lobes.vertices * 0.7 + 0.05, lobes.faces).save(own / "lobes.glb")
    result = run_protocol(
        "synthetic", FinishedMeshes(own), None, tmp_path / "out", objects=["lobes"], options=RunOptions(cache=cache)
    )
    assert "another scale" in result.records[0].notes["frame"]


def test_a_truth_that_cannot_be_read_has_no_score(tmp_path, truth, meshes):
    data = tmp_path / "data"
    data.mkdir()
    (data / "box.glb").write_bytes((truth / "box.glb").read_bytes())
    (data / "egg.glb").write_bytes(b"not a mesh")
    protocol = load_protocol(_small(tmp_path))
    result = run_protocol(protocol, FinishedMeshes(meshes), data, tmp_path / "out")
    assert result.failures == {"truth": ["egg"]}
    assert result.summaries["iou"].count == 1


def test_a_reconstruction_gets_the_true_views_and_is_measured_in_their_world(tmp_path, truth, cache):
    seen = []

    def views_to_mesh(views):
        seen.append(views)
        return synthetic_objects()["sphere"]

    system = ReconstructionSystem(views_to_mesh, name="always a sphere")
    options = RunOptions(cache=cache)
    result = run_protocol("synthetic", system, None, tmp_path, objects=["sphere", "torus"], options=options)
    sphere, torus = result.records
    assert sphere.metrics["chamfer"] == 0
    assert torus.metrics["iou"] < 0.5
    assert sphere.seconds is not None
    assert len(seen) == 2
    assert seen[0].camera.azimuth_deg.round().tolist() == [0, 90, 180, 270]
    assert seen[0].is_main.all()
    assert (tmp_path / "made" / "sphere.glb").is_file()


@dataclass
class _Photographer(System):
    """Answers with what the photograph shows: nothing for the torus, a crash for the egg, else a turned truth."""

    name: str = "photographer"
    frame: str = "photo"

    def mesh_of(self, case: Case) -> Mesh:
        assert case.photo().mode == "RGBA"
        if case.name == "torus":
            raise GenerationError("no surface")
        if case.name == "egg":
            raise RuntimeError("a bug")
        photo_from_world = case.photo_camera().cam_from_world[0, :3, :3]
        return Mesh(case.mesh.vertices @ photo_from_world.T, case.mesh.faces, vertex_rgb=case.mesh.vertex_rgb)


def test_a_whole_system_is_turned_back_from_where_the_photograph_was_taken(tmp_path, truth):
    path = _small(tmp_path, photo="{azimuths_deg: [40], elevations_deg: [25], projection: perspective, size: 32}")
    system = _Photographer()
    result = run_protocol(path, system, truth, tmp_path / "out", options=RunOptions(batch_size=3))
    assert result.failures == {"generation": ["torus"], "crash": ["egg"]}
    for record in result.records:
        if record.ok:
            assert record.metrics["iou"] > 0.99


class _Batches(System):
    """Makes all at once, with an error in the place of one."""

    name = "batches"
    calls = 0

    def mesh_of(self, case: Case) -> Mesh:
        raise AssertionError("a batch with a failure is not made again, one by one")

    def meshes_of(self, cases):
        type(self).calls += 1
        return [GenerationError("no surface") if case.name == "egg" else case.mesh for case in cases]


def test_one_failure_of_a_batch_costs_the_others_nothing(tmp_path, cache):
    options = RunOptions(cache=cache, batch_size=3)
    result = run_protocol("synthetic", _Batches(), None, tmp_path, objects=["box", "egg", "torus"], options=options)
    assert result.failures == {"generation": ["egg"]}
    assert [record.metrics["iou"] for record in result.records] == [1, 0, 1]
    assert _Batches.calls == 1


class _Nothing(System):
    name = "nothing"

    def mesh_of(self, case: Case) -> Mesh:
        if case.name == "egg":
            return Mesh(torch.full((3, 3), torch.nan), torch.tensor([[0, 1, 2]]))
        return Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.long))


def test_a_system_that_answers_with_nothing_or_nan_fails(tmp_path, truth, cache):
    result = run_protocol(
        "synthetic", _Nothing(), None, tmp_path, objects=["egg", "torus"], options=RunOptions(cache=cache)
    )
    assert result.failures == {"unreadable": ["egg", "torus"]}
    assert "not finite" in result.records[0].failure.message
    assert "no faces" in result.records[1].failure.message


def test_a_share_of_the_work_can_be_done_elsewhere(tmp_path, meshes, truth, reference):
    """What a machine of a cluster gets and gives back."""
    job = Job(FinishedMeshes(meshes), prepare(tmp_path), RunOptions())
    cases = [Case(item, reference.protocol) for item in list_truth(truth, ["box", "torus"])]
    sent = pickle.dumps((job, [Task(case, job.key(case)) for case in cases]))
    there, tasks = pickle.loads(sent)
    records = there.make_and_measure(tasks)
    assert [r.numbers() for r in records] == [r.numbers() for r in reference.records if r.object in ("box", "torus")]


def test_ray_is_asked_for_by_its_extra(tmp_path, meshes):
    if find_spec("ray") is None:
        with pytest.raises(MissingBackend, match=r"infinitemesh\[batch\]"):
            run_protocol_on_ray("synthetic", FinishedMeshes(meshes), None, tmp_path)


@pytest.mark.skipif(find_spec("ray") is None, reason="ray is an extra")
def test_a_ray_cluster_gives_the_same_numbers(tmp_path, meshes, reference):
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False)
    try:
        shared = run_protocol_on_ray("synthetic", FinishedMeshes(meshes), None, tmp_path)
        stored = {path: path.stat().st_mtime_ns for path in (tmp_path / "objects").glob("*.json")}
        again = run_protocol_on_ray("synthetic", FinishedMeshes(meshes), None, tmp_path)
    finally:
        ray.shutdown()
    assert numbers(shared) == numbers(again) == numbers(reference)
    assert read_result(tmp_path) == again
    assert {path: path.stat().st_mtime_ns for path in stored} == stored


def test_wrong_requests_are_errors_before_any_work(tmp_path, truth, meshes):
    with pytest.raises(InputError, match="lacks 1 of the asked objects: teapot"):
        run_protocol("crm30", FinishedMeshes(meshes), truth, tmp_path, objects=["box", "teapot"])
    with pytest.raises(InputError, match="needs a folder of true meshes"):
        run_protocol("crm30", FinishedMeshes(meshes), None, tmp_path)
    with pytest.raises(InputError, match="measures views, but meshes makes meshes"):
        run_protocol("ivi", FinishedMeshes(meshes, name="meshes"), truth, tmp_path)
    with pytest.raises(InputError, match="no folder of meshes"):
        FinishedMeshes(tmp_path / "absent")
    with pytest.raises(CheckpointError, match="no LPIPS weights"):
        absent = RunOptions(lpips_weights=tmp_path / "absent.safetensors")
        run_protocol("synthetic", FinishedMeshes(meshes), None, tmp_path / "none", options=absent)
    assert not (tmp_path / "none").exists()


def test_a_weights_file_alone_asks_for_its_lpips(tmp_path):
    assert RunOptions(lpips_weights=tmp_path / "squeeze.safetensors").lpips == "squeeze"
    assert RunOptions().lpips is None


def test_a_report_never_mixes_protocols_and_shows_published_numbers_apart(reference):
    other = Result(protocol=load_protocol("crm30"), system="ours", records=reference.records)
    report = markdown_report([reference, other])
    first, second = report.split("## crm30 v1")
    assert "Published" not in first
    assert "not re-measured" in second
    assert second.index("| ours |") < second.index("| InstantMesh |")


def test_a_result_of_another_version_is_named(tmp_path):
    (tmp_path / "result.json").write_text(json.dumps({"records": []}))
    with pytest.raises(InputError, match="not the result of an evaluation"):
        read_result(tmp_path)


def _small(folder: Path, photo: str = "{size: 32}") -> Path:
    path = folder / "small.yaml"
    path.write_text(f"name: small\nversion: 1\nabout: x\nphoto: {photo}\nvolume: {{resolution: 24}}\n")
    return path
