"""Places where an ordinary client can connect, and its bytes reach a daemon by another way than its socket.

Each takes `fragment`, the maximum number of bytes per piece passed on, in both directions: 1 for one byte at a time.
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
    """Runs in its own threads until it is closed. `close` raises any exception that occurred in them."""

    def __init__(self, fragment: int | None) -> None:
        self._fragment = fragment
        self._stop, self._stopper = os.pipe()  # readable, and never read, once the threads must end
        self._threads: list[threading.Thread] = []
        self._error: BaseException | None = None
        self._closed = False

    def close(self) -> None:
        """Ends all connections through this bridge, and removes the place where clients connect."""
        if self._closed:
            return
        self._closed = True
        os.write(self._stopper, b"\0")
        for thread in self._threads:  # while the first runs, it may append others
            thread.join()
        os.close(self._stop)
        os.close(self._stopper)
        self._put_away()
        if self._error is not None:
            raise self._error

    def _put_away(self) -> None:
        """Releases what the subclass holds, once all threads have ended."""

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
        """The next client, or None when the bridge must close."""
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
    """A second socket for a daemon. Each connection to it becomes one to the daemon; there may be any number at a
    time."""

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
            client.close()  # what the client sees if the daemon dies as it accepts
            return

        def carry() -> None:
            with client, daemon:
                pump(SocketEnd(client), SocketEnd(daemon), self._stop, self._fragment)

        self._start_thread(carry)


class RingBridge(_ListeningBridge):
    """Makes each client of its socket the guest of a ring, one at a time.

    A domain's connection never ends, but a socket's does: so the domain's watches and transactions are reset for each
    client. One that disconnects in the middle of a request leaves the ring out of step, and is the last one served.
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
                    break  # the daemon has gone
            if self._closed or ring.is_gone or not ring.finish():
                break
        self._listener.close()

    def _reset(self) -> None:
        self._guest.call(MessageType.RESET_WATCHES)
        self._guest.events.clear()


class _FramedRingEnd(RingEnd):
    """A ring's end that tracks packet boundaries, so that the ring can be handed from one client to the next."""

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
        """Takes the rest of a reply that is being received. False if the ring cannot be brought back in step."""
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
    """A character device, at `device_path`, in place of the kernel's /dev/xen/xenbus.

    It is one connection to the daemon, for one client, and lasts until the bridge is closed: a client that closes the
    device and opens it again is still on that connection. When the daemon closes the connection, the device is hung up:
    a read returns end of file, or fails with EIO if it was already waiting.
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
    """Starts a process whose controlling terminal is the device, so that it cannot become anyone else's.

    A test run without a terminal of its own, as in a container, would otherwise acquire it merely by opening it, and be
    killed when the device is hung up.
    """
    holder = subprocess.Popen(
        ["/bin/sh", "-c", 'exec 3<>"$0"; echo; read line', device_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        bufsize=0,
    )
    assert holder.stdout is not None
    holder.stdout.read(1)  # now it has the terminal
    return holder
