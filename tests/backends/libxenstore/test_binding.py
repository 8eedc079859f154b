"""The binding: C functions with Python's types and exceptions, including those that this libxenstore lacks."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator

import pytest
from daemons import Daemon
from harness.descriptors import is_readable
from harness.stores import environment_of, open_client, require_libxenstore

import xsffi
from xsffi import Permission, WatchEvent
from xsffi.backends.libxenstore.binding import LibXenStore, has_function
from xsffi.backends.libxenstore.extension import lib

from .conftest import RunProgram


@pytest.fixture
def handle(xenstored: Daemon) -> Iterator[LibXenStore]:
    """A handle of libxenstore, with a node for the test."""
    require_libxenstore()
    with environment_of(xenstored.socket_path):
        opened = LibXenStore(lib.XS_OPEN_SOCKETONLY)
    opened.xs_mkdir(0, b"/binding")
    yield opened
    if opened.is_open:
        opened.xs_rm(0, b"/binding")
        opened.xs_close()


def test_nodes(handle: LibXenStore, xenstored: Daemon) -> None:
    handle.xs_write(0, b"/binding/value", bytes(range(256)))
    assert handle.xs_read(0, b"/binding/value") == bytes(range(256))
    assert handle.xs_read(0, b"/binding") == b""
    handle.xs_mkdir(0, b"/binding/a")
    assert sorted(handle.xs_directory(0, b"/binding")) == ["a", "value"]
    assert handle.xs_directory(0, b"/binding/value") == []
    permissions = [Permission(0, "n"), Permission(5, "r"), Permission(6, "w"), Permission(7, "b")]
    handle.xs_set_permissions(0, b"/binding", permissions)
    assert handle.xs_get_permissions(0, b"/binding") == permissions
    with open_client(xenstored.socket_path, "wire") as other:
        assert other.get_permissions("/binding") == permissions  # another client sees them too
    handle.xs_rm(0, b"/binding/value")
    assert handle.xs_directory(0, b"/binding") == ["a"]


def test_watches(handle: LibXenStore) -> None:
    handle.xs_watch(b"/binding", b"\xc3\xa4")
    assert is_readable(handle.xs_fileno(), 60)
    assert handle.xs_check_watch() == WatchEvent("/binding", "ä")
    assert handle.xs_check_watch() is None
    handle.xs_unwatch(b"/binding", b"\xc3\xa4")
    handle.xs_write(0, b"/binding", b"")
    assert handle.xs_check_watch() is None


def test_transactions(handle: LibXenStore) -> None:
    for abort, value in ((True, b""), (False, b"1")):
        tx_id = handle.xs_transaction_start()
        handle.xs_write(tx_id, b"/binding", b"1")
        assert handle.xs_read(0, b"/binding") == b""
        handle.xs_transaction_end(tx_id, abort)
        assert handle.xs_read(0, b"/binding") == value


def test_domains(handle: LibXenStore) -> None:
    assert handle.xs_get_domain_path(1234) == "/local/domain/1234"
    assert not handle.xs_is_domain_introduced(1234)
    handle.xs_introduce_domain(1234, 1, 1)
    assert handle.xs_is_domain_introduced(1234)
    handle.xs_release_domain(1234)
    assert not handle.xs_is_domain_introduced(1234)


def test_control(handle: LibXenStore) -> None:
    assert "help" in handle.xs_control_command(b"help", b"").split()
    assert handle.xs_control_command(b"print", b"of a test\0") == "OK"


NO_NODE = b"/binding/missing"
FAILING: dict[str, tuple[Callable[[LibXenStore], object], int, str | None]] = {
    "read": (lambda xs: xs.xs_read(0, NO_NODE), errno.ENOENT, "/binding/missing"),
    "write": (lambda xs: xs.xs_write(0, b"//", b""), errno.EINVAL, "//"),
    "mkdir": (lambda xs: xs.xs_mkdir(0, b"//"), errno.EINVAL, "//"),
    "rm": (lambda xs: xs.xs_rm(0, b"//"), errno.EINVAL, "//"),
    "directory": (lambda xs: xs.xs_directory(0, NO_NODE), errno.ENOENT, "/binding/missing"),
    "get_permissions": (lambda xs: xs.xs_get_permissions(0, NO_NODE), errno.ENOENT, "/binding/missing"),
    "set_permissions": (
        lambda xs: xs.xs_set_permissions(0, NO_NODE, [Permission(0, "n")]),
        errno.ENOENT,
        "/binding/missing",
    ),
    "watch": (lambda xs: xs.xs_watch(b"//", b"token"), errno.EINVAL, "//"),
    "unwatch": (lambda xs: xs.xs_unwatch(b"/binding", b"never set"), errno.ENOENT, "/binding"),
    "in no transaction": (lambda xs: xs.xs_read(99, b"/binding"), errno.ENOENT, "/binding"),
    "transaction_end": (lambda xs: xs.xs_transaction_end(99, False), errno.ENOENT, None),
    "release_domain": (lambda xs: xs.xs_release_domain(1234), errno.ENOENT, None),
    "resume_domain": (lambda xs: xs.xs_resume_domain(1234), errno.ENOENT, None),
    "set_target": (lambda xs: xs.xs_set_target(1234, 0), errno.ENOENT, None),
    "control_command": (lambda xs: xs.xs_control_command(b"no such", b""), errno.EINVAL, None),
}


@pytest.mark.parametrize(("call", "number", "path"), FAILING.values(), ids=FAILING)
def test_errors(handle: LibXenStore, call: Callable[[LibXenStore], object], number: int, path: str | None) -> None:
    """With the C function's errno, and the path of the node."""
    with pytest.raises(xsffi.XenStoreError) as caught:
        call(handle)
    assert (caught.value.errno, caught.value.filename) == (number, path)
    assert handle.xs_read(0, b"/binding") == b""


