"""Many tasks on one client; cancelling one leaves nothing behind."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from harness.peer import HungUp, Link, MessageType, Packet, Peer, answer, event, value_of

import xsffi
from xsffi import Client, Node, aio

M = MessageType


async def turns(count: int = 5) -> None:
    """Let the loop run some iterations."""
    for _ in range(count):
        await asyncio.sleep(0)


class Held:
    """A daemon that receives requests, and replies only when the test tells it to."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.asked: asyncio.Queue[Packet] = asyncio.Queue()
        self.go: asyncio.Queue[None] = asyncio.Queue()
        self.link: Link | None = None

    def __call__(self, link: Link) -> None:
        self.link = link
        while True:
            request = link.request()
            self.loop.call_soon_threadsafe(self.asked.put_nowait, request)

    def reply(self, request: Packet, payload: bytes | None = None) -> None:
        assert self.link is not None
        self.link.reply(request, payload)

    def event(self, request: Packet) -> None:
        """Send an event of the watch that the request has set."""
        assert self.link is not None
        path, token, _ = request.payload.split(b"\0", 2)
        self.link.send(event(path, token))


async def test_ten_thousand_tasks(client: aio.Client, sync: Client) -> None:
    paths = [f"/tool/tasks/{number // 100}/{number}" for number in range(10_000)]
    sync.load([Node(path, path.encode(), (), ()) for path in paths])
    async with client as xs:
        assert await asyncio.gather(*map(xs.read, paths)) == [path.encode() for path in paths]
    sync.rm("/tool/tasks")


async def test_what_tasks_ask_in_one_turn_goes_out_together() -> None:
    pieces: list[int] = []

    def script(link: Link) -> None:
        data = b""
        while len(data) < 50 * 20:
            data += link.socket.recv(1 << 16)
            pieces.append(len(data))
        raise HungUp

    with Peer(script) as peer:
        async with aio.Client(peer.path) as xs:
            found = await asyncio.gather(*[xs.read(f"/{number:02}") for number in range(50)], return_exceptions=True)
            assert {type(each) for each in found} == {xsffi.ConnectionLostError}
    assert pieces == [50 * 20]


async def test_a_walk_that_is_left_early(client: aio.Client) -> None:
    """Closing the generator leaves no task behind."""
    async with client as xs:
        async with AsyncExitStack() as stack:
            walk = xs.walk("/")
            stack.push_async_callback(walk.aclose)
            async for node in walk:
                assert node.path == "/"
                break
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_task_of_a_watch(client: aio.Client) -> None:
    """Its opening is a coroutine, so it can be made a task."""
    async with client as xs:
        watch, transaction = await asyncio.gather(
            asyncio.get_running_loop().create_task(xs.watch("/")),
            asyncio.get_running_loop().create_task(xs.transaction()),
        )
        await watch.close()
        await transaction.abort()


async def test_replies_in_any_order() -> None:
    def script(link: Link) -> None:
        for request in reversed(link.requests(20)):
            link.reply(request, piece=7)

    with Peer(script) as peer:
        async with aio.Client(peer.path) as xs:
            paths = [f"/{number}" for number in range(20)]
            assert await asyncio.gather(*map(xs.read, paths)) == [value_of(path.encode()) for path in paths]


async def test_more_than_the_socket_holds() -> None:
    """The daemon does not read for a while."""
    loop = asyncio.get_running_loop()
    go = asyncio.Event()
    asked: list[int] = []

    def script(link: Link) -> None:
        asyncio.run_coroutine_threadsafe(go.wait(), loop).result()
        for _ in range(2000):
            request = link.request()
            asked.append(len(request.payload))
            link.reply(request)

    with Peer(script) as peer:
        async with aio.Client(peer.path) as xs:
            writes = [asyncio.ensure_future(xs.write(f"/{number}", bytes(3000))) for number in range(2000)]
            await turns(50)
            assert not any(write.done() for write in writes)
            for write in writes[1000:1500]:  # not sent yet
                write.cancel()
            go.set()
            await asyncio.gather(*writes[:1000], *writes[1500:])
            await asyncio.gather(*[xs.write("/more", b"") for _ in range(500)])
    assert len(asked) == 2000


