"""Whatever a client does to the embedded store, it harms no other client, and memory stays bounded."""

from __future__ import annotations

import logging
import resource
import socket
import time
from collections.abc import Iterator

import pytest
from daemons import MessageType, Packet, SocketConnection, strings
from harness.alarms import handled_elsewhere, interrupted_after
from harness.embedded import parse_use

import xsffi
from xsffi.server.connection import Connection
from xsffi.server.loop import Loop
from xsffi.server.store import Store
from xsffi.testing import EmbeddedStore

M = MessageType


@pytest.fixture
def store() -> Iterator[EmbeddedStore]:
    with EmbeddedStore({"/a": "1"}) as store:
        yield store


@pytest.fixture
def bystander(store: EmbeddedStore) -> Iterator[xsffi.Client]:
    """A client that must notice nothing."""
    with store.connect(backend="wire", timeout=10) as client:
        yield client


def raw(store: EmbeddedStore, domid: int = 0) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(store.socket_path(domid))
    connection.settimeout(10)
    return connection


def request(type: int, payload: bytes, req_id: int = 1, tx_id: int = 0) -> bytes:
    return Packet(type, req_id, tx_id, payload).encode()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff" * 100,
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        request(M.READ, b"/a\0")[:4] + b"\0\0\0\0" * 2 + (4097).to_bytes(4, "little"),
        request(M.READ, b"/a\0")[:12] + (0xFFFFFFFF).to_bytes(4, "little"),
    ],
)
def test_garbage_ends_that_connection_alone(
    store: EmbeddedStore, bystander: xsffi.Client, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with raw(store) as connection:
        connection.sendall(request(M.READ, b"/a\0") + garbage)
        assert connection.recv(4096).endswith(b"1")  # earlier requests are answered
        try:
            assert connection.recv(4096) == b""
        except ConnectionResetError:
            pass  # the server had not read everything
    assert bystander.read("/a") == b"1"
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "a message of type" in caplog.text


def test_a_message_in_pieces(store: EmbeddedStore, bystander: xsffi.Client) -> None:
    with raw(store) as connection:
        for byte in request(M.READ, b"/a\0") * 2:
            connection.sendall(bytes([byte]))
            assert bystander.read("/a") == b"1"
        received = b""
        while len(received) < 34:
            received += connection.recv(4096)
        assert received[16:17] == received[33:34] == b"1"


def test_half_a_message_and_no_more(store: EmbeddedStore, bystander: xsffi.Client) -> None:
    for end in range(1, 18):
        with raw(store) as connection:
            connection.sendall(request(M.WRITE, b"/b\0value")[:end])
        assert not bystander.exists("/b")


def test_a_client_that_dies_in_a_transaction(store: EmbeddedStore, bystander: xsffi.Client) -> None:
    connection = SocketConnection(store.socket_path(5))
    for number in range(3):
        connection.call(M.WATCH, strings("x", str(number)))
        connection.call(M.TRANSACTION_START)
    connection.call(M.WRITE, strings("x") + b"1", tx_id=1)
    used = parse_use(bystander.control("quota", "5"))
    assert (used["watches"], used["transactions"]) == (3, 3)
    connection.close()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and used["watches"]:
        time.sleep(0.001)
        used = parse_use(bystander.control("quota", "5"))
    assert (used["watches"], used["transactions"]) == (0, 0)
    assert not bystander.exists("/local/domain/5/x")


def test_a_client_that_sends_and_does_not_read(store: EmbeddedStore, bystander: xsffi.Client) -> None:
    bystander.write("/big", bytes(4000))
    with raw(store) as connection:
        connection.setblocking(False)
        piece = request(M.READ, b"/big\0") * 1000
        sent = 0
        idle = 0
        while idle < 20 and sent < 50_000_000:
            try:
                sent += connection.send(piece[sent % 21 :][: 21 * 900])
                idle = 0
            except BlockingIOError:
                idle += 1
                bystander.read("/a")
        assert sent < 10_000_000  # the client was made to wait
        connection.settimeout(10)
        connection.shutdown(socket.SHUT_WR)
        received = 0
        while data := connection.recv(1 << 20):
            received += len(data)
        assert received <= (sent // 21) * 4016
        assert received > 4016 * 100
    assert bystander.read("/a") == b"1"


def test_a_watcher_that_does_not_read(caplog: pytest.LogCaptureFixture) -> None:
    store = Store()
    watcher, writer = Connection(store), Connection(store)
    watcher.receive_data(request(M.WATCH, strings("/", "token" * 500)))
    watcher.data_sent(len(watcher.data_to_send()))
    for number in range(50_000):
        writer.receive_data(request(M.WRITE, strings(f"/{'x' * 200}{number % 100}/{number}")))
        writer.data_sent(len(writer.data_to_send()))
        if watcher.ended:
            break
    assert 10_000 < number < 20_000  # 32 MiB of events
    assert "does not read" in caplog.text
    assert writer.ended is None
    assert not watcher.data_to_send()


def test_equal_events_that_nobody_reads_are_one() -> None:
    store = Store()
    watcher, writer = Connection(store), Connection(store)
    watcher.receive_data(request(M.WATCH, strings("/", "t")))
    for _ in range(1000):
        writer.receive_data(request(M.WRITE, strings("/a")))
        writer.data_sent(len(writer.data_to_send()))
    assert watcher.data_to_send().count(b"/a\0t\0") == 1


def test_a_thousand_clients() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip("a process may not have so many descriptors here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    connections = []
    try:
        with EmbeddedStore({"/a": "1"}) as store:
            for number in range(1000):
                connection = SocketConnection(store.path)
                connections.append(connection)
                connection.call(M.WATCH, strings("/a", str(number)))
                assert connection.next_event() == (b"/a", str(number).encode())
            connections[0].call(M.WRITE, strings("/a") + b"2")
            for number, connection in enumerate(connections):
                assert connection.next_event() == (b"/a", str(number).encode())
    finally:
        for connection in connections:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_no_descriptors_left(store: EmbeddedStore, bystander: xsffi.Client, caplog: pytest.LogCaptureFixture) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    waiting = [socket.socket(socket.AF_UNIX) for _ in range(3)]
    used = max(connection.fileno() for connection in waiting)
    assert bystander.read("/a") == b"1"  # so that it has been accepted
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, hard))
        for connection in waiting:
            connection.connect(store.path)
            connection.sendall(request(M.READ, b"/a\0"))
        assert bystander.read("/a") == b"1"
        deadline = time.monotonic() + 5
        while not caplog.records and time.monotonic() < deadline:
            time.sleep(0.001)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for connection in waiting:
        with connection:
            connection.settimeout(10)
            assert connection.recv(100).endswith(b"1")
    assert len(caplog.records) == 1
    assert "cannot accept a client" in caplog.text


def test_an_error_of_the_server_itself(
    store: EmbeddedStore, bystander: xsffi.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with raw(store) as connection:
        monkeypatch.setattr("xsffi.server.nodes.mkdir", broken)
        connection.sendall(request(M.MKDIR, b"/b\0"))
        assert connection.recv(100) == b""
    assert bystander.read("/a") == b"1"
    assert "ZeroDivisionError" in caplog.text


def test_paths_of_a_thousand_levels(store: EmbeddedStore, bystander: xsffi.Client) -> None:
    path = "/x" * 1000
    bystander.write(path, "deep")
    assert bystander.read(path) == b"deep"
    with bystander.transaction() as transaction:
        transaction.write(path + "/y", "deeper")
    assert len(store.dump()) == 1005
    with bystander.transaction() as transaction:
        transaction.rm("/x")
    bystander.write(path, "again")
    bystander.rm("/x")
    assert [node.path for node in store.dump()] == ["/", "/tool", "/tool/xenstored", "/a"]


def test_stopped_though_the_wait_is_not_interrupted() -> None:
    loop = Loop(Store())
    begin = time.monotonic()
    with handled_elsewhere(), interrupted_after(0.05, loop.stop):
        loop.run()
    assert time.monotonic() - begin < 3
