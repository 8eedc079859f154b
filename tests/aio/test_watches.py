"""Watches as streams, watches with callbacks, and the stream of all events."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from harness.peer import Link, Peer, event

import xsffi
from xsffi import Client, WatchEvent, aio


@pytest.fixture
def top(sync: Client) -> Any:
    """A node for this test alone."""
    sync.mkdir("/test/watches")
    yield "/test/watches"
    sync.rm("/test/watches")


async def take(events: AsyncIterator[WatchEvent], count: int = 1) -> list[str]:
    """The paths of the next events."""
    return [(await events.__anext__()).path for _ in range(count)]


async def all_told(xs: aio.Client, sync: Client) -> None:
    """Wait until the events of all earlier changes have arrived: they arrive in order."""
    async with xs.watch("/test") as events:
        await take(events)
        sync.write("/test", "")
        await take(events)


class TestStreams:
    async def test_each_has_its_own(self, client: aio.Client, sync: Client, top: str) -> None:
        async with client as xs, xs.watch(f"{top}/a") as a, xs.watch(f"{top}/b", token="mine") as b:
            assert await take(a) == [f"{top}/a"]
            sync.write(f"{top}/b/c", "")
            sync.write(f"{top}/a", "")
            assert [await b.__anext__(), await b.__anext__()] == [(f"{top}/b", "mine"), (f"{top}/b/c", "mine")]
            assert await a.__anext__() == (f"{top}/a", a)

    async def test_a_slow_reader_is_told_of_each_path_once(self, client: aio.Client, sync: Client, top: str) -> None:
        async with client as xs, xs.watch(top) as events:
            for number in range(100):
                for name in "abc":
                    sync.write(f"{top}/{name}", str(number))
            await all_told(xs, sync)
            assert len(events._waiting) == 4
            assert await take(events, 4) == [top, f"{top}/a", f"{top}/b", f"{top}/c"]
            sync.write(f"{top}/a", "again")
            assert await take(events) == [f"{top}/a"]

    async def test_one_that_nobody_reads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Pending events of ever new names must not exhaust memory."""
        monkeypatch.setattr("xsffi.aio.events._WAITING_MAX", 1000)

        def script(link: Link) -> None:
            watch = link.request()
            path, token, _ = watch.payload.split(b"\0", 2)
            link.reply(watch)
            link.send(b"".join(event(path + b"/%d" % number, token) for number in range(1000)))
            link.reply(link.request())
            for _ in range(2):
                read = link.request()
                link.send(event(path, token) * 2)
                link.reply(read)

        with Peer(script) as peer:
            async with aio.Client(peer.path) as xs:
                watch = await xs.watch("/a")
                await xs.read("/a")
                assert len(watch._waiting) == 1000
                for _ in range(2):
                    await xs.read("/a")
                    assert len(watch._waiting) == 0
                with pytest.raises(xsffi.XenStoreError, match="more than 1000") as caught:
                    await take(watch)
                assert caught.value.errno == errno.ENOBUFS

    async def test_it_keeps_its_client(self, path: str, top: str) -> None:
        async with (await aio.connect(path)).watch(top) as watch:
            xs = watch._client
            gc.collect()
            assert await take(watch) == [top]
        assert isinstance(xs, aio.Client)
        assert watch._client is None
        async with (await aio.connect(path)).transaction() as t:
            gc.collect()
            assert await t.exists(top)
        assert isinstance(t._client, aio.Client)
        await t._client.close()
        await xs.close()

    async def test_it_ends_when_the_watch_is_closed(self, client: aio.Client, sync: Client, top: str) -> None:
        async with client as xs:
            watch = await xs.watch(top)
            found = []

            async def read() -> None:
                async for each in watch:
                    found.append(each.path)

            reading = asyncio.ensure_future(read())
            await asyncio.sleep(0)
            await all_told(xs, sync)
            assert found == [top]
            assert not watch.closed
            await watch.close()
            await reading
            assert watch.closed
            sync.write(f"{top}/a", "")
            await all_told(xs, sync)
            assert [each async for each in watch] == []
            await watch.close()

    async def test_what_waits_is_dropped_with_the_watch(self, client: aio.Client, top: str) -> None:
        async with client as xs:
            async with xs.watch(top) as watch:
                await xs.exists(top)
                events = xs.events(0)
            assert [each async for each in watch] == []
            assert [each async for each in events] == []

    async def test_one_that_always_has_some_holds_up_nobody(self, client: aio.Client, top: str) -> None:
        async with client as xs, xs.watch(top) as events:
            for number in range(1000):
                events.put("", WatchEvent(str(number), ""))
            turns = 0

            async def count() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            counting = asyncio.ensure_future(count())
            await take(events, 1000)
            counting.cancel()
            assert turns > 10

    async def test_two_tasks_share_one(self, client: aio.Client, sync: Client, top: str) -> None:
        async with client as xs, xs.watch(top) as events:
            await take(events)
            waiting = [asyncio.ensure_future(take(events)) for _ in range(3)]
            await asyncio.sleep(0)
            waiting[0].cancel()
            sync.write(f"{top}/a", "")
            sync.write(f"{top}/b", "")
            assert sorted(await asyncio.gather(*waiting[1:])) == [[f"{top}/a"], [f"{top}/b"]]

    async def test_a_cancelled_reader_takes_none(self, client: aio.Client, sync: Client, top: str) -> None:
        async with client as xs, xs.watch(top) as events:
            await take(events)
            for number in range(20):
                reading = asyncio.ensure_future(take(events))
                await asyncio.sleep(0)
                sync.write(f"{top}/{number}", "")
                await xs.exists(top)
                if not reading.done():
                    reading.cancel()
                    assert await take(events) == [f"{top}/{number}"]
                else:
                    assert reading.result() == [f"{top}/{number}"]

    async def test_depth_and_tokens(self, client: aio.Client, top: str) -> None:
        async with client as xs:
            with pytest.raises(xsffi.NotSupportedError, match=r"4\.22"):
                await xs.watch(top, depth=1)
            async with xs.watch(top, "mine", depth=1, try_depth=True) as watch:
                assert watch.depth is None
                with pytest.raises(xsffi.WatchExistsError):
                    await xs.watch(top, "mine")
            assert list(xs._open_state.watches._table) == []

    async def test_unwatch(self, client: aio.Client, top: str) -> None:
        async with client as xs:
            watch = await xs.watch(top)
            await xs.unwatch(watch)
            with pytest.raises(xsffi.NodeNotFoundError):
                await xs.unwatch(watch)
            await xs.watch(top)
            await xs.reset_watches()
            assert list(xs._open_state.watches._table) == []

    async def test_an_exception_within(self, client: aio.Client, top: str) -> None:
        async with client as xs:
            with pytest.raises(KeyError):
                async with xs.watch(top) as watch:
                    raise KeyError
            assert watch.closed

    async def test_a_watch_that_nobody_awaits(self, client: aio.Client, top: str) -> None:
        async with client as xs:
            opening = [xs.watch(top)]
            with pytest.warns(RuntimeWarning, match="never awaited"):
                opening.clear()
            assert list(xs._open_state.watches._table) == []


