"""How the daemon's death is noticed: by the handle's own socket, by a further connection, or not at all."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

import pytest
from daemons import Daemon
from harness.descriptors import descriptors_left, is_readable, open_descriptors
from harness.peer import Link, Peer
from harness.threads import Call

import xsffi
from xsffi.backends.libxenstore.extension import lib
from xsffi.backends.libxenstore.liveness import Liveness
from xsffi.protocol import requests as r

from .conftest import OpenLibrary

pytestmark = pytest.mark.skipif(lib is None, reason="the extension is not built")


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A daemon that closes each connection on the first input."""
    with Peer(_end_when_asked) as peer:
        yield peer


def _end_when_asked(link: Link) -> None:
    link.socket.recv(1)
    link.hang_up()


@pytest.fixture
def handles(peer: Peer) -> Iterator[socket.socket]:
    """A socket in place of a handle's."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(peer.path)
        yield connection


def test_the_handles_own_socket(handles: socket.socket, peer: Peer) -> None:
    liveness = Liveness(handles.fileno(), peer.path)
    assert liveness.is_own
    assert os.path.sameopenfile(liveness.fileno(), handles.fileno())
    assert liveness.fileno() != handles.fileno()
    assert liveness.peer() == os.getpid()
    assert not liveness.is_dead()
    handles.send(b"x")
    assert handles.recv(1) == b""
    assert liveness.is_dead()
    liveness.close()
    assert liveness.fileno() == -1


def test_to_shut_it_ends_what_waits_at_the_handle(handles: socket.socket, peer: Peer) -> None:
    liveness = Liveness(handles.fileno(), peer.path)
    waiting = Call(lambda: handles.recv(1)).until_asleep()
    assert not waiting.is_over
    liveness.shut()
    assert waiting.result() == b""
    assert liveness.is_dead()
    liveness.close()


def test_a_further_connection(peer: Peer) -> None:
    """If the descriptor expected to be the handle's is something else."""
    before = open_descriptors()
    with socket.socket(socket.AF_UNIX) as other:
        liveness = Liveness(other.fileno(), peer.path)
    assert not liveness.is_own
    assert liveness.peer() == os.getpid()
    assert not liveness.is_dead()
    os.write(liveness.fileno(), b"x")
    assert is_readable(liveness.fileno(), 60)
    assert os.read(liveness.fileno(), 1) == b""
    assert liveness.is_dead()
    liveness.close()
    liveness.close()
    assert open_descriptors() == before


@pytest.mark.parametrize("path", [None, "/no/such/socket"], ids=["a device", "nobody accepts another"])
def test_nothing_to_notice_it_by(path: str | None) -> None:
    """Then the daemon is assumed to be alive."""
    with socket.socket(socket.AF_UNIX) as other:
        liveness = Liveness(other.fileno(), path)
        assert (liveness.is_own, liveness.fileno(), liveness.peer(), liveness.is_dead()) == (False, -1, 0, False)
        liveness.shut()
        liveness.close_leftover()
        liveness.close()
        assert other.fileno() >= 0


def test_no_descriptors_left(handles: socket.socket, peer: Peer) -> None:
    for descriptor in (handles.fileno(), 0):
        with descriptors_left(0), pytest.raises(xsffi.XenStoreError) as caught:
            Liveness(descriptor, peer.path)
        assert caught.value.errno == errno.EMFILE


def test_what_libxenstore_left_open_is_closed(handles: socket.socket, peer: Peer) -> None:
    """But not another file that has since received the same number."""
    number = handles.fileno()
    liveness = Liveness(number, peer.path)
    with socket.socket(socket.AF_UNIX) as another:
        place = os.dup(number)
        os.dup2(another.fileno(), number)
        liveness.close_leftover()
        assert os.path.sameopenfile(number, another.fileno())
        os.dup2(place, number)
        os.close(place)
    liveness.close_leftover()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handles.detach())
    liveness.close_leftover()  # does nothing if there is none
    liveness.close()


@pytest.mark.parametrize("timeout", [None, 0.0, 5.0])
def test_a_default_timeout_of_sockets(daemon: Daemon, open_library: OpenLibrary, timeout: float | None) -> None:
    """It makes new descriptors non-blocking; but libxenstore's, which ours duplicates, must stay blocking."""
    socket.setdefaulttimeout(timeout)
    try:
        library = open_library(daemon.socket_path)
        for _ in range(200):
            library.call(r.Directory(b"/"))
    finally:
        socket.setdefaulttimeout(None)


def test_a_descriptor_that_cannot_be_told(
    own_daemon: Daemon, open_library: OpenLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon's death is then noticed by a further connection."""

    class Lib:
        def __getattr__(self, name: str) -> object:
            return (lambda descriptor, path: 0) if name == "xsffi_is_connected_to" else getattr(lib, name)

    before = open_descriptors()
    monkeypatch.setattr("xsffi.backends.libxenstore.liveness.lib", Lib())
    library = open_library(own_daemon.socket_path)
    assert library.read("/") == b""
    assert library.bulk().read("/") == b""
    events = library.events()
    call = Call(lambda: events.next_event(None)).until_asleep()
    own_daemon.kill()
    assert type(call.outcome()) is xsffi.ConnectionLostError
    with pytest.raises(xsffi.ConnectionLostError):
        library.read("/")
    library.close()
    assert open_descriptors() == before
