"""Whether to try again at once, before going to sleep, when a reply is waited for.

A daemon on another processor answers in less time than it takes to put a thread to sleep and to wake it, unless that
processor has other work. So a wait begins with a little spinning, where that was the faster way lately. The extension
does the same by itself (xsffi/_native/wire/waiting.c), and does not spin while other threads wait too.
"""

from __future__ import annotations

import errno
import os
from time import monotonic

from ...errors import InvalidArgumentError

__all__ = ["Spin", "spin_limit"]

_LIMIT = 50  # microseconds
_OTHER_WAY = 64  # one wait in so many goes the way that was slower lately, to see whether that has changed


class Spin:
    """What was learnt of one connection. ``XSFFI_SPIN`` in the environment: for how many microseconds at most."""

    def __init__(self) -> None:
        self.limit = spin_limit()  # seconds
        self._trips = [0.0, 0.0]  # what the last answers took, smoothed, that were not spun for, and that were
        self._waits = 0

    def time(self) -> float:
        """How many seconds to spin for the next answer."""
        if not self.limit:
            return 0.0
        spin = self._trips[1] <= self._trips[0]
        self._waits += 1
        if self._waits % _OTHER_WAY == 0:
            spin = not spin
        return self.limit if spin else 0.0

    def learn(self, spun: bool, begin: float) -> None:
        """An answer came that was waited for since `begin`."""
        # One that took very long says little about either way: the daemon had other work.
        trip = min(monotonic() - begin, 4 * self.limit)
        self._trips[spun] += (trip - self._trips[spun]) / 8


def spin_limit() -> float:
    """How many seconds to spin at most; raises InvalidArgumentError for an ``XSFFI_SPIN`` that is no such number."""
    if _processors() < 2:
        return 0.0  # the daemon would wait for the one processor that the spinning takes
    text = os.environ.get("XSFFI_SPIN", "")
    if not text:
        return _LIMIT / 1e6
    if not text.isascii() or not text.isdigit() or int(text) > 1000:
        raise InvalidArgumentError(errno.EINVAL, f"XSFFI_SPIN is a number of microseconds from 0 to 1000, not {text!r}")
    return int(text) / 1e6


def _processors() -> int:
    """How many this process may run on or, where Python cannot tell, as PyPy, how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