class TestAllOfThem:
    async def test_of_every_watch(self, client: aio.Client, sync: Client, top: str) -> None:
        called: list[str] = []
        async with client as xs:
            events = xs.events()
            await xs.watch(f"{top}/a")
            await xs.watch(f"{top}/b", "mine")
            await xs.watch(f"{top}/c", callback=lambda event: called.append(event.path))
            assert await take(events, 3) == [f"{top}/a", f"{top}/b", f"{top}/c"]
            sync.write(f"{top}/c", "")
            sync.write(f"{top}/b", "")
            assert await take(events) == [f"{top}/c"]
            assert await events.__anext__() == (f"{top}/b", "mine")
            assert set(called) == {f"{top}/c"}  # once or twice: repeated events of one path are merged while pending

    async def test_what_waits_comes_first(self, client: aio.Client, sync: Client, top: str) -> None:
        async with client as xs:
            await xs.watch(f"{top}/a", "a")
            await xs.watch(f"{top}/b", "b")
            await all_told(xs, sync)
            events = xs.events()
            sync.write(f"{top}/b/c", "")
            assert [await events.__anext__() for _ in range(3)] == [
                (f"{top}/a", "a"),
                (f"{top}/b", "b"),
                (f"{top}/b/c", "b"),
            ]

    async def test_a_watch_that_nobody_reads_holds_nothing_then(
        self, client: aio.Client, sync: Client, top: str
    ) -> None:
        """Otherwise a program that reads all events through one iterator would run out of memory."""
        async with client as xs:
            read, unread = await xs.watch(f"{top}/read"), await xs.watch(f"{top}/unread")
            await read.__aenter__()
            events = xs.events()
            for number in range(10):
                sync.write(f"{top}/read/{number}", "")
                sync.write(f"{top}/unread/{number}", "")
            await take(events, 22)
            assert len(unread._waiting) == 0
            assert await take(read, 11) == [f"{top}/read", *(f"{top}/read/{number}" for number in range(10))]
            await read.close()

    async def test_one_after_the_other(self, client: aio.Client, sync: Client, top: str) -> None:
        """The second iterator gets the events that the first has not returned, also of watches open as streams."""
        async with client as xs, xs.watch(f"{top}/a") as a:
            await xs.watch(f"{top}/b")
            await all_told(xs, sync)
            assert [each.path async for each in xs.events(0)] == [f"{top}/a", f"{top}/b"]
            assert [each.path async for each in xs.events(0)] == []
            sync.write(f"{top}/a", "")
            await all_told(xs, sync)
            assert [each.path async for each in xs.events(0)] == [f"{top}/a"]
            assert await take(a) == [f"{top}/a"]
            sync.write(f"{top}/a", "")
            await all_told(xs, sync)
            assert [each.path async for each in xs.events(0)] == [f"{top}/a"]

    async def test_two_at_once(self, client: aio.Client, sync: Client, top: str) -> None:
        async with client as xs:
            first, second = xs.events(), xs.events()
            await xs.watch(top)
            assert await take(first) == await take(second) == [top]
            del second
            gc.collect()
            assert len(xs._open_state.watches._followers) == 1

    async def test_until_none_comes(self, client: aio.Client, sync: Client, top: str) -> None:
        async with client as xs:
            await xs.watch(top)
            await xs.exists(top)
            assert [each.path async for each in xs.events(timeout=0)] == [top]
            sync.write(f"{top}/a", "")
            assert [each.path async for each in xs.events(timeout=0.2)] == [f"{top}/a"]

    async def test_what_had_come_before_the_end(self) -> None:
        def script(link: Link) -> None:
            watch = link.request()
            path, token, _ = watch.payload.split(b"\0", 2)
            link.reply(watch)
            link.send(b"".join(event(path + b"/%d" % number, token) for number in range(100)))
            link.hang_up()

        with Peer(script) as peer:
            async with aio.Client(peer.path) as xs:
                watch = await xs.watch("/a")
                for events in (xs.events(), watch.__aiter__()):
                    assert await take(events, 100) == [f"/a/{number}" for number in range(100)]
                    with pytest.raises(xsffi.ConnectionLostError):
                        await take(events)


