"""`--set view_interpolation.num_between=3`: settings of a built pipeline changed by dotted paths.

A path without a dot is a common knob (`InfiniteMeshPipeline.with_settings`: steps, guidance, num_between, trajectory,
levels, faces, ...), or a stage that takes the name of a finished class without networks:
`view_interpolation=NoInterpolation`. With dots it names a stage, then constructor arguments of the parts inside it:
`main_views.sampling.steps=20`.
"""

import inspect
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import yaml
from torch import nn

from infinitemesh.errors import InputError
from infinitemesh.messages import nearest

if TYPE_CHECKING:
    from infinitemesh.pipeline import InfiniteMeshPipeline


def parse_overrides(settings: Sequence[str]) -> dict[str, Any]:
    """`["a.b=3"]` -> `{"a.b": 3}`; values are YAML, so 3 is a number, [1, 2] a list and words need no quotes."""
    parsed: dict[str, Any] = {}
    for setting in settings:
        path, equals, text = setting.partition("=")
        path = path.strip()
        if not equals or not all(part.isidentifier() for part in path.split(".")):
            raise InputError(f"--set takes stage.setting=value, got {setting!r}")
        if path in parsed:
            raise InputError(f"--set names {path} twice")
        try:
            parsed[path] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InputError(f"--set {path}: {text!r} is no value ({error})") from error
    return parsed


def apply_overrides(pipeline: "InfiniteMeshPipeline", overrides: Mapping[str, Any]) -> "InfiniteMeshPipeline":
    """A pipeline with the settings changed in their order; unknown ones raise an InputError that names the nearest."""
    from infinitemesh.pipeline import STAGES

    knobs = [name for name in inspect.signature(pipeline.with_settings).parameters]
    for path, value in overrides.items():
        first, *names = path.split(".")
        if not names and first in knobs:
            pipeline = pipeline.with_settings(**{first: _tuples(value)})
        elif first in STAGES:
            part = _changed(getattr(pipeline, first), names, value, path) if names else _named(value, path)
            pipeline = pipeline.with_stages(**{first: part})
        else:
            raise InputError(f"--set {path}: a pipeline has no `{first}`{nearest(first, [*STAGES, *knobs])}")
    return pipeline


def _changed(part: Any, names: Sequence[str], value: Any, path: str) -> Any:
    """The part rebuilt with one setting changed, however deep."""
    from infinitemesh.bundle import arguments, rebuilt  # imports diffusers, which workers that only measure do without

    if part is None:
        raise InputError(f"--set {path}: the pipeline lacks that stage")
    first, *deeper = names
    try:
        have = arguments(part)
        if first not in have:
            raise InputError(f"{type(part).__name__} has no setting `{first}`{nearest(first, list(have))}")
        return rebuilt(part, **{first: _changed(have[first], deeper, value, path) if deeper else _tuples(value)})
    except (InputError, TypeError, ValueError) as error:
        message = str(error)
        raise InputError(message if message.startswith("--set") else f"--set {path}: {message}") from error


def _named(name: Any, path: str) -> nn.Module:
    from infinitemesh.bundle import PARTS

    if name not in PARTS:
        raise InputError(f"--set {path}: there is no finished part `{name}`{nearest(str(name), list(PARTS))}")
    try:
        return getattr(import_module(PARTS[name]), name)()
    except TypeError as error:
        raise InputError(f"--set {path}: {name} cannot be built from its name alone ({error})") from error


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
