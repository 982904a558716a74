"""Every recipe of configs/evaluate on tiny networks and objects, and the tables of a README."""

import shlex
from pathlib import Path

import pytest
import yaml
from tiny import tiny_pipeline

from infinitemesh.cli import main
from infinitemesh.errors import InputError
from infinitemesh.evaluate.jobs import RunOptions
from infinitemesh.evaluate.protocol import FOLDER
from infinitemesh.evaluate.readme import find_recipes, readme_command
from infinitemesh.evaluate.recipes import Recipe, RecipeRow, load_recipe, run_recipe
from infinitemesh.evaluate.synthetic import write_synthetic

CONFIGS = Path(__file__).parents[2] / "configs" / "evaluate"
RECIPES = sorted(CONFIGS.glob("*.yaml"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return tiny_pipeline().save_pretrained(tmp_path_factory.mktemp("bundle") / "tiny", dtype=None)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_synthetic(tmp_path_factory.mktemp("truth"))


@pytest.fixture(scope="module")
def small_protocols(tmp_path_factory):
    """The finished protocols at sizes that take no time; a file's stem names the protocol's folder as its name does."""
    folder = tmp_path_factory.mktemp("protocols")
    for path in FOLDER.glob("*.yaml"):
        values = yaml.safe_load(path.read_text())
        for rig in ("photo", "given", "views"):
            if rig in values:
                values[rig]["size"] = 64
        if "images" in values:
            values["images"] |= {"size": 32, "azimuths_deg": [0, 120], "elevations_deg": [0]}
        if "surface" in values and "samples" in values["surface"]:
            values["surface"]["samples"] = 500
        if "volume" in values:
            values["volume"]["resolution"] = 16
        (folder / path.name).write_text(yaml.safe_dump(values))
    return folder


def shrunken(path: Path, folder: Path, protocols: Path) -> Path:
    """The recipe with the small protocols and one object."""
    values = yaml.safe_load(path.read_text())
    for part in (values, *values["rows"]):
        if "protocols" in part:
            part["protocols"] = [str(protocols / f"{name}.yaml") for name in part["protocols"]]
    values["objects"] = ["sphere"]
    target = folder / path.name
    target.write_text(yaml.safe_dump(values, sort_keys=False))
    return target


def slow_ones_marked(paths: list[Path]) -> list:
    """Many steps, and the baselines of whole orbits."""
    slow = ("sampling", "generated_views")
    return [pytest.param(p, id=p.stem, marks=[pytest.mark.slow] if p.stem in slow else []) for p in paths]


@pytest.mark.parametrize("path", slow_ones_marked(RECIPES))
def test_every_recipe_runs_from_end_to_end(tmp_path, monkeypatch, saved, data, small_protocols, path):
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    for row in recipe.rows:
        if row.pipeline is not None:
            assert row.needs is not None, "weights that the package does not bring need words on how to get them"
            Path(row.pipeline).parent.mkdir(exist_ok=True)
            tiny_pipeline().save_pretrained(row.pipeline, dtype=None)
    results = run_recipe(shrunken(path, tmp_path, small_protocols), data, tmp_path / "out", pipeline=str(saved))
    assert len(results) >= len(recipe.rows)
    for result in results:
        assert not result.failures, result.failures
        assert result.summaries
    if not any(row.pipeline for row in recipe.rows):  # the same weights here
        scores = {(r.protocol.name, *r.records[0].metrics.values()) for r in results}
        assert len(scores) == len(results), "rows differ where their settings do"
    table = (tmp_path / "out" / "table.md").read_text()
    commands = [line for line in table.splitlines() if line.startswith("infinitemesh evaluate ")]
    for row in recipe.rows:
        assert f"| {row.name} |" in table
        assert sum(f"--name {shlex.quote(row.name)}" in line for line in commands) == len(
            row.protocols or recipe.protocols
        )


def test_what_a_recipe_needs_is_told_before_any_work(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError, match=r"fusion, row joint: there is no folder runs/fusion-joint\. Train it.*assemble"
    ):
        run_recipe(CONFIGS / "fusion.yaml", data, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    finished = Recipe(name="x", about="x", protocols=("crm30",), rows=(RecipeRow(name="a", meshes="nowhere"),))
    with pytest.raises(InputError, match="row a: there is no folder nowhere"):
        run_recipe(finished, data, tmp_path / "out")


def test_one_command_makes_the_tables_of_a_readme(tmp_path, capsys, saved, data, small_protocols):
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    for name in ("true_views", "texturing", "trajectories"):
        shrunken(CONFIGS / f"{name}.yaml", recipes, small_protocols)
    readme = tmp_path / "README.md"
    places = "".join(f"<!-- table {n} -->\nold\n<!-- end table {n} -->\n\n" for n in ("texturing", "true_views"))
    readme.write_text(f"# Ours\n\n{places}The end\n")
    words = ["evaluate", "readme", str(recipes), "--data", str(data), "--out", str(tmp_path / "results")]
    words += ["--readme", str(readme), "--pipeline", str(saved), "--objects", "egg"]
    assert main(words) == 0
    assert "README.md: texturing, true_views" in capsys.readouterr().out
    text = readme.read_text()
    assert "old" not in text
    assert text.startswith("# Ours\n\n<!-- table texturing -->\n### texturing\n")
    assert text.endswith("<!-- end table true_views -->\n\nThe end\n")
    assert text.index("| field alone |") < text.index("| from the photograph |") < text.index("| 4 true views |")
    assert f"--pipeline {saved} --set texturing.project_views=false --name 'field alone'" in text
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "results").rglob("objects/*.json")}
    assert len(written) == 6
    assert {path.stem for path in written} == {"egg"}
    assert main(words) == 0
    assert readme.read_text() == text
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_a_recipe_leaves_no_option_unused(tmp_path, capsys, data):
    words = ["evaluate", "recipe", str(CONFIGS / "texturing.yaml"), "--data", str(data), "--out", str(tmp_path / "out")]
    for option in (["--set", "steps=3"], ["--name", "x"], ["--meshes", str(data)], ["--baselines"], ["--ray"]):
        assert main([*words, *option]) == 1
        assert "change its file" in capsys.readouterr().err


def test_places_that_are_missing_or_broken_are_named(tmp_path, data):
    readme = tmp_path / "README.md"
    readme.write_text("nothing")
    with pytest.raises(InputError, match=r"no place for a table.*interpolation"):
        find_recipes([CONFIGS], readme)
    with pytest.raises(InputError, match="needs one line <!-- table texturing -->"):
        readme_command([CONFIGS / "texturing.yaml"], data=data, out=tmp_path, readme=readme)
    readme.write_text("<!-- end table texturing -->\n<!-- table texturing -->\n")
    with pytest.raises(InputError, match="below it one line <!-- end table texturing -->"):
        find_recipes([CONFIGS], readme)
    with pytest.raises(InputError, match="cannot be read"):
        find_recipes([CONFIGS], tmp_path / "absent.md")


def test_what_another_recipe_measured_is_taken_over(tmp_path, saved, data, small_protocols):
    """Where weights, settings in force and protocol are the same, whatever the rows are called."""
    protocol = str(small_protocols / "crm30.yaml")
    rows = {"a": RecipeRow(name="as it is"), "b": RecipeRow(name="two", settings=("num_between=2",))}
    rows["c"] = RecipeRow(name="one", settings=("num_between=1",))
    records = {}
    for name, row in rows.items():
        recipe = Recipe(
            name=name, about="x", protocols=(protocol,), rows=(row,), pipeline=str(saved), objects=("sphere",)
        )
        (result,) = run_recipe(recipe, data, tmp_path / name, beside=tmp_path)
        assert result.system == row.name
        (records[name],) = result.records
    assert records["a"] == records["b"]  # with its seconds: it was not made again
    assert records["c"].key != records["a"].key
    folders = [tmp_path / "a" / "crm30" / "as-it-is", tmp_path / "b" / "crm30" / "two"]
    for part in ("made/sphere.glb", "pictures/sphere.png", "objects/sphere.json"):
        assert (folders[0] / part).read_bytes() == (folders[1] / part).read_bytes()


@pytest.mark.slow
def test_two_workers_give_the_same_table_of_a_recipe(tmp_path, saved, data, small_protocols):
    recipe = shrunken(CONFIGS / "texturing.yaml", tmp_path, small_protocols)
    options = [RunOptions(), RunOptions(workers=2)]
    one, two = (run_recipe(recipe, data, tmp_path / f"{o.workers}", pipeline=str(saved), options=o) for o in options)
    assert [r.records[0].numbers() for r in one] == [r.records[0].numbers() for r in two]


def test_recipe_rows_need_names_of_their_own():
    with pytest.raises(InputError, match="name of its own"):
        Recipe(name="x", about="x", protocols=("crm30",), rows=(RecipeRow(name="a b"), RecipeRow(name="a-b")))
