"""The interface of the connection in C, and which implementation is opened."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from daemons import Daemon, PtyBridge
from harness.children import output_of
from harness.descriptors import descriptors_left, open_descriptors
from harness.peer import Link, Peer, answer, peer_process, value_of

import xsffi
from xsffi.addresses import Kind
from xsffi.backends.wire import native
from xsffi.backends.wire.native import Connection, open_connection
from xsffi.errors import (
    ClientClosedError,
    ProtocolError,
    WaitTimeoutError,
    XenStoreError,
    closed_error,
    lost_error,
    timeout_error,
)
from xsffi.paths import encode
from xsffi.protocol.wire import PacketReader

from .asking import SHORT, read

# The choice of the implementation.

MADE = "from xsffi.backends.wire import native; print(native.made()); print(native.open_in_c is None)"
ASKED = ["in Python, as the environment requests", "True"]


@pytest.mark.parametrize("variables", [{"XSFFI_CONNECTION": "python"}, {"XSFFI_EXTENSION": "no"}], ids=str)
def test_the_environment_asks_for_the_one_in_python(variables: dict[str, str]) -> None:
    assert output_of(MADE, **variables).splitlines() == ASKED
    both = {"XSFFI_CONNECTION": "c", "XSFFI_EXTENSION": "no"}  # XSFFI_EXTENSION takes precedence
    assert output_of(MADE, **both).splitlines() == ASKED


@pytest.mark.parametrize("choice", ["", "c"])
def test_it_is_in_c_where_that_was_built(choice: str) -> None:
    pytest.importorskip("xsffi._wire")
    variables = {"XSFFI_CONNECTION": choice, "XSFFI_EXTENSION": ""}
    assert output_of(MADE, **variables).splitlines() == ["in C", "False"]


def test_it_is_said_why_it_is_not_in_c() -> None:
    program = f"import sys; sys.modules['xsffi._wire'] = None; {MADE}"
    made, is_in_python = output_of(program, XSFFI_CONNECTION="", XSFFI_EXTENSION="").splitlines()
    assert made.startswith("in Python, since the C module cannot be imported: ")
    assert "xsffi._wire" in made
    assert is_in_python == "True"


def test_a_choice_that_is_none() -> None:
    program = f"""
import xsffi
try:
    {MADE}
except xsffi.InvalidArgumentError as error:
    print(error)
