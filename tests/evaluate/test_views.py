"""The front half's measures: true views are perfect, baselines stand where they must, and the frame is found."""

import pytest
import torch
from evaluation_shapes import sphere

from infinitemesh.errors import GenerationError, InputError
from infinitemesh.evaluate.consistency import reprojection_consistency, silhouette_coherence
from infinitemesh.evaluate.framing import place_by_front
from infinitemesh.evaluate.jobs import RunOptions
from infinitemesh.evaluate.measure_views import load_views, measure_views, save_views
from infinitemesh.evaluate.protocol import load_protocol
from infinitemesh.evaluate.rigs import Rig
from infinitemesh.evaluate.runner import run_protocol
from infinitemesh.evaluate.synthetic import synthetic_objects, write_synthetic
from infinitemesh.evaluate.systems import ViewSystem
from infinitemesh.evaluate.truth import Case, TruthCache, list_truth
from infinitemesh.evaluate.view_systems import InterpolationAlone, baselines
from infinitemesh.stages.foreground import AlphaForeground
from infinitemesh.stages.view_interpolation import NearestView, NoInterpolation
from infinitemesh.types import Mesh, ViewSet

RING = tuple(float(a) for a in range(0, 360, 30))


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return write_synthetic(tmp_path_factory.mktemp("truth"))


@pytest.fixture(scope="module")
def protocols(tmp_path_factory):
    """The finished view protocols at small sizes."""
    folder = tmp_path_factory.mktemp("protocols")
    made = {}
    for name in ("ivi", "mainviews", "orbit12"):
        protocol = load_protocol(name)
        assert protocol.views is not None
        given = "given: {azimuths_deg: [0, 90, 180, 270], size: 64, supersample: 2}" if protocol.given else ""
        photo = "photo: {projection: perspective, size: 64}" if protocol.photo else ""
        azimuths = list(protocol.views.azimuths_deg)
        (folder / f"{name}.yaml").write_text(
            f"name: {name}\nversion: 1\nabout: small\n{given}{photo}\n"
            f"views: {{azimuths_deg: {azimuths}, size: 64, frame: {protocol.views.frame}}}\n"
        )
        made[name] = load_protocol(folder / f"{name}.yaml")
    return made


def case_of(name, protocol, truth) -> Case:
    return Case(list_truth(truth, [name])[0], protocol, TruthCache())


class TrueViews(ViewSystem):
    """The truth itself, seen in a world of another scale and place."""

    name = "truth"

    def __init__(self, scale: float = 1.0, shift=(0.0, 0.0, 0.0)):
        self.scale, self.shift = scale, torch.tensor(shift)

    def views_of(self, case: Case) -> ViewSet:
        moved = Mesh(case.mesh.vertices * self.scale + self.shift, case.mesh.faces, vertex_rgb=case.mesh.vertex_rgb)
        return Rig(azimuths_deg=RING, size=64, supersample=2).views(moved)


def test_true_views_are_perfect(tmp_path, truth, protocols):
    result = run_protocol(protocols["ivi"], TrueViews(), truth, tmp_path, objects=["lobes"])
    metrics = result.records[0].metrics
    assert metrics["ssim"] == metrics["mask_iou"] == 1
    assert metrics["psnr"] == 100
    assert metrics["silhouette_coherence"] > 0.95
    assert list(result.per_azimuth) == [30, 60, 120, 150, 210, 240, 300, 330]
    assert "| 330 |" in (tmp_path / "table.md").read_text()


@pytest.mark.parametrize(("scale", "shift"), [(0.8, (0.0, 0.0, 0.0)), (1.3, (0.1, -0.05, 0.0))])
def test_the_frame_is_read_from_the_front(tmp_path, truth, protocols, scale, shift):
    case = case_of("lobes", protocols["orbit12"], truth)
    views = TrueViews(scale, shift).views_of(case)
    front = views[[0]]
    placed = place_by_front(case.mesh, front)
    expected = case.mesh.vertices * scale + torch.tensor(shift)
    torch.testing.assert_close(placed.vertices[:, :2], expected[:, :2], atol=8e-3, rtol=0)
    assert measure_views(views, case).metrics["mask_iou"] > 0.96
    wrong = measure_views(views, case_of("egg", protocols["orbit12"], truth))
    assert wrong.metrics["mask_iou"] < 0.93


def test_views_come_back_from_disk_as_they_were(tmp_path, truth, protocols):
    views = TrueViews().views_of(case_of("egg", protocols["ivi"], truth))
    loaded = load_views(save_views(views, tmp_path / "views.npz"))
    torch.testing.assert_close(loaded.rgb, views.rgb, atol=0.5 / 255 + 1e-6, rtol=0)
    torch.testing.assert_close(loaded.camera.cam_from_world, views.camera.cam_from_world)
    assert torch.equal(loaded.is_main, views.is_main)


