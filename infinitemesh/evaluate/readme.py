"""The tables of a Markdown file, made of recipes: measured where they are not yet, and put between their markers.

    infinitemesh evaluate readme --data objects --out results --readme README.md     all that it has a place for
    infinitemesh evaluate readme configs/evaluate/interpolation.yaml --data objects --out results

A recipe's place is between `<!-- table NAME -->` and `<!-- end table NAME -->`; the rest of the file stays as it is.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from infinitemesh.errors import InputError
from infinitemesh.evaluate.jobs import RunOptions
from infinitemesh.evaluate.recipes import Recipe, changed, check_needs, load_recipe, recipe_table, run_recipe
from infinitemesh.files import write_text
from infinitemesh.stages.base import OnProgress, silent

RECIPES = Path("configs/evaluate")


def readme_command(
    recipes: Sequence[Path],
    *,
    data: Path | None,
    out: Path,
    readme: Path,
    pipeline: str | None = None,
    objects: Sequence[str] | None = None,
    options: RunOptions = RunOptions(),
    on_progress: OnProgress = silent,
) -> str:
    """Runs recipes into out/NAME and replaces their tables in `readme`, each as soon as it is measured.

    `recipes` are files, each of which needs its place, or folders, of which those with a place are run (none given:
    configs/evaluate). The same command again goes on after an interruption. `pipeline` and `objects` replace the
    recipes' own.
    """
    found = find_recipes(recipes or [RECIPES], readme)
    chosen = [changed(recipe, pipeline=pipeline, objects=objects) for recipe in found]
    for recipe in chosen:
        check_needs(recipe)
    if options.cache is None:
        options = replace(options, cache=out / "cache")
    for recipe in chosen:
        results = run_recipe(
            recipe,
            data,
            out / recipe.name,
            beside=out,
            options=options,
            on_progress=on_progress,
        )
        put_table(readme, recipe.name, recipe_table(recipe, results, options=options))
    return f"{readme}: {', '.join(recipe.name for recipe in chosen)}"


def find_recipes(paths: Sequence[Path], readme: Path) -> list[Recipe]:
    """In the order of their places in `readme`; raises InputError where a file or all of them have none."""
    text = _text(readme)
    files = {
        file: path.is_dir() for path in paths for file in (sorted(path.glob("*.yaml")) if path.is_dir() else [path])
    }
    found = []
    for file, optional in files.items():
        recipe = load_recipe(file)
        if f"<!-- table {recipe.name} -->" in text or not optional:
            found.append((place_of(text, recipe.name, readme)[0], recipe))
    if not found:
        names = ", ".join(load_recipe(file).name for file in files) or f"none: no .yaml in {', '.join(map(str, paths))}"
        raise InputError(
            f"{readme} has no place for a table: add <!-- table NAME --> and <!-- end table NAME --> around it; the "
            f"recipes are {names}"
        )
    return [recipe for _, recipe in sorted(found, key=lambda pair: pair[0])]


def put_table(readme: Path, name: str, table: str) -> None:
    """Writes the file anew, with `table` in the place of that name."""
    text = _text(readme)
    begin, end = place_of(text, name, readme)
    write_text(readme, f"{text[:begin]}\n{table}{text[end:]}", overwrite=True)


def place_of(text: str, name: str, readme: Path) -> tuple[int, int]:
    """Where the lines between a table's markers begin and end; both must be there once, in this order."""
    marks = [list(re.finditer(re.escape(f"<!-- {word} {name} -->"), text)) for word in ("table", "end table")]
    if [len(found) for found in marks] != [1, 1] or marks[0][0].end() > marks[1][0].start():
        raise InputError(
            f"{readme} has no place for the table: it needs one line <!-- table {name} --> and below it one line "
            f"<!-- end table {name} -->"
        )
    return marks[0][0].end(), marks[1][0].start()


def _text(readme: Path) -> str:
    try:
        return readme.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{readme} cannot be read: {error}") from error
