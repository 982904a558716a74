"""Settings by dotted paths and the command, on the tiny pipeline."""

import pytest
from tiny import tiny_pipeline

from infinitemesh.errors import CheckpointError, InputError
from infinitemesh.evaluate.command import evaluate_command, folder_name, make_system, tables_command
from infinitemesh.evaluate.jobs import RunOptions
from infinitemesh.evaluate.overrides import apply_overrides, parse_overrides
from infinitemesh.evaluate.protocol import load_protocol
from infinitemesh.evaluate.runner import run_protocol
from infinitemesh.evaluate.synthetic import write_synthetic
from infinitemesh.evaluate.truth import Case, list_truth
from infinitemesh.stages.view_interpolation import NoInterpolation


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return tiny_pipeline().save_pretrained(tmp_path_factory.mktemp("bundle") / "tiny", dtype=None)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_synthetic(tmp_path_factory.mktemp("truth"))


@pytest.fixture(scope="module")
def protocols(tmp_path_factory):
    folder = tmp_path_factory.mktemp("protocols")
    photo = "photo: {projection: perspective, size: 64}"
    (folder / "chain.yaml").write_text(f"name: chain\nversion: 1\nabout: x\n{photo}\nvolume: {{resolution: 24}}\n")
    views = "views: {azimuths_deg: [90, 180], size: 64, frame: front_box, consistency: true}"
    (folder / "front.yaml").write_text(f"name: front\nversion: 1\nabout: x\n{photo}\n{views}\n")
    return folder


def test_settings_are_yaml_by_dotted_path():
    parsed = parse_overrides(["steps=20", "view_interpolation.trajectory=+15/-15", "a.b_c=[1, 2.5]", "x=false"])
    assert parsed == {"steps": 20, "view_interpolation.trajectory": "+15/-15", "a.b_c": [1, 2.5], "x": False}
    for wrong in ("steps", "=3", "a..b=1", "a b=1"):
        with pytest.raises(InputError, match=r"stage\.setting=value"):
            parse_overrides([wrong])
    with pytest.raises(InputError, match="twice"):
        parse_overrides(["a=1", "a=2"])


def test_settings_reach_the_parts_and_leave_the_given_pipeline_alone():
    pipeline = tiny_pipeline()
    changed = apply_overrides(
        pipeline,
        {
            "num_between": 1,
            "main_views.sampling.steps": 2,
            "view_interpolation.levels": 2,
            "surface.target_faces": 123,
        },
    )
    assert changed.view_interpolation.num_between == 1
    assert changed.view_interpolation.levels == 2
    assert changed.main_views.sampling.steps == 2
    assert changed.surface.target_faces == 123
    assert changed.reconstruction is pipeline.reconstruction
    assert pipeline.view_interpolation.levels == 1
    swapped = apply_overrides(pipeline, {"view_interpolation": "NoInterpolation"})
    assert isinstance(swapped.view_interpolation, NoInterpolation)


@pytest.mark.parametrize(
    ("setting", "advice"),
    [
        ("view_interpolation.num_betwen=1", "Did you mean `num_between`"),
        ("view_interpolatoin.num_between=1", "Did you mean `view_interpolation`"),
        ("view_interpolation=NoInterpolatoin", "Did you mean `NoInterpolation`"),
        ("main_views.sampling.stepps=3", "Did you mean `steps`"),
        ("main_views.sampling.steps=0", "at least 1 step"),
        ("surface=FlexiCubesSurface", "cannot be built from its name alone"),
    ],
)
def test_wrong_settings_give_advice(setting, advice):
    with pytest.raises(InputError, match=f"--set {setting.split('=')[0]}: .*{advice}"):
        apply_overrides(tiny_pipeline(), parse_overrides([setting]))


