"""Where libxenstore opens, the errors if it cannot, and that no step leaks anything."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from daemons import Daemon, PtyBridge
from harness.descriptors import descriptors_left, is_readable, open_descriptors
from harness.stores import environment_of, require_libxenstore

import xsffi
from xsffi.addresses import DEVICES, Kind
from xsffi.backends.libxenstore.backend import LibraryBackend
from xsffi.backends.libxenstore.opening import places

from .conftest import OpenLibrary


@pytest.fixture(autouse=True)
def needs_libxenstore() -> None:
    require_libxenstore()


def looked_at() -> list[tuple[str, bool]]:
    """The places where libxenstore looks, each with whether it is the last resort."""
    return [(place.path, place.is_last) for place in places()]


def test_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XENSTORED_PATH", raising=False)
    monkeypatch.setenv("XENSTORED_RUNDIR", str(tmp_path))
    first, *devices = looked_at()
    assert first == (str(tmp_path / "socket"), False)
    assert devices == [(device, True) for device in DEVICES][: len(devices)]
    monkeypatch.setenv("XENSTORED_PATH", str(tmp_path / "other"))
    assert looked_at() == [(str(tmp_path / "other"), False)]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XENSTORED_PATH", "relative")
    assert looked_at() == [(str(tmp_path / "relative"), False)]


def test_a_path_that_is_the_same_file(xenstored: Daemon, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(xenstored.socket_path)
    with environment_of(xenstored.socket_path):
        for path in (xenstored.socket_path, str(link), os.path.relpath(xenstored.socket_path)):
            assert [os.path.samefile(place.path, path) for place in places(path)] == [True]
            with xsffi.Client(path) as xs:
                assert xs.backend.name == "libxenstore"


def test_a_path_that_is_another_file(
    xenstored: Daemon, oxenstored: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with environment_of(oxenstored.socket_path):
        for path in (xenstored.socket_path, str(tmp_path / "nothing")):
            with pytest.raises(xsffi.NotSupportedError, match=f"XENSTORED_PATH={path} before") as caught:
                xsffi.Client(path, backend="libxenstore")
            assert oxenstored.socket_path in str(caught.value)
        with xsffi.Client(xenstored.socket_path) as xs:
            assert xs.backend.name == "wire"
            assert xs.control("help") != "OK"  # oxenstored's reply
        monkeypatch.setenv("XSFFI_BACKEND", "libxenstore")
        with pytest.raises(xsffi.NotSupportedError, match="XENSTORED_PATH"):
            xsffi.Client(xenstored.socket_path)
        assert os.environ["XENSTORED_PATH"] == oxenstored.socket_path


def test_the_environment_stays_as_it_is(xenstored: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Including C's environment, which started programs inherit, at any moment of opening."""
    monkeypatch.delenv("XENSTORED_PATH", raising=False)
    monkeypatch.setenv("XENSTORED_RUNDIR", str(tmp_path))
    over = threading.Event()

    def open_it() -> None:
        while not over.is_set():
            xsffi.Client(xenstored.socket_path).close()

    thread = threading.Thread(target=open_it)
    thread.start()
    try:
        for _ in range(30):
            printed = subprocess.run(["/usr/bin/env"], capture_output=True, text=True, check=True).stdout
            assert "XENSTORED_PATH" not in printed
    finally:
        over.set()
        thread.join()


def test_a_device(xenstored: Daemon, open_library: OpenLibrary) -> None:
    with PtyBridge(xenstored.socket_path) as bridge:
        backend = open_library(bridge.device_path)
        assert backend.kind is Kind.DEVICE
        assert backend.read("/") == b""
        assert backend.bulk() is backend
        backend.close()


def test_a_device_behind_a_socket(xenstored: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """libxenstore uses the kernel's device only if it finds no daemon's socket."""
    monkeypatch.delenv("XENSTORED_PATH", raising=False)
    monkeypatch.setenv("XENSTORED_RUNDIR", os.path.dirname(xenstored.socket_path))
    with PtyBridge(xenstored.socket_path) as bridge:
        monkeypatch.setattr("xsffi.backends.libxenstore.opening.DEVICES", (bridge.device_path,))
        assert looked_at() == [(xenstored.socket_path, False), (bridge.device_path, True)]
        with pytest.raises(xsffi.NotSupportedError, match="not " + bridge.device_path):
            xsffi.Client(bridge.device_path, backend="libxenstore")
        with xsffi.Client(bridge.device_path) as xs:
            assert (xs.backend.name, xs.backend.kind) == ("wire", Kind.DEVICE)
        with xsffi.Client() as xs:
            assert (xs.backend.name, xs.backend.kind) == ("libxenstore", Kind.SOCKET)


def test_every_attempt_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XENSTORED_PATH", raising=False)
    monkeypatch.setenv("XENSTORED_RUNDIR", str(tmp_path))
    monkeypatch.setattr("xsffi.backends.libxenstore.opening.DEVICES", (f"{tmp_path}/first", f"{tmp_path}/second"))
    with socket.socket(socket.AF_UNIX) as nobody_listens:
        nobody_listens.bind(str(tmp_path / "socket"))
        with pytest.raises(xsffi.BackendUnavailableError) as caught:
            xsffi.Client(backend="libxenstore")
    assert caught.value.errno == errno.ECONNREFUSED
    assert caught.value.attempts == (
        (f"libxenstore at {tmp_path}/socket", os.strerror(errno.ECONNREFUSED)),
        (f"libxenstore at {tmp_path}/first", os.strerror(errno.ENOENT)),
        (f"libxenstore at {tmp_path}/second", os.strerror(errno.ENOENT)),
    )


def test_no_descriptors_left(xenstored: Daemon) -> None:
    with environment_of(xenstored.socket_path):
        xsffi.Client().close()  # to create what is created only once
        before = open_descriptors()
        for count in range(2):  # it needs two
            with descriptors_left(count), pytest.raises(xsffi.XenStoreError) as refused:
                LibraryBackend(places()[0])
            assert refused.value.errno == errno.EMFILE
            assert open_descriptors() == before
        with descriptors_left(2):
            LibraryBackend(places()[0]).close()
        with descriptors_left(0), pytest.raises(xsffi.BackendUnavailableError) as caught:
            xsffi.Client(backend="libxenstore")
        assert caught.value.errno == errno.EMFILE


def test_no_descriptors_left_for_events(xenstored: Daemon, open_library: OpenLibrary) -> None:
    before = open_descriptors()
    backend = open_library(xenstored.socket_path)
    events = backend.events()
    for count in (0, 1, 1):  # the pipe needs two; the wakeup needs one, and is kept
        with descriptors_left(count), pytest.raises(xsffi.XenStoreError) as refused:
            events.next_event(0.01)
        assert refused.value.errno == errno.EMFILE
        assert events.next_event(0) is None
        assert backend.read("/") == b""
    with descriptors_left(2):
        assert events.next_event(0.01) is None
    with descriptors_left(0), pytest.raises(xsffi.XenStoreError) as refused:
        events.fileno()
    assert refused.value.errno == errno.EMFILE
    assert not is_readable(events.fileno())
    backend.close()
    assert open_descriptors() == before


def test_no_descriptors_left_for_many_at_once(xenstored: Daemon, open_library: OpenLibrary) -> None:
    backend = open_library(xenstored.socket_path)
    with descriptors_left(0), pytest.raises(xsffi.XenStoreError) as caught:
        backend.bulk()
    assert caught.value.errno == errno.EMFILE
    assert backend.bulk().read("/") == b""
