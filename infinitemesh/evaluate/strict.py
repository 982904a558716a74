"""YAML into frozen dataclasses, strictly: an unknown key or a value of the wrong kind is an error that gives advice."""

import dataclasses
import types
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from infinitemesh.errors import InputError

T = TypeVar("T")


def read_yaml(path: str | Path) -> Any:
    path = Path(path)
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read as YAML: {error}") from error


def build(cls: type[T], values: Any, where: str) -> T:
    """An instance of the dataclass `cls` from plain values; `where` names the place in messages."""
    if not isinstance(values, Mapping):
        raise InputError(f"{where}: expected the fields of {cls.__name__}, got {values!r}")
    hints = get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            close = get_close_matches(str(key), fields, n=1)
            advice = f"Did you mean `{close[0]}`?" if close else f"It has {', '.join(fields)}."
            raise InputError(f"{where}: {cls.__name__} has no field `{key}`. {advice}")
    required = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing := [name for name in required if name not in values]:
        raise InputError(f"{where}: {cls.__name__} needs {', '.join(missing)}")
    return cls(**{key: _value(hints[key], value, f"{where}: {key}") for key, value in values.items()})


def _value(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _value(next(a for a in arguments if a is not type(None)), value, where)
    if dataclasses.is_dataclass(kind):
        return build(kind, value, where)  # type: ignore[arg-type]
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_value(arguments[0], item, where) for item in value)
    if origin is Literal and value in arguments:
        return value
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        return {str(key): _value(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind is Any or (
        isinstance(kind, type) and isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    ):
        return value
    raise InputError(f"{where}: {value!r} is not of the kind {getattr(kind, '__name__', kind)}")
