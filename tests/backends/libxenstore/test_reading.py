"""The calls implemented in C on a handle: results, refused arguments, and that nothing is leaked."""

from __future__ import annotations

import errno
import gc
import os
import sys
from typing import Any

import pytest
from daemons import Daemon
from harness.descriptors import is_readable, open_descriptors
from harness.stores import environment_of, open_client, require_libxenstore
from harness.threads import until

from xsffi.backends.libxenstore.binding import LibXenStore
from xsffi.backends.libxenstore.extension import lib, shortcuts
from xsffi.backends.libxenstore.reading import PlainHandle

in_c = pytest.mark.skipif(shortcuts is None, reason="the extension was not built, or has no such classes")


@pytest.fixture
def handle(xenstored: Daemon) -> Any:
    require_libxenstore()
    with environment_of(xenstored.socket_path):
        return shortcuts.Handle(lib.XS_OPEN_SOCKETONLY)


@in_c
def test_values(handle: Any, xenstored: Daemon) -> None:
    with open_client(xenstored.socket_path, "wire") as other:
        other.write("/reading", bytes(range(256)))
        assert handle.read("/reading") == handle.value(0, b"/reading") == bytes(range(256))
        other.rm("/reading")
    assert handle.read("/reading") == handle.value(0, b"/reading") == errno.ENOENT
    assert handle.read("/not plain") is None
    assert handle.read(b"/reading") is None
    events: list[Any] = []
    assert handle.take_event(events) is False
    assert events == []


@in_c
def test_an_end_lets_nobody_in(handle: Any) -> None:
    assert handle.end() is False
    assert handle.read("/") == handle.value(0, b"/") == errno.EBADF
    assert handle.take_event([]) is None
    handle.free()
    handle.free()
    assert handle.read("/") == errno.EBADF
    assert handle.address == 0


@in_c
def test_no_integer_is_an_address(handle: Any) -> None:
    for wrong in (4096, 0, handle.address, "handle", object(), shortcuts.Reading()):
        with pytest.raises(TypeError):
            shortcuts.Reading()._read_through(wrong)
    with pytest.raises(TypeError):
        shortcuts.Handle()
    with pytest.raises(TypeError):
        shortcuts.Handle("flags")
    with pytest.raises(AttributeError):
        handle.address = 4096
    with pytest.raises(TypeError):
        type("Handle", (shortcuts.Handle,), {})
    for wrong in ((), None, 4096):
        with pytest.raises(TypeError):
            handle.take_event(wrong)


@in_c
def test_reading_through_a_handle(handle: Any) -> None:
    class Reader(shortcuts.Reading):  # type: ignore[misc]
        def _read(self, *args: object) -> str:
            return "otherwise"

    reader = Reader()
    assert reader.read("", "/") == "otherwise"
    reader._read_through(handle)
    assert reader.read("", "/") == b""
    assert reader.read("", "/missing") is None
    assert reader.read("1", "/") == reader.read("", "//") == reader.read() == "otherwise"
    reader._read_through(None)
    assert reader.read("", "/") == "otherwise"
    reader._read_through(handle)
    handle.free()
    del handle
    gc.collect()
    assert reader.read("", "/") == "otherwise"


@in_c
def test_nothing_is_left(xenstored: Daemon) -> None:
    require_libxenstore()

    def work() -> None:
        handle = shortcuts.Handle(lib.XS_OPEN_SOCKETONLY)
        reader = shortcuts.Reading()
        reader._read_through(handle)
        for _ in range(20):
            handle.read("/")
            handle.read("/missing")
            reader.read("", "/")

    with environment_of(xenstored.socket_path):
        work()
        before, descriptors = _blocks(), open_descriptors()
        for _ in range(100):
            work()
        assert _blocks() - before < 100
        assert open_descriptors() == descriptors


@in_c
def test_no_daemon(tmp_path: os.PathLike[str]) -> None:
    require_libxenstore()
    with environment_of(os.path.join(tmp_path, "socket")), pytest.raises(FileNotFoundError):
        shortcuts.Handle(lib.XS_OPEN_SOCKETONLY)


def _blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


def test_what_stands_for_a_handle_in_c(own_daemon: Daemon) -> None:
    """Where Python has no such classes: it has nothing read there, and takes events by the binding."""
    require_libxenstore()
    with environment_of(own_daemon.socket_path):
        xs = LibXenStore(lib.XS_OPEN_SOCKETONLY)
    plain: Any = PlainHandle(xs)
    assert (plain.read("/"), plain.value(0, b"/"), plain.end()) == (None, errno.EBADF, False)
    events: list[Any] = []
    assert plain.take_event(events) is False
    xs.xs_watch(b"/a", b"token")
    assert is_readable(xs.xs_fileno(), 60)
    assert plain.take_event(events) is True
    assert events == [("/a", "token")]
    own_daemon.kill()
    until(lambda: plain.take_event([]) is None)
    xs.xs_close()
