"""SIGALRM, by which the tests interrupt a client: the handlers, and the way to have no more of it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Callable


class Interrupt(Exception):
    """What a signal handler of a test raises, as Python's own raises KeyboardInterrupt."""


def interrupt(number: int, frame: FrameType | None) -> None:
    """A handler that raises."""
    raise Interrupt


def silence() -> None:
    """End the alarms, also where the handler sets the next one.

    One that is on its way when the timer is disarmed still calls the handler. So the handler goes first; and what takes
    its place is not the system's default, which would end the process.
    """
    signal.signal(signal.SIGALRM, _nothing)
    signal.setitimer(signal.ITIMER_REAL, 0)


def _nothing(number: int, frame: FrameType | None) -> None:
    pass


def end_this_process_after(seconds: int) -> None:
    """For a child process, which may hang: whatever the parent did about alarms."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)


@contextmanager
def interrupted_after(seconds: float, handler: Callable[[], None] | None = None) -> Iterator[None]:
    """Have a handler called after so many seconds, unless the block is left before: without one, raise `Interrupt`."""
    signal.signal(signal.SIGALRM, interrupt if handler is None else lambda number, frame: handler())
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        silence()
