"""Event loops for tests: asyncio's, and uvloop's if it is installed."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any

import pytest

LOOPS = ("asyncio", "uvloop")


def new_loop(kind: str) -> asyncio.AbstractEventLoop:
    """A new event loop of one of the :data:`LOOPS`; skips the test if it is not installed."""
    if kind == "uvloop":
        loop: asyncio.AbstractEventLoop = pytest.importorskip("uvloop").new_event_loop()
        return loop
    return asyncio.new_event_loop()


def run_alone(coroutine: Coroutine[Any, Any, object], kind: str = "asyncio") -> None:
    """Run a coroutine in its own loop; fails if it leaves a task behind, or an exception that nobody has retrieved."""
    loop = new_loop(kind)
    unseen: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: unseen.append(context))
    try:
        loop.run_until_complete(coroutine)
        loop.run_until_complete(_settle())
        left = asyncio.all_tasks(loop)
        assert left == set()
        gc.collect()  # a future reports its exception when it is destroyed
        assert unseen == []
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(_settle())
        loop.close()


async def _settle() -> None:
    """Let cancelled tasks and scheduled callbacks finish."""
    for _ in range(10):
        await asyncio.sleep(0)
