"""SIGALRM, with which the tests interrupt a client: handlers, a way to stop the alarms, and substitutes for a signal
where the exact moment matters."""

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

# Python only prints an exception raised in a finalizer, and pytest warns about it.
of_finalizers = pytest.mark.filterwarnings("ignore:Exception ignored:pytest.PytestUnraisableExceptionWarning")


class Interrupt(Exception):
    """Raised by a test's signal handler, as Python's own raises KeyboardInterrupt."""


def interrupt(number: int = signal.SIGALRM, frame: FrameType | None = None) -> None:
    """A signal handler that raises `Interrupt`."""
    if frame is not None and _is_of_coverage(frame):  # it would never release its lock: a little later, then
        signal.setitimer(signal.ITIMER_REAL, 0.0001, signal.getitimer(signal.ITIMER_REAL)[1])
        return
    raise Interrupt


def alarm_after(seconds: float) -> None:
    """Set an alarm, for a handler that raises, and repeat it every second until :func:`silence`, since Python discards
    an exception raised by a handler while a finalizer runs."""
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)


def silence() -> None:
    """Stop the alarms, even if the handler sets the next one.

    A signal that is pending when the timer is disarmed still calls the handler. So the handler is replaced first; not
    with the default action, which would end the process.
    """
    signal.signal(signal.SIGALRM, _nothing)
    signal.setitimer(signal.ITIMER_REAL, 0)


def _nothing(number: int, frame: FrameType | None) -> None:
    pass


def end_this_process_after(seconds: int) -> None:
    """In a child process, which may hang: end it after so many seconds, whatever the parent did about alarms."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)


@contextmanager
def interrupted_after(seconds: float, handler: Callable[[], None] | None = None) -> Iterator[None]:
    """Call `handler` after so many seconds, unless the block has ended before; by default, raise `Interrupt`."""
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
    """Call `action` at one of the points in the block at which the interpreter may run a signal handler: number
    `moment`, from 0.

    Yields a function that returns whether the block had that many points.
    """
    moments = itertools.count()

    def trace(frame: FrameType, event: str, argument: object) -> None:
        # Handlers run when a Python function begins, and when a C function has returned. Not in functions of coverage,
        # which would never release its lock.
        if event in ("call", "c_return") and not _is_of_coverage(frame) and next(moments) == moment:
            sys.setprofile(None)
            action()

    sys.setprofile(trace)
    try:
        yield lambda: next(moments) > moment
    finally:
        sys.setprofile(None)


def _is_of_coverage(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).startswith("coverage.")


_RESCUE = 5.0  # seconds


@contextmanager
def handled_elsewhere() -> Iterator[None]:
    """SIGALRM is delivered to another thread, so its Python handler runs in this one without interrupting its wait.

    The same happens when a signal arrives just before the kernel begins to wait. A wait that would last for ever is
    ended by another signal, too late for the test to pass.
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
