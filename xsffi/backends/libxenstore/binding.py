"""The binding: one method for each C function of xenstore.h, under its C name, with Python types and exceptions.

libxenstore allocates what it returns, and the caller frees it. Ctrl-C may raise KeyboardInterrupt the moment a function
returns; so that nothing leaks even then, the very C call that returns a pointer also appends it to a list (``map`` runs
no bytecode in between), and a ``finally`` frees what is in the list.
"""

from __future__ import annotations

import errno

from ...errors import AccessDeniedError, InvalidArgumentError, NotSupportedError, XenStoreError, error_from_errno
from ...lazy import lazy_module
from .extension import ffi, lib, shortcuts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ... import permissions, records
    from ...permissions import Permission
    from ...protocol import wire
    from ...static_types import T
else:
    permissions = lazy_module("xsffi.permissions")
    records = lazy_module("xsffi.records")
    wire = lazy_module("xsffi.protocol.wire")

__all__ = ["LibXenStore", "has_function"]

_ACCESS = "nrwb"  # by enum xs_perm_type: READ is 1, WRITE is 2
_BITS = {access: bits for bits, access in enumerate(_ACCESS)}
# The errno that a wait which succeeded in the end may leave behind.
_NO_ERROR = (0, errno.EINTR, errno.EAGAIN)


def has_function(name: str) -> bool:
    """Whether the loaded libxenstore has this function."""
    return bool(lib.xsffi_has(name.encode("ascii")))


