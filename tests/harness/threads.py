"""Calls in threads of their own, with hanging ones detected."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Generic, TypeVar

__all__ = ["PATIENCE", "Call", "all_outcomes", "switching_often", "until"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
PATIENCE = 60.0  # seconds after which a call is hanging, not just slow


class Call(Generic[T_co]):
    """A call running in another thread."""

    def __init__(self, function: Callable[[], T_co]) -> None:
        self._function = function
        self._results: list[T_co] = []
        self._errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._results.append(self._function())
        except BaseException as error:
            self._errors.append(error)

    @property
    def is_over(self) -> bool:
        """Whether it has returned or raised."""
        return not self._thread.is_alive()

    def outcome(self) -> T_co | BaseException:
        """What it returned, or the exception that it raised; fails if it hangs."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "it hangs"
        return self._errors[0] if self._errors else self._results[0]

    def result(self) -> T_co:
        """What it returned; raises what it raised."""
        outcome = self.outcome()
        if self._errors:
            raise self._errors[0]
        return outcome  # type: ignore[return-value]  # it did not raise

    def until_asleep(self) -> Call[T_co]:
        """Wait until its thread sleeps in the kernel: most likely in the expected wait, unless it waits for the GIL."""
        status = Path(f"/proc/self/task/{self._thread.native_id}/stat")
        for _ in range(3):
            until(lambda: self.is_over or status.read_text().rpartition(")")[2].split()[0] == "S")
            sleep(0.005)
        return self


def all_outcomes(functions: Iterable[Callable[[], T]]) -> list[T | BaseException]:
    """The outcomes of the functions, called all at once, each in its own thread."""
    return [call.outcome() for call in [Call(function) for function in functions]]


def until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds; fails if it never does."""
    end = monotonic() + PATIENCE
    while not condition():
        assert monotonic() < end, "it never came to that"
        sleep(0.001)


@contextmanager
def switching_often() -> Iterator[None]:
    """Threads switch as often as possible."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
