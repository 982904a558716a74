"""What the steps within a stage take: `with step("pack"):` costs next to nothing until `recording()` listens.

`infinitemesh bench --profile` prints the table. A step waits for the GPU before it starts and after it ends, so its
time is its own; a run that is recorded is therefore slower than one that is not.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter

import torch

Path = tuple[str, ...]  # a step within a step within ...


class Steps:
    """Seconds of every step of one thread, by its path, in the order of their first starts."""

    def __init__(self):
        self.seconds: dict[Path, float] = {}
        self._path: Path = ()

    @contextmanager
    def measured(self, name: str) -> Iterator[None]:
        outer, self._path = self._path, (*self._path, name)
        path = self._path
        self.seconds.setdefault(path, 0.0)
        start = _now()
        try:
            yield
        finally:
            self.seconds[path] += _now() - start
            self._path = outer

    def total(self) -> float:
        return sum(seconds for path, seconds in self.seconds.items() if len(path) == 1)

    def rows(self) -> list[tuple[Path, float]]:
        """Every step followed by its own steps, and what these leave of it as `rest`."""
        return self._rows_within(())

    def _rows_within(self, outer: Path) -> list[tuple[Path, float]]:
        rows = []
        inner = [path for path in self.seconds if path[:-1] == outer]
        for path in inner:
            rows += [(path, self.seconds[path]), *self._rows_within(path)]
        if inner and outer:
            rows.append(((*outer, "rest"), self.seconds[outer] - sum(self.seconds[path] for path in inner)))
        return rows


_listening: ContextVar[Steps | None] = ContextVar("steps", default=None)  # a thread has its own


@contextmanager
def recording() -> Iterator[Steps]:
    """Listens to the steps of this thread."""
    steps = Steps()
    token = _listening.set(steps)
    try:
        yield steps
    finally:
        _listening.reset(token)


def is_recording() -> bool:
    """Whether somebody listens: then work is done in this thread, one object after another."""
    return _listening.get() is not None


@contextmanager
def step(name: str) -> Iterator[None]:
    """Names what is done within, or what the decorated function does."""
    steps = _listening.get()
    if steps is None:
        yield
    else:
        with steps.measured(name):
            yield


def _now() -> float:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return perf_counter()
