"""What every stage is: an nn.Module with one hole, built from finished parts, that reports its progress."""

from abc import ABC
from collections.abc import Callable

from torch import nn

OnProgress = Callable[[str, int, int], None]  # (stage, step, total); raising in it cancels the run


def silent(stage: str, step: int, total: int) -> None:
    """The default progress callback."""


class Stage(nn.Module, ABC):
    """A step of the pipeline. Subclasses fill one abstract method; parts are passed in already built."""