class TestCallbacks:
    async def test_plain_and_async(self, client: aio.Client, sync: Client, top: str) -> None:
        seen: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

        async def awaited(event: WatchEvent) -> None:
            seen.put_nowait(("awaited", (await xs.read_text(event.path))))

        async with client as xs:
            sync.write(f"{top}/a", "1")
            await xs.watch(f"{top}/a", callback=awaited)
            assert await seen.get() == ("awaited", "1")
            await xs.watch(f"{top}/b", callback=lambda event: seen.put_nowait(("plain", event.path)))
            assert await seen.get() == ("plain", f"{top}/b")
            sync.write(f"{top}/a", "2")
            assert await seen.get() == ("awaited", "2")

    async def test_one_after_the_other(self, client: aio.Client, sync: Client, top: str) -> None:
        """A slow callback does not delay other watches."""
        go = asyncio.Event()
        seen: list[str] = []
        other: asyncio.Queue[str] = asyncio.Queue()

        async def slow(event: WatchEvent) -> None:
            await go.wait()
            seen.append(event.path)
            await asyncio.sleep(0)
            seen.append("done")

        async with client as xs:
            await xs.watch(f"{top}/slow", callback=slow)
            await xs.watch(f"{top}/other", callback=lambda event: other.put_nowait(event.path))
            await other.get()
            for number in range(3):
                sync.write(f"{top}/slow/{number}", "")
                sync.write(f"{top}/other/{number}", "")
                assert await other.get() == f"{top}/other/{number}"
            assert seen == []
            go.set()
            while len(seen) < 8:
                await asyncio.sleep(0)
            assert seen[0::2] == [f"{top}/slow", *(f"{top}/slow/{number}" for number in range(3))]
            assert seen[1::2] == ["done"] * 4

    async def test_one_that_raises_is_called_again(
        self, client: aio.Client, sync: Client, top: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        seen: asyncio.Queue[str] = asyncio.Queue()

        def raising(event: WatchEvent) -> None:
            seen.put_nowait(event.path)
            raise KeyError("mine")

        async with client as xs:
            await xs.watch(top, callback=raising)
            await seen.get()
            sync.write(f"{top}/a", "")
            assert await seen.get() == f"{top}/a"
        (first, _) = caplog.records
        assert first.name == "xsffi"
        assert first.getMessage() == f"the callback of the watch at {top} raised"
        assert first.exc_info is not None

    async def test_its_events_are_no_stream(self, client: aio.Client, top: str) -> None:
        async with client as xs, xs.watch(top, callback=print) as watch:
            with pytest.raises(RuntimeError, match="callback"):
                await watch.__anext__()
            with pytest.raises(RuntimeError, match="callback"):
                watch.__aiter__()

    async def test_it_may_close_its_watch(self, client: aio.Client, sync: Client, top: str) -> None:
        done = asyncio.Event()
        seen: list[str] = []

        async def once(event: WatchEvent) -> None:
            seen.append(event.path)
            await event.token.close()
            done.set()

        async with client as xs:
            watch = await xs.watch(top, callback=once)
            await done.wait()
            sync.write(f"{top}/a", "")
            await all_told(xs, sync)
            assert watch.closed
            assert seen == [top]

    async def test_it_may_close_its_watch_in_another_task(self, client: aio.Client, top: str) -> None:
        done = asyncio.Event()

        async def once(event: WatchEvent) -> None:
            await asyncio.wait_for(event.token.close(), 5)
            done.set()

        async with client as xs:
            await xs.watch(top, callback=once)
            await done.wait()

    async def test_it_may_close_the_client(self, client: aio.Client, top: str) -> None:
        done = asyncio.Event()

        async def close(event: WatchEvent) -> None:
            await client.close()
            done.set()

        async with client as xs:
            await xs.watch(top, callback=close)
            await done.wait()
            with pytest.raises(xsffi.ClientClosedError):
                await xs.read(top)

    async def test_one_under_way_goes_on_to_its_end(
        self, client: aio.Client, sync: Client, top: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        begun, go = asyncio.Event(), asyncio.Event()
        ended: list[str] = []

        async def slow(event: WatchEvent) -> None:
            begun.set()
            await go.wait()
            ended.append(event.path)
            await xs.read(top)

        async with client as xs:
            async with xs.watch(top, callback=slow):
                await begun.wait()
                sync.write(f"{top}/a", "")
            begun.clear()
            await xs.watch(top, callback=slow)
            await begun.wait()
        go.set()
        for _ in range(20):
            await asyncio.sleep(0)
        assert ended == [top, top]
        assert caplog.records == []  # the client being closed is not reported

    async def test_it_is_told_that_nobody_calls_it_any_more(self, caplog: pytest.LogCaptureFixture) -> None:
        def script(link: Link) -> None:
            link.reply(link.request())
            link.request()
            link.hang_up()

        with Peer(script) as peer:
            async with aio.Client(peer.path) as xs:
                watch = await xs.watch("/a", callback=print)
                with pytest.raises(xsffi.ConnectionLostError):
                    await xs.read("/a")
                await asyncio.sleep(0)
                assert not watch.closed
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert (
            "the callback of the watch at /a will not be called any more: the connection to the store is lost"
            in record.message
        )

    async def test_one_whose_own_task_was_cancelled(
        self, client: aio.Client, sync: Client, top: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        seen: asyncio.Queue[str] = asyncio.Queue()

        async def waits(event: WatchEvent) -> None:
            seen.put_nowait(event.path)
            inner = asyncio.ensure_future(asyncio.sleep(60))
            inner.cancel()
            await inner

        async with client as xs:
            watch = await xs.watch(top, callback=waits)
            await seen.get()
            if sys.version_info >= (3, 11):
                sync.write(f"{top}/a", "")
                assert await seen.get() == f"{top}/a"
                assert caplog.records[0].message == f"the callback of the watch at {top} raised"
            else:
                await asyncio.sleep(0.01)
                assert watch.closed
                assert caplog.records[0].message.endswith("was cancelled, and will not be called any more")

    async def test_the_end_of_the_program(self, client: aio.Client, top: str, caplog: pytest.LogCaptureFixture) -> None:
        """asyncio.run() cancels all tasks."""
        begun = asyncio.Event()

        async def endless(event: WatchEvent) -> None:
            begun.set()
            await asyncio.Event().wait()

        async with client as xs:
            watch = await xs.watch(top, callback=endless)
            await begun.wait()
            (task,) = asyncio.all_tasks() - {asyncio.current_task()}
            task.cancel()
            await asyncio.wait([task])
            assert watch.closed
        (record,) = caplog.records
        assert record.message == f"the callback of the watch at {top} was cancelled, and will not be called any more"


class TestResets:
    async def test_a_watch_asked_for_after_it(self, client: aio.Client, sync: Client, top: str) -> None:
        async with client as xs:
            before = await xs.watch(f"{top}/before")
            _, after = await asyncio.gather(xs.reset_watches(), xs.watch(f"{top}/after"))
            assert before.closed
            assert not after.closed
            sync.write(f"{top}/after/a", "")
            assert await take(after, 2) == [f"{top}/after", f"{top}/after/a"]

    async def test_one_that_is_cancelled(self, client: aio.Client, sync: Client, top: str) -> None:
        """The watches are removed nevertheless."""
        async with client as xs:
            watch = await xs.watch(top)
            reset = asyncio.ensure_future(xs.reset_watches())
            await asyncio.sleep(0)
            reset.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reset
            assert watch.closed
            assert [each async for each in watch] == []


async def test_a_thousand_watches(client: aio.Client, sync: Client, top: str) -> None:
    async with AsyncExitStack() as stack:
        xs = await stack.enter_async_context(client)
        watches = await asyncio.gather(*[stack.enter_async_context(xs.watch(f"{top}/{n}")) for n in range(1000)])
        assert await asyncio.gather(*map(take, watches)) == [[f"{top}/{n}"] for n in range(1000)]
