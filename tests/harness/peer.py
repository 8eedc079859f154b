"""A scripted daemon, with which a test decides which bytes arrive when."""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from daemons.messages import HEADER, MessageType, Packet, PacketSplitter

__all__ = [
    "REPLY_MAX",
    "HungUp",
    "Link",
    "MessageType",
    "Packet",
    "Peer",
    "answer",
    "event",
    "header",
    "peer_process",
    "reply_to",
    "serve_until_the_end",
    "value_of",
]

REPLY_MAX = 16 << 20  # the longest payload that a client accepts
_PATIENCE = 60.0  # seconds that a peer waits for a client to act


class HungUp(Exception):
    """The client has closed its end."""


def header(type: int, request_id: int, length: int, tx_id: int = 0) -> bytes:
    """The header of a message alone, with any length."""
    return HEADER.pack(type, request_id, tx_id, length)


def value_of(path: bytes) -> bytes:
    """The value of a node according to :func:`answer`, different for each path."""
    return b"value of " + path


class Link:
    """The daemon's end of one connection."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(_PATIENCE)
        self.socket = connection
        self._splitter = PacketSplitter()

    def request(self) -> Packet:
        """The client's next request; raises HungUp if there are no more."""
        while (packet := self._splitter.next_packet()) is None:
            try:
                data = self.socket.recv(1 << 20) if self.socket.fileno() >= 0 else b""
            except ConnectionError:
                data = b""
            if not data:
                raise HungUp
            self._splitter.feed(data)
        return packet

    def requests(self, count: int) -> list[Packet]:
        """The client's next `count` requests."""
        return [self.request() for _ in range(count)]

    def has_more(self) -> bool:
        """Whether the client has sent anything that has not been taken yet."""
        if not self._splitter.between_packets:
            return True
        return bool(select.select([self.socket], [], [], 0)[0])

    def send(self, data: bytes, piece: int | None = None) -> None:
        """Send any bytes, `piece` of them at a time."""
        try:
            for start in range(0, len(data), piece or max(1, len(data))):
                self.socket.sendall(data[start : start + (piece or len(data))])
        except ConnectionError:
            raise HungUp from None

    def reply(self, request: Packet, payload: bytes | None = None, piece: int | None = None) -> None:
        """Reply to a request with this payload, or as :func:`answer` does."""
        self.send(reply_to(request, payload), piece)

    def event(self, path: bytes, token: bytes) -> None:
        """Send an event."""
        self.send(event(path, token))

    def hang_up(self) -> None:
        """End the connection, as a dying daemon does."""
        self.socket.close()

    def wait_for_the_end(self) -> list[Packet]:
        """Wait until the client hangs up; returns the requests that came before."""
        found = []
        with contextlib.suppress(HungUp):
            while True:
                found.append(self.request())
        return found


def reply_to(request: Packet, payload: bytes | None = None) -> bytes:
    """The bytes of a reply."""
    if payload is None:
        if request.type == MessageType.READ:
            payload = value_of(request.payload[:-1])
        elif request.type == MessageType.TRANSACTION_START:
            payload = b"%d\0" % (request.request_id & 0xFFFF)
        else:
            payload = b"OK\0"
    return Packet(request.type, request.request_id, request.tx_id, payload).encode()


def event(path: bytes, token: bytes) -> bytes:
    """The bytes of an event."""
    return Packet(MessageType.WATCH_EVENT, 0, 0, path + b"\0" + token + b"\0").encode()


def answer(link: Link) -> None:
    """Answer every request at once: READ with :func:`value_of` the path, WATCH with an additional event, and WRITE with
    an event whose token is the value, if it is not empty."""
    while True:
        request = link.request()
        link.reply(request)
        path, _, rest = request.payload.partition(b"\0")
        if request.type in (MessageType.WATCH, MessageType.WRITE) and rest:
            link.event(path, rest.partition(b"\0")[0])


class Peer:
    """A unix socket at which each connection is served by a script, in its own thread.

    After the script has ended, the peer stays silent until the client hangs up; only the script can make the peer hang
    up.

    The first exception of a script, other than HungUp, is raised at the end of the `with` block.
    """

    def __init__(self, *scripts: Callable[[Link], object], backlog: int = 64) -> None:
        """`scripts`: for the first connection, the second, and so on; the last one also serves all further ones."""
        self._scripts = scripts
        self._directory = tempfile.TemporaryDirectory()
        self.path = self._directory.name + "/socket"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(backlog)
        self._threads: list[threading.Thread] = []
        self._links: list[Link] = []
        self._errors: list[BaseException] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(_PATIENCE)
        for link in self._links:
            with contextlib.suppress(OSError):
                link.socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(_PATIENCE)
        self._listener.close()
        self._directory.cleanup()
        if kind is None and self._errors:
            raise self._errors[0]

    def _accept(self) -> None:
        while True:
            try:
                link = Link(self._listener.accept()[0])
            except OSError:
                return  # the listener was shut down
            self._links.append(link)
            script = self._scripts[min(len(self._links), len(self._scripts)) - 1]
            thread = threading.Thread(target=self._serve, args=(script, link), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, script: Callable[[Link], object], link: Link) -> None:
        try:
            script(link)
            link.wait_for_the_end()
        except HungUp:
            pass
        except BaseException as error:
            self._errors.append(error)
        finally:
            link.hang_up()


@contextmanager
def peer_process(*program: str) -> Iterator[str]:
    """The path of a peer in its own process, with its own descriptors: one that runs :func:`answer`, or a module with
    arguments which prints the path and runs until the end of its input."""
    tests = Path(__file__).resolve().parents[1]
    with subprocess.Popen(
        [sys.executable, "-m", *(program or ["harness.peer"])],
        cwd=tests,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().rstrip("\n")
        process.communicate()


def serve_until_the_end(script: Callable[[Link], object]) -> None:
    """The main function of the process of :func:`peer_process`."""
    with Peer(script) as peer:
        print(peer.path, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    serve_until_the_end(answer)