class TestCancelling:
    async def test_a_late_reply_is_dropped(self) -> None:
        held = Held()
        with Peer(held) as peer:
            async with aio.Client(peer.path) as xs:
                first = asyncio.ensure_future(xs.read("/first"))
                second = asyncio.ensure_future(xs.read("/second"))
                asked = [await held.asked.get(), await held.asked.get()]
                first.cancel()
                await turns()
                held.reply(asked[0])
                held.reply(asked[1])
                assert await second == b"value of /second"
                with pytest.raises(asyncio.CancelledError):
                    await first
                third = asyncio.ensure_future(xs.read("/third"))
                held.reply(await held.asked.get())
                assert await third == b"value of /third"

    async def test_what_was_not_yet_sent_is_not(self) -> None:
        """The daemon does not read for a while."""
        loop = asyncio.get_running_loop()
        go = asyncio.Event()
        asked: list[Packet] = []

        def script(link: Link) -> None:
            asyncio.run_coroutine_threadsafe(go.wait(), loop).result()
            while True:
                asked.append(link.request())
                link.reply(asked[-1])

        with Peer(script) as peer:
            async with aio.Client(peer.path) as xs:
                writes = [asyncio.ensure_future(xs.write(f"/{number}", bytes(3000))) for number in range(500)]
                calls: list[Awaitable[object]] = [
                    xs.write("/a", b"1"),
                    xs.transaction().__aenter__(),
                    xs.watch("/a").__aenter__(),
                    xs.read_many(["/a", "/b"]),
                ]
                tasks = [asyncio.ensure_future(call) for call in calls]
                await turns()
                for task in tasks:
                    task.cancel()
                await turns()
                assert all(task.cancelled() for task in tasks)
                go.set()
                await asyncio.gather(*writes)
                assert await xs.read("/last") == b"value of /last"
        assert [each.type for each in asked] == [M.WRITE] * 500 + [M.READ]

    async def test_a_transaction_that_was_being_started(self) -> None:
        held = Held()
        with Peer(held) as peer:
            async with aio.Client(peer.path) as xs:
                task = asyncio.ensure_future(xs.transaction().__aenter__())
                start = await held.asked.get()
                task.cancel()
                await turns()
                held.reply(start, b"77\0")
                end = await held.asked.get()
                assert (end.type, end.tx_id, end.payload) == (M.TRANSACTION_END, 77, b"F\0")

    async def test_a_transaction_whose_start_has_come(self) -> None:
        """The reply has arrived, but the task has not continued yet."""
        held = Held()
        with Peer(held) as peer:
            async with aio.Client(peer.path) as xs:
                task = asyncio.ensure_future(xs.transaction().__aenter__())
                start = await held.asked.get()
                _on_reply(xs, task.cancel)
                held.reply(start, b"78\0")
                end = await held.asked.get()
                assert (end.type, end.tx_id, end.payload) == (M.TRANSACTION_END, 78, b"F\0")
                with pytest.raises(asyncio.CancelledError):
                    await task

    @pytest.mark.parametrize("late", [False, True])
    async def test_a_watch_that_was_being_set(self, late: bool) -> None:
        held = Held()
        with Peer(held) as peer:
            async with aio.Client(peer.path) as xs:
                task = asyncio.ensure_future(xs.watch("/a").__aenter__())
                watch = await held.asked.get()
                if late:
                    _on_reply(xs, task.cancel)
                    held.reply(watch)
                else:
                    task.cancel()
                unwatch = await held.asked.get()
                assert (unwatch.type, unwatch.payload) == (M.UNWATCH, watch.payload)
                held.reply(unwatch)
                with pytest.raises(asyncio.CancelledError):
                    await task
                events = xs.events(0)
                held.event(watch)
                assert [each async for each in events] == []
                assert list(xs._open_state.watches._table) == []

    async def test_a_block_that_is_cancelled(self) -> None:
        """Its exit does not wait for the daemon."""
        held = Held()
        with Peer(held) as peer:
            async with aio.Client(peer.path) as xs:

                async def work() -> None:
                    async with xs.watch("/a") as watch, xs.transaction():
                        async for _ in watch:
                            pass

                task = asyncio.ensure_future(work())
                watch = await held.asked.get()
                held.reply(watch)
                start = await held.asked.get()
                held.reply(start, b"5\0")
                await turns()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                end, unwatch = await held.asked.get(), await held.asked.get()
                assert (end.type, end.tx_id, end.payload) == (M.TRANSACTION_END, 5, b"F\0")
                assert (unwatch.type, unwatch.payload) == (M.UNWATCH, watch.payload)

    @pytest.mark.parametrize("sent", [False, True])
    async def test_taking_a_watch_away(self, sent: bool) -> None:
        """The watch is removed nevertheless."""
        held = Held()
        with Peer(held) as peer:
            async with aio.Client(peer.path) as xs:
                opening = asyncio.ensure_future(xs.watch("/a").__aenter__())
                held.reply(await held.asked.get())
                watch = await opening
                task = asyncio.ensure_future(watch.close())
                if sent:
                    unwatch = await held.asked.get()
                else:
                    await asyncio.sleep(0)
                task.cancel()
                await turns()
                assert task.cancelled()
                again = await held.asked.get()
                assert again.type == M.UNWATCH
                if sent:
                    assert again.payload == unwatch.payload
                assert watch.closed

    async def test_a_commit(self) -> None:
        """Whether it took effect is unknown, but the daemon no longer holds the transaction."""
        held = Held()
        with Peer(held) as peer:
            async with aio.Client(peer.path) as xs:
                opening = asyncio.ensure_future(xs.transaction().__aenter__())
                held.reply(await held.asked.get(), b"9\0")
                transaction = await opening
                task = asyncio.ensure_future(transaction.commit())
                commit = await held.asked.get()
                assert (commit.type, commit.tx_id, commit.payload) == (M.TRANSACTION_END, 9, b"T\0")
                task.cancel()
                end = await held.asked.get()
                assert (end.type, end.tx_id, end.payload) == (M.TRANSACTION_END, 9, b"F\0")
                with pytest.raises(xsffi.TransactionGoneError, match="interrupted"):
                    await transaction.read("/a")

    async def test_a_dump(self) -> None:
        """Its watches are removed."""
        held = Held()
        with Peer(held) as peer:
            async with aio.Client(peer.path) as xs:
                task = asyncio.ensure_future(xs.dump("/a"))
                watch = await held.asked.get()
                held.reply(watch)
                await turns()
                task.cancel()
                unwatch = await held.asked.get()
                assert (unwatch.type, unwatch.payload) == (M.UNWATCH, watch.payload)
                with pytest.raises(asyncio.CancelledError):
                    await task

    async def test_dumps_of_a_daemon_that_hangs(self) -> None:
        """Requests that were never sent need not be undone, so nothing accumulates."""
        with Peer(lambda link: time.sleep(0.3)) as peer:
            async with aio.Client(peer.path) as xs:
                writes = [asyncio.ensure_future(xs.write(f"/{number}", bytes(3000))) for number in range(500)]
                await turns()
                outgoing = len(xs.backend._connection._session._outgoing)
                for _ in range(50):
                    dump = asyncio.ensure_future(xs.dump("/"))
                    await turns()
                    dump.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await dump
                assert len(xs.backend._connection._session._outgoing) <= outgoing
                await xs.close()
                for write in writes:
                    with pytest.raises(xsffi.ClientClosedError):
                        await write

    async def test_ten_thousand_at_once(self) -> None:
        """In linear time: searching for each request would take minutes."""
        with Peer(lambda link: time.sleep(0.3)) as peer:
            async with aio.Client(peer.path) as xs:
                reads = [asyncio.ensure_future(xs.read("/a" * 100)) for _ in range(10_000)]
                await turns()
                assert len(xs.backend._connection._session._outgoing) > 1000
                for read in reads:
                    read.cancel()
                await asyncio.wait(reads)
                assert len(xs.backend._connection._session._outgoing) <= 1  # one may have been sent in part

    async def test_bulk_work(self) -> None:
        """Thousands of ignored replies do not affect other requests."""
        with Peer(answer) as peer:
            async with aio.Client(peer.path) as xs:
                paths = [f"/{number}" for number in range(5000)]
                for count in range(0, 30, 3):
                    task = asyncio.ensure_future(xs.read_many(paths))
                    await turns(count)
                    task.cancel()
                    assert await xs.read("/a") == b"value of /a"
                    with pytest.raises(asyncio.CancelledError):
                        await task
                assert xs.backend._connection._session.unanswered() == []

    async def test_in_a_storm(self, path: str, sync: Client) -> None:
        """On a real daemon, each task that is not cancelled gets its own results."""
        sync.write("/tool/storm/0", "0")
        async with aio.Client(path) as xs:

            async def work(number: int) -> int:
                own = f"/tool/storm/{number}"
                async with xs.watch(own) as events:
                    await xs.write(own, str(number))
                    async with xs.transaction() as t:
                        assert await t.read(own) == b"%d" % number
                    async for each in events:
                        assert each.path == own
                        break
                    assert await xs.read_many([own, "/tool/storm/none"], None) == [b"%d" % number, None]
                    assert [node.path for node in await xs.dump(own)] == [own]
                return number

            tasks = [asyncio.ensure_future(work(number)) for number in range(100)]
            for number, task in enumerate(tasks):
                if number % 3 == 0:
                    asyncio.get_running_loop().call_later(number / 5000, task.cancel)
            done = await asyncio.gather(*tasks, return_exceptions=True)
            for number, result in enumerate(done):
                assert result == number or (number % 3 == 0 and isinstance(result, asyncio.CancelledError))
            assert await _watches_and_transactions(xs) == (0, 0)
        sync.rm("/tool/storm")

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout and TaskGroup are there since Python 3.11")
    async def test_timeouts_and_groups(self) -> None:
        modern: Any = asyncio  # types are checked for older Pythons, which lack timeout and TaskGroup
        held = Held()
        with Peer(held) as peer:
            async with aio.Client(peer.path) as xs:
                with pytest.raises(TimeoutError):
                    async with modern.timeout(0.01):
                        await xs.read("/a")
                held.reply(await held.asked.get())

                async def fail() -> None:
                    await held.asked.get()
                    raise ValueError("mine")

                with pytest.raises(Exception, match="unhandled errors") as caught:
                    async with modern.TaskGroup() as group:
                        other = group.create_task(xs.read("/b"))
                        group.create_task(fail())
                assert [str(each) for each in caught.value.exceptions] == ["mine"]  # type: ignore[attr-defined]
                assert other.cancelled()
                last = asyncio.ensure_future(xs.read("/c"))
                held.reply(await held.asked.get())
                assert await last == b"value of /c"


