"""``python -m backends.wire.memory_short C|Python``: run each operation of a connection while one allocation fails.

First the first allocation fails, then the second, and so on, until the operation makes no more. It must either succeed,
or raise MemoryError or XenStoreError; afterwards the connection must answer correctly, or say that it is lost. Prints
how many allocations failed.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Callable
from typing import Any

from harness.peer import Link, MessageType, peer_process, reply_to, serve_until_the_end, value_of

from xsffi.backends.base import Events
from xsffi.backends.wire import native
from xsffi.backends.wire.native import Connection, open_connection
from xsffi.errors import ConnectionLostError, XenStoreError
from xsffi.protocol.programs import encode_known
from xsffi.records import WatchEvent

M = MessageType
EVENTS = 3  # pending before each operation

_fail_allocation: Callable[[int], int] = ctypes.CDLL(None).fail_allocation  # see harness/failing_malloc.c


def begin_to_fail(number: int) -> None:
    """Make the allocation with this number fail, counted from here."""
    _fail_allocation(number)


def stop_failing() -> bool:
    """Whether it has failed."""
    try:
        return bool(_fail_allocation(0))
    except MemoryError:
        _fail_allocation(0)
        return False  # only this call's own allocation has failed


def serve(link: Link) -> None:
    """Answer a READ with the value of its node, which is long for /big, and a WRITE with events before the reply."""
    while True:
        request = link.request()
        if request.type == M.WRITE:
            token = request.payload.partition(b"\0")[2]
            for number in range(EVENTS):
                link.event(b"/%d" % number, token)
        big = b"big " * 60_000 if request.payload == b"/big\0" else None
        link.send(reply_to(request, big))


def open_files() -> list[str]:
    """The files that this process has open."""
    return sorted(path for each in os.listdir("/proc/self/fd") if (path := _link(each)) is not None)


def _link(descriptor: str) -> str | None:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except FileNotFoundError:
        return None  # it was the directory's own


class Case:
    """A connection, with events in its queue."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.connection: Connection = open_connection(path, 30).connection
        self.queue: Events = self.connection.events("a:")
        self.token = self.queue.new_token()
        self.other: Connection = open_connection(path, 30).connection

    def tell(self) -> None:
        self.connection.carry(M.WRITE, b"/\0" + self.token)

    def rest(self) -> list[str]:
        found: list[str] = []
        while (event := self.queue.next_event(0)) is not None:
            found.append(event.path)
        return found

    def fetch(self) -> Any:
        """Lookups over two connections; in Python, an ordinary exchange."""
        if native.open_in_c is None:
            return self.connection.replies(self.connection.send_many([(M.READ, path + b"\0") for path in MANY]))
        connection: Any = self.connection
        paths = tuple([path.decode() for path in MANY])
        values, undecoded = connection.fetch((self.other,), paths, 0, encode_known, None, {})
        assert undecoded == []
        return values

    def open_another(self) -> None:
        open_connection(self.path, 30).connection.close()


PATHS = [(2, b"/%d\0" % number) for number in range(5)]
VALUES = [value_of(b"/%d" % number) for number in range(5)]
MANY = [b"/%d" % number for number in range(70)]
EXPECTED = [f"/{number}" for number in range(EVENTS)]

# Each operation, its result, and the events that are pending afterwards.
USES: dict[str, tuple[Callable[[Case], object], object, list[str]]] = {
    "open": (lambda case: case.open_another(), None, EXPECTED),
    "read": (lambda case: case.connection.read("/a"), value_of(b"/a"), EXPECTED),
    "carry": (lambda case: case.connection.carry(M.READ, b"/a\0"), value_of(b"/a"), EXPECTED),
    "a big reply": (lambda case: case.connection.carry(M.READ, b"/big\0"), b"big " * 60_000, EXPECTED),
    "more events": (lambda case: case.tell(), None, EXPECTED * 2),
    "a watch": (lambda case: case.connection.carry(M.WATCH, b"/a\0a:1\0"), b"OK\0", EXPECTED),
    "send_many and replies": (
        lambda case: case.connection.replies(case.connection.send_many(PATHS)),
        VALUES,
        EXPECTED,
    ),
    "fetch": (lambda case: case.fetch(), [value_of(path) for path in MANY], EXPECTED),
    "forget": (lambda case: case.connection.forget(case.connection.send_many(PATHS)), None, EXPECTED),
    "events": (lambda case: case.connection.events("b:").close(), None, EXPECTED),
    "new_token": (lambda case: len(case.queue.new_token()) > 2, True, EXPECTED),
    "next_event": (lambda case: case.queue.next_event(30), WatchEvent("/0", "a:1"), EXPECTED[1:]),
    "put_back": (lambda case: case.queue.put_back(WatchEvent("/back", "a:1")), None, ["/back", *EXPECTED]),
    "drop": (lambda case: case.queue.drop(case.token), None, []),
    "fileno": (lambda case: case.queue.fileno() >= 0, True, EXPECTED),
    "wake": (lambda case: case.queue.wake(), None, EXPECTED),
}


def try_all(path: str, name: str) -> int:
    """The number of allocations of this operation that were made to fail, one at a time."""
    use, expected, left = USES[name]
    case = Case(path)
    number = 0
    while True:
        number += 1
        where = f"{name}, allocation {number}"
        case.queue.wake()
        assert case.queue.next_event(0) in (None, WatchEvent("/0", "a:1"))
        case.rest()
        case.tell()
        before = open_files()
        error: type[BaseException] | None = None
        begin_to_fail(number)
        try:
            result = use(case)
        except (MemoryError, XenStoreError) as caught:
            error = type(caught)  # the exception itself would keep its frames, and their variables, alive
        except (RuntimeError, SystemError) as caught:
            error = type(caught)  # from the interpreter: for a lock, or an error returned without an exception
            assert name == "open", where
        finally:
            has_failed = stop_failing()
        if error is None:
            assert result == expected, f"{where}: {result!r:.80}"
        assert has_failed or error is None, f"{where}: {error}"
        try:
            after = b"/after/%d" % number
            assert case.connection.carry(M.READ, after + b"\0") == value_of(after), where
            events = case.rest()
            # Either everything was done or nothing, except that of the events to be dropped some may be left.
            dropped = [EXPECTED[number:] for number in range(EVENTS)] if name == "drop" else []
            assert events in ([left] if error is None else [left, EXPECTED, *dropped]), f"{where}: {events}"
            # When memory runs out, the interpreter itself may leak a function's variables, and whatever they refer to.
            if native.open_in_c is not None or name == "open":
                gc.collect()
                # os.pipe2, which takes the place of an eventfd, leaks both ends if there is no memory for the pair.
                leaked = 2 if name == "open" and not hasattr(os, "eventfd") else name == "fileno"
                assert len(open_files()) <= len(before) + leaked, f"{where}: {open_files()}"
        except ConnectionLostError:
            assert error is not None, where
            case = Case(path)
        if error is not None and name == "fetch":
            case = Case(path)  # the other connection may be lost
        if not has_failed:
            case.connection.close()
            return number - 1


def main() -> None:
    if sys.argv[1] == "peer":
        return serve_until_the_end(serve)
    if sys.argv[1] == "Python":
        native.open_in_c = None
    else:
        assert native.open_in_c is not None
    with peer_process("backends.wire.memory_short", "peer") as path:
        for name in USES:
            print(name, try_all(path, name), flush=True)
    return None


if __name__ == "__main__":
    main()
