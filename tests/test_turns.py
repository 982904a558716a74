"""The objects of a batch take turns: the same answers in the same order, and one at a time but for work aside."""

import os
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest
import torch

from infinitemesh import helpers, turns
from infinitemesh.geometry.uv import unwrap
from infinitemesh.helpers import helped
from infinitemesh.render.bench import bumpy_torus
from infinitemesh.turns import aside, in_turns


class Watch:
    """How many are within at the same time, at most."""

    def __init__(self):
        self.now, self.most, self._lock = 0, 0, threading.Lock()

    def __enter__(self):
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_):
        with self._lock:
            self.now -= 1


def test_answers_come_in_order_whoever_is_done_first():
    def work(number: int) -> int:
        with aside():
            time.sleep(0.02 * (5 - number))
        return number**2

    assert list(in_turns(work, range(5), 4)) == [0, 1, 4, 9, 16]


def test_one_has_its_turn_while_others_are_aside():
    on_turn, beside = Watch(), Watch()

    def work(_: int) -> None:
        for _ in range(5):
            with on_turn:
                time.sleep(0.001)
            with aside(), beside:
                time.sleep(0.01)

    list(in_turns(work, range(6), 3))
    assert on_turn.most == 1 and beside.most > 1


@pytest.mark.parametrize("workers", [1, 3])
def test_an_exception_comes_in_its_place(workers):
    def work(number: int) -> int:
        return 6 // (2 - number)

    answers = in_turns(work, range(6), workers)
    assert [next(answers), next(answers)] == [3, 6]
    with pytest.raises(ZeroDivisionError):
        next(answers)


def test_closing_early_stops_the_rest():
    begun, finished = [], []

    def work(number: int) -> None:
        begun.append(number)
        with aside():
            time.sleep(0.02)
        finished.append(number)

    with closing(in_turns(work, range(50), 2)) as answers:
        next(answers)
    assert len(begun) < 10 and len(finished) < 6
    assert not any(thread.name.startswith("infinitemesh") for thread in threading.enumerate())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_threads_have_their_callers_gradients(mode):
    def work(_: int) -> tuple[bool, bool]:
        return torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    with mode():
        here = work(0)
        assert list(in_turns(work, range(4), 2)) == [here] * 4


def test_a_helper_packs_as_this_process_does():
    vertices, faces = bumpy_torus(16)
    alone = unwrap(vertices, faces, resolution=128)
    assert not turns.are_taken()
    for cut in in_turns(lambda _: unwrap(vertices, faces, resolution=128), range(3), 2):
        assert torch.equal(cut.uv, alone.uv) and torch.equal(cut.faces, alone.faces)


def test_helpers_are_other_processes_that_stay_and_end(monkeypatch):
    ours = helpers._Helpers()
    monkeypatch.setattr(helpers, "_helpers", lambda _: ours)
    asked = [list(in_turns(lambda _: helped(os.getpid), range(4), 2)) for _ in range(2)]
    started = ours._idle[:]
    assert set(asked[0]) | set(asked[1]) == {helper.pid for helper in started} and len(started) <= 2
    assert os.getpid() not in asked[0]
    ours.end()
    assert all(helper.poll() is not None for helper in started) and not ours._idle


def test_without_helpers_the_work_is_done_here(monkeypatch):
    ours = helpers._Helpers()
    monkeypatch.setattr(helpers, "_helpers", lambda _: ours)
    list(in_turns(lambda _: helped(os.getpid), range(2), 2))
    for helper in ours._idle:
        helper.kill()
        helper.wait()
    for _ in range(2):
        assert os.getpid() in list(in_turns(lambda _: helped(os.getpid), range(2), 2))
    assert not ours.usable
    ours.end()


def test_a_helpers_exception_is_raised_here():
    with pytest.raises(ZeroDivisionError):
        list(in_turns(lambda _: helped(divmod, 1, 0), range(2), 2))


def test_packing_needs_no_torch():
    code = "import sys; import infinitemesh.helpers, infinitemesh.geometry.packing; print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "False"
