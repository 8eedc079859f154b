"""The asyncio client: opening, closing, and the loop and process that it belongs to."""

from __future__ import annotations

import asyncio
import copy
import errno
import gc
import inspect
import os
import pickle
import re
import socket
import threading
from collections.abc import Awaitable
from pathlib import Path

import pytest
from daemons import start_daemon
from harness.children import in_child
from harness.descriptors import descriptors_left, open_descriptors
from harness.loops import new_loop
from harness.peer import Link, Peer, answer
from harness.stores import connections_to, nobody_is_accepted

import xsffi
from xsffi import aio

NOT_AWAITED = {"check_watch", "fileno", "read_watch", "run", "stop"}  # not applicable to asyncio
NO_ITEMS = {"__getitem__", "__setitem__", "__delitem__", "__contains__"}


class TestAlike:
    """The API matches that of the sync client."""

    def test_all_is_there(self) -> None:
        for one, other in [
            (xsffi.Client, aio.Client),
            (xsffi.Transaction, aio.Transaction),
            (xsffi.Pipeline, aio.Pipeline),
            (xsffi.Watch, aio.Watch),
        ]:
            names = {name for name in dir(one) if not name.startswith("_")} - NOT_AWAITED
            assert names <= {name for name in dir(other) if not name.startswith("_")} | {"backend"}
            assert not NO_ITEMS & set(dir(other))

    def test_with_the_same_parameters(self) -> None:
        for one, other in [(xsffi.Client, aio.Client), (xsffi.Transaction, aio.Transaction)]:
            for name in set(dir(one)) & set(dir(other)):
                if not name.startswith("_") and callable(getattr(one, name)):
                    mine, its = (list(inspect.signature(getattr(each, name)).parameters) for each in (one, other))
                    assert mine == its, name


