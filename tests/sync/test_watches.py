"""Watches: which events belong to them, and how long calls wait."""

from __future__ import annotations

import errno
import itertools
import math
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any, Callable

import pytest
from harness.alarms import Interrupt, at_moment, interrupt
from harness.fakes import PATIENCE, FakeBackend, FakeEvents, make_client

import xsffi.sync.watches
import xsffi.sync.watching
from xsffi import Client, Feature, Watch, WatchEvent
from xsffi.errors import (
    AccessDeniedError,
    ClientClosedError,
    ConnectionLostError,
    InvalidArgumentError,
    NodeNotFoundError,
    NotSupportedError,
    QuotaExceededError,
    TooBigError,
    WaitTimeoutError,
    WatchExistsError,
    XenStoreError,
    error_from_errno,
    error_from_wire,
)
from xsffi.protocol.requests import GetFeatures, Request, ResetWatches, Unwatch
from xsffi.protocol.requests import Watch as WatchRequest


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, fake: FakeBackend) -> list[float]:
    """A clock that only waiting for events advances; its time is the only item of the list."""
    time = [1000.0]

    def wait(seconds: float) -> None:
        time[0] += seconds

    for module in (xsffi.sync.watches, xsffi.sync.watching):
        monkeypatch.setattr(module, "monotonic", lambda: time[0])
    fake.wait = wait
    return time


def drain(client: Client) -> list[WatchEvent]:
    events = []
    while (event := client.check_watch()) is not None:
        events.append(event)
    return events