"""
    said = output_of(program, XSFFI_CONNECTION="rust", XSFFI_EXTENSION="")
    assert said == "[Errno 22] XSFFI_CONNECTION must be c or python, not 'rust'\n"


# Opening.


def test_a_socket(implementation: str, xenstored: Daemon) -> None:
    opened = open_connection(xenstored.socket_path, None)
    assert (opened.kind, opened.peer) == (Kind.SOCKET, xenstored.pid)
    assert opened.description == native.made()
    assert opened.description.startswith(f"in {implementation}")
    assert read(opened.connection, "/") == b""
    opened.connection.close()


def test_a_device_is_for_the_one_in_python(xenstored: Daemon) -> None:
    with PtyBridge(xenstored.socket_path) as bridge:
        opened = open_connection(bridge.device_path, None)
        assert (opened.kind, opened.peer, opened.description) == (Kind.DEVICE, 0, "a device, in Python")
        assert read(opened.connection, "/") == b""
        opened.connection.close()


@pytest.mark.usefixtures("implementation")
def test_what_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name, text in (("none", "No such file"), ("file", "neither a unix socket nor a character device")):
        with pytest.raises(OSError, match=text) as caught:
            open_connection(str(tmp_path / name), None)
        assert caught.value.filename == str(tmp_path / name)


@pytest.mark.usefixtures("implementation")
def test_whoever_accepts_it_is_asked_before_and_after() -> None:
    asked: list[socket.socket | None] = []

    def accept(connection: socket.socket | None) -> None:
        asked.append(connection)
        if connection is not None:
            assert connection.getpeername() == peer.path

    with Peer(answer) as peer:
        open_connection(peer.path, 10, accept).connection.close()
    assert [connection is None for connection in asked] == [True, False]


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("moment", ["before", "after"])
def test_what_is_not_accepted_is_closed(moment: str) -> None:
    def accept(connection: socket.socket | None) -> None:
        if (connection is None) == (moment == "before"):
            raise closed_error()

    with peer_process() as path:
        before = open_descriptors()
        with pytest.raises(ClientClosedError):
            open_connection(path, 10, accept)
        assert open_descriptors() == before


@pytest.mark.usefixtures("implementation")
def test_a_limit_of_spinning_that_is_none(monkeypatch: pytest.MonkeyPatch, xenstored: Daemon) -> None:
    monkeypatch.setattr("xsffi.backends.wire.spin._processors", lambda: 2)
    monkeypatch.setenv("XSFFI_SPIN", "much")
    before = open_descriptors()
    with pytest.raises(xsffi.InvalidArgumentError, match="not 'much'"):
        open_connection(xenstored.socket_path, None)
    assert open_descriptors() == before


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("kind", [Kind.SOCKET, Kind.DEVICE])
def test_no_descriptors_left(xenstored: Daemon, kind: str) -> None:
    """For the descriptors needed besides the socket or device."""
    with PtyBridge(xenstored.socket_path) as bridge:
        path = xenstored.socket_path if kind == Kind.SOCKET else bridge.device_path
        open_connection(path, None).connection.close()
        before = open_descriptors()
        with descriptors_left(1), pytest.raises(OSError, match="Too many open files"):
            open_connection(path, None)
        assert open_descriptors() == before


# Both implementations raise the same errors.


def silence(link: Link) -> None:
    link.wait_for_the_end()


def hang_up(link: Link) -> None:
    link.request()
    link.hang_up()


def nonsense(link: Link) -> None:
    link.request()
    link.send(b"\xff" * 16)


def use_closed(connection: Connection) -> object:
    connection.close()
    return read(connection, "/a")


def use_twice(connection: Connection) -> object:
    with pytest.raises(ProtocolError):
        read(connection, "/a")
    return read(connection, "/a")


def text_of_nonsense() -> str:
    """The message of the Python implementation for :func:`nonsense`."""
    reader = PacketReader()
    reader.receive_data(b"\xff" * 16)
    with pytest.raises(ProtocolError) as caught:
        list(reader.packets())
    return caught.value.strerror or ""


NONSENSE = text_of_nonsense()
ENDS: dict[str, tuple[Callable[[Link], object], Callable[[Connection], object], XenStoreError]] = {
    "closed": (silence, use_closed, closed_error()),
    "no reply": (silence, partial(read, path="/a"), timeout_error(SHORT)),
    "the daemon is gone": (hang_up, partial(read, path="/a"), lost_error()),
    "nonsense": (nonsense, partial(read, path="/a"), ProtocolError(errno.EPROTO, NONSENSE)),
    "after nonsense": (nonsense, use_twice, lost_error(f"it was closed: {NONSENSE}")),
}


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize(("script", "use", "error"), ENDS.values(), ids=ENDS)
def test_what_ends_a_request(
    script: Callable[[Link], object], use: Callable[[Connection], object], error: XenStoreError
) -> None:
    with Peer(script) as peer:
        timeout = SHORT if isinstance(error, WaitTimeoutError) else 60
        connection = open_connection(peer.path, timeout).connection
        with pytest.raises(type(error)) as caught:
            use(connection)
        assert type(caught.value) is type(error)
        assert (caught.value.errno, caught.value.strerror) == (error.errno, error.strerror)
        connection.close()


def test_what_c_is_given_is_looked_at(implementation: str) -> None:
    """The C code checks its arguments even though only this package calls it."""
    if implementation != "C":
        pytest.skip("it has this in C alone")
    with Peer(answer) as peer:
        connection: Any = open_connection(peer.path, 10).connection
        other: Any = open_connection(peer.path, 10).connection
        good: dict[str, Any] = {
            "others": (other,), "paths": ("/a",), "tx_id": 0, "encode": encode, "node_type": None, "permissions": {},
        }  # fmt: skip
        assert connection.fetch(*good.values()) == ([value_of(b"/a")], [])
        bad: list[tuple[str, Any, type[Exception]]] = [
            ("others", [other], TypeError),
            ("others", ("x",), TypeError),
            ("others", (other,) * 16, ValueError),
            ("paths", ["/a"], TypeError),
            ("paths", (5,), TypeError),
            ("encode", lambda path: path, TypeError),
            ("node_type", list, TypeError),
            ("node_type", (), TypeError),
            ("permissions", [], TypeError),
        ]
        for name, value, error in bad:
            arguments = {**good, name: value}
            if name == "encode":
                arguments["paths"] = ("/ä",)
            with pytest.raises(error):
                connection.fetch(*arguments.values())
        assert connection.fetch(*{**good, "paths": ()}.values()) == ([], [])
        assert connection.fetch(*good.values()) == ([value_of(b"/a")], [])
        connection.close()
        with pytest.raises(xsffi.ClientClosedError):
            connection.fetch(*good.values())
        other.close()
