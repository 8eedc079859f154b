"""An interruption anywhere: what Ctrl-C does, done at every step of Python that the session takes.

A signal handler runs between any two bytecodes, and Ctrl-C raises KeyboardInterrupt there. Here that is done on
purpose, at the first step, at the second, and so on; then the caller goes on as a backend does, and everything is to be
as if nothing had happened.
"""

from __future__ import annotations

import errno
import itertools
import sys
from collections.abc import Iterable, Iterator
from types import FrameType, TracebackType
from typing import Any, Callable, Optional, TypeVar

import pytest

import xsffi.protocol.requests
import xsffi.protocol.session
import xsffi.protocol.wire
from xsffi.errors import ConnectionLostError, InvalidArgumentError
from xsffi.protocol.requests import Read, Request, TransactionEnd, TransactionStart, Unwatch, Watch, parse_request
from xsffi.protocol.session import Pending, Session
from xsffi.protocol.wire import Packet

from .messages import ERROR, encode, event, split

T = TypeVar("T")
Trace = Callable[[FrameType, str, Any], Optional[Any]]

FILES = {module.__file__ for module in (xsffi.protocol.requests, xsffi.protocol.session, xsffi.protocol.wire)}
# Since Python 3.12 tracing bytecodes takes ten times as long, for all tests that follow.
UNITS = ["line", "opcode"] if sys.version_info < (3, 12) else ["line"]


