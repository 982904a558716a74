"""What every stage is: an nn.Module with one hole, built from finished parts, that reports its progress."""

from abc import ABC
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from torch import nn

Item = TypeVar("Item")
OnProgress = Callable[[str, int, int], None]  # (stage, step, total); raising in it cancels the run


def silent(stage: str, step: int, total: int) -> None:
    """The default progress callback."""


def counted(stage: str, items: Sequence[Item], on_progress: OnProgress) -> Iterator[Item]:
    """The items one by one; each is told before it is worked on, and the end after the last."""
    for done, item in enumerate(items):
        on_progress(stage, done, len(items))
        yield item
    on_progress(stage, len(items), len(items))


class Stage(nn.Module, ABC):
    """A step of the pipeline. Subclasses fill one abstract method; parts are passed in already built."""
