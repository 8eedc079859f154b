"""Transactions and pipelines in asyncio."""

from __future__ import annotations

import asyncio
import gc

import pytest

import xsffi
from xsffi import Client, aio


@pytest.fixture
def top(sync: Client) -> object:
    """A node for this test alone."""
    sync.mkdir("/test/transaction")
    yield "/test/transaction"
    sync.rm("/test/transaction")


class TestTransactions:
    async def test_entered(self, client: aio.Client, sync: Client, top: str) -> None:
        async with client as xs:
            async with xs.transaction() as t:
                await t.write(f"{top}/a", "1")
                assert not await xs.exists(f"{top}/a")
                assert "open" in repr(t)
            assert sync.read(f"{top}/a") == b"1"
            with pytest.raises(xsffi.TransactionGoneError, match="committed"):
                await t.read(f"{top}/a")
            with pytest.raises(xsffi.TransactionGoneError):
                async with t:
                    pass

    async def test_awaited(self, client: aio.Client, sync: Client, top: str) -> None:
        async with client as xs:
            t = await xs.transaction()
            await t.write(f"{top}/a", "1")
            await t.abort()
            assert not sync.exists(f"{top}/a")
            async with await xs.transaction() as t:
                await t.write(f"{top}/a", "2")
            assert sync.read(f"{top}/a") == b"2"

    async def test_an_exception_aborts_it(self, client: aio.Client, sync: Client, top: str) -> None:
        async with client as xs:
            with pytest.raises(KeyError):
                async with xs.transaction() as t:
                    await t.write(f"{top}/a", "1")
                    raise KeyError
            assert not sync.exists(f"{top}/a")
            assert "aborted" in repr(t)

    async def test_several_at_once(self, client: aio.Client, sync: Client, top: str) -> None:
        """Each task of a client has its own."""

        async def count(t: aio.Transaction) -> None:
            value = int(await t.get(f"{top}/count", b"0"))
            await asyncio.sleep(0)
            await t.write(f"{top}/count", str(value + 1))

        async with client as xs:
            await asyncio.gather(*[xs.transact(count, attempts=200) for _ in range(20)])
        assert sync.read(f"{top}/count") == b"20"

    async def test_conflicts(self, client: aio.Client, sync: Client, top: str) -> None:
        calls = []

        async def meet(t: aio.Transaction) -> None:
            calls.append(t)
            await t.read(top)
            sync.write(top, str(len(calls)))
            await t.write(f"{top}/a", "1")

        async with client as xs:
            with pytest.raises(xsffi.TransactionConflictError, match="3 attempts"):
                await xs.transact(meet, attempts=3)
        assert len(calls) == 3

    async def test_what_transact_gives(self, client: aio.Client, top: str) -> None:
        async def work(t: aio.Transaction) -> str:
            return await t.read_text(top)

        async with client as xs:
            assert await xs.transact(work) == ""
            assert await xs.transact(lambda t: t.ls(top)) == []

    async def test_a_function_that_is_not_async(self, client: aio.Client, sync: Client, top: str) -> None:
        async with client as xs:
            with pytest.raises(TypeError, match="async function"):
                await xs.transact(lambda t: None)  # type: ignore[arg-type, return-value]

    async def test_an_error_beside_its_end(self, client: aio.Client, top: str) -> None:
        async with client as xs:
            t = await xs.transaction()
            error, end = await asyncio.gather(t.read(f"{top}/missing"), t.commit(), return_exceptions=True)
            assert isinstance(error, xsffi.NodeNotFoundError)
            assert end is None
            assert "committed" in repr(t)

    async def test_one_that_is_dropped(self, client: aio.Client, top: str) -> None:
        async with client as xs:
            dropped = [await xs.transaction()]
            number = dropped[0].id
            with pytest.warns(ResourceWarning, match="neither committed nor aborted"):
                dropped.clear()
            gc.collect()
            assert xs._open_state.transactions._orphans == [number]
            async with xs.transaction():
                assert xs._open_state.transactions._orphans == []

    async def test_one_that_the_daemon_forgot(self, client: aio.Client, top: str) -> None:
        async with client as xs:
            t = await xs.transaction()
            await xs.reset_watches()
            with pytest.raises(xsffi.TransactionGoneError):
                await t.write(f"{top}/a", "1")
            with pytest.raises(xsffi.TransactionGoneError):
                await t.commit()


class TestPipelines:
    async def test_entered(self, client: aio.Client, top: str) -> None:
        async with client as xs:
            async with xs.pipeline() as p:
                p.write(f"{top}/a", "1")
                p.read(f"{top}/a")
                p.get(f"{top}/missing", b"none")
                p.ls(top)
            assert p.results == [None, b"1", b"none", ["a"]]

    async def test_errors(self, client: aio.Client, top: str) -> None:
        async with client as xs:
            pipeline = xs.pipeline()
            pipeline.read(f"{top}/missing")
            pipeline.mkdir(f"{top}/b")
            with pytest.raises(xsffi.NodeNotFoundError):
                await pipeline.execute()
            assert [type(each) for each in pipeline.results] == [xsffi.NodeNotFoundError, type(None)]
            pipeline.read(f"{top}/missing")
            (error,) = await pipeline.execute(raise_on_error=False)
            assert isinstance(error, xsffi.NodeNotFoundError)
            with pytest.raises(KeyError):
                async with xs.pipeline() as p:
                    p.write(f"{top}/c", "")
                    raise KeyError
            assert not await xs.exists(f"{top}/c")

    async def test_in_a_transaction(self, client: aio.Client, sync: Client, top: str) -> None:
        async with client as xs:
            async with xs.pipeline(transaction=True, attempts=3) as p:
                for number in range(200):
                    p.write(f"{top}/{number}", str(number))
            assert len(sync.ls(top)) == 200
            pipeline = xs.pipeline(transaction=True)
            pipeline.write(f"{top}/d", "")
            pipeline.read(f"{top}/missing")
            with pytest.raises(xsffi.NodeNotFoundError):
                await pipeline.execute()
            assert not sync.exists(f"{top}/d")

    async def test_one_that_is_dropped(self, client: aio.Client) -> None:
        async with client as xs:
            pipelines = [xs.pipeline()]
            pipelines[0].read("/")
            with pytest.warns(ResourceWarning, match="operations queued: 1"):
                pipelines.clear()
