"""A hundred waits at once, of threads and of tasks: how long from the change until all have seen it.

Usage: PYTHONPATH=tests:. python -m benchmarks.waiting [--rounds N]
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from typing import Any

from daemons import Daemon

import xsffi
from xsffi import aio

from .peers import measure_alone

__all__ = ["measure", "text"]

WAITS = 100
NODE = "/local/domain/5/state"
LONG = 60.0  # seconds


def measure(daemon: Daemon, rounds: int) -> list[dict[str, Any]]:
    """The seconds that each way takes, the median of so many rounds, in turn."""
    taken: dict[str, list[float]] = {f"{WAITS} threads": [], f"{WAITS} tasks": []}
    clients = (xsffi.Client(daemon.socket_path, backend="wire") for _ in range(2))
    with next(clients) as xs, next(clients) as other:
        for number in range(rounds):
            taken[f"{WAITS} threads"].append(_threads(xs, other, f"{number}"))
            taken[f"{WAITS} tasks"].append(asyncio.run(_tasks(daemon, other, f"{number} again")))
        other.rm(NODE)
    return [{"work": work, "seconds": statistics.median(seconds)} for work, seconds in taken.items()]


def text(rows: list[dict[str, Any]]) -> str:
    """What was found, in lines."""
    return "\n".join(
        f"{row['work']} that wait for one value: all have it {row['seconds'] * 1e3:.1f} ms after the write"
        for row in rows
    )


def _threads(xs: xsffi.Client, other: xsffi.Client, value: str) -> float:
    looked = threading.Semaphore(0)

    def wait() -> None:
        def is_it(found: bytes | None) -> bool:
            looked.release()
            return found == value.encode()

        xs.wait_for(NODE, is_it, LONG)

    threads = [threading.Thread(target=wait) for _ in range(WAITS)]
    for thread in threads:
        thread.start()
    for _ in threads:
        looked.acquire()
    time.sleep(0.05)  # all sleep
    begin = time.perf_counter()
    other.write(NODE, value)
    for thread in threads:
        thread.join()
    return time.perf_counter() - begin


async def _tasks(daemon: Daemon, other: xsffi.Client, value: str) -> float:
    async with aio.Client(daemon.socket_path) as xs:
        waits = [asyncio.ensure_future(xs.wait_for(NODE, value, LONG)) for _ in range(WAITS)]
        await asyncio.sleep(0.05)  # all sleep
        begin = time.perf_counter()
        other.write(NODE, value)
        await asyncio.gather(*waits)
        return time.perf_counter() - begin


if __name__ == "__main__":
    measure_alone("python -m benchmarks.waiting", __doc__, measure, text)
