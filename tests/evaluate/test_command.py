"""Settings by dotted paths, the command, recipes and the tables of a README, on the tiny pipeline."""

import pytest
from tiny import tiny_pipeline

from infinitemesh.errors import InputError
from infinitemesh.evaluate.command import evaluate_command, folder_name, make_system, tables_command
from infinitemesh.evaluate.jobs import RunOptions
from infinitemesh.evaluate.overrides import apply_overrides, parse_overrides
from infinitemesh.evaluate.protocol import load_protocol
from infinitemesh.evaluate.recipes import Recipe, RecipeRow, readme_tables, run_recipe
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


def test_one_system_at_a_time_is_asked_for(tmp_path, data):
    with pytest.raises(InputError, match="nothing to measure"):
        evaluate_command("crm30", data=data, out=tmp_path)
    with pytest.raises(InputError, match="either a pipeline or a folder"):
        evaluate_command("crm30", data=data, out=tmp_path, pipeline="small", meshes=data)
    with pytest.raises(InputError, match="no settings"):
        evaluate_command("crm30", data=data, out=tmp_path, meshes=data, settings=["steps=3"])


def test_a_recipe_fills_a_readme(tmp_path, saved, data, protocols):
    chain = str(protocols / "chain.yaml")
    recipe = Recipe(
        name="small",
        about="Two rows.",
        protocols=(chain,),
        rows=(
            RecipeRow(name="without", pipeline=str(saved), settings=("view_interpolation=NoInterpolation",)),
            RecipeRow(name="with", pipeline=str(saved), settings=("num_between=1",)),
        ),
        objects=("sphere", "egg"),
    )
    results = run_recipe(recipe, data, tmp_path / "results" / "small", options=RunOptions(cache=tmp_path / "cache"))
    assert [result.system for result in results] == ["without", "with"]
    path = tmp_path / "small.yaml"
    rows = "".join(
        f"  - {{name: {row.name}, pipeline: {row.pipeline}, settings: {list(row.settings)}}}\n" for row in recipe.rows
    )
    path.write_text(
        f"name: small\nabout: Two rows.\nprotocols: [{chain}]\nobjects: [sphere, egg]\nrows:\n{rows}", encoding="utf-8"
    )
    readme = tmp_path / "README.md"
    readme.write_text("# Ours\n\n<!-- table small -->\nold\n<!-- end table small -->\n\nThe end\n")
    text = readme_tables(readme, [path], tmp_path / "results")
    assert "old" not in text
    assert text.startswith("# Ours\n")
    assert text.endswith("<!-- end table small -->\n\nThe end\n")
    assert text.index("| without |") < text.index("| with |")
    assert "--set view_interpolation=NoInterpolation" in text
    assert readme_tables(readme, [path], tmp_path / "results") == text
    with pytest.raises(InputError, match="no place for the table"):
        (tmp_path / "OTHER.md").write_text("nothing")
        readme_tables(tmp_path / "OTHER.md", [path], tmp_path / "results")


def test_folder_names_are_plain():
    assert folder_name("+15/-15") == "+15-15"
    assert folder_name("../n = 1, levels 2") == "n-1-levels-2"
    assert folder_name("..") == folder_name("///") == "system"


def test_recipe_rows_need_names_of_their_own():
    with pytest.raises(InputError, match="name of its own"):
        Recipe(name="x", about="x", protocols=("crm30",), rows=(RecipeRow(name="a b"), RecipeRow(name="a-b")))
