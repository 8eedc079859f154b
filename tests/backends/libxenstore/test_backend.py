"""The backend alone: single requests, and many at once."""

from __future__ import annotations

import os

import pytest
from daemons import Daemon, start_xenstored
from harness.descriptors import open_descriptors
from harness.stores import nobody_is_accepted
from harness.threads import Call, all_outcomes

import xsffi
from xsffi.backends.libxenstore.backend import LibraryBackend
from xsffi.protocol import requests as r

from .conftest import OpenLibrary


def test_requests(library: LibraryBackend) -> None:
    library.call(r.Write(b"/backend", b"\0value"))
    assert library.read("/backend") == library.call(r.Read(b"/backend")) == b"\0value"
    tx_id = library.call(r.TransactionStart())
    library.call(r.Write(b"/backend", b"2"), tx_id)
    assert (library.read("/backend"), library.call(r.Read(b"/backend"), tx_id)) == (b"\0value", b"2")
    library.call(r.TransactionEnd(commit=False), tx_id)
    outcomes = library.call_many([r.Read(b"/backend"), r.Read(b"/missing"), r.Rm(b"/backend"), r.ResetWatches()])
    assert (outcomes[0], outcomes[2]) == (b"\0value", None)
    assert [type(outcomes[place]) for place in (1, 3)] == [xsffi.NodeNotFoundError, xsffi.NotSupportedError]
    with pytest.raises(xsffi.NodeNotFoundError) as caught:
        library.read("/missing")
    assert caught.value.filename == "/missing"
    for wrong in ("", "//", "/a b", "/\0"):
        with pytest.raises(xsffi.InvalidArgumentError):
            library.read(wrong)
    with pytest.raises(xsffi.TooBigError):
        library.call(r.Write(b"/backend", bytes(5000)))
    library.post(r.Unwatch(b"/backend", b"0"))


def test_many_at_once(library: LibraryBackend) -> None:
    bulk = library.bulk()
    assert bulk.name == "wire"
    assert library.bulk() is bulk
    library.call(r.Write(b"/bulk", b"1"))
    assert bulk.call_many([r.Read(b"/bulk")] * 1000) == [b"1"] * 1000
    bulk.call(r.Rm(b"/bulk"))
    library.close()
    with pytest.raises(xsffi.ClientClosedError):
        bulk.read("/")


def test_threads_share_the_connection_for_many(own_daemon: Daemon, open_library: OpenLibrary) -> None:
    library = open_library(own_daemon.socket_path)
    before = open_descriptors()
    opened = all_outcomes([library.bulk] * 8)
    assert len(set(map(id, opened))) == 1
    # Surplus connections opened at the same time are closed.
    library.close()
    library = open_library(own_daemon.socket_path)
    assert open_descriptors() == before


def test_close_while_a_connection_for_many_is_opened(own_daemon: Daemon, open_library: OpenLibrary) -> None:
    library = open_library(own_daemon.socket_path)
    with nobody_is_accepted(own_daemon):
        calls = [Call(library.bulk).until_asleep() for _ in range(2)]
        library.close()
        assert [type(call.outcome()) for call in calls] == [xsffi.ClientClosedError] * 2


def test_the_daemon_dies_while_a_connection_for_many_is_opened(own_daemon: Daemon, open_library: OpenLibrary) -> None:
    library = open_library(own_daemon.socket_path)
    with nobody_is_accepted(own_daemon):
        call = Call(library.bulk).until_asleep()
        own_daemon.kill()
        own_daemon.restart()
        assert type(call.outcome()) is xsffi.ConnectionLostError
        own_daemon.pause()


def test_another_daemon_at_the_same_path(open_library: OpenLibrary) -> None:
    """The first daemon is still served, without its socket; the other one is not used."""
    with start_xenstored() as first, start_xenstored() as other:
        library = open_library(first.socket_path)
        os.rename(other.socket_path, first.socket_path)
        with pytest.raises(xsffi.ConnectionLostError, match="another daemon"):
            library.bulk()
        assert library.read("/") == b""
        os.rename(first.socket_path, other.socket_path)
