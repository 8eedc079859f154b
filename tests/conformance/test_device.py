"""A character device instead of a socket: a terminal in raw mode, whose other end is bridged to the daemon."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from daemons import Daemon, PtyBridge, SocketBridge
from harness.stores import AIO, events_so_far, open_client
from harness.threads import Call

import xsffi
from xsffi import Client


@pytest.fixture
def bridge(daemon: Daemon) -> Iterator[PtyBridge]:
    with PtyBridge(daemon.socket_path) as bridge:
        yield bridge


@pytest.fixture
def device(bridge: PtyBridge, backend: str) -> Iterator[Client]:
    """A client that has opened the device, over each backend."""
    with open_client(bridge.device_path, backend) as client:
        yield client


def test_nodes(device: Client, top: str) -> None:
    device.write(f"{top}/bytes", bytes(range(256)))
    assert device.read(f"{top}/bytes") == bytes(range(256))
    assert device.ls(top) == ["bytes"]
    device.set_permissions(f"{top}/bytes", ["n0", "r5"])
    assert [str(permission) for permission in device.get_permissions(f"{top}/bytes")] == ["n0", "r5"]
    with pytest.raises(FileNotFoundError):
        device.read(f"{top}/missing")


def test_transactions(device: Client, top: str) -> None:
    with device.transaction() as t:
        t.write(f"{top}/a", "1")
    assert device.read(f"{top}/a") == b"1"


def test_watches(device: Client, other: Client, top: str) -> None:
    device.watch(top, "mine")
    assert device.read_watch(5) == (top, "mine")
    other.write(f"{top}/a", "")
    assert device.read_watch(5) == (f"{top}/a", "mine")
    with pytest.raises(xsffi.WaitTimeoutError):
        device.read_watch(0.05)


def test_the_longest_request(device: Client, top: str) -> None:
    """The kernel's buffer also holds the header: 4080 bytes of payload, not 4096."""
    path = f"{top}/longest"
    value = b"v" * (4080 - len(path) - 1)
    device.write(path, value)
    assert device.read(path) == value
    with pytest.raises(xsffi.TooBigError, match="4080"):
        device.write(path, value + b"!")
    assert device.read(path) == value


def test_close_ends_a_wait(device: Client) -> None:
    waiting = Call(device.read_watch).until_asleep()
    device.close()
    assert isinstance(waiting.outcome(), xsffi.ClientClosedError)


@pytest.mark.parametrize("backend", ["wire", AIO])  # libxenstore does not notice
def test_the_device_goes_away(daemon: Daemon, top: str, backend: str) -> None:
    with PtyBridge(daemon.socket_path) as bridge, open_client(bridge.device_path, backend) as device:
        assert device.exists(top)
        bridge.close()
        with pytest.raises(xsffi.ConnectionLostError):
            device.read_watch(5)
        with pytest.raises(xsffi.ConnectionLostError):
            device.read(top)


@pytest.mark.parametrize("fragment", [1, 7, 1000])
def test_bytes_that_come_in_pieces(daemon: Daemon, top: str, backend: str, fragment: int) -> None:
    with SocketBridge(daemon.socket_path, fragment=fragment) as bridge, open_client(bridge.socket_path, backend) as xs:
        value = bytes(range(256)) * 7
        xs.watch(top, "mine")
        xs.write(f"{top}/a", value)
        assert xs.read(f"{top}/a") == value
        assert [event.path for event in events_so_far(xs)] == [top, f"{top}/a"]
