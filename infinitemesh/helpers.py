"""Native code that keeps Python's lock to itself, in processes of its own, so that the objects of a batch overlap.

xatlas holds the lock while it packs, three to eight times about 20 ms a mesh. A helper answers calls that come pickled
through its standard input. It loads no torch (40 MB, a fifth of a second to start), stays for the next batch, and ends
with this process.
"""

import atexit
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from threading import Semaphore
from typing import Any, TypeVar

from infinitemesh import turns

Result = TypeVar("Result")

MOST_HELPERS = 6  # a mesh is packed in about the time of its turns: more would wait


def helped(function: Callable[..., Result], *arguments: Any) -> Result:
    """What the function answers: by a helper where the objects of a batch take turns, else by a call.

    It is found by its module's name, which must not import torch.
    """
    if not turns.are_taken():
        return function(*arguments)
    helpers = _helpers(os.getpid())
    with turns.aside():
        return helpers.ask(function, arguments)


class _Helpers:
    """Started when they are first needed. Threads may ask at the same time."""

    def __init__(self):
        self._free = Semaphore(MOST_HELPERS)
        self._idle: list[subprocess.Popen[bytes]] = []
        # a frozen program would start itself again
        self.usable = bool(sys.executable) and not getattr(sys, "frozen", False)
        atexit.register(self.end)

    def ask(self, function: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
        if not self.usable:
            return function(*arguments)
        with self._free:
            try:
                helper = self._idle_one() or _started()
                answer, error = _answer_of(helper, function, arguments)
            except (OSError, EOFError, pickle.UnpicklingError):  # it was killed, or could not start: we do without
                self.usable = False
                return function(*arguments)
            self._idle.append(helper)
        if error is not None:
            raise error
        return answer

    def _idle_one(self) -> "subprocess.Popen[bytes] | None":
        with suppress(IndexError):  # another thread may take the last one between a question and this
            return self._idle.pop()
        return None

    def end(self) -> None:
        while helper := self._idle_one():
            _end(helper)


@lru_cache(maxsize=1)
def _helpers(process: int) -> _Helpers:
    """Of this process: a fork must not share its parent's pipes."""
    return _Helpers()


def _started() -> "subprocess.Popen[bytes]":
    paths = [path or os.getcwd() for path in sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", "infinitemesh.helpers"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)


def _answer_of(helper: "subprocess.Popen[bytes]", function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    assert helper.stdin is not None and helper.stdout is not None
    try:
        pickle.dump((function, arguments), helper.stdin, protocol=pickle.HIGHEST_PROTOCOL)
        helper.stdin.flush()
        return pickle.load(helper.stdout)
    except BaseException:
        _end(helper)
        raise


def _end(helper: "subprocess.Popen[bytes]") -> None:
    helper.kill()
    helper.communicate()


def _serve() -> None:
    """The helper's side: answers until its input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program, which then ends this one
    calls, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # native code may print, which must not mix with answers
    while True:
        try:
            function, arguments = pickle.load(calls)
        except EOFError:
            return
        try:
            answer = (function(*arguments), None)
        except Exception as error:
            answer = (None, error)
        pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()


if __name__ == "__main__":
    _serve()