class Interruption:
    """Raises KeyboardInterrupt before one step, counted from 1, of the protocol's code that :meth:`during` runs.

    It is a context manager, for the whole of a test: to trace is slow to begin and to end.
    """

    def __init__(self, step: int, unit: str) -> None:
        """`unit`: "line" or "opcode"."""
        self._step = step
        self._unit = unit
        self._count = 0
        self._armed = False
        self.place = ""  # where it came, once it has come

    def __enter__(self) -> None:
        self._previous = sys.gettrace()
        sys.settrace(self._enter)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        sys.settrace(self._previous)

    def during(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function, which may be interrupted."""
        self._armed = True
        try:
            return function(*arguments)
        finally:
            self._armed = False

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Trace | None:
        # What is raised where a generator expression is closed goes nowhere.
        if not self._armed or frame.f_code.co_filename not in FILES or frame.f_code.co_name == "<genexpr>":
            return None
        frame.f_trace_opcodes = self._unit == "opcode"
        return self._take_step

    def _take_step(self, frame: FrameType, event: str, argument: Any) -> Trace:
        if event == self._unit:
            self._count += 1
            if self._count == self._step:
                self.place = f"{frame.f_code.co_name}, line {frame.f_lineno}, step {self._step}"
                raise KeyboardInterrupt
        return self._take_step


def interruptions(unit: str) -> Iterator[Interruption]:
    """One for every step, until one finds that there are no more."""
    for step in itertools.count(1):
        interruption = Interruption(step, unit)
        yield interruption
        if not interruption.place:
            assert step > 10, "hardly anything was traced"
            return


class Daemon:
    """Serves what a session sends: a value is its path; every watch fires at once."""

    def __init__(self, older_kernel: bool = False) -> None:
        self.requests: list[Request[Any]] = []
        self.ids: list[int] = []
        self.transactions: set[int] = set()
        self.watches: set[bytes] = set()
        self._older_kernel = older_kernel

    def answer(self, stream: bytes) -> list[bytes]:
        """What it says to the requests of a stream."""
        return [self._serve(packet) for packet in split(stream)]

    def _serve(self, packet: Packet) -> bytes:
        request = parse_request(packet.type, packet.payload)
        assert request is not None
        self.requests.append(request)
        self.ids.append(packet.req_id)
        req_id = packet.req_id
        reply = b"OK\0"
        if isinstance(request, Read):
            reply = request.path
        elif isinstance(request, TransactionStart):
            self.transactions.add(100 + req_id)
            reply = b"%d\0" % (100 + req_id)
        elif isinstance(request, TransactionEnd):
            if packet.tx_id not in self.transactions:
                return encode(ERROR, req_id, b"ENOENT\0")
            self.transactions.discard(packet.tx_id)
        elif isinstance(request, Watch):
            self.watches.add(request.token)
        elif isinstance(request, Unwatch):
            if request.token not in self.watches:
                return encode(ERROR, req_id, b"ENOENT\0")
            self.watches.discard(request.token)
        if self._older_kernel and isinstance(request, (Watch, Unwatch)):
            req_id = 0
        return encode(packet.type, req_id, reply)


class Caller:
    """Uses a session as a backend does, and goes on when it is interrupted."""

    def __init__(self, interruption: Interruption, daemon: Daemon) -> None:
        self.session = Session()
        self._interruption = interruption
        self._daemon = daemon

    def send(self, request: Request[Any]) -> Pending[Any] | None:
        """None where it was interrupted: the request may be on its way, or not."""
        try:
            return self._interruption.during(self.session.send, request)
        except KeyboardInterrupt:
            return None

    def process(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self.session.incoming.append(piece)
            self._again(self.session.process)

    def flush(self, size: int) -> bytes:
        stream = b""
        while (data := self._again(self.session.data_to_send)) is not None:
            stream += bytes(data[:size])
            self.session.sent.append(len(data[:size]))
        return stream

    def converse(self) -> None:
        """Until nothing is left to send."""
        while stream := self.flush(4096):
            self.process(self._daemon.answer(stream))

    def _again(self, function: Callable[[], T]) -> T:
        try:
            return self._interruption.during(function)
        except KeyboardInterrupt:
            return function()


CONVERSATIONS: dict[str, tuple[list[Request[Any]], int]] = {
    "line": ([Read(b"/a"), Watch(b"/w", b"token", None), TransactionStart(), Read(b"/b")], 11),
    "opcode": ([Read(b"/a"), TransactionStart()], 60),
}


@pytest.mark.parametrize("unit", UNITS)
def test_interrupted_anywhere(unit: str) -> None:
    """No reply is lost or given to another request, no byte is sent twice or not at all, and no event is lost."""
    for interruption in interruptions(unit):
        with interruption:
            converse(interruption, *CONVERSATIONS[unit])


def converse(interruption: Interruption, requests: list[Request[Any]], size: int) -> None:
    """Send requests, abandon some, and take the replies in pieces of so many bytes, with events in between."""
    daemon = Daemon()
    caller = Caller(interruption, daemon)
    pending = [caller.send(request) for request in requests]
    sent = [p for p in pending if p is not None]
    kept = [p for p in sent if isinstance(p.request, Read)]
    abandoned = [p for p in sent if p not in kept]
    for p in abandoned:
        caller.session.abandon(p)

    replies = daemon.answer(caller.flush(10))
    # Whether the request is sent that was interrupted is open; all others are, each once and in order.
    assert daemon.requests == [
        request for request, p in zip(requests, pending) if p is not None or request in daemon.requests
    ], interruption.place

    stream = event("/1") + b"".join([reply + event(f"/{n}") for n, reply in enumerate(reversed(replies), 2)])
    caller.process([stream[place : place + size] for place in range(0, len(stream), size)])
    caller.converse()
    assert [p.result() for p in kept] == [p.request.path for p in kept], interruption.place
    # An event may be seen again; none is lost, and none comes before one that was sent before it.
    paths = [event.path for event in caller.session.events]
    assert list(dict.fromkeys(paths)) == [f"/{n}" for n in range(1, len(replies) + 2)], interruption.place

    undone = daemon.requests[len(replies) :]
    assert all(isinstance(request, (TransactionEnd, Unwatch)) for request in undone), interruption.place
    assert all(undone.count(request) <= 2 for request in undone), interruption.place
    if len(sent) == len(requests):
        assert (daemon.transactions, daemon.watches) == (set(), set()), interruption.place

    last = caller.session.send(Read(b"/last"))
    caller.converse()
    assert last.result() == b"/last", interruption.place
    assert len(set(daemon.ids)) == len(daemon.ids), interruption.place


@pytest.mark.parametrize("request_", [TransactionStart(), Watch(b"/w", b"token", None)], ids=["start", "watch"])
def test_what_an_interrupted_send_sets_up_is_undone(request_: Request[Any]) -> None:
    """Whoever was interrupted holds nothing that could be abandoned."""
    for interruption in interruptions("line"):
        with interruption:
            daemon = Daemon()
            caller = Caller(interruption, daemon)
            pending = caller.send(request_)
            caller.converse()
            if pending is None:
                assert (daemon.transactions, daemon.watches) == (set(), set()), interruption.place


@pytest.mark.parametrize("unit", UNITS)
def test_an_interrupted_send_takes_no_reply_from_another(unit: str) -> None:
    """Also where the reply does not tell by its id whose it is, as that of an older kernel to WATCH."""
    for interruption in interruptions(unit):
        with interruption:
            daemon = Daemon(older_kernel=True)
            caller = Caller(interruption, daemon)
            caller.send(Watch(b"/interrupted", b"1", None))
            pending = caller.session.send(Watch(b"/w", b"2", None))
            caller.converse()
            assert pending.done, interruption.place
            pending.result()


@pytest.mark.parametrize("unit", UNITS)
def test_a_reply_that_is_seen_again_is_given_to_no_other(unit: str) -> None:
    """Also where the reply does not tell by its id whose it is."""
    for interruption in interruptions(unit):
        with interruption:
            daemon = Daemon(older_kernel=True)
            caller = Caller(interruption, daemon)
            first, second = (caller.session.send(Watch(b"/w", token, None)) for token in (b"1", b"2"))
            replies = daemon.answer(caller.flush(4096))
            caller.process([replies[0]])
            assert (first.done, second.done) == (True, False), interruption.place
            caller.process([replies[1]])
            assert second.done, interruption.place


@pytest.mark.parametrize("unit", UNITS)
def test_a_refused_request_gets_its_error_in_any_case(unit: str) -> None:
    """After an interruption, whoever sends next is refused again, if the request is still there."""
    for interruption in interruptions(unit):
        with interruption:
            daemon = Daemon()
            caller = Caller(interruption, daemon)
            session = caller.session
            refused, other = session.send(Read(b"/refused")), session.send(Read(b"/a"))
            error = InvalidArgumentError(errno.EINVAL, "no")
            try:
                interruption.during(session.refuse, error)
            except KeyboardInterrupt:
                data = session.data_to_send()
                if data is not None and split(bytes(data))[0].req_id == refused.req_id:
                    session.refuse(error)
            caller.converse()
            assert daemon.requests == [Read(b"/a")], interruption.place
            assert other.result() == b"/a", interruption.place
            assert refused.done, interruption.place
            with pytest.raises(InvalidArgumentError):
                refused.result()


@pytest.mark.parametrize("unit", UNITS)
def test_the_end_reaches_everybody_in_any_case(unit: str) -> None:
    def lost() -> ConnectionLostError:
        return ConnectionLostError(errno.ECONNRESET, "lost")

    for interruption in interruptions(unit):
        with interruption:
            session = Session()
            pending = [session.send(Read(b"/a")) for _ in range(2)]
            try:
                interruption.during(session.fail, lost)
            except KeyboardInterrupt:
                session.fail(lost)
            for p in pending:
                assert p.done, interruption.place
                with pytest.raises(ConnectionLostError):
                    p.result()
