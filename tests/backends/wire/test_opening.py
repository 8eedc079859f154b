"""Further connections to the daemon of an open one: only to that daemon."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest
from daemons import Daemon, start_xenstored
from harness.descriptors import descriptors_left, open_descriptors
from harness.peer import Link, MessageType, Packet, Peer, answer
from harness.stores import nobody_is_accepted

import xsffi
from xsffi import Client
from xsffi.backends.wire.opening import open_further
from xsffi.errors import ClientClosedError, ConnectionLostError, WaitTimeoutError, XenStoreError, closed_error

from .asking import PATHS, SHORT, Counting, read


@pytest.fixture(autouse=True)
def _both(implementation: str) -> None:
    """Runs every test here with connections in C and in Python."""


def nothing_is_wrong() -> None:
    """The first connection is alive."""


def test_a_further_connection(xenstored: Daemon) -> None:
    for patience in (None, 60.0):
        opened = open_further(xenstored.socket_path, 60, xenstored.pid, nothing_is_wrong, patience)
        assert opened.peer == xenstored.pid
        assert read(opened.connection, "/") == b""
        opened.connection.close()


def test_it_is_asked_for_something_first_where_time_is_short() -> None:
    """The reply shows that the daemon has accepted it; it may arrive in pieces, and after an event."""
    asked: list[Packet] = []

    def serve(link: Link) -> None:
        asked.append(link.request())
        link.reply(asked[-1], b"x" * 5000, piece=999)
        answer(link)

    with Peer(serve) as peer:
        opened = open_further(peer.path, 60, os.getpid(), nothing_is_wrong, 60.0)
        assert [(request.type, request.payload) for request in asked] == [(MessageType.READ, b"/\0")]
        assert read(opened.connection, "/a") == b"value of /a"
        opened.connection.close()


def test_what_has_ended_the_first_is_raised(xenstored: Daemon) -> None:
    """Before anything is opened, and again afterwards."""
    before = open_descriptors()
    for checks in (1, 2):
        asked: list[bool] = []

        def check(asked: list[bool] = asked, checks: int = checks) -> None:
            asked.append(True)
            if len(asked) == checks:
                raise closed_error()

        with pytest.raises(ClientClosedError):
            open_further(xenstored.socket_path, None, xenstored.pid, check)
        assert len(asked) == checks
        assert open_descriptors() == before


def test_another_process_is_another_daemon(xenstored: Daemon) -> None:
    with start_xenstored() as successor:
        before = open_descriptors()
        with pytest.raises(ConnectionLostError, match="another daemon has replaced it"):
            open_further(successor.socket_path, None, xenstored.pid, nothing_is_wrong)
        assert open_descriptors() == before


@pytest.mark.parametrize("is_there", [True, False])
def test_nobody_listens_any_more(tmp_path: Path, is_there: bool) -> None:
    path = tmp_path / "socket"
    if is_there:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    with pytest.raises(ConnectionLostError, match="cannot open a further connection to the store: ") as caught:
        open_further(str(path), None, 1, nothing_is_wrong)
    assert caught.value.errno == errno.ECONNRESET


def test_no_descriptors_left(xenstored: Daemon) -> None:
    with (
        descriptors_left(0),
        pytest.raises(XenStoreError, match=r"cannot open a further connection .*: Too many") as caught,
    ):
        open_further(xenstored.socket_path, None, xenstored.pid, nothing_is_wrong)
    assert caught.value.errno == errno.EMFILE


def test_it_is_not_accepted_in_time(own_daemon: Daemon) -> None:
    with (
        nobody_is_accepted(own_daemon),
        pytest.raises(WaitTimeoutError, match="too many clients are waiting") as caught,
    ):
        open_further(own_daemon.socket_path, None, own_daemon.pid, nothing_is_wrong, SHORT)
    assert caught.value.errno == errno.ETIMEDOUT


def test_it_is_not_answered_in_time() -> None:
    """For example, if the daemon has no descriptors left."""
    with Peer(Link.wait_for_the_end) as peer, pytest.raises(WaitTimeoutError, match="does not accept a further"):
        open_further(peer.path, None, os.getpid(), nothing_is_wrong, SHORT)


def test_the_daemon_dies_before_it_answers() -> None:
    def die(link: Link) -> None:
        link.request()
        link.hang_up()

    with Peer(die) as peer, pytest.raises(ConnectionLostError, match="the daemon closed it"):
        open_further(peer.path, None, os.getpid(), nothing_is_wrong, 60.0)


def test_another_daemon_in_its_place(tmp_path: Path) -> None:
    """The daemon has died, and its successor listens: it gets no request."""
    counting = Counting()
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with Client(path, backend="wire", connections=4) as xs:
            accepted, _ = listener.accept()
            with Peer(counting) as successor:
                accepted.close()
                os.rename(successor.path, path)
                with pytest.raises(xsffi.ConnectionLostError):
                    xs.read_many(PATHS)
                os.rename(path, successor.path)
    assert sum(counting.requests.values()) == 0
