"""SIGALRM, by which the tests interrupt a client: the handlers, the way to have no more of it, and what stands for it
where the moment matters."""

from __future__ import annotations

import itertools
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Callable

import pytest

# What is raised in a finalizer goes nowhere, and pytest warns of it.
of_finalizers = pytest.mark.filterwarnings("ignore:Exception ignored:pytest.PytestUnraisableExceptionWarning")


class Interrupt(Exception):
    """What a signal handler of a test raises, as Python's own raises KeyboardInterrupt."""


def interrupt(*of_signal: object) -> None:
    """A handler that raises."""
    raise Interrupt


def alarm_after(seconds: float) -> None:
    """One alarm, for a handler that raises, and another each second until :func:`silence`, since Python drops what a
    handler raises while a finalizer runs."""
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)


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
    if handler is None:
        signal.signal(signal.SIGALRM, interrupt)
        alarm_after(seconds)
    else:
        signal.signal(signal.SIGALRM, lambda number, frame: handler())
        signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        silence()


@contextmanager
def at_moment(moment: int, action: Callable[[], object]) -> Iterator[Callable[[], bool]]:
    """Has something done at one of the moments within when the interpreter lets handlers of signals run, as they would.

    Gives what tells whether there were as many.
    """
    moments = itertools.count()

    def trace(frame: FrameType, event: str, argument: object) -> None:
        # They run where a function begins and where one in C has ended.
        if event in ("call", "c_return") and next(moments) == moment:
            sys.setprofile(None)
            action()

    sys.setprofile(trace)
    try:
        yield lambda: next(moments) > moment
    finally:
        sys.setprofile(None)


_RESCUE = 5.0  # seconds


@contextmanager
def handled_elsewhere() -> Iterator[None]:
    """SIGALRM comes to another thread, so its handler in Python runs in this one without having ended what it waits in.

    That is how one ends that comes just before the kernel begins to wait. A wait that would last for ever is ended by
    another signal, after a time that the test finds too long.
    """
    over = threading.Event()
    this = threading.get_ident()

    def rescue() -> None:
        while not over.wait(_RESCUE):
            signal.pthread_kill(this, signal.SIGUSR1)

    signal.signal(signal.SIGUSR1, _nothing)
    thread = threading.Thread(target=rescue)
    thread.start()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
        over.set()
        thread.join()
