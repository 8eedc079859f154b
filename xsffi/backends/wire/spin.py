"""Whether to spin before going to sleep while waiting for a reply.

A daemon on another processor answers in less time than it takes to put a thread to sleep and wake it, unless that
processor is busy. So a wait spins briefly first if that has recently been faster. The extension does the same itself
(xsffi/_native/wire/waiting.c), and does not spin while other threads wait too.
"""

from __future__ import annotations

import errno
import os
from time import monotonic

from ...errors import InvalidArgumentError

__all__ = ["Spin", "spin_limit"]

_LIMIT = 50  # microseconds
_OTHER_WAY = 64  # one wait in this many uses the slower way, in case that has changed


class Spin:
    """What was learnt on one connection. ``XSFFI_SPIN`` in the environment: the most microseconds to spin."""

    def __init__(self) -> None:
        self.limit = spin_limit()  # seconds
        self._trips = [0.0, 0.0]  # smoothed round-trip times without and with spinning
        self._waits = 0

    def time(self) -> float:
        """How many seconds to spin for the next reply."""
        if not self.limit:
            return 0.0
        spin = self._trips[1] <= self._trips[0]
        self._waits += 1
        if self._waits % _OTHER_WAY == 0:
            spin = not spin
        return self.limit if spin else 0.0

    def learn(self, spun: bool, begin: float) -> None:
        """Call when the reply waited for since `begin` has arrived."""
        # A very slow reply says little about either way: the daemon was busy.
        trip = min(monotonic() - begin, 4 * self.limit)
        self._trips[spun] += (trip - self._trips[spun]) / 8


def spin_limit() -> float:
    """How many seconds to spin at most; raises InvalidArgumentError if ``XSFFI_SPIN`` is invalid."""
    if _processors() < 2:
        return 0.0  # spinning would keep the daemon off the only processor
    text = os.environ.get("XSFFI_SPIN", "")
    if not text:
        return _LIMIT / 1e6
    if not text.isascii() or not text.isdigit() or int(text) > 1000:
        raise InvalidArgumentError(
            errno.EINVAL, f"XSFFI_SPIN must be a number of microseconds from 0 to 1000, not {text!r}"
        )
    return int(text) / 1e6


def _processors() -> int:
    """How many processors this process may use or, if Python cannot tell (PyPy), how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
