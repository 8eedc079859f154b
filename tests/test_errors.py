"""The exception classes, and the mapping between errno, wire name and class."""

from __future__ import annotations

import errno
import os
import pickle

import pytest

import xsffi
from xsffi import errors
from xsffi.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    ClientClosedError,
    ConnectionLostError,
    ForkedError,
    InvalidArgumentError,
    NodeNotFoundError,
    NotSupportedError,
    ProtocolError,
    QuotaExceededError,
    TooBigError,
    TransactionConflictError,
    TransactionGoneError,
    WaitTimeoutError,
    WatchExistsError,
    XenStoreError,
    error_from_errno,
    error_from_wire,
    wire_name,
)

# xsd_errors of xs_wire.h, plus EQUOTA, which oxenstored also sends.
WIRE = [
    ("EINVAL", errno.EINVAL, InvalidArgumentError),
    ("EACCES", errno.EACCES, AccessDeniedError),
    ("EEXIST", errno.EEXIST, WatchExistsError),
    ("EISDIR", errno.EISDIR, XenStoreError),
    ("ENOENT", errno.ENOENT, NodeNotFoundError),
    ("ENOMEM", errno.ENOMEM, XenStoreError),
    ("ENOSPC", errno.ENOSPC, QuotaExceededError),
    ("EIO", errno.EIO, XenStoreError),
    ("ENOTEMPTY", errno.ENOTEMPTY, XenStoreError),
    ("ENOSYS", errno.ENOSYS, NotSupportedError),
    ("EROFS", errno.EROFS, AccessDeniedError),
    ("EBUSY", errno.EBUSY, XenStoreError),
    ("EAGAIN", errno.EAGAIN, TransactionConflictError),
    ("EISCONN", errno.EISCONN, XenStoreError),
    ("E2BIG", errno.E2BIG, TooBigError),
    ("EPERM", errno.EPERM, AccessDeniedError),
    ("EQUOTA", errno.EDQUOT, QuotaExceededError),
]

# Each class, with the builtin exceptions that also catch it.
BUILTINS = [
    (NodeNotFoundError, FileNotFoundError),
    (WatchExistsError, FileExistsError),
    (AccessDeniedError, PermissionError),
    (InvalidArgumentError, ValueError),
    (NotSupportedError, NotImplementedError),
    (WaitTimeoutError, TimeoutError),
    (ConnectionLostError, ConnectionError),
    (BackendUnavailableError, ConnectionError),
    (ClientClosedError, ValueError),
    (ForkedError, RuntimeError),
]
CLASSES = [value for name, value in vars(errors).items() if name in errors.__all__ and isinstance(value, type)]


@pytest.mark.parametrize("error", CLASSES)
def test_every_class_is_a_xenstore_error_and_an_os_error(error: type[XenStoreError]) -> None:
    assert issubclass(error, XenStoreError)
    assert issubclass(error, OSError)
    assert error.__doc__


@pytest.mark.parametrize("error", CLASSES)
def test_every_class_is_in_the_package_root(error: type[XenStoreError]) -> None:
    assert getattr(xsffi, error.__name__) is error
    assert error.__name__ in xsffi.__all__


@pytest.mark.parametrize(("error", "builtin"), BUILTINS)
def test_a_class_is_the_builtin_that_fits(error: type[XenStoreError], builtin: type[Exception]) -> None:
    with pytest.raises(builtin):
        raise error(errno.EINVAL, "text")


@pytest.mark.parametrize("error", CLASSES)
def test_what_is_no_missing_node_is_not_caught_as_one(error: type[XenStoreError]) -> None:
    assert issubclass(error, FileNotFoundError) == (error is NodeNotFoundError)


@pytest.mark.parametrize(("name", "number", "error"), WIRE)
class TestKnown:
    def test_from_the_wire(self, name: str, number: int, error: type[XenStoreError]) -> None:
        made = error_from_wire(name, "/a")
        assert type(made) is error
        assert (made.errno, made.strerror, made.filename) == (number, os.strerror(number), "/a")
        assert made.wire_name == name

    def test_from_an_errno(self, name: str, number: int, error: type[XenStoreError]) -> None:
        made = error_from_errno(number, "/a")
        assert type(made) is error
        assert (made.errno, made.strerror, made.filename) == (number, os.strerror(number), "/a")
        assert made.wire_name is None

    def test_to_the_wire(self, name: str, number: int, error: type[XenStoreError]) -> None:
        assert wire_name(number) == name


@pytest.mark.parametrize("name", ["EWHATEVER", "", "enoent", "ENOENT ", "EDQUOT", "\udcff"])
def test_an_unknown_name_is_kept(name: str) -> None:
    error = error_from_wire(name, "/a")
    assert type(error) is XenStoreError
    assert (error.errno, error.filename, error.wire_name) == (errno.EIO, "/a", name)
    assert repr(name) in str(error)


@pytest.mark.parametrize("number", [errno.ECONNRESET, errno.EPIPE, 4095])
def test_an_errno_without_a_class_is_kept(number: int) -> None:
    error = error_from_errno(number)
    assert type(error) is XenStoreError
    assert (error.errno, error.strerror) == (number, os.strerror(number))


@pytest.mark.parametrize("number", [errno.ECONNRESET, errno.EPIPE, 4095])
def test_an_errno_without_a_wire_name_is_einval_there(number: int) -> None:
    assert wire_name(number) == "EINVAL"


@pytest.mark.parametrize("error", [error_from_errno(errno.ENOENT), error_from_wire("ENOENT")])
def test_without_a_path_there_is_no_filename(error: XenStoreError) -> None:
    assert error.filename is None
    assert str(error) == f"[Errno {errno.ENOENT}] {os.strerror(errno.ENOENT)}"


@pytest.mark.parametrize(
    "error", [error_from_errno(errno.EACCES, "/a", "my text"), error_from_wire("EACCES", "/a", "my text")]
)
def test_a_text_of_ones_own(error: XenStoreError) -> None:
    assert error.strerror == "my text"
    assert str(error) == f"[Errno {errno.EACCES}] my text: '/a'"


@pytest.mark.parametrize(("name", "number", "error"), WIRE)
def test_an_error_can_be_pickled(name: str, number: int, error: type[XenStoreError]) -> None:
    # As multiprocessing and concurrent.futures do with an exception from a worker.
    copy = pickle.loads(pickle.dumps(error_from_wire(name, "/a")))
    assert type(copy) is error
    assert (copy.errno, copy.filename, copy.wire_name) == (number, "/a", name)


def test_what_is_no_answer_of_the_daemon_has_no_wire_name() -> None:
    assert ProtocolError(errno.EPROTO, "text").wire_name is None
    assert TransactionGoneError(errno.ENOENT, "text").wire_name is None


def test_a_backend_that_cannot_be_had_lists_what_was_tried() -> None:
    assert BackendUnavailableError(errno.ENOENT, "text").attempts == ()