def test_a_closed_handle(handle: LibXenStore) -> None:
    handle.xs_rm(0, b"/binding")
    assert handle.is_open
    for _ in range(2):
        handle.xs_close()
        assert not handle.is_open


def test_a_function_of_a_later_release(handle: LibXenStore) -> None:
    assert has_function("xs_read")
    if has_function("xs_get_quota_names"):
        pytest.skip("this libxenstore has it")
    with pytest.raises(xsffi.NotSupportedError, match=r"has no xs_get_quota_names, .* since Xen 4\.22$"):
        handle.xs_get_quota_names()


def test_features(run_over_4_22: RunProgram) -> None:
    program = """
print(xs.get_features(), xs.get_features(9))
xs.set_features(5, 3)
try:
    xs.set_features(6, 3)
except xsffi.XenStoreError as error:
    print(error.errno)
"""
    assert run_over_4_22(program).split() == ["7", "9", "16"]


def test_quotas(run_over_4_22: RunProgram) -> None:
    program = """
print(*xs.quota_names(), xs.get_quota("nodes"), xs.get_quota("nodes", domid=9))
xs.set_quota("nodes", 2000)
xs.set_quota("nodes", 0, domid=5)
try:
    xs.get_quota("unknown")
except ValueError as error:
    print(error.errno)
"""
    printed = run_over_4_22(program).split()
    assert printed == ["nodes", "watches", "1000", "9", "22"]


DEPTH = """
from xsffi.protocol.requests import Watch
for path in b"/a", b"/invalid":
    try:
        print(xs.backend.call(Watch(path, b"1", 1)))
    except xsffi.XenStoreError as error:
        print(type(error).__name__, error.filename)
"""


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ["None", "InvalidArgumentError /invalid"]),
        ({"FAKE_WITHOUT_DEPTH": "1"}, ["NotSupportedError None"] * 2),
        ({"FAKE_GUEST": "1"}, ["NotSupportedError None"] * 2),
    ],
    ids=["it is the path", "the daemon has none", "a guest has none"],
)
def test_depth(run_over_4_22: RunProgram, environment: dict[str, str], expected: list[str]) -> None:
    assert run_over_4_22(DEPTH, **environment).splitlines() == expected


def test_a_function_that_the_library_lacks(run_over_4_22: RunProgram) -> None:
    program = """
try:
    xs.read("/a")
except xsffi.NotSupportedError as error:
    print(error.errno)
"""
    assert run_over_4_22(program) == "38\n"