class TestOpening:
    async def test_entered(self, path: str) -> None:
        async with aio.Client(path) as xs:
            assert isinstance(xs, aio.Client)
            assert not xs.closed
            assert await xs.get_domain_path(5) == "/local/domain/5"
            assert repr(xs) == "<xsffi.aio.Client open>"
        assert xs.closed
        assert repr(xs) == "<xsffi.aio.Client closed>"

    async def test_connected(self, path: str) -> None:
        xs = await aio.connect(path, timeout=5)
        try:
            assert xs.backend.name == "wire"
            assert path in xs.backend.description
        finally:
            await xs.close()
        await xs.close()
        assert xs.closed

    async def test_connected_in_a_block(self, path: str) -> None:
        async with aio.connect(path) as xs:
            assert await xs.exists("/")
        assert xs.closed

    async def test_connected_and_then_entered(self, path: str) -> None:
        xs = await aio.connect(path)
        async with xs as same:
            assert same is xs
        assert xs.closed

    async def test_where_the_environment_says(self, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XENSTORED_PATH", path)
        async with aio.Client() as xs:
            assert await xs.read("/") == b""

    async def test_not_yet_open(self, path: str) -> None:
        xs = aio.Client(Path(path))
        assert repr(xs) == "<xsffi.aio.Client not yet open>"
        with pytest.raises(xsffi.ClientClosedError, match="not open yet"):
            await xs.read("/")
        with pytest.raises(xsffi.ClientClosedError, match="not open yet"):
            xs.watch("/")
        await xs.close()
        with pytest.raises(xsffi.ClientClosedError):
            await xs.read("/")

    async def test_entered_again_after_its_end(self, client: aio.Client) -> None:
        async with client:
            pass
        with pytest.raises(xsffi.ClientClosedError):
            async with client:
                pass

    async def test_nobody_is_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        missing = str(tmp_path / "socket")
        with pytest.raises(xsffi.BackendUnavailableError, match="No such file") as caught:
            await aio.connect(missing)
        assert [what for what, _ in caught.value.attempts] == [f"wire at {missing}"]
        monkeypatch.setenv("XENSTORED_RUNDIR", str(tmp_path))
        monkeypatch.delenv("XENSTORED_PATH", raising=False)
        with pytest.raises(xsffi.BackendUnavailableError) as caught:
            await aio.connect()
        assert len(caught.value.attempts) == 3

    async def test_neither_socket_nor_device(self, tmp_path: Path) -> None:
        with pytest.raises(xsffi.BackendUnavailableError, match="neither a unix socket nor"):
            await aio.connect(tmp_path)

    async def test_a_device_that_cannot_be_polled(self) -> None:
        before = open_descriptors()
        with pytest.raises(xsffi.BackendUnavailableError, match="/dev/null"):
            await aio.connect("/dev/null")
        assert open_descriptors() == before

    async def test_a_name_too_long_for_a_socket(self, tmp_path: Path) -> None:
        with pytest.raises(xsffi.BackendUnavailableError):
            await aio.connect(tmp_path / ("x" * 200))

    @pytest.mark.parametrize("timeout", [-1, float("nan")])
    def test_a_timeout_that_is_none(self, timeout: float) -> None:
        with pytest.raises(ValueError, match="timeout"):
            aio.Client(timeout=timeout)
        with pytest.raises(TypeError, match="timeout"):
            aio.Client(timeout="soon")  # type: ignore[arg-type]

    def test_connections(self) -> None:
        aio.Client(connections=4)
        with pytest.raises(ValueError, match="connections"):
            aio.Client(connections=0)

    async def test_a_daemon_that_accepts_nobody(self, loop_kind: str) -> None:
        with start_daemon("xenstored") as daemon, nobody_is_accepted(daemon):
            with pytest.raises(xsffi.BackendUnavailableError, match="accept"):
                await aio.connect(daemon.socket_path, timeout=0.05)
            opening = asyncio.ensure_future(aio.connect(daemon.socket_path))
            await asyncio.sleep(0.03)
            assert not opening.done()
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening

    async def test_it_waits_until_it_is_accepted(self) -> None:
        with start_daemon("xenstored") as daemon:
            with nobody_is_accepted(daemon):
                opening = asyncio.ensure_future(aio.connect(daemon.socket_path))
                await asyncio.sleep(0.03)
            xs = await opening
            assert await xs.exists("/")
            await xs.close()

    async def test_closed_while_it_opens(self) -> None:
        with start_daemon("xenstored") as daemon:
            xs = aio.Client(daemon.socket_path)
            with nobody_is_accepted(daemon):
                opening = asyncio.ensure_future(xs.__aenter__())
                await asyncio.sleep(0.03)
                await xs.close()
            with pytest.raises(xsffi.ClientClosedError):
                await opening

    async def test_no_descriptors_left(self, path: str) -> None:
        before = open_descriptors()
        opening = [aio.connect(path) for _ in range(5)]
        with descriptors_left(0):
            errors = [await _error_of(each) for each in opening]
        for error in errors:
            assert isinstance(error, xsffi.BackendUnavailableError)
            assert error.errno == errno.EMFILE
        assert open_descriptors() == before


async def _error_of(call: Awaitable[object]) -> BaseException | None:
    try:
        await call
    except Exception as error:
        return error
    return None


class TestItsEnd:
    async def test_everything_raises_then(self, client: aio.Client) -> None:
        async with client as xs:
            watch = await xs.watch("/")
            transaction = await xs.transaction()
        for call in [
            xs.read("/"),
            xs.get("/"),
            xs.write("/a", b""),
            xs.read_many(["/"]),
            xs.dump("/"),
            xs.load([xsffi.Node("/a", b"", (), ())]),
            xs.transaction().__aenter__(),
            xs.watch("/").__aenter__(),
            xs.reset_watches(),
            xs.ls("/"),
            transaction.read("/"),
            watch.__anext__(),
            xs.events().__anext__(),
        ]:
            with pytest.raises(xsffi.ClientClosedError):
                await call
        with pytest.raises(xsffi.ClientClosedError):
            _ = [node async for node in xs.walk("/")]
        with pytest.raises(xsffi.NodeNotFoundError):
            await xs.unwatch(watch)
        await watch.close()
        assert watch.closed
        with pytest.raises(xsffi.ClientClosedError):
            await transaction.abort()

    async def test_it_ends_every_wait(self) -> None:
        def silent(link: Link) -> None:
            link.wait_for_the_end()

        with Peer(silent) as peer:
            xs = await aio.connect(peer.path)
            waits = [
                asyncio.ensure_future(call)
                for call in (
                    xs.read("/a"),
                    xs.read_many(["/a", "/b"]),
                    xs.dump("/"),
                    xs.transaction().__aenter__(),
                    xs.watch("/").__aenter__(),
                    xs.events().__anext__(),
                )
            ]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await xs.close()
            for wait in waits:
                with pytest.raises(xsffi.ClientClosedError):
                    await wait

    async def test_the_daemon_forgets_it(self) -> None:
        with start_daemon("xenstored") as daemon:
            before = open_descriptors()
            async with aio.Client(daemon.socket_path) as xs:
                await xs.read("/")
                assert connections_to(daemon) == 1
            with xsffi.Client(daemon.socket_path) as other:
                other.read("/")  # answered after the daemon has closed the other one
                assert connections_to(daemon) == 1
            assert open_descriptors() == before

    async def test_a_client_that_is_dropped(self, path: str) -> None:
        before = open_descriptors()
        xs = await aio.connect(path)
        await xs.read("/")
        clients = [xs]
        del xs
        with pytest.warns(ResourceWarning, match="was not closed"):
            clients.clear()
        await asyncio.sleep(0)
        assert open_descriptors() == before

    def test_one_that_outlives_its_loop(self, path: str, loop_kind: str) -> None:
        before = open_descriptors()
        loop = new_loop(loop_kind)
        xs = loop.run_until_complete(aio.connect(path))
        watch = loop.run_until_complete(_watch(xs))
        loop.close()
        assert not watch.closed
        other = new_loop(loop_kind)
        with pytest.raises(RuntimeError, match="event loop"):
            other.run_until_complete(xs.read("/"))
        other.run_until_complete(xs.close())
        assert watch.closed
        other.close()
        del loop, other
        gc.collect()
        assert open_descriptors() == before

    def test_one_that_is_dropped_after_its_loop(self, path: str, loop_kind: str) -> None:
        before = open_descriptors()
        loop = new_loop(loop_kind)
        xs = loop.run_until_complete(aio.connect(path))
        loop.close()
        clients = [xs]
        del xs
        with pytest.warns(ResourceWarning, match="was not closed"):
            clients.clear()
        del loop
        gc.collect()
        assert open_descriptors() == before

    async def test_it_cannot_be_copied(self, client: aio.Client) -> None:
        async with client as xs:
            for copying in (copy.copy, copy.deepcopy, pickle.dumps):
                with pytest.raises(TypeError, match="cannot be copied or pickled"):
                    copying(xs)


async def _watch(xs: aio.Client) -> aio.Watch:
    """A watch without a callback; another one has a callback, whose task waits for events."""
    called = asyncio.Event()
    await xs.watch("/", callback=lambda event: called.set())
    await called.wait()
    return await xs.watch("/")


class TestItsLoop:
    async def test_another_loop_is_told(self, client: aio.Client, loop_kind: str) -> None:
        async with client as xs:
            watch = await xs.watch("/")
            transaction = await xs.transaction()
            told: list[str] = []

            async def use() -> None:
                for call in (
                    xs.read("/"),
                    xs.read_many(["/"]),
                    xs.watch("/").__aenter__(),
                    watch.__anext__(),
                    xs.__aenter__(),
                    xs.close(),
                    watch.close(),
                ):
                    with pytest.raises(RuntimeError, match="belongs to another event loop") as caught:
                        await call
                    told.append(str(caught.value))
                with pytest.raises(RuntimeError, match="belongs to another event loop"):
                    xs.events()
                with pytest.raises(asyncio.CancelledError):
                    async with transaction:
                        raise asyncio.CancelledError

            def in_another_thread() -> None:
                loop = new_loop(loop_kind)
                loop.run_until_complete(use())
                loop.close()

            thread = threading.Thread(target=in_another_thread)
            thread.start()
            await asyncio.get_running_loop().run_in_executor(None, thread.join)
            assert len(told) == 7
            assert await xs.exists("/")  # the client still works
            assert not watch.closed
        await asyncio.get_running_loop().shutdown_default_executor()


class TestForks:
    async def test_a_child_is_told(self, path: str, loop_kind: str) -> None:
        async with aio.Client(path) as xs:
            watch = await xs.watch("/")
            async for _ in watch:
                break
            descriptor = xs.backend._connection._transport._descriptor

            async def use() -> None:
                for call in (xs.read("/"), xs.read_many(["/"]), xs.dump(), watch.__anext__(), xs.transact(_nothing)):
                    with pytest.raises(xsffi.ForkedError):
                        await call
                await xs.close()
                async with aio.Client(path) as own:
                    assert await own.exists("/")

            def child() -> None:
                with pytest.raises(OSError, match="Bad file descriptor"):
                    os.fstat(descriptor)
                asyncio._set_running_loop(None)
                new_loop(loop_kind).run_until_complete(use())

            assert in_child(child) == 0
            await xs.write("/tool/after-the-fork", b"1")  # the parent's connection still works
            async for event in watch:
                assert event.path == "/tool/after-the-fork"
                break
            await xs.rm("/tool/after-the-fork")


async def _nothing(t: aio.Transaction) -> None:
    """A transaction that does nothing."""


class TestTheDaemonsEnd:
    async def test_everything_raises_once_it_is_gone(self) -> None:
        with start_daemon("xenstored") as daemon:
            async with aio.Client(daemon.socket_path) as xs:
                watch, called = await xs.watch("/"), await xs.watch("/", callback=print)
                transaction = await xs.transaction()
                waits = [asyncio.ensure_future(_rest(watch)), asyncio.ensure_future(_rest(xs.events()))]
                await xs.exists("/")
                daemon.kill()
                for wait in waits:
                    with pytest.raises(xsffi.ConnectionLostError):
                        await wait
                for call in (
                    xs.read("/"),
                    xs.get("/"),
                    xs.read_many(["/a"]),
                    xs.dump("/"),
                    xs.transaction().__aenter__(),
                    transaction.read("/"),
                    xs.watch("/").__aenter__(),
                    watch.__anext__(),
                    xs.events().__anext__(),
                    watch.close(),
                ):
                    with pytest.raises(xsffi.ConnectionLostError):
                        await call
                assert watch.closed
                assert not called.closed
                with pytest.raises(xsffi.ConnectionLostError):
                    await transaction.commit()

    async def test_what_waits_ends_at_once(self) -> None:
        """Whatever it waits for; a reply that arrived earlier still counts."""

        def script(link: Link) -> None:
            first, *_ = link.requests(3)
            link.reply(first)
            link.hang_up()

        with Peer(script) as peer:
            async with aio.Client(peer.path) as xs:
                found = await asyncio.gather(xs.read("/a"), xs.read("/b"), xs.read("/c"), return_exceptions=True)
                assert found[0] == b"value of /a"
                assert [type(each) for each in found[1:]] == [xsffi.ConnectionLostError] * 2

    async def test_another_daemon_in_its_place(self) -> None:
        """A client never switches to another daemon."""
        with Peer(answer) as peer:
            xs = await aio.connect(peer.path)
            assert await xs.read("/a") == b"value of /a"
            for link in peer._links:
                link.socket.shutdown(socket.SHUT_RDWR)
            with pytest.raises(xsffi.ConnectionLostError):
                while True:
                    await xs.read("/a")
            async with aio.Client(peer.path) as other:
                assert await other.read("/b") == b"value of /b"
            with pytest.raises(xsffi.ConnectionLostError):
                await xs.read("/a")
            await xs.close()


async def _rest(events: object) -> None:
    async for _ in events:  # type: ignore[attr-defined]
        pass


class TestTraces:
    async def test_the_trace(
        self, path: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("XSFFI_TRACE", "1")
        async with aio.Client(path) as xs:
            await xs.write("/tool/traced", "secret")
            assert await xs.read("/tool/traced") == b"secret"
            with pytest.raises(FileNotFoundError):
                await xs.read("/tool/missing")
            await xs.read_many(["/tool/traced", "/tool/missing"], None)
            async with xs.transaction() as t:
                await t.rm("/tool/traced")
            async with xs.watch("/tool") as events:
                async for _ in events:
                    break
        text = re.sub(r"\d+ µs", "N µs", re.sub(r"transaction \d+", "transaction N", capsys.readouterr().err))
        assert "secret" not in text
        lines = [line.replace("xsffi: ", "", 1) for line in text.splitlines()]
        assert lines[:6] == [
            f"the backend is the wire at {path}, in asyncio",
            "WRITE /tool/traced (6 bytes): done, N µs",
            "READ /tool/traced: 6 bytes, N µs",
            "READ /tool/missing: ENOENT, N µs",
            "READ /tool/traced: 6 bytes, N µs with all 2 at once",
            "READ /tool/missing: ENOENT, N µs with all 2 at once",
        ]
        assert lines[6].startswith("TRANSACTION_START: ")
        assert lines[7:9] == [
            "RM /tool/traced in transaction N: done, N µs",
            "TRANSACTION_END T in transaction N: done, N µs",
        ]
        assert set(lines[9:11]) == {"WATCH /tool: done, N µs", "event at /tool of the watch 1"}
        assert lines[11:] == ["UNWATCH /tool: done, N µs", "closed"]

    async def test_the_log(self, path: str, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("DEBUG", "xsffi")
        async with aio.Client(path) as xs:
            await xs.exists("/")
        texts = [record.getMessage() for record in caplog.records]
        assert texts[0] == f"the backend is the wire at {path}, in asyncio"
        assert texts[1].startswith("READ /: ")
        assert texts[2] == "closed"

    async def test_nothing_is_on_the_way_where_nobody_looks(self, client: aio.Client) -> None:
        async with client as xs:
            assert type(xs.backend).__name__ == "Backend"


class TestTheMiddleOfAStep:
    """An exception in the middle of a step closes the connection, and later calls say so."""

    @pytest.mark.parametrize("where", ["send", "receive"])
    async def test_it_is_over(self, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*arguments: object) -> None:
            raise MemoryError

        unseen: list[object] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: unseen.append(context["exception"]))
        with Peer(answer) as peer:
            async with aio.Client(peer.path) as xs:
                assert await xs.read("/a") == b"value of /a"
                session = xs.backend._connection._session
                monkeypatch.setattr(session, {"send": "data_sent", "receive": "receive_data"}[where], fail)
                with pytest.raises(xsffi.ConnectionLostError, match="MemoryError"):
                    await xs.read("/b")
                with pytest.raises(xsffi.ConnectionLostError, match="MemoryError"):
                    await xs.read("/c")
        assert [type(each) for each in unseen] == [MemoryError]