def test_the_command_measures_a_pipeline_and_its_views(tmp_path, saved, data, protocols):
    shared = {"data": data, "pipeline": str(saved), "objects": ["sphere"]}
    report = evaluate_command(
        str(protocols / "chain.yaml"), out=tmp_path / "chain", settings=["num_between=1"], name="tiny", **shared
    )
    assert "| tiny |" in report
    assert (tmp_path / "chain" / "made" / "sphere.glb").is_file()
    front = evaluate_command(str(protocols / "front.yaml"), out=tmp_path / "front", name="tiny", **shared)
    assert "Outline coherence" in front
    assert "Consistency PSNR" in front
    joined = tables_command([tmp_path / "chain", tmp_path / "front"], out=tmp_path / "all.md")
    assert joined == (tmp_path / "all.md").read_text()
    assert joined.count("## ") == 2


def test_other_settings_are_other_results(saved, data, protocols, tmp_path):
    protocol = load_protocol(protocols / "chain.yaml")
    systems = [make_system(protocol, pipeline=str(saved), settings=s) for s in ((), ("num_between=1",), ())]
    case = Case(list_truth(data, ["egg"])[0], protocol)
    first, second, again = (system.fingerprint(case) for system in systems)
    assert first == again != second


def test_a_setting_that_names_the_default_is_the_same_result(saved, data, protocols):
    protocol = load_protocol(protocols / "chain.yaml")
    case = Case(list_truth(data, ["egg"])[0], protocol)
    default, named = (
        make_system(protocol, pipeline=str(saved), settings=settings).fingerprint(case)
        for settings in ((), ("num_between=2", "trajectory=flat", "levels=1"))
    )
    assert default == named


def test_a_pipeline_that_cannot_take_part_says_so_before_any_work(tmp_path, data, protocols):
    pipeline = tiny_pipeline().with_stages(main_views=None)
    half = pipeline.save_pretrained(tmp_path / "half", dtype=None)
    for name in ("chain", "front"):
        with pytest.raises(CheckpointError, match=r"gives a photograph, but .* has no main_views"):
            evaluate_command(str(protocols / f"{name}.yaml"), data=data, pipeline=str(half), out=tmp_path / name)


def test_views_and_meshes_of_a_batch_are_those_of_each_alone(tmp_path, saved, data, protocols):
    for name in ("chain", "front"):
        results = [
            run_protocol(
                protocols / f"{name}.yaml",
                make_system(load_protocol(protocols / f"{name}.yaml"), pipeline=str(saved)),
                data,
                tmp_path / f"{name}-{size}",
                objects=["sphere", "egg"],
                options=RunOptions(batch_size=size, cache=tmp_path / "cache"),
            )
            for size in (1, 2)
        ]
        for alone, together in zip(results[0].records, results[1].records, strict=True):
            assert alone.ok
            assert alone.metrics == pytest.approx(together.metrics, abs=0.05)


def test_one_system_at_a_time_is_asked_for(tmp_path, data):
    with pytest.raises(InputError, match="nothing to measure"):
        evaluate_command("crm30", data=data, out=tmp_path)
    with pytest.raises(InputError, match="either a pipeline or a folder"):
        evaluate_command("crm30", data=data, out=tmp_path, pipeline="small", meshes=data)
    with pytest.raises(InputError, match="no settings"):
        evaluate_command("crm30", data=data, out=tmp_path, meshes=data, settings=["steps=3"])


def test_folder_names_are_plain():
    assert folder_name("+15/-15") == "+15-15"
    assert folder_name("../n = 1, levels 2") == "n-1-levels-2"
    assert folder_name("..") == folder_name("///") == "system"


def test_baselines_are_refused_where_a_protocol_has_none(tmp_path, saved, data):
    with pytest.raises(InputError, match="crm30 has no baselines; mainviews, orbit12 and ivi have"):
        evaluate_command("crm30", data=data, out=tmp_path / "out", pipeline=str(saved), with_baselines=True)
    assert not (tmp_path / "out").exists()


def test_one_command_measures_copies_of_the_photograph_and_of_the_true_front(tmp_path, data):
    report = evaluate_command("mainviews", data=data, out=tmp_path, with_baselines=True, objects=["egg"])
    for name in ("copy photograph", "mirror photograph (back)", "copy front", "mirror front (back)"):
        assert f"| {name} |" in report
    assert "| copy photograph |" in (tmp_path / "table.md").read_text()
