"""Mirrors: what a node costs to read, and an update after few changes and after many.

Usage: PYTHONPATH=tests:. python -m benchmarks.mirrors [--rounds N]
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

from daemons import Daemon

from xsffi import Client, Node, Permission, aio

from .peers import measure_alone

__all__ = ["measure", "text"]

NODES = 10_000
TOP = "/mirror"
OWNER = (Permission(0, "n"),)
PATHS = [f"{TOP}/{number // 100}/{number % 100}" for number in range(NODES)]
CHANGES = (0, 1, 1000)
READS = 100_000
READ = "a node read from a mirror"
READ_MOST = 1e-6  # seconds, at most
DUMP = f"a dump of {NODES:,} nodes"


def measure(daemon: Daemon, rounds: int) -> list[dict[str, Any]]:
    """Median seconds on one daemon: each row with its name, and the maximum allowed, if any."""
    with Client(daemon.socket_path, backend="wire") as writer:
        writer.load(Node(path, b"value", (), OWNER) for path in PATHS)
        found: list[dict[str, Any]] = []
        with Client(daemon.socket_path, backend="wire") as xs:
            found += _sync(xs, writer, rounds)
        found += asyncio.run(_asyncio(daemon.socket_path, writer, rounds))
        writer.rm(TOP)
    return found


def text(rows: list[dict[str, Any]]) -> str:
    """The results as lines of text."""
    lines = []
    for row in rows:
        most = "" if row["most"] is None else f" (at most {row['most'] * 1e6:g})"
        lines.append(f"{row['work']}: {row['seconds'] * 1e6:,.2f} µs{most}")
    return "\n".join(lines)


def _sync(xs: Client, writer: Client, rounds: int) -> list[dict[str, Any]]:
    with xs.mirror(TOP) as mirror:
        rows = [_row(READ, [_seconds(lambda: _read(mirror)) / READS for _ in range(rounds)], READ_MOST)]
        numbers = itertools.count()
        for count in CHANGES:
            seconds = []
            for _ in range(rounds):
                _write(writer, count, next(numbers))
                begin = time.perf_counter()
                changes = mirror.update()
                seconds.append(time.perf_counter() - begin)
                assert len(changes) == count
            rows.append(_row(f"an update of a mirror of {NODES:,} nodes after {count:,} changes, wire", seconds))
    rows.append(_row(f"{DUMP}, wire", [_seconds(lambda: xs.dump(TOP)) for _ in range(rounds)]))
    return rows


async def _asyncio(path: str, writer: Client, rounds: int) -> list[dict[str, Any]]:
    rows = []
    async with aio.Client(path) as xs, xs.mirror(TOP) as mirror:
        numbers = itertools.count(1_000_000)
        for count in CHANGES:
            seconds = []
            for _ in range(rounds):
                _write(writer, count, next(numbers))
                begin = time.perf_counter()
                changes = await mirror.update()
                seconds.append(time.perf_counter() - begin)
                assert len(changes) == count
            rows.append(_row(f"an update of a mirror of {NODES:,} nodes after {count:,} changes, asyncio", seconds))
    return rows


def _read(mirror: Any) -> None:
    paths = itertools.islice(itertools.cycle(PATHS), READS)
    for path in paths:
        mirror[path]


def _write(writer: Client, count: int, number: int) -> None:
    with writer.pipeline() as p:
        for path in PATHS[:: NODES // count] if count else ():
            p.write(path, str(number))


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _row(work: str, seconds: list[float], most: float | None = None) -> dict[str, Any]:
    return {"work": work, "seconds": statistics.median(seconds), "most": most}


if __name__ == "__main__":
    measure_alone("python -m benchmarks.mirrors", __doc__, measure, text)
