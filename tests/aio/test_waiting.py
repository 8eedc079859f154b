"""Waiting in tasks: what waits share, and that cancelling one leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from harness.peer import Link, MessageType, Peer

import xsffi
from xsffi import Client, aio
from xsffi.conditions import all_of, node_appears, value_becomes
from xsffi.testing import EmbeddedStore

M = MessageType


@pytest.fixture
def store() -> Iterator[EmbeddedStore]:
    with EmbeddedStore() as store:
        yield store


@pytest.fixture
def other(store: EmbeddedStore) -> Iterator[Client]:
    with store.connect(backend="wire") as client:
        yield client


async def watches(store: EmbeddedStore, xs: aio.Client) -> int:
    """The number of dom0's watches as counted by the daemon, after it has carried out all earlier requests."""
    await xs.exists("/")
    count: int = store._loop.call(lambda: store._store.dom0.watches)
    return count


async def test_a_hundred_share_their_watches(store: EmbeddedStore, other: Client) -> None:
    async with aio.Client(store.path) as xs:
        waits = [
            asyncio.ensure_future(xs.wait_for(f"/node/{number % 3}", str(number), timeout=60)) for number in range(100)
        ]
        while await watches(store, xs) < 4:  # of the three nodes, and of domain releases
            pass
        for number in range(100):
            other.write(f"/node/{number % 3}", str(number))
            assert await waits[number] == b"%d" % number
        assert await watches(store, xs) == 0
        assert [event async for event in xs.events(0)] == []


async def test_cancelling(store: EmbeddedStore, other: Client) -> None:
    """At each iteration of the loop: nothing is left behind, and other waits continue."""
    async with aio.Client(store.path) as xs:
        steady = asyncio.ensure_future(xs.wait(all_of(node_appears("/a"), node_appears("/b")), timeout=60))
        for turns in range(40):
            wait = asyncio.ensure_future(xs.wait(all_of(node_appears("/b"), node_appears("/c")), timeout=60))
            for _ in range(turns):
                await asyncio.sleep(0)
            wait.cancel()
            with pytest.raises(asyncio.CancelledError):
                await wait
        other.mkdir("/a")
        assert not steady.done()
        other.mkdir("/b")
        assert await steady == (True, True)
        assert await watches(store, xs) == 0


async def test_the_one_who_sets_a_watch_is_cancelled(store: EmbeddedStore, other: Client) -> None:
    """Another wait that needs the same watch sets it instead."""
    async with aio.Client(store.path) as xs:
        for turns in range(8):
            first, second = (asyncio.ensure_future(xs.wait_for("/a", str(turns), timeout=60)) for _ in range(2))
            for _ in range(turns):
                await asyncio.sleep(0)
            first.cancel()
            other.write("/a", str(turns))
            assert await second == b"%d" % turns
            with pytest.raises(asyncio.CancelledError):
                await first
        assert await watches(store, xs) == 0


async def test_a_daemon_that_says_nothing() -> None:
    def silent(link: Link) -> None:
        link.wait_for_the_end()

    with Peer(silent) as peer:
        async with aio.Client(peer.path) as xs:
            with pytest.raises(xsffi.WaitTimeoutError):
                await xs.wait_for("/a", "1", timeout=0)
            waits = [asyncio.ensure_future(xs.wait(node_appears(f"/{number}"))) for number in range(5)]
            await asyncio.sleep(0.01)
            await xs.close()
            for wait in waits:
                with pytest.raises(xsffi.ClientClosedError):
                    await wait


async def test_its_end(store: EmbeddedStore) -> None:
    async with aio.Client(store.path) as xs:
        waits = [asyncio.ensure_future(xs.wait(node_appears(f"/{number % 2}"))) for number in range(5)]
        while await watches(store, xs) < 3:
            pass
        store.stop()
        for wait in waits:
            with pytest.raises(xsffi.ConnectionLostError):
                await wait


async def test_time(store: EmbeddedStore, other: Client) -> None:
    async with aio.Client(store.path) as xs:
        for timeout in (0, 0.02):
            with pytest.raises(xsffi.WaitTimeoutError, match="did not become true"):
                await xs.wait(value_becomes("/a", "1"), timeout)
        assert await watches(store, xs) == 0
        other.write("/a", "1")
        assert await xs.wait(value_becomes("/a", "1"), 0)


async def test_a_reset(store: EmbeddedStore, other: Client) -> None:
    async with aio.Client(store.path) as xs:
        wait = asyncio.ensure_future(xs.wait_for("/a", "1", timeout=60))
        while await watches(store, xs) < 2:
            pass
        await xs.reset_watches()
        other.write("/a", "1")
        assert await wait == b"1"
        assert await watches(store, xs) == 0


async def test_a_guest(store: EmbeddedStore, other: Client) -> None:
    """It may set only 127 watches."""
    async with aio.Client(store.socket_path(5)) as xs:
        waits = [asyncio.ensure_future(xs.wait_for(f"node/{number % 3}", "1", timeout=60)) for number in range(300)]
        await asyncio.sleep(0.01)
        for number in range(3):
            other.write(f"/local/domain/5/node/{number}", "1")
        assert await asyncio.gather(*waits) == [b"1"] * 300
        waits = [asyncio.ensure_future(xs.wait_for(f"other/{number}", "1", timeout=0.2)) for number in range(200)]
        done = await asyncio.gather(*waits, return_exceptions=True)
        assert {type(each) for each in done} == {xsffi.QuotaExceededError, xsffi.WaitTimeoutError}
        async with xs.watch("node"):  # nothing of the earlier waits is left
            pass
