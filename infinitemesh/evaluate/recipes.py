"""Ablations as files: rows that differ in settings, measured under one or more protocols, made into tables.

    infinitemesh evaluate recipe configs/evaluate/interpolation.yaml --data objects --out results/interpolation

`readme_tables` writes the tables of finished recipes between markers of a Markdown file, with the command of each row.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from infinitemesh.errors import InputError
from infinitemesh.evaluate.command import folder_name, make_system
from infinitemesh.evaluate.jobs import RunOptions
from infinitemesh.evaluate.protocol import load_protocol
from infinitemesh.evaluate.results import Result, describe_failures, read_result
from infinitemesh.evaluate.runner import run_protocol
from infinitemesh.evaluate.strict import build, read_yaml
from infinitemesh.evaluate.tables import describe_protocol, markdown_table
from infinitemesh.evaluate.view_systems import baselines
from infinitemesh.files import write_text
from infinitemesh.stages.base import OnProgress, silent


@dataclass(frozen=True, kw_only=True)
class RecipeRow:
    """One system: a pipeline with settings (`stage.setting: value`, as --set takes them) or a folder of meshes.

    `protocols` replaces the recipe's: a row of true views needs another protocol than one of a photograph.
    """

    name: str
    pipeline: str | None = None
    meshes: str | None = None
    settings: tuple[str, ...] = ()
    protocols: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a table shows. `pipeline` is that of every row that names neither a pipeline nor meshes."""

    name: str
    about: str
    protocols: tuple[str, ...]
    rows: tuple[RecipeRow, ...]
    pipeline: str = "small"
    baselines: bool = False
    objects: tuple[str, ...] | None = field(default=None)

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        if len({folder_name(name) for name in names}) < len(names):
            raise InputError(f"recipe {self.name}: every row needs a name of its own, got {', '.join(names)}")


def load_recipe(path: str | Path) -> Recipe:
    return build(Recipe, read_yaml(path), str(path))


def run_recipe(
    recipe: Recipe | str | Path,
    data: Path | None,
    out: Path,
    *,
    pipeline: str | None = None,
    options: RunOptions = RunOptions(),
    on_progress: OnProgress = silent,
) -> list[Result]:
    """Measures every row under every protocol into out/PROTOCOL/ROW; `pipeline` replaces the recipe's.

    Rows that are finished are read, not made again. Writes out/table.md.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    results = []
    for row, protocol_name in planned(recipe):
        protocol = load_protocol(protocol_name)
        source = None if row.meshes is not None else row.pipeline or pipeline or recipe.pipeline
        meshes = None if row.meshes is None else Path(row.meshes)
        system = make_system(
            protocol, pipeline=source, meshes=meshes, settings=row.settings, name=row.name, options=options
        )
        folder = result_folder(out, protocol_name, row.name)
        results.append(
            run_protocol(
                protocol, system, data, folder, objects=recipe.objects, options=options, on_progress=on_progress
            )
        )
    for protocol_name in recipe.protocols if recipe.baselines else ():
        for system in baselines(protocol_name):
            folder = result_folder(out, protocol_name, system.name)
            results.append(
                run_protocol(
                    protocol_name,
                    system,
                    data,
                    folder,
                    objects=recipe.objects,
                    options=options,
                    on_progress=on_progress,
                )
            )
    write_text(out / "table.md", recipe_table(recipe, results), overwrite=True)
    return results


def planned(recipe: Recipe) -> list[tuple[RecipeRow, str]]:
    """Rows and protocols, in the order in which they are measured."""
    return [(row, protocol) for row in recipe.rows for protocol in row.protocols or recipe.protocols]


def result_folder(out: Path, protocol: str, row: str) -> Path:
    return out / Path(protocol).stem / folder_name(row)


def recipe_table(recipe: Recipe, results: Sequence[Result], *, intervals: bool = False) -> str:
    """The recipe's words and one table a protocol, with every row's command below."""
    parts = [f"### {recipe.name}\n", recipe.about + "\n"]
    for label in dict.fromkeys(result.protocol.label for result in results):
        group = [result for result in results if result.protocol.label == label]
        parts += [markdown_table(group, intervals=intervals), describe_protocol(group[0]) + "\n"]
        parts += [f"- {result.system}: {line}" for result in group for line in describe_failures(result)]
    parts += ["Each row alone:\n", "```sh", *(row_command(recipe, row, p) for row, p in planned(recipe)), "```", ""]
    return "\n".join(parts)


def row_command(recipe: Recipe, row: RecipeRow, protocol: str) -> str:
    """The command that measures one row by itself."""
    words = ["infinitemesh", "evaluate", protocol, "--data", "DATA"]
    words += ["--meshes", row.meshes] if row.meshes is not None else ["--pipeline", row.pipeline or recipe.pipeline]
    for setting in row.settings:
        words += ["--set", setting]
    return shlex.join([*words, "--out", str(result_folder(Path("results") / recipe.name, protocol, row.name))])


def readme_tables(readme: Path, recipes: Sequence[Path], results: Path) -> str:
    """Puts the tables of finished recipes (results/RECIPE/...) into `readme` and returns its new text.

    A recipe's table goes between `<!-- table NAME -->` and `<!-- end table NAME -->`; both must be there.
    """
    text = readme.read_text(encoding="utf-8")
    for path in recipes:
        recipe = load_recipe(path)
        begin, end = f"<!-- table {recipe.name} -->", f"<!-- end table {recipe.name} -->"
        if begin not in text or end not in text.split(begin, 1)[1]:
            raise InputError(f"{readme} has no place for the table: add the lines {begin} and {end}")
        folders = [result_folder(results / recipe.name, protocol, row.name) for row, protocol in planned(recipe)]
        if recipe.baselines:
            folders += [
                result_folder(results / recipe.name, p, system.name)
                for p in recipe.protocols
                for system in baselines(p)
            ]
        table = recipe_table(recipe, [read_result(folder) for folder in folders])
        before, rest = text.split(begin, 1)
        text = f"{before}{begin}\n{table}{end}{rest.split(end, 1)[1]}"
    write_text(readme, text, overwrite=True)
    return text
