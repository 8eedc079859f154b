"""Places where an ordinary client connects, and by which its bytes reach a daemon another way than its socket.

Each takes `fragment`, to hand bytes on, in both directions, in pieces of at most so many: 1 for byte after byte.
"""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import tempfile
import threading
import tty
from pathlib import Path
from types import TracebackType
from typing import Callable, TypeVar

from .connection import TIMEOUT, connect
from .guest import Guest
from .messages import MessageType, PacketSplitter
from .pump import RingEnd, SocketEnd, TerminalEnd, pump

_Self = TypeVar("_Self", bound="_Bridge")


class _Bridge:
    """Runs in threads of its own until it is closed. What went wrong in one of them is raised by `close`."""

    def __init__(self, fragment: int | None) -> None:
        self._fragment = fragment
        self._stop, self._stopper = os.pipe()  # holds a byte, which nobody reads, once the threads are to end
        self._threads: list[threading.Thread] = []
        self._error: BaseException | None = None
        self._closed = False

    def close(self) -> None:
        """Ends every connection through this bridge, and removes the place where clients connect."""
        if self._closed:
            return
        self._closed = True
        os.write(self._stopper, b"\0")
        for thread in self._threads:  # the first may add others behind itself until it ends
            thread.join()
        os.close(self._stop)
        os.close(self._stopper)
        self._put_away()
        if self._error is not None:
            raise self._error

    def _put_away(self) -> None:
        """Releases what the subclass holds, when no thread runs any longer."""

    def _start_thread(self, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            except BaseException as error:
                self._error = error

        thread = threading.Thread(target=run, name=type(self).__name__, daemon=True)
        self._threads.append(thread)
        thread.start()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _ListeningBridge(_Bridge):
    """A bridge with a unix socket, at `socket_path`, where clients connect."""

    def __init__(self, fragment: int | None) -> None:
        super().__init__(fragment)
        self._directory = Path(tempfile.mkdtemp(prefix="xs-", dir="/tmp"))
        self.socket_path = str(self._directory / "socket")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.socket_path)
        self._listener.listen()
        self._start_thread(self._listen)

    def _listen(self) -> None:
        raise NotImplementedError

    def _accept(self) -> socket.socket | None:
        """The next client; None when the bridge is to close."""
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        if any(descriptor == self._stop for descriptor, _ in poll.poll()):
            return None
        return self._listener.accept()[0]

    def _put_away(self) -> None:
        self._listener.close()
        shutil.rmtree(self._directory)


class SocketBridge(_ListeningBridge):
    """A second socket for a daemon. Each connection to it is one to the daemon, as many at a time as wanted."""

    def __init__(self, daemon_socket_path: str, fragment: int | None = None) -> None:
        self._daemon_socket_path = daemon_socket_path
        super().__init__(fragment)

    def _listen(self) -> None:
        while True:
            client = self._accept()
            if client is None:
                return
            self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        try:
            daemon = connect(self._daemon_socket_path)
        except (ConnectionRefusedError, FileNotFoundError):
            client.close()  # the client learns as it would of a daemon that dies on accepting it
            return

        def carry() -> None:
            with client, daemon:
                pump(SocketEnd(client), SocketEnd(daemon), self._stop, self._fragment)

        self._start_thread(carry)


class RingBridge(_ListeningBridge):
    """Makes whoever connects to its socket the guest at a ring, one at a time.

    A domain's connection has no end, a socket's has: so each client finds the domain's watches and transactions
    reset. One that leaves in the middle of a request leaves the ring out of step, and is the last one served.
    """

    def __init__(self, guest: Guest, fragment: int | None = None) -> None:
        self._guest = guest
        super().__init__(fragment)

    def _listen(self) -> None:
        while True:
            client = self._accept()
            if client is None:
                return
            with client:
                ring = _FramedRingEnd(self._guest)
                try:
                    self._reset()
                    pump(SocketEnd(client), ring, self._stop, self._fragment)
                except ConnectionResetError:
                    break  # the daemon is gone
            if self._closed or ring.is_gone or not ring.finish():
                break
        self._listener.close()

    def _reset(self) -> None:
        self._guest.call(MessageType.RESET_WATCHES)
        self._guest.events.clear()


class _FramedRingEnd(RingEnd):
    """A ring's end that knows where packets begin, so that the ring can be handed from one client to the next."""

    def __init__(self, guest: Guest) -> None:
        super().__init__(guest)
        self._requests = PacketSplitter()
        self._replies = PacketSplitter()

    def send(self, data: memoryview) -> int:
        count = super().send(data)
        _follow(self._requests, bytes(data[:count]))
        return count

    def receive(self) -> bytes | None:
        data = super().receive()
        _follow(self._replies, data or b"")
        return data

    def finish(self) -> bool:
        """Takes the rest of a reply that was on its way. False if the ring cannot be brought in step."""
        if not self._requests.between_packets:
            return False
        while not self._replies.between_packets:
            _follow(self._replies, self._guest.receive_bytes(TIMEOUT))
        return True


def _follow(splitter: PacketSplitter, data: bytes) -> None:
    splitter.feed(data)
    while splitter.next_packet() is not None:
        pass


class PtyBridge(_Bridge):
    """A character device, at `device_path`, that stands for the kernel's /dev/xen/xenbus.

    It is one connection to the daemon, for one client, and lasts until the bridge is closed; a client that closes the
    device and opens it again is still on that connection. When the daemon closes it the device is hung up: a read
    tells of the end, or fails with EIO where it was waiting at that moment.
    """

    def __init__(self, daemon_socket_path: str, fragment: int | None = None) -> None:
        super().__init__(fragment)
        self._daemon = connect(daemon_socket_path)
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.device_path = os.ttyname(self._slave)
        self._guard = _hold_as_terminal(self.device_path)
        self._start_thread(self._carry)

    def _carry(self) -> None:
        pump(SocketEnd(self._daemon), TerminalEnd(self._master, self._slave), self._stop, self._fragment)
        os.close(self._master)

    def _put_away(self) -> None:
        os.close(self._slave)
        self._daemon.close()
        with self._guard:
            self._guard.kill()


def _hold_as_terminal(device_path: str) -> subprocess.Popen[bytes]:
    """Starts a process whose controlling terminal is the device, so that it becomes nobody else's.

    A test run without a terminal of its own, as in a container, would get it as one by merely opening it, and would
    be killed when the device is hung up.
    """
    holder = subprocess.Popen(
        ["/bin/sh", "-c", 'exec 3<>"$0"; echo; read line', device_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        bufsize=0,
    )
    assert holder.stdout is not None
    holder.stdout.read(1)  # it has the terminal
    return holder
