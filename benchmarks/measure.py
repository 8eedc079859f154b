"""How to compare: contenders take turns, round by round, and the result is the median of the ratios within a round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

__all__ = [
    "COMMAND",
    "C_LIBRARY",
    "C_PIPELINED",
    "C_SINGLE",
    "INTERPRETER",
    "OLD",
    "ONE_WATCH",
    "PURE_PYTHON",
    "PYXS",
    "XENSTORE_LS",
    "Result",
    "compare",
    "timed",
]

# What xsffi is compared with.
OLD = "xen.lowlevel.xs"
PYXS = "pyxs"
INTERPRETER = "the interpreter alone"
COMMAND = "xsffi read"
PURE_PYTHON = "xsffi.Client, pure Python"
XENSTORE_LS = "xenstore-ls -fp"
ONE_WATCH = "with one watch"
C_LIBRARY = "libxenstore from C"
C_SINGLE = "C, one at a time"
C_PIPELINED = "C, pipelined"


class Result(NamedTuple):
    """A contender's seconds per operation, in each round."""

    seconds: list[float]

    @property
    def rate(self) -> float:
        """Operations a second, the median of the rounds."""
        return 1 / statistics.median(self.seconds)

    def ratio_to(self, other: Result) -> float:
        """How many times as fast as the other: the median of the rounds' ratios."""
        return statistics.median(theirs / ours for ours, theirs in zip(self.seconds, other.seconds))


def timed(work: Callable[[], object], operations: int) -> Callable[[], float]:
    """A contender that does `work`, which is so many operations, by this clock."""

    def contender() -> float:
        begin = time.perf_counter()
        work()
        return (time.perf_counter() - begin) / operations

    return contender


def compare(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Result]:
    """Let each contender, which gives the seconds for one of its operations, take its turn in each round.

    Their order changes, so that what else happens on the machine hits all of them alike.
    """
    for contender in contenders.values():
        contender()  # what is done once is done now
    results: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders.items())
    for _ in range(rounds):
        for name, contender in order:
            results[name].append(contender())
        order = order[1:] + order[:1]
    return {name: Result(seconds) for name, seconds in results.items()}
