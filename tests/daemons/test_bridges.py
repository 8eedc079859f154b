"""Ways to a daemon other than its socket."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from daemons import (
    Connection,
    Daemon,
    Guest,
    MessageType,
    Packet,
    PtyBridge,
    RingBridge,
    SocketBridge,
    SocketConnection,
    error_reply,
    strings,
    write_payload,
)

from .conftest import RunScript

ALL_BYTES = bytes(range(256))
OK = b"OK\0"


class Device(Connection):
    """A client of a character device."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._file = os.open(path, os.O_RDWR)

    def send(self, data: bytes, timeout: float = 0) -> None:
        while data:
            data = data[os.write(self._file, data) :]

    def receive_bytes(self, timeout: float) -> bytes:
        try:
            data = os.read(self._file, 65536)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""
        if not data:
            raise ConnectionResetError("hung up")
        return data

    def close(self) -> None:
        os.close(self._file)


def carries_everything(client: Connection, size: int) -> None:
    """All byte values, and large messages, in both directions."""
    value = (ALL_BYTES * 16)[:size]
    assert client.call(MessageType.WRITE, write_payload("/local/domain/5/x", value), timeout=20).payload == OK
    assert client.call(MessageType.READ, strings("/local/domain/5/x"), timeout=20).payload == value


def pipelines(client: Connection) -> None:
    """Many requests, whose replies fill every buffer on the way before the first is read."""
    count = 400
    sender = threading.Thread(
        target=client.send,
        args=(
            b"".join(
                Packet(MessageType.READ, number, 0, strings("/local/domain/5/x")).encode() for number in range(count)
            ),
        ),
    )
    sender.start()
    assert [client.receive().request_id for _ in range(count)] == list(range(count))
    sender.join()


class TestSocketBridge:
    def test_carries_everything(self, daemon: Daemon) -> None:
        largest = 4096 - len("/local/domain/5/x\0")
        with SocketBridge(daemon.socket_path) as bridge, SocketConnection(bridge.socket_path) as client:
            carries_everything(client, largest)
            pipelines(client)

    def test_byte_by_byte(self, daemon: Daemon) -> None:
        with SocketBridge(daemon.socket_path, fragment=1) as bridge, SocketConnection(bridge.socket_path) as client:
            carries_everything(client, 4096 - len("/local/domain/5/x\0"))

    def test_pieces_are_not_joined_for_a_slow_reader(self, daemon: Daemon) -> None:
        sizes: list[int] = []
        with SocketBridge(daemon.socket_path, fragment=3) as bridge, socket.socket(socket.AF_UNIX) as client:
            client.connect(bridge.socket_path)
            client.sendall(Packet(MessageType.GET_DOMAIN_PATH, 1, 0, strings("5")).encode())
            while sum(sizes) < 16 + len("/local/domain/5\0"):
                time.sleep(0.005)
                sizes.append(len(client.recv(100)))
        # Two may still arrive as one, if the second is sent while the client is in recv for the first.
        assert sum(sizes) == 32
        assert sizes.count(3) >= 8

    def test_serves_several_clients_at_once(self, daemon: Daemon) -> None:
        with ExitStack() as stack:
            bridge = stack.enter_context(SocketBridge(daemon.socket_path))
            first, second = [stack.enter_context(SocketConnection(bridge.socket_path)) for _ in range(2)]
            first.call(MessageType.WATCH, strings("/w", "token"))
            assert first.next_event() == (b"/w", b"token")  # read at once, since xenstored merges waiting events
            second.call(MessageType.MKDIR, strings("/w"))
            assert first.next_event() == (b"/w", b"token")

    def test_ends_with_the_daemon_and_when_closed(self, daemon: Daemon) -> None:
        with SocketBridge(daemon.socket_path) as bridge, SocketConnection(bridge.socket_path) as client:
            client.call(MessageType.READ, strings("/"))
            daemon.kill()
            with pytest.raises(ConnectionError):
                client.receive()
            with SocketConnection(bridge.socket_path) as late, pytest.raises(ConnectionError):
                late.call(MessageType.READ, strings("/"))
            daemon.restart()
            with SocketConnection(bridge.socket_path) as again:
                again.call(MessageType.READ, strings("/"))
                bridge.close()
                with pytest.raises(ConnectionError):
                    again.receive()
        assert not Path(bridge.socket_path).exists()


