"""Ablations as files: rows that differ in settings, measured under one or more protocols, made into tables.

    infinitemesh evaluate recipe configs/evaluate/interpolation.yaml --data objects --out results/interpolation

`evaluate.readme` puts them into a Markdown file.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from infinitemesh.errors import InputError
from infinitemesh.evaluate.command import folder_name, make_system
from infinitemesh.evaluate.jobs import RunOptions
from infinitemesh.evaluate.protocol import Protocol, load_protocol
from infinitemesh.evaluate.results import Result, describe_failures
from infinitemesh.evaluate.runner import run_protocol, workers
from infinitemesh.evaluate.strict import build, read_yaml
from infinitemesh.evaluate.systems import System, ViewSystem
from infinitemesh.evaluate.tables import describe_protocol, markdown_table
from infinitemesh.evaluate.view_systems import baselines
from infinitemesh.files import write_text
from infinitemesh.hub import bundled_names
from infinitemesh.stages.base import OnProgress, silent


@dataclass(frozen=True, kw_only=True)
class RecipeRow:
    """One system: a pipeline with settings (`stage.setting: value`, as --set takes them) or a folder of meshes.

    `protocols` replaces the recipe's: a row of true views needs another protocol than one of a photograph. `needs` says
    how to get a pipeline or meshes that do not come with the package, and is told where they are missing.
    """

    name: str
    pipeline: str | None = None
    meshes: str | None = None
    settings: tuple[str, ...] = ()
    protocols: tuple[str, ...] | None = None
    needs: str | None = None


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
    objects: Sequence[str] | None = None,
    beside: Path | None = None,
    options: RunOptions = RunOptions(),
    on_progress: OnProgress = silent,
) -> list[Result]:
    """Measures every row under every protocol into out/PROTOCOL/ROW; `pipeline` and `objects` replace the recipe's.

    Rows that are finished are read, not made again; so are those of other recipes below `beside` (None: of this one
    alone) where the weights, settings and protocol are the same. What is measured of the truth is kept in out/cache
    unless the options name another place. Writes out/table.md. Raises InputError before any work where a row's files
    are missing.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    recipe = changed(recipe, pipeline=pipeline, objects=objects)
    check_needs(recipe)
    if options.cache is None:
        options = replace(options, cache=out / "cache")
    with workers(options) as pool:
        results = [
            run_protocol(
                protocol,
                system,
                data,
                folder,
                objects=recipe.objects,
                options=options,
                on_progress=on_progress,
                pool=pool,
                finished=sorted(path.parent for path in (beside or out).rglob("result.json")),
            )
            for protocol, system, folder in _systems(recipe, out, options)
        ]
    write_text(out / "table.md", recipe_table(recipe, results, options=options), overwrite=True)
    return results


def changed(recipe: Recipe, *, pipeline: str | None = None, objects: Sequence[str] | None = None) -> Recipe:
    """With another pipeline, or of some objects; None keeps the recipe's."""
    recipe = recipe if pipeline is None else replace(recipe, pipeline=pipeline)
    return recipe if objects is None else replace(recipe, objects=tuple(objects))


def check_needs(recipe: Recipe) -> None:
    """Raises InputError where a folder that a row names is not there, with the row's words on how to get it."""
    for row in recipe.rows:
        place = row.meshes or row.pipeline
        if place is None or place in bundled_names() or Path(place).is_dir() or (row.needs is None and not row.meshes):
            continue  # a hub id is looked for when it is opened
        how = f" {row.needs}" if row.needs else ""
        raise InputError(f"recipe {recipe.name}, row {row.name}: there is no folder {place}.{how}")


def _systems(recipe: Recipe, out: Path, options: RunOptions) -> Iterator[tuple[Protocol, System | ViewSystem, Path]]:
    """One after the other, so that one pipeline at a time is in memory."""
    for row, name in planned(recipe):
        protocol = load_protocol(name)
        source = None if row.meshes is not None else row.pipeline or recipe.pipeline
        meshes = None if row.meshes is None else Path(row.meshes)
        system = make_system(
            protocol, pipeline=source, meshes=meshes, settings=row.settings, name=row.name, options=options
        )
        yield protocol, system, result_folder(out, name, row.name)
    for name in recipe.protocols if recipe.baselines else ():
        protocol = load_protocol(name)
        for system in baselines(protocol.name):
            yield protocol, system, result_folder(out, name, system.name)


def planned(recipe: Recipe) -> list[tuple[RecipeRow, str]]:
    """Rows and protocols, in the order in which they are measured."""
    return [(row, protocol) for row in recipe.rows for protocol in row.protocols or recipe.protocols]


def result_folder(out: Path, protocol: str, row: str) -> Path:
    return out / Path(protocol).stem / folder_name(row)


def recipe_table(
    recipe: Recipe, results: Sequence[Result], *, intervals: bool = False, options: RunOptions = RunOptions()
) -> str:
    """The recipe's words and one table a protocol, with every row's command below."""
    parts = [f"### {recipe.name}\n", recipe.about + "\n"]
    for label in dict.fromkeys(result.protocol.label for result in results):
        group = [result for result in results if result.protocol.label == label]
        parts += [markdown_table(group, intervals=intervals), describe_protocol(group[0]) + "\n"]
        failures = [f"- {result.system}: {line}" for result in group for line in describe_failures(result)]
        parts += [*failures, ""] if failures else []
    parts += ["Each row alone:\n", "```console", *row_commands(recipe, options), "```", ""]
    return "\n".join(parts)


def row_commands(recipe: Recipe, options: RunOptions = RunOptions()) -> list[str]:
    """For every row and protocol the command that measures it by itself; at last those of what needs no network."""
    lines = [row_command(recipe, row, protocol, options) for row, protocol in planned(recipe)]
    for protocol in recipe.protocols if recipe.baselines else ():
        out = Path("results") / recipe.name / Path(protocol).stem
        words = ["infinitemesh", "evaluate", protocol, "--data", "DATA", "--baselines"]
        lines.append(shlex.join([*words, *_option_words(recipe, options), "--out", str(out)]))
    return lines


def row_command(recipe: Recipe, row: RecipeRow, protocol: str, options: RunOptions = RunOptions()) -> str:
    words = ["infinitemesh", "evaluate", protocol, "--data", "DATA"]
    words += ["--meshes", row.meshes] if row.meshes is not None else ["--pipeline", row.pipeline or recipe.pipeline]
    for setting in row.settings:
        words += ["--set", setting]
    words += ["--name", row.name, *_option_words(recipe, options)]
    return shlex.join([*words, "--out", str(result_folder(Path("results") / recipe.name, protocol, row.name))])


def _option_words(recipe: Recipe, options: RunOptions) -> list[str]:
    """What changes numbers besides the row."""
    words = ["--lpips", options.lpips_weights.name] if options.lpips_weights is not None else []
    words = ["--lpips", options.lpips] if options.lpips is not None and not words else words
    words += ["--seed", str(options.seed)] if options.seed else []
    return [*words, "--objects", *recipe.objects] if recipe.objects else words
