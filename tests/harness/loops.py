"""Event loops for tests: that of asyncio, and uvloop where it can be had."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any

import pytest

LOOPS = ("asyncio", "uvloop")


def new_loop(kind: str) -> asyncio.AbstractEventLoop:
    """A new event loop of one of the :data:`LOOPS`; skips the test where it can't be had."""
    if kind == "uvloop":
        loop: asyncio.AbstractEventLoop = pytest.importorskip("uvloop").new_event_loop()
        return loop
    return asyncio.new_event_loop()


def run_alone(coroutine: Coroutine[Any, Any, object], kind: str = "asyncio") -> None:
    """Run it in a loop of its own, where nothing may be left behind: no task, and no exception that nobody has seen."""
    loop = new_loop(kind)
    unseen: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: unseen.append(context))
    try:
        loop.run_until_complete(coroutine)
        loop.run_until_complete(_settle())
        left = asyncio.all_tasks(loop)
        assert left == set()
        gc.collect()  # a future tells of its exception as it goes
        assert unseen == []
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(_settle())
        loop.close()


async def _settle() -> None:
    """What was cancelled, or called soon, is over."""
    for _ in range(10):
        await asyncio.sleep(0)
