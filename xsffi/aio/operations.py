"""The verbs of a client and of a transaction, awaited; written by ci/faces from xsffi/protocol/verbs.py."""

from __future__ import annotations

from ..errors import RAISE
from ..lazy import lazy_module
from ..static_types import overload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ..permissions import Permission, PermissionLike
    from ..protocol import verbs
    from ..protocol.programs import Work
    from ..protocol.safeguards import AnyDomain
    from ..protocol.wire import Feature
    from ..static_types import T
else:
    verbs = lazy_module("xsffi.protocol.verbs")

__all__ = ["DomainVerbs", "NodeVerbs"]


class NodeVerbs:
    """What can be done with nodes.

    A path is a str, absolute or relative to the caller's own domain (see :func:`xsffi.paths.validate`). A path that
    breaks the rules, or a request that is too long, is refused before anything is sent. Each verb raises
    :class:`~xsffi.errors.AccessDeniedError` where the caller's domain may not do that,
    :class:`~xsffi.errors.ConnectionLostError` where the daemon is gone, and :class:`~xsffi.errors.ClientClosedError`
    after ``close()``. The source of what each does is xenstore.txt, "Xenstore protocol details".
    """

    _any_domain: AnyDomain

    async def _do(self, work: Work[T]) -> T:
        raise NotImplementedError

    async def read(self, path: str) -> bytes:
        """The value of a node, exactly; raises :class:`~xsffi.errors.NodeNotFoundError` where there is no such node."""
        return await self._do(verbs.read(path))

    async def read_text(self, path: str, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The value of a node as text, by `encoding` and `errors` as in ``bytes.decode``, which raises
        UnicodeDecodeError where it is none; raises :class:`~xsffi.errors.NodeNotFoundError` where there is no such
        node."""
        return await self._do(verbs.read_text(path, encoding, errors))

    @overload
    async def get(self, path: str) -> bytes | None: ...
    @overload
    async def get(self, path: str, default: T) -> bytes | T: ...
    async def get(self, path: str, default: Any = None) -> Any:
        """The value of a node, or `default` where there is no such node."""
        return await self._do(verbs.get(path, default))

    async def write(self, path: str, value: bytes | str) -> None:
        """Set the value of a node: bytes as they are, a str as UTF-8. The node, and those above it, are made where
        missing.

        Raises :class:`~xsffi.errors.TooBigError` where path and value do not fit into one message (4096 bytes with the
        NUL between them, 4080 on the kernel's device), or the daemon takes no value of that length, and
        :class:`~xsffi.errors.QuotaExceededError` where the caller's domain has used up its nodes.
        """
        return await self._do(verbs.write(path, value))

    async def mkdir(self, path: str) -> None:
        """Make a node with an empty value, and those above it. One that is there is left as it is. Raises
        :class:`~xsffi.errors.QuotaExceededError` as :meth:`write` does."""
        return await self._do(verbs.mkdir(path))

    async def rm(self, path: str) -> None:
        """Remove a node and all below it. One that is not there is no error, if its parent is there; else
        :class:`~xsffi.errors.NodeNotFoundError` is raised.

        The root is refused: some daemons would wipe the whole store.
        """
        return await self._do(verbs.rm(path))

    async def ls(self, path: str) -> list[str]:
        """The names of a node's children, however many: sorted from oxenstored, in order of their making from
        xenstored. Raises :class:`~xsffi.errors.NodeNotFoundError` where there is no such node.

        A list too long for one message is read in parts. Where it changed each of a hundred times meanwhile,
        :class:`~xsffi.errors.TransactionConflictError` is raised, and where it does not end,
        :class:`~xsffi.errors.ProtocolError`; libxenstore, which reads the parts itself, begins again as often as it
        takes.
        """
        return await self._do(verbs.ls(path))

    async def exists(self, path: str) -> bool:
        """Whether there is such a node. One that the caller may not read raises AccessDeniedError: xenstored says so of
        missing nodes too."""
        return await self._do(verbs.exists(path))

    async def get_permissions(self, path: str) -> list[Permission]:
        """The permissions of a node; the first names its owner, and what those domains may do that have none of their
        own. Raises :class:`~xsffi.errors.NodeNotFoundError` where there is no such node."""
        return await self._do(verbs.get_permissions(path))

    async def set_permissions(
        self, path: str, permissions: Iterable[PermissionLike], *, allow_any_domain: bool = False
    ) -> None:
        """Set the permissions of a node, the owner's first: ``["n0", "r5"]``, or
        :class:`~xsffi.permissions.Permission`.

        Raises :class:`~xsffi.errors.NodeNotFoundError` where there is no such node,
        :class:`~xsffi.errors.InvalidArgumentError` where one does not parse, or there is none; and where one is for
        :data:`~xsffi.DOMID_ANY` and that would end the daemon, as it ends xenstored of Xen 4.22. `allow_any_domain`
        says that this daemon is known to be mended.
        """
        return await self._do(
            verbs.set_permissions(self._any_domain, path, permissions, allow_any_domain=allow_any_domain)
        )

    @overload
    async def read_many(self, paths: Iterable[str]) -> list[bytes]: ...
    @overload
    async def read_many(self, paths: Iterable[str], default: T) -> list[bytes | T]: ...
    async def read_many(self, paths: Iterable[str], default: Any = RAISE) -> Any:
        """The values of many nodes, in the order of `paths`, read together, each as it is at some moment meanwhile
        (:meth:`~xsffi.Client.dump` gives a tree as it is at one).

        A missing node gives `default`, where one is given; else, and with any other error, the first one is raised.
        """
        return await self._do(verbs.read_many(paths, default))

    async def exists_many(self, paths: Iterable[str]) -> list[bool]:
        """Whether there are such nodes, in the order of `paths`, as :meth:`read_many` reads them. One that the caller
        may not read raises AccessDeniedError."""
        return await self._do(verbs.exists_many(paths))


class DomainVerbs:
    """What can be done with domains and with the daemon; nearly all of it is for dom0 alone (AccessDeniedError else).

    A domid is an int from 0 to 65535; another is refused before anything is sent. The errors that every verb has are
    told at :class:`NodeVerbs`. Features and quotas can be asked for since Xen 4.21 and 4.22; what is older, the daemon
    or libxenstore, raises :class:`~xsffi.errors.NotSupportedError`.
    """

    _any_domain: AnyDomain

    async def _do(self, work: Work[T]) -> T:
        raise NotImplementedError

    async def get_domain_path(self, domid: int) -> str:
        """Where the nodes of a domain are: ``/local/domain/N``, whether there is such a domain or not."""
        return await self._do(verbs.get_domain_path(domid))

    async def is_domain_introduced(self, domid: int) -> bool:
        """Whether the daemon serves this domain."""
        return await self._do(verbs.is_domain_introduced(domid))

    async def introduce_domain(self, domid: int, gfn: int, port: int) -> None:
        """Tell the daemon of a domain: the guest frame number of its store page, an int of 64 bits, and its event
        channel's port, one of 32. Another number is refused with InvalidArgumentError."""
        return await self._do(verbs.introduce_domain(domid, gfn, port))

    async def release_domain(self, domid: int) -> None:
        """Tell the daemon that a domain is gone. Domain 0 is refused: some daemons would wipe nodes.

        A domain that owns ``@introduceDomain`` or ``@releaseDomain`` is refused, with InvalidArgumentError, where the
        daemon tells of it: xenstored of Xen 4.18 to 4.23 would end. An unknown domain raises NodeNotFoundError with
        xenstored, InvalidArgumentError with oxenstored; so does :meth:`resume_domain`.
        """
        return await self._do(verbs.release_domain(domid))

    async def resume_domain(self, domid: int) -> None:
        """Tell the daemon that a domain runs again after a suspend, so that its next shutdown is seen."""
        return await self._do(verbs.resume_domain(domid))

    async def set_target(self, domid: int, target: int) -> None:
        """Let `domid`, a device model's domain, act on the nodes of `target`, its guest. A domain that the daemon does
        not know raises NodeNotFoundError with xenstored."""
        return await self._do(verbs.set_target(domid, target))

    async def control(self, command: str, *arguments: str | bytes) -> str:
        """Give the daemon a command, such as ``help``, and return its answer as text (xenstore.txt, "CONTROL"). Raises
        InvalidArgumentError where an argument has a NUL, and where xenstored does not know the command."""
        return await self._do(verbs.control(command, *arguments))

    async def get_features(self, domid: int | None = None) -> Feature:
        """The features that the daemon has, or that a domain may use. Since Xen 4.21."""
        return await self._do(verbs.get_features(domid))

    async def set_features(self, domid: int, bits: int) -> None:
        """Set the features that a domain, which is not yet introduced, may use: those of :class:`xsffi.Feature`, or-ed.
        Since Xen 4.21."""
        return await self._do(verbs.set_features(domid, bits))

    async def quota_names(
        self,
    ) -> list[str]:
        """The names of the quotas that the daemon has. Since Xen 4.22."""
        return await self._do(verbs.quota_names())

    async def get_quota(self, name: str, domid: int | None = None) -> int:
        """A quota of a domain, or, without `domid`, the one that new domains get: a number of things, or of bytes; 0 is
        no bound. Raises InvalidArgumentError where there is none of that name. Since Xen 4.22."""
        return await self._do(verbs.get_quota(name, domid))

    async def set_quota(self, name: str, value: int, domid: int | None = None) -> None:
        """Set a quota of a domain, or, without `domid`, the one that new domains get, to an int of 32 bits; 0 is no
        bound. Raises InvalidArgumentError where there is none of that name. Since Xen 4.22."""
        return await self._do(verbs.set_quota(name, value, domid))