class LibXenStore:
    """One handle of libxenstore. A method raises XenStoreError with the C function's errno if that fails.

    There is no locking or lifetime management here: no method may be called after :meth:`xs_close` has started.
    """

    def __init__(self, flags: int) -> None:
        """Call xs_open, which opens the place that the environment names."""
        #: The C object that owns the handle and implements some operations itself; None on PyPy.
        self.shortcut: Any = None
        if shortcuts is None:
            self.handle = lib.xs_open(flags)
            if self.handle == ffi.NULL:
                raise error_from_errno(ffi.errno or errno.ENOENT)
            return
        try:
            self.shortcut = shortcuts.Handle(flags)
        except OSError as error:
            raise error_from_errno(error.errno or errno.ENOENT) from error
        self.handle = ffi.cast("struct xs_handle *", self.shortcut.address)

    @property
    def is_open(self) -> bool:
        """Whether the handle has not been freed yet."""
        return bool(self.handle)

    def xs_close(self) -> None:
        self._free(lib.xs_close)

    def xs_daemon_destroy_postfork(self) -> None:
        """Free the handle in a child process, and close the child's copies of the descriptors."""
        self._free(lib.xs_daemon_destroy_postfork)

    def _free(self, function: Callable[[Any], None]) -> None:
        handle, self.handle = self.handle, ffi.NULL
        if self.shortcut is not None:
            self.shortcut.free()  # it frees once, and knows whether this is a child process
        elif handle:
            function(handle)

    # Nodes.

    def xs_read(self, tx_id: int, path: bytes) -> bytes:
        length = ffi.new("unsigned int *")
        found: list[Any] = []
        try:
            found.extend(map(lib.xs_read, (self.handle,), (tx_id,), (path,), (length,)))
            value = found[0]
            if not value:
                raise _error(path)
            contents: bytes = ffi.buffer(value, length[0])[:]
            return contents
        finally:
            for pointer in found:
                lib.free(pointer)

    def xs_write(self, tx_id: int, path: bytes, value: bytes) -> None:
        if not lib.xs_write(self.handle, tx_id, path, value, len(value)):
            raise _error(path)

    def xs_mkdir(self, tx_id: int, path: bytes) -> None:
        if not lib.xs_mkdir(self.handle, tx_id, path):
            raise _error(path)

    def xs_rm(self, tx_id: int, path: bytes) -> None:
        if not lib.xs_rm(self.handle, tx_id, path):
            raise _error(path)

    def xs_directory(self, tx_id: int, path: bytes) -> list[str]:
        count = ffi.new("unsigned int *")
        return _taken(lib.xs_directory, (self.handle, tx_id, path, count), lambda names: _texts(names, count[0]), path)

    def xs_get_permissions(self, tx_id: int, path: bytes) -> list[Permission]:
        count = ffi.new("unsigned int *")

        def take(entries: Any) -> list[Permission]:
            make = permissions.Permission
            return [make(entries[i].id, _ACCESS[entries[i].perms & 3]) for i in range(count[0])]

        return _taken(lib.xs_get_permissions, (self.handle, tx_id, path, count), take, path)

    def xs_set_permissions(self, tx_id: int, path: bytes, permissions: list[Permission]) -> None:
        fields = [(domid, _BITS[access]) for domid, access in permissions]
        entries = ffi.new("struct xs_permissions[]", fields)
        if not lib.xs_set_permissions(self.handle, tx_id, path, entries, len(permissions)):
            raise _error(path)

    # Watches.

    def xs_watch(self, path: bytes, token: bytes) -> None:
        """If Ctrl-C arrives as it returns, the watch is removed again."""
        done: list[bool] = []
        try:
            done.extend(map(lib.xs_watch, (self.handle,), (path,), (token,)))
            if not done[0]:
                raise _error(path)
        except BaseException:
            if any(done):
                lib.xs_unwatch(self.handle, path, token)
            raise

    def xs_watch_depth(self, path: bytes, token: bytes, depth: int) -> None:
        """Raises NotSupportedError if the daemon does not support depth, or does not grant it to this domain."""
        _need("xs_watch_depth")
        # libxenstore itself asks for the daemon's features only once per process, whichever daemon that was, with a
        # message that oxenstored never answers. So ask first, by a message that every daemon answers.
        try:
            known = self.xs_get_features_domain(0)
        except AccessDeniedError:
            known = wire.Feature.WATCH_DEPTH  # a guest may not query domain 0, but the daemon knows the operation
        except (NotSupportedError, InvalidArgumentError):
            known = wire.Feature(0)
        if known & wire.Feature.WATCH_DEPTH:
            ffi.errno = 0  # libxenstore leaves errno unchanged if it finds that depth is not supported
            if lib.xs_watch_depth(self.handle, path, token, depth):
                return
            if ffi.errno != 0:
                raise _error(path)
        raise NotSupportedError(
            errno.ENOSYS,
            "the daemon does not support depth-limited watches for this domain; xenstored does since Xen 4.22",
        )

    def xs_unwatch(self, path: bytes, token: bytes) -> None:
        if not lib.xs_unwatch(self.handle, path, token):
            raise _error(path)

    def xs_fileno(self) -> int:
        """A descriptor that is readable while :meth:`xs_check_watch` has an event to return."""
        descriptor: int = lib.xs_fileno(self.handle)
        if descriptor < 0:
            raise _error()
        return descriptor

    def xs_check_watch(self) -> records.WatchEvent | None:
        """The next event, or None if there is none now."""
        found: list[Any] = []
        try:
            found.extend(map(lib.xs_check_watch, (self.handle,)))
            event = found[0]
            if event:
                return records.WatchEvent(_text(event[lib.XS_WATCH_PATH]), _text(event[lib.XS_WATCH_TOKEN]))
            if ffi.errno == errno.EAGAIN:
                return None
            raise _error()
        finally:
            for pointer in found:
                lib.free(pointer)

    # Transactions.

    def xs_transaction_start(self) -> int:
        """The id of a new transaction; if Ctrl-C arrives as it returns, the transaction is aborted."""
        started: list[int] = []
        try:
            started.extend(map(lib.xs_transaction_start, (self.handle,)))
            if not started[0]:
                raise _error()
            return started[0]
        except BaseException:
            for tx_id in filter(None, started):
                lib.xs_transaction_end(self.handle, tx_id, True)
            raise

    def xs_transaction_end(self, tx_id: int, abort: bool) -> None:
        if not lib.xs_transaction_end(self.handle, tx_id, abort):
            raise _error()

    # Domains.

    def xs_introduce_domain(self, domid: int, gfn: int, port: int) -> None:
        if not lib.xs_introduce_domain(self.handle, domid, gfn, port):
            raise _error()

    def xs_release_domain(self, domid: int) -> None:
        if not lib.xs_release_domain(self.handle, domid):
            raise _error()

    def xs_resume_domain(self, domid: int) -> None:
        if not lib.xs_resume_domain(self.handle, domid):
            raise _error()

    def xs_set_target(self, domid: int, target: int) -> None:
        if not lib.xs_set_target(self.handle, domid, target):
            raise _error()

    def xs_get_domain_path(self, domid: int) -> str:
        return _taken(lib.xs_get_domain_path, (self.handle, domid), _text)

    def xs_is_domain_introduced(self, domid: int) -> bool:
        ffi.errno = 0
        if lib.xs_is_domain_introduced(self.handle, domid):
            return True
        if ffi.errno not in _NO_ERROR:  # the C function also returns false on failure
            raise _error()
        return False

    # The daemon.

    def xs_control_command(self, command: bytes, data: bytes) -> str:
        """`data`: the arguments, each terminated by a NUL."""
        return _taken(lib.xs_control_command, (self.handle, command, data, len(data)), _text)

    def xs_get_features_supported(self) -> wire.Feature:
        """The first answer that libxenstore got in this process, from whichever daemon and for whichever domain."""
        return wire.Feature(self._number("xs_get_features_supported"))

    def xs_get_features_domain(self, domid: int) -> wire.Feature:
        return wire.Feature(self._number("xs_get_features_domain", domid))

    def xs_set_features_domain(self, domid: int, bits: int) -> None:
        _need("xs_set_features_domain")
        if not lib.xs_set_features_domain(self.handle, domid, bits):
            raise _error()

    def xs_get_quota_names(self) -> list[str]:
        _need("xs_get_quota_names")
        count = ffi.new("unsigned int *")
        return _taken(lib.xs_get_quota_names, (self.handle, count), lambda names: _texts(names, count[0]))

    def xs_get_global_quota(self, name: bytes) -> int:
        return self._number("xs_get_global_quota", name)

    def xs_set_global_quota(self, name: bytes, value: int) -> None:
        _need("xs_set_global_quota")
        if not lib.xs_set_global_quota(self.handle, name, value):
            raise _error()

    def xs_get_domain_quota(self, domid: int, name: bytes) -> int:
        return self._number("xs_get_domain_quota", domid, name)

    def xs_set_domain_quota(self, domid: int, name: bytes, value: int) -> None:
        _need("xs_set_domain_quota")
        if not lib.xs_set_domain_quota(self.handle, domid, name, value):
            raise _error()

    def _number(self, name: str, *arguments: object) -> int:
        _need(name)
        number = ffi.new("unsigned int *")
        if not getattr(lib, name)(self.handle, *arguments, number):
            raise _error()
        return int(number[0])