def test_baselines_of_interpolation_rank_as_they_should(tmp_path, truth, protocols):
    means = {}
    for system in [*baselines("ivi"), TrueViews()]:
        out = tmp_path / system.name
        result = run_protocol(protocols["ivi"], system, truth, out, objects=["lobes"])
        assert not result.failures
        means[system.name] = {name: summary.mean for name, summary in result.summaries.items()}
    for metric in ("psnr", "mask_iou"):
        assert means["nearest view"][metric] < means["warp"][metric] < means["truth"][metric]


def test_baselines_of_main_views_know_the_back(tmp_path, truth, protocols):
    """A mirrored front has the exact outline of the back; the copied one has that of the front."""
    by_name = {}
    for system in baselines("mainviews"):
        result = run_protocol(protocols["mainviews"], system, truth, tmp_path / system.name, objects=["lobes"])
        assert not result.failures
        by_name[system.name] = result.per_azimuth
    copy, mirror = by_name["copy front"], by_name["mirror front (back)"]
    assert mirror[180]["mask_iou"] > 0.97
    assert copy[180]["mask_iou"] < mirror[180]["mask_iou"] - 0.03
    assert copy[90] == mirror[90]
    fair_copy, fair_mirror = by_name["copy photograph"], by_name["mirror photograph (back)"]
    assert fair_copy[180]["mask_iou"] < fair_mirror[180]["mask_iou"] - 0.03
    assert fair_mirror[180]["mask_iou"] < mirror[180]["mask_iou"]  # perspective moves the outline
    assert fair_copy[90] == fair_mirror[90]


def test_baselines_of_a_photograph_see_what_the_pipeline_sees(truth, protocols):
    """Not the true front: a photograph is in perspective, and its object is as large as the framing rule says."""
    case = case_of("lobes", protocols["mainviews"], truth)
    by_name = {system.name: system for system in baselines("mainviews")}
    front = AlphaForeground()(case.photo())
    torch.testing.assert_close(by_name["copy photograph"].views_of(case).alpha[1], front.alpha[0])
    torch.testing.assert_close(by_name["mirror photograph (back)"].views_of(case).alpha[2], front.alpha[0].flip(-1))
    assert (by_name["copy front"].views_of(case).alpha[1] - front.alpha[0]).abs().mean() > 0.01
    assert len({system.fingerprint(case) for system in by_name.values()}) == len(by_name) == 4
    orbit = {system.name: system for system in baselines("orbit12")}
    torch.testing.assert_close(orbit["mirrored photograph, warp"].views_of(case).alpha[0], front.alpha[0])


def test_missing_views_are_a_failure_that_scores_as_empty_pictures(tmp_path, truth, protocols):
    system = InterpolationAlone(NoInterpolation(), name="no interpolation")
    result = run_protocol(protocols["ivi"], system, truth, tmp_path, objects=["egg", "torus"])
    assert result.failures == {"generation": ["egg", "torus"]}
    assert "no view at azimuth 30" in result.records[0].failure.message
    assert result.summaries["mask_iou"].mean == 0
    assert result.summaries["psnr"].mean < 20


def test_measured_views_are_orthographic(truth, protocols):
    case = case_of("egg", protocols["ivi"], truth)
    views = Rig(azimuths_deg=RING, size=64, projection="perspective").views(case.mesh)
    with pytest.raises(InputError, match="orthographic"):
        measure_views(views, case)
    with pytest.raises(GenerationError, match="no object"):
        place_by_front(case.mesh, Rig(size=64).views(Mesh(case.mesh.vertices + 5, case.mesh.faces)))


def test_consistency_falls_when_a_view_shows_another_object():
    objects = synthetic_objects()
    views = Rig(azimuths_deg=RING, size=64).views(objects["lobes"])
    other = Rig(azimuths_deg=RING, size=64).views(objects["box"])
    mixed = ViewSet(
        torch.cat([views.rgb[:6], other.rgb[6:]]),
        torch.cat([views.alpha[:6], other.alpha[6:]]),
        views.camera,
        views.is_main,
    )
    assert silhouette_coherence(views) > 0.95
    assert silhouette_coherence(mixed) < silhouette_coherence(views) - 0.1
    good, bad = (reprojection_consistency(v, objects["lobes"]) for v in (views, mixed))
    assert good["psnr"] == 100
    assert bad["psnr"] < good["psnr"]
    assert bad["mask_iou"] < good["mask_iou"]


def test_nearest_view_copies_the_reference(truth, protocols):
    case = case_of("egg", protocols["ivi"], truth)
    system = InterpolationAlone(NearestView(), name="nearest", seed=3)
    views = system.views_of(case)
    at = views.camera.azimuth_deg.round().tolist()
    torch.testing.assert_close(views.rgb[at.index(30)], views.rgb[at.index(0)])


def test_coherence_of_a_sphere_is_that_of_its_silhouettes():
    views = Rig(azimuths_deg=RING, size=96).views(sphere(0.45, 4))
    assert silhouette_coherence(views) > 0.97


def test_resume_works_for_views_too(tmp_path, truth, protocols):
    options = RunOptions(cache=tmp_path / "cache")
    first, second = (
        run_protocol(protocols["ivi"], TrueViews(), truth, tmp_path / "out", objects=["egg"], options=options)
        for _ in range(2)
    )
    assert first == second