class Equal:
    """Equal to every other one, and not hashable."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Equal)

    def __repr__(self) -> str:
        return "equal"


class TestSetting:
    def test_what_is_asked(self, client: Client, fake: FakeBackend) -> None:
        watch = client.watch("/a")
        (request,) = fake.requests
        assert isinstance(request, WatchRequest)
        assert (request.path, request.depth) == (b"/a", None)
        assert request.token
        assert (watch.path, watch.token, watch.callback, watch.depth) == ("/a", watch, None, None)
        assert not watch.closed
        assert repr(watch) == "<xsffi.Watch '/a'>"

    @pytest.mark.parametrize("path", ["/", "/a/b", "relative", "@introduceDomain", "@releaseDomain"])
    def test_paths(self, client: Client, fake: FakeBackend, path: str) -> None:
        assert client.watch(path).path == path
        (request,) = fake.requests
        assert request.path == path.encode()

    @pytest.mark.parametrize("depth", [0, 1, 0x7FFFFFFF])
    def test_a_depth(self, client: Client, fake: FakeBackend, depth: int) -> None:
        assert client.watch("/a", depth=depth).depth == depth
        (request,) = fake.requests
        assert isinstance(request, WatchRequest)
        assert request.depth == depth

    def test_the_token_on_the_wire_is_never_the_same(self, client: Client, fake: FakeBackend) -> None:
        for _ in range(3):
            client.watch("/a").close()
        client.watch("/a")
        client.watch("/b", token="token")
        tokens = [request.token for request in fake.requests if isinstance(request, WatchRequest)]
        assert len(set(tokens)) == len(tokens) == 5

    @pytest.mark.parametrize(
        ("arguments", "error", "said"),
        [
            ({"path": ""}, InvalidArgumentError, "must not be empty"),
            ({"path": "/a/"}, InvalidArgumentError, "'/a/'"),
            ({"path": "/a//b"}, InvalidArgumentError, "'/a//b'"),
            ({"path": "/a\0"}, InvalidArgumentError, "'/a\\x00'"),
            ({"path": "/a b"}, InvalidArgumentError, "'/a b'"),
            ({"path": "/" + "a" * 3072}, TooBigError, "3072"),
            ({"path": b"/a"}, TypeError, "not bytes: b'/a'"),
            ({"path": None}, TypeError, "not NoneType"),
            ({"callback": 5}, TypeError, "a callback must be callable, not int: 5"),
            ({"callback": "print"}, TypeError, "not str: 'print'"),
            ({"depth": -1}, InvalidArgumentError, "a depth must be from 0 to 2147483647, not -1"),
            ({"depth": 1 << 31}, InvalidArgumentError, "not 2147483648"),
            ({"depth": "1"}, TypeError, "a depth must be an int or None, not str: '1'"),
            ({"depth": 1.0}, TypeError, "not float: 1.0"),
            ({"depth": True}, TypeError, "not bool: True"),
        ],
    )
    def test_what_is_refused(
        self, client: Client, fake: FakeBackend, arguments: dict[str, Any], error: type[Exception], said: str
    ) -> None:
        with pytest.raises(error) as caught:
            client.watch(**{"path": "/a", **arguments})
        assert said in str(caught.value)
        assert fake.calls == []
        client.watch("/a")  # nothing is left of the refused one


class Answers:
    """A daemon that answers EINVAL to a watch with a depth, or to any watch, and its replies to GET_FEATURE."""

    def __init__(self, *features: Any, bad_path: bool = False) -> None:
        self._features = list(features)
        self._bad_path = bad_path

    def __call__(self, request: Request[Any], tx_id: int) -> Any:
        if isinstance(request, GetFeatures):
            return self._features.pop(0)
        if isinstance(request, WatchRequest) and (self._bad_path or request.depth is not None):
            return error_from_wire("EINVAL", "/a")
        return None


KNOWN = Feature.ERROR | Feature.WATCH_DEPTH
UNKNOWN: dict[str, list[Any]] = {
    "an older daemon": [error_from_wire("ENOSYS")],
    "oxenstored": [error_from_wire("EINVAL")],
    "a daemon of Xen 4.21": [Feature.ERROR],
    "a guest that may not": [error_from_wire("EACCES"), Feature.ERROR],
    "a guest that is told nothing": [error_from_wire("EACCES"), error_from_wire("EACCES")],
}


class TestDepth:
    """The daemon answers EINVAL both to a depth, if it does not support that, and to an invalid path."""

    @pytest.mark.parametrize("features", UNKNOWN.values(), ids=UNKNOWN)
    def test_it_is_not_known(self, client: Client, fake: FakeBackend, features: list[Any]) -> None:
        fake.answer = Answers(*features)
        with pytest.raises(NotSupportedError, match=r"since Xen 4\.22") as caught:
            client.watch("/a", depth=1)
        assert caught.value.filename == "/a"

    @pytest.mark.parametrize("features", [[KNOWN], [error_from_wire("EACCES"), KNOWN]], ids=["dom0", "a guest"])
    @pytest.mark.parametrize("try_depth", [False, True])
    def test_it_is_known_so_it_is_the_path(
        self, client: Client, fake: FakeBackend, features: list[Any], try_depth: bool
    ) -> None:
        fake.answer = Answers(*features, bad_path=True)
        with pytest.raises(InvalidArgumentError) as caught:
            client.watch("/a", depth=1, try_depth=try_depth)
        assert caught.value.filename == "/a"

    def test_without_a_depth_nothing_is_asked(self, client: Client, fake: FakeBackend) -> None:
        fake.answer = Answers(bad_path=True)
        with pytest.raises(InvalidArgumentError):
            client.watch("/a", try_depth=True)

    @pytest.mark.parametrize("features", UNKNOWN.values(), ids=UNKNOWN)
    def test_trying_sets_a_watch_without(self, client: Client, fake: FakeBackend, features: list[Any]) -> None:
        fake.answer = Answers(*features)
        watch = client.watch("/a", token="token", depth=1, try_depth=True)
        assert watch.depth is None
        fake.put_event("/a/b/c", fake.last_token)
        assert client.check_watch() == WatchEvent("/a/b/c", "token")
        watch.close()

    def test_trying_finds_out_of_the_path_too(self, client: Client, fake: FakeBackend) -> None:
        fake.answer = Answers(error_from_wire("ENOSYS"), bad_path=True)
        with pytest.raises(InvalidArgumentError):
            client.watch("/a", depth=1, try_depth=True)

    def test_trying_where_it_is_known(self, client: Client, fake: FakeBackend) -> None:
        watch = client.watch("/a", depth=1, try_depth=True)
        assert watch.depth == 1
        assert len(fake.calls) == 1

    def test_a_library_that_knows_none(self, client: Client, fake: FakeBackend) -> None:
        """It reports that itself."""
        unknown = NotSupportedError(errno.ENOSYS, "libxenstore has no call for it")
        fake.answer = lambda request, tx_id: unknown if isinstance(request, WatchRequest) and request.depth else None
        with pytest.raises(NotSupportedError) as caught:
            client.watch("/a", depth=1)
        assert caught.value is unknown
        assert client.watch("/a", depth=1, try_depth=True).depth is None

    def test_the_daemon_is_gone_before_it_is_asked(self, client: Client, fake: FakeBackend) -> None:
        token = object()
        fake.answer = Answers(ConnectionLostError(errno.ECONNRESET, "lost"))
        with pytest.raises(ConnectionLostError):
            client.watch("/a", token=token, depth=1, try_depth=True)
        fake.answer = None
        client.watch("/a", token=token)  # nothing is left of the failed one


class TestTokens:
    @pytest.mark.parametrize(
        "token", [None, 0, "", "token", b"t", ("t",), ["t"], {}, Equal(), object, "a\0b"], ids=repr
    )
    def test_an_event_brings_the_very_object(self, client: Client, fake: FakeBackend, token: object) -> None:
        watch = client.watch("/a", token=token)
        assert watch.token is token
        fake.put_event("/a/b", fake.last_token)
        event = client.check_watch()
        assert event is not None
        assert event.path == "/a/b"
        assert event.token is token

    def test_by_default_it_is_the_watch(self, client: Client, fake: FakeBackend) -> None:
        watch = client.watch("/a")
        fake.put_event("/a", fake.last_token)
        event = client.check_watch()
        assert event is not None
        assert event.token is watch

    def test_they_are_told_apart_by_identity(self, client: Client, fake: FakeBackend) -> None:
        first, second = Equal(), Equal()
        names = []
        for token in (first, second):
            client.watch("/a", token=token)
            names.append(fake.last_token)
        for name in reversed(names):
            fake.put_event("/a", name)
        assert [event.token is second for event in drain(client)] == [True, False]

    def test_the_same_path_and_token_twice(self, client: Client, fake: FakeBackend) -> None:
        token = ["token"]
        watch = client.watch("/a", token=token)
        with pytest.raises(WatchExistsError) as caught:
            client.watch("/a", token=token)
        assert (caught.value.errno, caught.value.filename) == (errno.EEXIST, "/a")
        assert repr(token) in str(caught.value)
        assert len(fake.calls) == 1
        assert not watch.closed
        fake.put_event("/a", fake.last_token)
        assert [event.token for event in drain(client)] == [token]

    def test_the_same_token_on_other_paths(self, client: Client, fake: FakeBackend) -> None:
        token = object()
        for path in ("/a", "/b", "a"):
            client.watch(path, token=token)
            fake.put_event(path, fake.last_token)
        assert [(event.path, event.token) for event in drain(client)] == [(p, token) for p in ("/a", "/b", "a")]

    def test_the_same_path_without_tokens(self, client: Client, fake: FakeBackend) -> None:
        assert client.watch("/a") is not client.watch("/a")
        assert len(fake.calls) == 2

    def test_a_token_that_is_free_again(self, client: Client) -> None:
        token = object()
        client.watch("/a", token=token).close()
        client.watch("/a", token=token)

    @pytest.mark.parametrize(
        ("failure", "error"),
        [
            (error_from_wire("EACCES"), AccessDeniedError),
            (error_from_wire("EQUOTA"), QuotaExceededError),
            (error_from_wire("E2BIG"), TooBigError),
            (WaitTimeoutError(errno.ETIMEDOUT, "late"), WaitTimeoutError),
        ],
        ids=repr,
    )
    def test_a_watch_that_fails_leaves_nothing(
        self, client: Client, fake: FakeBackend, failure: BaseException, error: type[BaseException]
    ) -> None:
        def answer(request: Request[Any], tx_id: int) -> Any:
            fake.put_event("/a", fake.last_token)  # an event may arrive before the reply
            return failure

        token = object()
        fake.answer = answer
        with pytest.raises(error):
            client.watch("/a", token=token)
        fake.answer = None
        assert drain(client) == []
        assert len(fake.calls) == 1
        client.watch("/a", token=token)

    @pytest.mark.parametrize("refused", [False, True])
    def test_one_that_is_interrupted_is_taken_back(self, client: Client, fake: FakeBackend, refused: bool) -> None:
        """The daemon may or may not have set it. If not, UNWATCH fails, which is ignored."""

        def answer(request: Request[Any], tx_id: int) -> Any:
            if isinstance(request, WatchRequest):
                return KeyboardInterrupt()
            return error_from_wire("ENOENT") if refused else None

        token = object()
        fake.answer = answer
        with pytest.raises(KeyboardInterrupt):
            client.watch("/a", token=token)
        watch, unwatch = fake.requests
        assert isinstance(watch, WatchRequest)
        assert unwatch == Unwatch(b"/a", watch.token)
        fake.put_event("/a", watch.token.decode())
        fake.answer = None
        assert drain(client) == []
        client.watch("/a", token=token)

    def test_an_interruption_waits_for_no_daemon(self, client: Client, fake: FakeBackend) -> None:
        """Users press Ctrl-C because the daemon does not answer."""
        answers = threading.Event()

        def answer(request: Request[Any], tx_id: int) -> Any:
            if isinstance(request, WatchRequest):
                return KeyboardInterrupt()
            answers.wait(PATIENCE)
            return None

        fake.answer = answer
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            client.watch("/a")
        assert time.monotonic() - start < PATIENCE / 2
        answers.set()

    def test_an_event_that_is_faster_than_the_reply(self, client: Client, fake: FakeBackend) -> None:
        fake.answer = lambda request, tx_id: fake.put_event("/a", fake.last_token)
        watch = client.watch("/a")
        fake.answer = None
        assert drain(client) == [WatchEvent("/a", watch)]


ENDS: dict[str, Callable[[Client, Watch], object]] = {
    "unwatch": lambda client, watch: client.unwatch(watch),
    "close": lambda client, watch: watch.close(),
    "with": lambda client, watch: watch.__exit__(None, None, None),
}


class TestRemoving:
    @pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
    def test_the_daemon_is_told(
        self, client: Client, fake: FakeBackend, end: Callable[[Client, Watch], object]
    ) -> None:
        watch = client.watch("/a", token="token")
        name = fake.last_token
        end(client, watch)
        assert fake.requests[1:] == [Unwatch(b"/a", name.encode())]
        assert watch.closed
        assert repr(watch) == "<xsffi.Watch '/a' closed>"

    @pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
    def test_its_events_on_their_way_are_dropped(
        self, client: Client, fake: FakeBackend, end: Callable[[Client, Watch], object]
    ) -> None:
        removed = client.watch("/a")
        first = fake.last_token
        kept = client.watch("/a")
        second = fake.last_token
        for name in (first, second, first, second):
            fake.put_event("/a", name)
        assert client.check_watch() == WatchEvent("/a", removed)
        end(client, removed)
        assert drain(client) == [WatchEvent("/a", kept)] * 2

    def test_an_interrupted_end_is_made_up_for(self, client: Client, fake: FakeBackend) -> None:
        """The request may not have been sent."""
        watch = client.watch("/a")
        interruptions = [KeyboardInterrupt()]
        fake.answer = lambda request, tx_id: interruptions.pop() if interruptions else None
        with pytest.raises(KeyboardInterrupt):
            watch.close()
        assert fake.requests[1:] == [Unwatch(b"/a", watch.wire_token)] * 2
        assert watch.closed

    def test_closing_again_does_nothing(self, client: Client, fake: FakeBackend) -> None:
        watch = client.watch("/a")
        watch.close()
        watch.close()
        assert len(fake.calls) == 2

    def test_closing_twice_at_once_asks_once(self, client: Client, fake: FakeBackend) -> None:
        watch = client.watch("/a")
        fake.answer = lambda request, tx_id: watch.close()  # as by another thread, while the request is in flight
        watch.close()
        assert [type(request) for request in fake.requests] == [WatchRequest, Unwatch]

    @pytest.mark.parametrize(
        "error", [ClientClosedError(errno.EBADF, "the client is closed"), error_from_wire("ENOENT", "/a")]
    )
    def test_closing_what_goes_at_that_moment(self, client: Client, fake: FakeBackend, error: XenStoreError) -> None:
        """With the client, or by reset_watches()."""
        watch = client.watch("/a")
        fake.answer = lambda request, tx_id: error
        watch.close()
        assert watch.closed
        fake.answer = None

    def test_closing_on_a_dead_connection_says_so(self, client: Client, fake: FakeBackend) -> None:
        watch = client.watch("/a")
        fake.answer = lambda request, tx_id: ConnectionLostError(errno.ECONNRESET, "the daemon is gone")
        with pytest.raises(ConnectionLostError):
            watch.close()
        watch.close()
        fake.answer = None

    def test_unwatching_again(self, client: Client, fake: FakeBackend) -> None:
        watch = client.watch("/a")
        client.unwatch(watch)
        with pytest.raises(NodeNotFoundError, match="not set on this client") as caught:
            client.unwatch(watch)
        assert caught.value.filename == "/a"
        assert len(fake.calls) == 2

    def test_one_of_another_client(self, client: Client, fake: FakeBackend) -> None:
        mine = client.watch("/a")
        with FakeBackend() as backend, make_client(backend) as other:
            theirs = other.watch("/a")
            with pytest.raises(NodeNotFoundError):
                client.unwatch(theirs)
            assert not theirs.closed
        assert not mine.closed
        assert len(fake.calls) == 1

    @pytest.mark.parametrize("watch", [None, "/a", 5, WatchEvent("/a", "token")])
    def test_what_is_no_watch(self, client: Client, fake: FakeBackend, watch: Any) -> None:
        with pytest.raises(TypeError, match=f"not {type(watch).__name__}"):
            client.unwatch(watch)
        assert fake.calls == []

    def test_one_that_the_daemon_does_not_remove_is_gone_here(self, client: Client, fake: FakeBackend) -> None:
        watch = client.watch("/a", token="token")
        name = fake.last_token
        fake.answer = lambda request, tx_id: error_from_wire("ENOENT", "/a")
        with pytest.raises(NodeNotFoundError):
            client.unwatch(watch)
        fake.answer = None
        assert watch.closed
        fake.put_event("/a", name)
        assert drain(client) == []

    def test_a_block(self, client: Client, fake: FakeBackend) -> None:
        with client.watch("/a") as watch:
            assert not watch.closed
        assert watch.closed

    def test_an_exception_in_a_block_is_not_hidden(self, client: Client, fake: FakeBackend) -> None:
        fake.answer = lambda request, tx_id: (
            ConnectionLostError(errno.ECONNRESET, "lost") if isinstance(request, Unwatch) else None
        )
        with pytest.raises(ZeroDivisionError), client.watch("/a"):
            raise ZeroDivisionError
        assert isinstance(fake.requests[-1], Unwatch)

    def test_a_failing_end_of_a_block_is_told(self, client: Client, fake: FakeBackend) -> None:
        watch = client.watch("/a")
        fake.answer = lambda request, tx_id: ConnectionLostError(errno.ECONNRESET, "lost")
        with pytest.raises(ConnectionLostError), watch:
            pass

    def test_all_at_once(self, client: Client, fake: FakeBackend) -> None:
        token = object()
        watches = [client.watch("/a", token=token), client.watch("/b")]
        name = fake.last_token
        client.reset_watches()
        assert fake.requests[-1] == ResetWatches()
        assert all(watch.closed for watch in watches)
        fake.put_event("/b", name)
        assert drain(client) == []
        client.watch("/a", token=token)

    def test_a_reset_that_fails_changes_nothing(self, client: Client, fake: FakeBackend) -> None:
        watch = client.watch("/a")
        name = fake.last_token
        fake.answer = lambda request, tx_id: error_from_wire("ENOSYS")
        with pytest.raises(NotSupportedError):
            client.reset_watches()
        assert not watch.closed
        fake.put_event("/a", name)
        assert drain(client) == [WatchEvent("/a", watch)]

    def test_the_end_of_the_client(self, client: Client, fake: FakeBackend) -> None:
        watch = client.watch("/a")
        client.close()
        assert watch.closed
        watch.close()  # sends nothing to a closed backend
        with pytest.raises(ClientClosedError):
            client.watch("/a")


class TestQueue:
    """The client's queue of events, which is opened on first use."""

    def test_who_wants_no_events_opens_none(self, client: Client, fake: FakeBackend) -> None:
        client.write("/a", b"")
        client.stop()
        client.close()
        assert fake.queues == {}

    @pytest.mark.parametrize(
        "use", [Client.check_watch, Client.fileno, lambda client: client.watch("/a"), lambda client: client.run(0)]
    )
    def test_who_does_opens_one(self, client: Client, fake: FakeBackend, use: Callable[[Client], object]) -> None:
        for _ in range(2):
            use(client)
        assert list(fake.queues) == [""]

    def test_two_threads_at_once_open_one(
        self, client: Client, fake: FakeBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        meeting = threading.Barrier(2)
        events = fake.events

        def slow_events(prefix: str = "") -> FakeEvents:
            meeting.wait(PATIENCE)
            return events(prefix)

        monkeypatch.setattr(fake, "events", slow_events)
        with ThreadPoolExecutor(2) as pool:
            watches = list(pool.map(client.watch, ["/a", "/b"]))
        assert [queue.closed for queue in fake.queues.values()].count(False) == 1
        for watch in watches:
            fake.put_event(watch.path, watch.wire_token.decode())
        assert [event.token for event in drain(client)] == watches

    def test_a_handler_that_comes_as_it_is_opened(
        self, client: Client, fake: FakeBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It must not wait for anything, least of all for the thread that it has interrupted."""
        events = fake.events

        def interrupted_events(prefix: str = "") -> FakeEvents:
            monkeypatch.undo()
            queue = events(prefix)
            watches.append(client.watch("/handler"))
            return queue

        watches: list[Watch] = []
        monkeypatch.setattr(fake, "events", interrupted_events)
        watches.append(client.watch("/a"))
        for watch in watches:
            fake.put_event(watch.path, watch.wire_token.decode())
        assert [event.token for event in drain(client)] == watches

    def test_an_open_that_fails_is_tried_again(
        self, client: Client, fake: FakeBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def events(prefix: str = "") -> FakeEvents:
            monkeypatch.undo()
            raise error_from_errno(errno.EMFILE)

        monkeypatch.setattr(fake, "events", events)
        with pytest.raises(XenStoreError) as caught:
            client.fileno()
        assert caught.value.errno == errno.EMFILE
        assert client.fileno() == fake.fileno()

    def test_what_comes_of_a_watch_that_was_removed_is_dropped_there(self, client: Client, fake: FakeBackend) -> None:
        watch = client.watch("/a")
        fake.put_event("/a", watch.wire_token.decode())
        watch.close()
        assert fake.queues[""].next_event(0) is None


def first_event(client: Client) -> WatchEvent | None:
    for event in client.events(0):
        return event
    return None


WAITS: dict[str, Callable[[Client], object]] = {
    "check_watch": Client.check_watch,
    "read_watch": lambda client: client.read_watch(0),
    "events": first_event,
}


class TestInterruptions:
    """An event that was taken but not delivered is kept for the next caller."""

    @pytest.mark.filterwarnings("ignore:Exception ignored .*<generator:pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
    def test_at_any_moment(self, client: Client, fake: FakeBackend, wait: Callable[[Client], object]) -> None:
        watch = client.watch("/a")
        for moment in itertools.count():
            fake.put_event("/a", watch.wire_token.decode())
            got: list[object] = []
            try:
                with at_moment(moment, interrupt) as was_there:
                    got.append(wait(client))
            except Interrupt:
                pass
            got += drain(client)
            assert got == [WatchEvent("/a", watch)], f"at moment {moment}"
            if not was_there():
                break
        assert moment > 3

    def test_run_at_any_moment(self, client: Client, fake: FakeBackend) -> None:
        """Except within the callback, which then has the event already."""
        got: list[WatchEvent] = []
        in_callback: list[bool] = []

        def callback(event: WatchEvent) -> None:
            got.append(event)

        def interrupt_it() -> None:
            frame: FrameType | None = sys._getframe()
            while frame is not None:
                in_callback.append(frame.f_code is callback.__code__)
                frame = frame.f_back
            raise Interrupt

        watch = client.watch("/a", callback=callback)
        for moment in itertools.count():
            fake.put_event("/a", watch.wire_token.decode())
            got.clear()
            in_callback.clear()
            try:
                with at_moment(moment, interrupt_it) as was_there:
                    client.run(timeout=0, raise_errors=True)
            except Interrupt:
                pass
            client.run(timeout=0)
            assert got == [WatchEvent("/a", watch)] or (any(in_callback) and got == []), f"at moment {moment}"
            if not was_there():
                break
        assert moment > 3


class TestWaiting:
    def test_fileno_is_that_of_the_queue(self, client: Client, fake: FakeBackend) -> None:
        assert client.fileno() == fake.queues[""].fileno()

    def test_nothing_there(self, client: Client, fake: FakeBackend) -> None:
        assert client.check_watch() is None
        assert fake.waits == [0]

    @pytest.mark.parametrize("timeout", [0, 1, 2.5])
    def test_the_time_is_up(self, client: Client, clock: list[float], timeout: float) -> None:
        with pytest.raises(WaitTimeoutError, match=f"no event within {timeout} seconds") as caught:
            client.read_watch(timeout)
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.errno == errno.ETIMEDOUT
        assert clock == [1000.0 + timeout]

    def test_an_event_in_time(self, client: Client, fake: FakeBackend, clock: list[float]) -> None:
        watch = client.watch("/a")
        fake.arrivals.append((0.5, WatchEvent("/a", fake.last_token)))
        assert client.read_watch(1) == WatchEvent("/a", watch)
        assert clock == [1000.5]

    @pytest.mark.parametrize("timeout", [None, 1e9])
    def test_an_event_after_a_long_time(
        self, client: Client, fake: FakeBackend, clock: list[float], timeout: float | None
    ) -> None:
        watch = client.watch("/a")
        fake.arrivals.append((1e8, WatchEvent("/a", fake.last_token)))
        assert client.read_watch(timeout) == WatchEvent("/a", watch)

    def test_events_of_nobody_do_not_prolong_the_wait(
        self, client: Client, fake: FakeBackend, clock: list[float]
    ) -> None:
        fake.arrivals.extend([(0.375, WatchEvent("/a", "nobody's"))] * 8)
        with pytest.raises(WaitTimeoutError):
            client.read_watch(1)
        assert clock == [1001.0]
        assert fake.waits == [1, 0.625, 0.25]

    def test_events_of_nobody_do_not_end_a_wait_for_ever(
        self, client: Client, fake: FakeBackend, clock: list[float]
    ) -> None:
        watch = client.watch("/a")
        fake.arrivals.extend([(5, WatchEvent("/a", "nobody's"))] * 3)
        fake.arrivals.append((5, WatchEvent("/a", fake.last_token)))
        assert client.read_watch() == WatchEvent("/a", watch)
        assert fake.waits == [None] * 4

    @pytest.mark.parametrize("timeout", [None, PATIENCE])
    def test_a_wakeup_ends_no_wait(self, client: Client, fake: FakeBackend, timeout: float | None) -> None:
        """One by stop(), after run() has ended, does not affect other waits."""
        watch = client.watch("/a")
        client.stop()
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(client.read_watch, timeout)
            while len(fake.waits) < 2 and not reading.done():
                time.sleep(0.001)
            fake.put_event("/a", watch.wire_token.decode())
            assert reading.result(PATIENCE) == WatchEvent("/a", watch)

    def test_nor_prolongs_it(self, client: Client, fake: FakeBackend, clock: list[float]) -> None:
        client.watch("/a")
        client.stop()
        with pytest.raises(WaitTimeoutError):
            client.read_watch(1)
        assert clock == [1001.0]
        client.stop()
        assert list(client.events(1)) == []
        assert clock == [1002.0]

    def test_events_of_nobody_are_not_told_as_something(self, client: Client, fake: FakeBackend) -> None:
        for _ in range(3):
            fake.put_event("/a", "nobody's")
        assert client.check_watch() is None

    def test_iterating_ends_when_nothing_came_for_so_long(
        self, client: Client, fake: FakeBackend, clock: list[float]
    ) -> None:
        client.watch("/a", token="token")
        name = fake.last_token
        # The third event belongs to no watch, so nothing arrived for 1.25 seconds after the second.
        fake.arrivals.extend(
            [
                (0.75, WatchEvent("/1", name)),
                (0.75, WatchEvent("/2", name)),
                (0.75, WatchEvent("/3", "nobody's")),
                (0.5, WatchEvent("/4", name)),
            ]
        )
        assert [event.path for event in client.events(1)] == ["/1", "/2"]
        assert clock == [1002.5]

    @pytest.mark.parametrize(
        "wait",
        [
            lambda client, timeout: client.read_watch(timeout),
            lambda client, timeout: client.events(timeout),
            lambda client, timeout: client.run(timeout),
        ],
        ids=["read_watch", "events", "run"],
    )
    @pytest.mark.parametrize(
        ("timeout", "error", "said"),
        [
            (-1, ValueError, "a timeout must not be negative: -1"),
            (-1e-9, ValueError, "-1e-09"),
            (-math.inf, ValueError, "-inf"),
            (math.nan, ValueError, "nan"),
            ("1", TypeError, "a timeout must be a number of seconds or None, not str: '1'"),
            (True, TypeError, "not bool: True"),
            ([], TypeError, "not list: []"),
        ],
        ids=repr,
    )
    def test_bad_timeouts(
        self, client: Client, fake: FakeBackend, wait: Any, timeout: Any, error: type[Exception], said: str
    ) -> None:
        with pytest.raises(error) as caught:
            wait(client, timeout)
        assert said in str(caught.value)
        assert fake.waits == []
