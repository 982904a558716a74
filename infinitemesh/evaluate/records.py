"""One object's result on disk: a JSON file that says what was measured, how it went, and what it depended on.

A record is used again when its key (protocol, truth, system, metrics) is the same, so an interrupted evaluation goes on
where it stopped and gives the same numbers.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from infinitemesh.errors import GenerationError, InputError
from infinitemesh.evaluate.systems import MissingMesh
from infinitemesh.files import write_json

RECORD_FORMAT = 1  # raise it when a metric's code changes its numbers

FAILURES: Mapping[str, str] = {
    "missing": "the system has no mesh of the object",
    "unreadable": "the result is no usable mesh (damaged, empty, not finite, without area)",
    "generation": "the system ran and made nothing usable",
    "crash": "the system or the measuring raised an error that it should not have",
    "truth": "the true object itself cannot be read; it has no score and is in no mean",
}


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why an object has no result of its own; `kind` is one of FAILURES."""

    kind: str
    message: str

    @staticmethod
    def of(error: Exception) -> "Failure":
        if isinstance(error, MissingMesh):
            kind = "missing"
        elif isinstance(error, GenerationError):
            kind = "generation"
        elif isinstance(error, InputError):
            kind = "unreadable"
        else:
            kind = "crash"
        return Failure(kind=kind, message=f"{error}" if kind != "crash" else f"{type(error).__name__}: {error}")


@dataclass(frozen=True, kw_only=True)
class Record:
    """One object. A failed one carries the metrics of a system that made nothing (`measure.measure_failure`)."""

    object: str
    key: str
    metrics: dict[str, float] = field(default_factory=dict)
    per_view: list[dict[str, float]] = field(default_factory=list)  # view protocols: one row a compared view
    failure: Failure | None = None
    notes: dict[str, str] = field(default_factory=dict)
    health: dict[str, Any] = field(default_factory=dict)
    alignment: dict[str, Any] = field(default_factory=dict)
    seconds: float | None = None  # of the system, not of the measuring
    peak_mib: float | None = None  # of the system: process memory added, or device memory

    @property
    def ok(self) -> bool:
        return self.failure is None

    @property
    def scored(self) -> bool:
        return self.failure is None or self.failure.kind != "truth"

    def numbers(self) -> dict[str, Any]:
        """Everything that must be equal in another run: all but time and memory."""
        return {key: value for key, value in asdict(self).items() if key not in ("seconds", "peak_mib")}


def record_key(parts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps([RECORD_FORMAT, *parts]).encode()).hexdigest()


def write_record(folder: Path, record: Record) -> Path:
    return write_json(record_path(folder, record.object), asdict(record), overwrite=True)


def read_record(folder: Path, name: str, key: str | None = None) -> Record | None:
    """The stored record, or None where there is none, where it cannot be read, or where its key is another."""
    path = record_path(folder, name)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        failure = values.pop("failure")
        record = Record(**values, failure=None if failure is None else Failure(**failure))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # written by another version or cut off: measured again
    return record if key is None or record.key == key else None


def record_path(folder: Path, name: str) -> Path:
    return folder / "objects" / f"{name}.json"
