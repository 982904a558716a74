"""The training command is strict: what it does not know it names, and it says what was probably meant."""

import json
from pathlib import Path

import pytest
import yaml

from infinitemesh.cli import main
from infinitemesh.errors import InputError
from infinitemesh.train.command import train_command
from infinitemesh.train.fill_cache import main as fill_cache
from infinitemesh.train.loop import LoopConfig
from infinitemesh.train.recipes import Recipe, ReconstructionRecipe, smoke_loop
from infinitemesh.train.view_groups import GroupMaker

CONFIGS = Path(__file__).parents[2] / "configs" / "train"
POINTS, VIEWS = CONFIGS / "reconstruction_points.yaml", CONFIGS / "views_new_groups.yaml"


def changed(tmp_path: Path, *where: str, value: object) -> str:
    """The configuration with one more value."""
    config = yaml.safe_load(POINTS.read_text())
    inner = config
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    (tmp_path / "changed.yaml").write_text(yaml.safe_dump(config))
    return str(tmp_path / "changed.yaml")


@pytest.mark.parametrize(
    ("where", "meant"),
    [
        (("smok",), "smoke"),
        (("loop", "warmup"), "loop.warmup_steps"),
        (("loop", "learningrate"), "loop.learning_rate"),
        (("recipe", "init_args", "options", "stge"), "options.stage"),
        (("recipe", "init_args", "options", "data", "point"), "options.data.points"),
        (("recipe", "init_args", "points", "surface_sample"), "points.surface_samples"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_one(where, meant, tmp_path):
    config = changed(tmp_path, *where, value=3)
    with pytest.raises(InputError, match=rf"(?s){where[-1]}.*Did you mean `{meant}`\?"):
        train_command(["--config", config, "--packs", "[x]"])


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("--loop.warmup", "loop.warmup_steps"),  # no abbreviations: a later option could change their meaning
        ("--recipe.options.data.object", "options.data.objects"),
        ("--otu", "out"),
    ],
)
def test_an_unknown_option_too(option, meant):
    with pytest.raises(InputError, match=rf"(?s){option.split('.')[-1]}.*Did you mean `{meant}`\?"):
        train_command(["--config", str(POINTS), "--packs", "[x]", option, "3"])


@pytest.mark.parametrize(
    ("where", "value", "says"),
    [
        (("recipe", "init_args", "options", "stage"), "pionts", "'points', 'surface'.*pionts"),
        (("recipe", "class_path"), "infinitemesh.train.recipes.NoSuchRecipe", "NoSuchRecipe"),
        (("recipe", "class_path"), "infinitemesh.train.recipes.Ingredients", "Recipe"),
        (("loop", "minutes"), "soon", "loop.minutes.*soon"),
        (("loop", "steps"), 3, "exactly one of `steps` and `minutes`"),
    ],
)
def test_a_value_of_the_wrong_kind_says_where_it_stands(where, value, says, tmp_path):
    with pytest.raises(InputError, match=rf"(?s){says}"):
        train_command(["--config", changed(tmp_path, *where, value=value), "--packs", "[x]"])


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(InputError, match="required: packs"):
        train_command(["--config", str(POINTS)])
    with pytest.raises(InputError, match=r"gone\.yaml"):
        train_command(["--config", "gone.yaml", "--packs", "[x]"])
    with pytest.raises(InputError, match="nowhere"):
        train_command(["--config", str(POINTS), "--packs", f"[{tmp_path / 'nowhere'}]"])


def test_the_command_line_hands_its_words_on(capsys):
    assert main(["train", "--config", str(POINTS), "--packs", "[x]", "--loop.step", "3"]) == 1
    assert "Did you mean `loop.steps`?" in capsys.readouterr().err


def test_smoke_takes_seconds_whatever_the_recipe_asks_for():
    recipe: Recipe = ReconstructionRecipe()
    small = recipe.smoke()
    assert isinstance(small, ReconstructionRecipe)
    assert small.options.preset == "tiny" and small.options.data.objects <= 2 and small.points.points <= 512
    loop = smoke_loop(LoopConfig(minutes=600.0, compile=True))
    assert (loop.steps, loop.minutes, loop.precision, loop.compile) == (3, None, "no", False)


def test_options_on_the_command_line_win_over_the_file(pack_folder, tmp_path):
    words = ["--config", str(POINTS), "--packs", f"[{pack_folder}]", "--smoke", "true", "--loop.seed", "7"]
    assert train_command([*words, "--out", str(tmp_path / "run")]).step == 3
    loop = json.loads((tmp_path / "run" / "config.json").read_text())["loop"]
    assert loop["seed"] == 7
    assert loop["learning_rate"] == float(yaml.safe_load(POINTS.read_text())["loop"]["learning_rate"])


def test_a_cache_filled_beforehand_is_the_one_that_is_trained_on(pack_folder, tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    words = ["--config", str(VIEWS), "--packs", f"[{pack_folder}]", "--smoke", "true"]
    words += ["--recipe.init_args.options.cache.folder", str(folder)]
    fill_cache([*words, "--part", "1/2"])
    assert len(list(folder.iterdir())) == 1
    fill_cache(["--part", "0/2", *words])
    made = []
    make = GroupMaker.make
    monkeypatch.setattr(GroupMaker, "make", lambda self, kind, *rest: made.append(kind) or make(self, kind, *rest))
    assert train_command([*words, "--out", str(tmp_path / "run")]).step == 3
    assert sorted(made) == ["between"] * 2 + ["main"] * 2, "one batch of each kind a step after the first, none before"


@pytest.mark.parametrize("share", ["2/2", "1", "-1/2"])
def test_a_part_is_one_of_so_many(share, capsys):
    with pytest.raises(SystemExit):
        fill_cache([f"--part={share}"])
    assert "0/4 to 3/4" in capsys.readouterr().err


def test_only_views_have_a_cache_to_fill(pack_folder):
    with pytest.raises(InputError, match="ReconstructionRecipe keeps no view cache"):
        fill_cache(["--config", str(POINTS), "--packs", f"[{pack_folder}]", "--smoke", "true"])
