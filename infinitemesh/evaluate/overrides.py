"""`--set interpolation.num_between=3`: settings of a built pipeline changed by dotted paths.

A path names a stage, then settings of the parts inside it (constructor arguments). A stage itself takes the name of a
finished class that needs no network: `interpolation=NoInterpolation`.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, TypeVar

import yaml

from infinitemesh.errors import InputError

Whole = TypeVar("Whole")


def parse_overrides(settings: Sequence[str]) -> dict[str, Any]:
    """`["a.b=3"]` -> `{"a.b": 3}`; values are YAML, so 3 is a number, [1, 2] a list and none of it needs quotes."""
    parsed = {}
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path.strip() or not all(part.isidentifier() for part in path.strip().split(".")):
            raise InputError(f"--set takes stage.setting=value, got {setting!r}")
        try:
            parsed[path.strip()] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InputError(f"--set {path}: {text!r} is no value ({error})") from error
    return parsed


def apply_overrides(pipeline: Whole, overrides: Mapping[str, Any]) -> Whole:
    """A pipeline with the settings changed; unknown ones raise an InputError that names the nearest."""
    from infinitemesh.bundle import nearest

    changes: dict[str, Any] = {}
    for path, value in overrides.items():
        stage, _, rest = path.partition(".")
        stages = dict(pipeline.named_children())  # type: ignore[attr-defined]
        if stage not in stages:
            raise InputError(f"--set {path}: a pipeline has no stage `{stage}`{nearest(stage, stages)}")
        part = changes.get(stage, stages[stage])
        changes[stage] = _changed(part, rest.split("."), value, path) if rest else _named(value, path)
    return _replaced(pipeline, changes)


def _changed(part: Any, names: list[str], value: Any, path: str) -> Any:
    """The part rebuilt with one setting changed, however deep."""
    from infinitemesh.bundle import arguments, rebuilt

    first, *deeper = names
    try:
        if deeper:
            have = arguments(part)
            value = _changed(have[first], deeper, value, path) if first in have else value
        elif isinstance(value, list):
            value = tuple(tuple(item) if isinstance(item, list) else item for item in value)
        return rebuilt(part, **{first: value})
    except (InputError, TypeError, ValueError) as error:
        raise InputError(f"--set {path}: {error}") from error


def _named(name: Any, path: str) -> Any:
    from infinitemesh.bundle import PARTS, nearest

    if name not in PARTS:
        raise InputError(f"--set {path}: there is no finished part `{name}`{nearest(str(name), PARTS)}")
    try:
        return getattr(import_module(PARTS[name]), name)()
    except TypeError as error:
        raise InputError(f"--set {path}: {name} cannot be built from its name alone ({error})") from error


def _replaced(pipeline: Whole, changes: Mapping[str, Any]) -> Whole:
    for name, part in changes.items():
        setattr(pipeline, name, part)
    return pipeline
