"""Numbers that others published (`published.yaml`), by protocol, source and columns; not re-measured."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from infinitemesh.errors import InputError
from infinitemesh.evaluate.strict import build, read_yaml

FILE = Path(__file__).with_name("published.yaml")


@dataclass(frozen=True, kw_only=True)
class Row:
    """`source` is the paper that printed the numbers, which is not always the system's own."""

    system: str
    source: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows that one protocol made comparable; `protocol` is ours of the same kind."""

    protocol: str
    label: str
    about: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.values) != len(self.columns):
                raise InputError(
                    f"{self.label}: {row.system} has {len(row.values)} values, {len(self.columns)} columns"
                )


@cache
def published_groups() -> tuple[Group, ...]:
    return tuple(build(Group, entry, f"{FILE.name}, entry {k}") for k, entry in enumerate(read_yaml(FILE)))


def groups_of(protocol: str) -> list[Group]:
    return [group for group in published_groups() if group.protocol == protocol]