class TestRingBridge:
    @pytest.mark.parametrize("fragment", [None, 1])
    def test_carries_everything(self, daemon: Daemon, fragment: int | None) -> None:
        with ExitStack() as stack:
            guest = stack.enter_context(Guest(daemon, 5))
            bridge = stack.enter_context(RingBridge(guest, fragment))
            client = stack.enter_context(SocketConnection(bridge.socket_path))
            carries_everything(client, 1900)  # values of a guest cannot be much larger
            with daemon.connect() as dom0:
                dom0.call(MessageType.MKDIR, strings("/secret"))
            assert client.call(MessageType.READ, strings("/secret")) == error_reply("EACCES")

    def test_pipelines(self, daemon: Daemon) -> None:
        with Guest(daemon, 5) as guest, RingBridge(guest) as bridge, daemon.connect() as dom0:
            dom0.call(MessageType.WRITE, write_payload("/local/domain/5/x", b"x" * 4000))
            with SocketConnection(bridge.socket_path) as client:
                pipelines(client)

    def test_the_next_client_finds_nothing_of_the_last_one(self, daemon: Daemon) -> None:
        with Guest(daemon, 5) as guest, RingBridge(guest) as bridge, daemon.connect() as dom0:
            dom0.call(MessageType.WRITE, write_payload("/local/domain/5/x", b"x" * 4000))
            with SocketConnection(bridge.socket_path) as client:
                client.call(MessageType.WATCH, strings("x", "token"))
                transaction = int(client.call(MessageType.TRANSACTION_START).payload.rstrip(b"\0"))
                for number in range(100):
                    client.send(Packet(MessageType.READ, number, 0, strings("x")).encode())
            with SocketConnection(bridge.socket_path) as client:
                dom0.call(MessageType.RM, strings("/local/domain/5/x"))
                assert client.call(MessageType.READ, strings("x")) == error_reply("ENOENT")
                assert not client.events
                ended = client.call(MessageType.TRANSACTION_END, strings("F"), tx_id=transaction)
                assert ended == error_reply("ENOENT" if daemon.kind == "xenstored" else "EIO")

    def test_serves_nobody_after_a_request_cut_short(self, daemon: Daemon) -> None:
        with Guest(daemon, 5) as guest, RingBridge(guest) as bridge:
            with SocketConnection(bridge.socket_path) as client:
                client.call(MessageType.READ, strings("."))
                client.send(b"\0" * 10)
            with pytest.raises(ConnectionError), SocketConnection(bridge.socket_path) as client:
                client.call(MessageType.READ, strings("."))

    def test_a_dead_daemon_and_closing(self, daemon: Daemon) -> None:
        with Guest(daemon, 5) as guest, RingBridge(guest) as bridge, SocketConnection(bridge.socket_path) as client:
            client.call(MessageType.READ, strings("."))
            daemon.kill()
            with pytest.raises(ConnectionError):
                client.call(MessageType.READ, strings("."))
        with pytest.raises(FileNotFoundError):
            SocketConnection(bridge.socket_path)


class TestPtyBridge:
    @pytest.mark.parametrize("fragment", [None, 1])
    def test_carries_everything(self, daemon: Daemon, fragment: int | None) -> None:
        with PtyBridge(daemon.socket_path, fragment) as bridge, Device(bridge.device_path) as client:
            carries_everything(client, 4096 - len("/local/domain/5/x\0"))

    def test_pipelines(self, daemon: Daemon) -> None:
        with PtyBridge(daemon.socket_path) as bridge, Device(bridge.device_path) as client:
            carries_everything(client, 4000)
            pipelines(client)

    def test_is_one_connection_for_as_long_as_it_lasts(self, daemon: Daemon) -> None:
        with PtyBridge(daemon.socket_path) as bridge:
            with Device(bridge.device_path) as client:
                transaction = int(client.call(MessageType.TRANSACTION_START).payload.rstrip(b"\0"))
            with Device(bridge.device_path) as client:
                assert client.call(MessageType.TRANSACTION_END, strings("F"), tx_id=transaction).payload == OK

    def test_is_hung_up_with_the_daemon_and_when_closed(self, daemon: Daemon) -> None:
        with PtyBridge(daemon.socket_path) as bridge, Device(bridge.device_path) as client:
            client.call(MessageType.READ, strings("/"))
            daemon.kill()
            with pytest.raises(ConnectionError):
                client.receive()
        daemon.restart()
        with PtyBridge(daemon.socket_path) as bridge, Device(bridge.device_path) as client:
            client.call(MessageType.READ, strings("/"))
            bridge.close()
            with pytest.raises(ConnectionError):
                client.receive()

    def test_does_not_take_a_test_run_without_a_terminal_down(self, daemon: Daemon, run_script: RunScript) -> None:
        script = """
            import os, sys
            from daemons import PtyBridge
            with PtyBridge(sys.argv[1]) as bridge:
                device = os.open(bridge.device_path, os.O_RDWR)
            os.close(device)
            print("lived")
        """
        with run_script(script, daemon.socket_path, new_session=True) as process:
            assert process.communicate()[0] == "lived\n"