def _on_reply(xs: aio.Client, act: Callable[[], object]) -> None:
    """Call `act` once a reply has arrived, before the task that waits for it continues."""
    session = xs.backend._connection._session
    completed = session._completed
    assert completed is not None

    def complete(exchange: object) -> None:
        session._completed = completed
        completed(exchange)  # type: ignore[arg-type]
        act()

    session._completed = complete


async def _watches_and_transactions(xs: aio.Client) -> tuple[int, int]:
    """How many the client has in its own tables, after the daemon has answered everything that was posted."""
    await xs.exists("/")
    return len(list(xs._open_state.watches._table)), len(xs._open_state.transactions._orphans)


class TestTimeouts:
    async def test_a_daemon_that_says_nothing(self) -> None:
        held = Held()
        with Peer(held) as peer:
            async with aio.Client(peer.path, timeout=0.02) as xs:
                calls = (xs.read("/a"), xs.read_many(["/a"]), xs.dump("/a"), xs.watch("/a").__aenter__(), xs.ls("/"))
                for call in calls:
                    with pytest.raises(xsffi.WaitTimeoutError, match=r"0\.02 seconds"):
                        await call
                while not held.asked.empty():
                    request = held.asked.get_nowait()
                    held.reply(request)
                later = asyncio.ensure_future(xs.read("/later"))
                while (request := await held.asked.get()).payload != b"/later\0":
                    pass
                held.reply(request)
                assert await later == b"value of /later"  # the connection still works

    @pytest.mark.parametrize("commit", [False, True])
    async def test_the_end_of_a_transaction(self, commit: bool) -> None:
        """The daemon is sent the end of the transaction nevertheless."""
        held = Held()
        with Peer(held) as peer:
            async with aio.Client(peer.path, timeout=0.05) as xs:
                opening = asyncio.ensure_future(xs.transaction())
                held.reply(await held.asked.get(), b"9\0")
                t = await opening
                with pytest.raises(xsffi.WaitTimeoutError):
                    await (t.commit() if commit else t.abort())
                ends = [await held.asked.get(), await held.asked.get()]
                assert [(end.type, end.tx_id) for end in ends] == [(M.TRANSACTION_END, 9)] * 2
                assert ends[1].payload == b"F\0"

    async def test_it_holds_for_each_trip(self) -> None:
        def script(link: Link) -> None:
            for _ in range(3):
                link.reply(link.request())
            link.wait_for_the_end()

        with Peer(script) as peer:
            async with aio.Client(peer.path, timeout=0.02) as xs:
                with pytest.raises(xsffi.WaitTimeoutError):
                    while True:
                        await xs.read("/a")


