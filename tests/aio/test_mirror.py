"""Mirrors in asyncio: how they are opened, cancelled and closed; the conformance suite tests their contents."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from harness.mirrors import apply, check_is_dump

import xsffi
from xsffi import Client, aio, conditions

_tops = itertools.count(1)


@pytest.fixture
def top(sync: Client) -> str:
    """A node for this test alone."""
    path = f"/test/aio-mirror-{next(_tops)}"
    sync.write(f"{path}/a/b", "1")
    return path


async def test_it_can_be_entered_or_awaited(client: aio.Client, sync: Client, top: str) -> None:
    async with client as xs:
        async with xs.mirror(top) as mirror:
            check_is_dump(mirror, sync, top)
            sync.write(f"{top}/a/b", "2")
            assert [change.path for change in await mirror.update()] == [f"{top}/a/b"]
        assert mirror.closed
        mirror = await xs.mirror(top)
        assert repr(mirror) == f"<xsffi.aio.Mirror {top!r}, 3 nodes>"
        await mirror.close()
        await mirror.close()
        with pytest.raises(xsffi.ClientClosedError, match="the mirror is closed"):
            await mirror.update()
        with pytest.raises(xsffi.InvalidArgumentError):
            xs.mirror("/a//b")


async def test_changes_as_they_come(client: aio.Client, sync: Client, top: str) -> None:
    async with client as xs, xs.mirror(top) as mirror:

        async def write() -> None:
            for number in range(5):
                await asyncio.sleep(0.005)
                await xs.write(f"{top}/a/b", str(number))

        known = mirror.copy()
        writer = asyncio.ensure_future(write())
        async for change in mirror.changes(10):
            apply([change], known)
            if change.new is not None and change.new.value == b"4":
                break
        await writer
        assert mirror.copy() == known
        assert [change async for change in mirror.changes(0)] == []


async def test_reading_is_defined_while_another_task_updates(client: aio.Client, sync: Client, top: str) -> None:
    async with client as xs, xs.mirror(top) as mirror:
        updates = asyncio.ensure_future(mirror.update(10))
        await asyncio.sleep(0.01)
        for call in (mirror.update(), mirror.wait(conditions.node_appears(top)), mirror.changes().__anext__()):
            with pytest.raises(RuntimeError, match="being updated"):
                await call
        paths = iter(mirror)
        assert next(paths) == top
        await xs.write(f"{top}/c", "")
        assert len(await updates) == 2
        with pytest.raises(RuntimeError, match="updated during iteration"):
            next(paths)


async def test_cancelling(client: aio.Client, sync: Client, top: str) -> None:
    """At any point of an update; the next update continues."""
    async with client as xs, xs.mirror(top) as mirror:
        known = mirror.copy()
        for turns in range(25):
            sync.write(f"{top}/a/b/{turns}/x", "")
            if turns % 3 == 0:
                await mirror.resync()
            update = asyncio.ensure_future(mirror.update())
            for _ in range(turns):
                await asyncio.sleep(0)
            update.cancel()
            try:
                apply(await update, known)
            except asyncio.CancelledError:
                assert mirror.copy() == known
        apply(await mirror.update(), known)
        assert mirror.copy() == known
        check_is_dump(known, sync, top)


async def test_cancelling_an_opening(client: aio.Client, sync: Client, top: str) -> None:
    async with client as xs:
        for turns in range(20):
            opening = asyncio.ensure_future(xs.mirror(top))
            for _ in range(turns):
                await asyncio.sleep(0)
            opening.cancel()
            try:
                await (await opening).close()
            except asyncio.CancelledError:
                pass
        assert xs._open_state.mirrors._open == {}
        assert await xs.read(f"{top}/a/b") == b"1"


async def test_callbacks(client: aio.Client, sync: Client, top: str, caplog: pytest.LogCaptureFixture) -> None:
    async with client as xs, xs.mirror(top) as mirror:
        told: list[str] = []

        def plain(change: xsffi.Change) -> None:
            told.append(change.path)
            if len(told) == 2:
                raise ValueError("no")

        async def awaited(change: xsffi.Change) -> None:
            await xs.read(change.path)
            told.append(change.path)
            mirror.stop()

        sync.write(f"{top}/c/d", "")
        await mirror.run(plain, timeout=0)
        assert told == [top, f"{top}/c", f"{top}/c/d"]
        assert "the callback of the mirror" in caplog.text
        running = asyncio.ensure_future(mirror.run(awaited))
        await asyncio.sleep(0.01)
        with pytest.raises(RuntimeError, match="already running"):
            await mirror.run(plain)
        sync.write(f"{top}/c/d", "2")
        await running
        assert told[3:] == [f"{top}/c/d"]
        running = asyncio.ensure_future(mirror.run(awaited))
        await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await mirror.update() == []


async def test_events_of_which_there_are_too_many(
    client: aio.Client, sync: Client, top: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue is limited; on overflow everything is read again."""
    monkeypatch.setattr("xsffi.aio.mirror_links._WAITING_MAX", 20)
    async with client as xs, xs.mirror(top) as mirror:
        known = mirror.copy()
        async with xs.pipeline() as p:
            for number in range(100):
                p.write(f"{top}/{number}", "")
        link: Any = mirror._upkeep.link
        assert len(link._waiting) <= 21
        apply(await mirror.update(), known)
        check_is_dump(known, sync, top)


async def test_the_client_is_closed_or_dropped(client: aio.Client, top: str) -> None:
    async with client as xs:
        mirror = await xs.mirror(top)
        update = asyncio.ensure_future(mirror.update(None))
        await asyncio.sleep(0.01)
        await xs.close()
        with pytest.raises(xsffi.ClientClosedError):
            await update
        assert mirror.closed
        await mirror.close()
        with pytest.raises(xsffi.ClientClosedError, match="the client is closed"):
            await mirror.update()
