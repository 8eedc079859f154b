"""The verbs for nodes, once: a client and a transaction have the same."""

from __future__ import annotations

import errno
from itertools import islice

from ..errors import InvalidArgumentError, NodeNotFoundError, XenStoreError
from ..lazy import lazy_module
from ..paths import encode, validate
from ..static_types import overload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from .. import permissions as p
    from ..permissions import Permission, PermissionLike
    from ..protocol import lookups, programs, trees
    from ..protocol import requests as r
    from ..records import Node
    from ..static_types import T
    from .safeguards import AnyDomain
else:
    p = lazy_module("xsffi.permissions")
    lookups = lazy_module("xsffi.protocol.lookups")
    programs = lazy_module("xsffi.protocol.programs")
    trees = lazy_module("xsffi.protocol.trees")
    r = lazy_module("xsffi.protocol.requests")

__all__ = ["NodeOperations", "encode_removable", "encode_value"]


_LOOK_UP_AT_ONCE = 8192


class _Raise:
    """The default that is none."""

    def __repr__(self) -> str:
        return "<raise>"


_RAISE = _Raise()


def encode_value(value: bytes | str) -> bytes:
    """A value as it goes over the wire; raises TypeError for what is neither bytes nor str."""
    if isinstance(value, str):
        return value.encode("utf-8")
    if not isinstance(value, bytes):
        raise TypeError(f"a value is bytes or str, not {type(value).__name__}: {value!r}")
    return value


def encode_removable(path: str) -> bytes:
    """A path of a node that may be removed: any but the root, with which oxenstored would wipe the whole store."""
    encoded = encode(path)
    if encoded == b"/":
        raise InvalidArgumentError(errno.EINVAL, "the root is not to be removed", path)
    return encoded


class NodeOperations:
    """What can be done with nodes.

    A path is a str, absolute or relative to the caller's own domain (see :func:`xsffi.paths.validate`). A path that
    breaks the rules, or a request that is too long, is refused before anything is sent. Each verb raises
    :class:`~xsffi.errors.AccessDeniedError` where the caller's domain may not do that,
    :class:`~xsffi.errors.ConnectionLostError` where the daemon is gone, and :class:`~xsffi.errors.ClientClosedError`
    after ``close()``. The source of what each does is xenstore.txt, "Xenstore protocol details".
    """

    _any_domain: AnyDomain

    def _call(self, request: r.Request[T]) -> T:
        raise NotImplementedError

    def _call_many(self, requests: Sequence[r.Request[Any]]) -> list[Any]:
        raise NotImplementedError

    def read(self, path: str) -> bytes:
        """The value of a node; raises :class:`~xsffi.errors.NodeNotFoundError` where there is none."""
        return self._call(r.Read(encode(path)))

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
        self._call(r.Write(encode(path), encode_value(value)))

    def mkdir(self, path: str) -> None:
        """Make a node with an empty value, and those above it. One that is there is left as it is."""
        self._call(r.Mkdir(encode(path)))

    def rm(self, path: str) -> None:
        """Remove a node and all below it. One that is not there is no error, if its parent is there; else
        :class:`~xsffi.errors.NodeNotFoundError` is raised.

        The root is refused: some daemons would wipe the whole store.
        """
        self._call(r.Rm(encode_removable(path)))

    def ls(self, path: str) -> list[str]:
        """The names of a node's children, however many: sorted from oxenstored, in order of their making from
        xenstored.

        A list too long for one message is read in parts. Where it changed each of a hundred times meanwhile,
        :class:`~xsffi.errors.TransactionConflictError` is raised, and where it does not end,
        :class:`~xsffi.errors.ProtocolError`; libxenstore, which reads the parts itself, begins again as often as it
        takes.
        """
        return programs.run(programs.directory(encode(path)), self._call)

    def exists(self, path: str) -> bool:
        """Whether there is such a node. One that the caller may not read raises AccessDeniedError."""
        return programs.run(programs.exists(encode(path)), self._call)

    def get_permissions(self, path: str) -> list[Permission]:
        """The permissions of a node; the first names its owner, and what those domains may do that have none of their
        own."""
        return self._call(r.GetPermissions(encode(path)))

    def set_permissions(
        self, path: str, permissions: Iterable[PermissionLike], *, allow_any_domain: bool = False
    ) -> None:
        """Set the permissions of a node, the owner's first: ``["n0", "r5"]``, or
        :class:`~xsffi.permissions.Permission`.

        Raises :class:`~xsffi.errors.InvalidArgumentError` where one does not parse, or there is none; and where one is
        for :data:`~xsffi.permissions.DOMID_ANY` and that would end the daemon, as it ends xenstored of Xen 4.22.
        `allow_any_domain` says that this daemon is known to be mended.
        """
        request = r.SetPermissions(encode(path), p.parse_permissions(permissions))
        if not allow_any_domain:
            self._any_domain.check(path, request.permissions)
        self._call(request)

    @overload
    def read_many(self, paths: Iterable[str]) -> list[bytes]: ...
    @overload
    def read_many(self, paths: Iterable[str], default: T) -> list[bytes | T]: ...
    def read_many(self, paths: Iterable[str], default: Any = _RAISE) -> Any:
        """The values of many nodes, in the order of `paths`, read together, each as it is at some moment meanwhile
        (:meth:`~xsffi.Client.dump` gives a tree as it is at one).

        A missing node gives `default`, where one is given; else, and with any other error, the first one is raised.
        """

        def value(outcome: Any) -> Any:
            if isinstance(outcome, XenStoreError):
                if default is _RAISE or not isinstance(outcome, NodeNotFoundError):
                    raise outcome
                return default
            return outcome

        return self._look_up_values(paths, value)

    def exists_many(self, paths: Iterable[str]) -> list[bool]:
        """Whether there are such nodes, in the order of `paths`, as :meth:`read_many` reads them. One that the caller
        may not read raises AccessDeniedError."""

        def found(outcome: Any) -> bool:
            if isinstance(outcome, XenStoreError) and not isinstance(outcome, NodeNotFoundError):
                raise outcome
            return not isinstance(outcome, XenStoreError)

        return self._look_up_values(paths, found)

    def _look_up_values(self, paths: Iterable[str], finish: Callable[[Any], T]) -> list[T]:
        found: list[T] = []
        paths = iter(paths)
        # So many at a time, to need no more memory than the values do.
        while some := list(islice(paths, _LOOK_UP_AT_ONCE)):
            found += map(finish, self._call_many(lookups.Values(some)))
        return found

    def walk(self, top: str = "/", onerror: Callable[[XenStoreError], object] | None = None) -> Iterator[Node]:
        """Every node from `top` down, with its value, children and permissions: level by level, the top first.

        A node that is removed meanwhile is left out; `top` itself must be there. Where a node may not be read, the
        error is raised, or given to `onerror`, and the walk goes on without what is below that node.
        """
        found = trees.iterate(trees.walk(validate(top)), self._call_many)

        def nodes() -> Iterator[Node]:
            for node in found:
                if not isinstance(node, XenStoreError):
                    yield node
                elif onerror is None:
                    raise node
                else:
                    onerror(node)

        return nodes()

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