def _taken(
    function: Callable[..., Any], arguments: tuple[object, ...], take: Callable[[Any], T], path: bytes | None = None
) -> T:
    """The result of `take` for what `function` allocated, which is then freed; raises if that returned NULL."""
    found: list[Any] = []
    try:
        found.extend(map(function, *zip(arguments)))
        if not found[0]:
            raise _error(path)
        return take(found[0])
    finally:
        for pointer in found:
            lib.free(pointer)


def _error(path: bytes | None = None) -> XenStoreError:
    """The exception for the errno that the last C function set."""
    number = ffi.errno
    message = "the daemon does not know this request" if number == errno.ENOSYS else None
    return error_from_errno(number, None if path is None else path.decode("utf-8", "surrogateescape"), message)


def _need(name: str) -> None:
    if not has_function(name):
        library = ffi.string(lib.xsffi_library()).decode("utf-8", "replace")
        since = ffi.string(lib.xsffi_since(name.encode("ascii"))).decode("ascii")
        raise NotSupportedError(errno.ENOSYS, f"{library} has no {name}, which libxenstore has since Xen {since}")


def _texts(strings: Any, count: int) -> list[str]:
    return [_text(strings[i]) for i in range(count)]


def _text(characters: Any) -> str:
    text: str = ffi.string(ffi.cast("char *", characters)).decode("utf-8", "surrogateescape")
    return text
