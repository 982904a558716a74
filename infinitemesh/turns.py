"""How the objects of a batch share a machine: one at a time in Python and on the GPU, others in native code meanwhile.

Launching kernels is Python's work, at which threads only get in each other's way. So the threads of a batch take turns,
and what needs neither Python's lock nor the GPU (decimation, packing, reading pictures) is done `aside`, while another
object has its turn. Stages need not be safe for threads, apart from what they do `aside`: that must be.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from threading import Semaphore
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AT_ONCE = 1  # objects that have their turn at the same time


class _Turns:
    def __init__(self):
        self._free, self.over = Semaphore(AT_ONCE), False

    def take(self) -> None:
        self._free.acquire()
        if self.over:
            raise CancelledError("another object of the batch failed, or the run was cancelled")

    def leave(self) -> None:
        self._free.release()


_turns: ContextVar[_Turns | None] = ContextVar("turns", default=None)  # a thread has its own


def in_turns(work: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Generator[Result, None, None]:
    """`work` of every item, in order, by so many threads; an exception comes where its item's result would have come.

    Closing the iterator early cancels what has not begun, and stops the rest where it next waits for its turn.
    """
    if min(workers, len(items)) <= 1:
        yield from map(work, items)
        return
    turns, settings = _Turns(), _thread_settings()

    def taking_turns(item: Item) -> Result:
        _turns.set(turns)
        try:
            turns.take()
            with settings():
                return work(item)
        finally:
            turns.leave()

    pool = ThreadPoolExecutor(workers, thread_name_prefix="infinitemesh")
    try:
        for future in [pool.submit(taking_turns, item) for item in items]:
            yield future.result()
    finally:
        turns.over = True
        pool.shutdown(cancel_futures=True)


def are_taken() -> bool:
    """Whether this thread is one of several that take turns."""
    return _turns.get() is not None


@contextmanager
def aside() -> Iterator[None]:
    """Lets other objects of the batch have their turn; for native code that needs no lock of Python's."""
    turns = _turns.get()
    if turns is None:
        yield
        return
    turns.leave()
    try:
        yield
    finally:
        turns.take()


def _thread_settings() -> Callable[[], ExitStack]:
    """What torch keeps for every thread apart, as it is in this one."""
    import torch  # here, so that helpers need not load it

    grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    stream = torch.cuda.current_stream() if torch.cuda.is_initialized() else None

    def settings() -> ExitStack:
        stack = ExitStack()
        stack.enter_context(torch.inference_mode(inference))
        stack.enter_context(torch.set_grad_enabled(grad))
        stack.enter_context(torch.cuda.stream(stream))  # None: nothing
        return stack

    return settings