class TestBadInput:
    async def test_nothing_is_sent(self) -> None:
        held = Held()
        with Peer(held) as peer:
            async with aio.Client(peer.path) as xs:
                for call, error in [
                    (xs.read("a b"), xsffi.InvalidArgumentError),
                    (xs.write("/a", bytes(5000)), xsffi.TooBigError),
                    (xs.write("/a", 5), TypeError),  # type: ignore[arg-type]
                    (xs.read_many(["/a", "//"]), xsffi.InvalidArgumentError),
                    (xs.rm("/"), xsffi.InvalidArgumentError),
                    (xs.watch("/a\0").__aenter__(), xsffi.InvalidArgumentError),
                    (xs.watch("/a", callback="print").__aenter__(), TypeError),  # type: ignore[arg-type]
                    (xs.watch("/a", depth=-1).__aenter__(), xsffi.InvalidArgumentError),
                    (xs.load([Node("/a/", b"", (), ())]), xsffi.InvalidArgumentError),
                    (xs.dump("/a", attempts=0), ValueError),
                    (xs.transact(5), TypeError),  # type: ignore[arg-type]
                    (xs.transact(print, attempts=0), ValueError),  # type: ignore[arg-type]
                    (xs.unwatch("/a"), TypeError),  # type: ignore[arg-type]
                ]:
                    with pytest.raises(error):
                        await call
                with pytest.raises(xsffi.InvalidArgumentError):
                    xs.walk("a b")
                with pytest.raises(ValueError, match="timeout"):
                    xs.events(-1)
                with pytest.raises(ValueError, match="attempts"):
                    xs.pipeline(attempts=0)
                pipeline = xs.pipeline()
                with pytest.raises(xsffi.InvalidArgumentError):
                    pipeline.read("a b")
                last = asyncio.ensure_future(xs.read("/last"))
                request = await held.asked.get()
                assert request.payload == b"/last\0"
                held.reply(request)
                assert await last == b"value of /last"


