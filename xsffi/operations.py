"""The verbs for nodes, once: a client and a transaction have the same."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Any, TypeVar, overload

from .errors import InvalidArgumentError, NodeNotFoundError
from .paths import encode
from .permissions import Permission, PermissionLike, parse_permissions
from .protocol import programs
from .protocol.requests import GetPermissions, Mkdir, Read, Request, Rm, SetPermissions, Write

__all__ = ["NodeOperations"]

T = TypeVar("T")


class NodeOperations:
    """What can be done with nodes.

    A path is a str, absolute or relative to the caller's own domain (see :func:`xsffi.paths.validate`). A path that
    breaks the rules, or a request that is too long, is refused before anything is sent. Each verb raises
    :class:`~xsffi.errors.AccessDeniedError` where the caller's domain may not do that,
    :class:`~xsffi.errors.ConnectionLostError` where the daemon is gone, and
    :class:`~xsffi.errors.ClientClosedError` after ``close()``.
    The source of what each does is xenstore.txt, "Xenstore protocol details".
    """

    def _call(self, request: Request[T]) -> T:
        raise NotImplementedError

    def read(self, path: str) -> bytes:
        """The value of a node; raises :class:`~xsffi.errors.NodeNotFoundError` where there is none."""
        return self._call(Read(encode(path)))

    def read_text(self, path: str, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The value of a node as text; raises UnicodeDecodeError where it is none, unless `errors` says otherwise."""
        return self.read(path).decode(encoding, errors)

    @overload
    def get(self, path: str) -> bytes | None: ...
    @overload
    def get(self, path: str, default: T) -> bytes | T: ...
    def get(self, path: str, default: Any = None) -> Any:
        """The value of a node, or `default` where there is no such node."""
        try:
            return self.read(path)
        except NodeNotFoundError:
            return default

    def write(self, path: str, value: bytes | str) -> None:
        """Set the value of a node: bytes as they are, a str as UTF-8. The node, and those above it, are made where
        missing.

        Raises :class:`~xsffi.errors.TooBigError` where path and value do not fit into one message (4096 bytes with the
        NUL between them, 4080 on the kernel's device), or the daemon takes no value of that length, and
        :class:`~xsffi.errors.QuotaExceededError` where the caller's domain has used up its nodes.
        """
        if isinstance(value, str):
            value = value.encode("utf-8")
        elif not isinstance(value, bytes):
            raise TypeError(f"a value is bytes or str, not {type(value).__name__}: {value!r}")
        self._call(Write(encode(path), value))

    def mkdir(self, path: str) -> None:
        """Make a node with an empty value, and those above it. One that is there is left as it is."""
        self._call(Mkdir(encode(path)))

    def rm(self, path: str) -> None:
        """Remove a node and all below it. One that is not there is no error, if its parent is there.

        The root is refused: some daemons would wipe the whole store.
        """
        encoded = encode(path)
        if encoded == b"/":
            raise InvalidArgumentError(errno.EINVAL, "the root is not to be removed", path)
        self._call(Rm(encoded))

    def ls(self, path: str) -> list[str]:
        """The names of a node's children, however many: sorted from oxenstored, in order of their making from
        xenstored."""
        return programs.run(programs.directory(encode(path)), self._call)

    def exists(self, path: str) -> bool:
        """Whether there is such a node. One that the caller may not read raises AccessDeniedError."""
        return programs.run(programs.exists(encode(path)), self._call)

    def get_permissions(self, path: str) -> list[Permission]:
        """The permissions of a node; the first names its owner, and what those domains may do that have none of their
        own."""
        return self._call(GetPermissions(encode(path)))

    def set_permissions(self, path: str, permissions: Iterable[PermissionLike]) -> None:
        """Set the permissions of a node, the owner's first: ``["n0", "r5"]``, or
        :class:`~xsffi.permissions.Permission`.

        Raises :class:`~xsffi.errors.InvalidArgumentError` where one does not parse, or there is none.
        """
        self._call(SetPermissions(encode(path), parse_permissions(permissions)))

    def __getitem__(self, path: str) -> bytes:
        """As :meth:`read`."""
        return self.read(path)

    def __setitem__(self, path: str, value: bytes | str) -> None:
        """As :meth:`write`."""
        self.write(path, value)

    def __delitem__(self, path: str) -> None:
        """As :meth:`rm`."""
        self.rm(path)

    def __contains__(self, path: str) -> bool:
        """As :meth:`exists`."""
        return self.exists(path)

    __iter__ = None  # else Python would iterate by __getitem__(0), (1), …