class TestPeersThatAreNoDaemon:
    async def test_nonsense(self) -> None:
        def script(link: Link) -> None:
            link.requests(2)
            link.send(b"\xff" * 64)

        with Peer(script) as peer:
            async with aio.Client(peer.path) as xs:
                first, second = await asyncio.gather(xs.read("/a"), xs.read("/b"), return_exceptions=True)
                assert isinstance(first, xsffi.ProtocolError)
                assert isinstance(second, xsffi.ConnectionLostError)
                with pytest.raises(xsffi.ConnectionLostError, match="it was closed"):
                    await xs.read("/c")

    async def test_events_that_nobody_asked_for(self) -> None:
        def script(link: Link) -> None:
            link.request()
            link.send(event(b"/a", b"strange") * 1000)

        with Peer(script) as peer:
            async with aio.Client(peer.path) as xs:
                with pytest.raises(xsffi.ProtocolError, match="strange"):
                    await xs.read("/a")

    async def test_a_kernel_with_ids_of_its_own(self) -> None:
        """Some kernels assign ids of their own: see Session.suspects."""

        def script(link: Link) -> None:
            for number in range(1, 4):
                request = link.request()
                link.reply(request._replace(request_id=number))

        with Peer(script) as peer:
            async with aio.Client(peer.path) as xs:
                for path in ("/a", "/b", "/c"):
                    assert await xs.read(path) == value_of(path.encode())
