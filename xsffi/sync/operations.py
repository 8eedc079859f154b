"""The verbs of a client and of a transaction; written by ci/faces from xsffi/protocol/verbs.py."""

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
    """Operations on nodes.

    A path is a str, absolute or relative to the calling domain's home (see :func:`xsffi.paths.validate`). An invalid
    path, or a request that is too long, is refused before anything is sent. Each verb raises
    :class:`~xsffi.errors.AccessDeniedError` if the calling domain may not do that,
    :class:`~xsffi.errors.ConnectionLostError` if the daemon is gone, and :class:`~xsffi.errors.ClientClosedError` after
    ``close()``. The source for what each verb does is xenstore.txt, "Xenstore protocol details".
    """

    _any_domain: AnyDomain

    def _do(self, work: Work[T]) -> T:
        raise NotImplementedError

    def read(self, path: str) -> bytes:
        """The value of a node, exactly; raises :class:`~xsffi.errors.NodeNotFoundError` if there is no such node."""
        return self._do(verbs.read(path))

    def read_text(self, path: str, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The value of a node as text, by `encoding` and `errors` as in ``bytes.decode``, which raises
        UnicodeDecodeError if it cannot be decoded; raises :class:`~xsffi.errors.NodeNotFoundError` if there is no such
        node."""
        return self._do(verbs.read_text(path, encoding, errors))

    @overload
    def get(self, path: str) -> bytes | None: ...
    @overload
    def get(self, path: str, default: T) -> bytes | T: ...
    def get(self, path: str, default: Any = None) -> Any:
        """The value of a node, or `default` if there is no such node. Raises all other errors of :meth:`read`."""
        return self._do(verbs.get(path, default))

    def write(self, path: str, value: bytes | str) -> None:
        """Set the value of a node: bytes as they are, a str as UTF-8. It and the nodes above it are created if missing.

        Raises :class:`~xsffi.errors.TooBigError` if path and value do not fit into one message (4096 bytes with the NUL
        between them, 4080 on the kernel's device), or the daemon refuses a value of that length, and
        :class:`~xsffi.errors.QuotaExceededError` if the calling domain has used up its quota of nodes.
        """
        return self._do(verbs.write(path, value))

    def mkdir(self, path: str) -> None:
        """Create a node with an empty value, and missing nodes above it. An existing node is left as it is. Raises
        :class:`~xsffi.errors.QuotaExceededError` as :meth:`write` does."""
        return self._do(verbs.mkdir(path))

    def rm(self, path: str) -> None:
        """Remove a node and everything below it. A missing node is no error if its parent exists; otherwise
        :class:`~xsffi.errors.NodeNotFoundError` is raised.

        The root is refused: some daemons would wipe the whole store.
        """
        return self._do(verbs.rm(path))

    def ls(self, path: str) -> list[str]:
        """The names of a node's children, however many: sorted by oxenstored, in order of creation by xenstored. Raises
        :class:`~xsffi.errors.NodeNotFoundError` if there is no such node.

        A list too long for one message is read in parts. If it changes during each of a hundred attempts,
        :class:`~xsffi.errors.TransactionConflictError` is raised; if it never ends,
        :class:`~xsffi.errors.ProtocolError`. libxenstore reads the parts itself, and retries without limit.
        """
        return self._do(verbs.ls(path))

    def exists(self, path: str) -> bool:
        """Whether there is such a node. Raises AccessDeniedError for one that the caller may not read: xenstored
        answers that for missing nodes too."""
        return self._do(verbs.exists(path))

    def get_permissions(self, path: str) -> list[Permission]:
        """The permissions of a node; the first names its owner, and says what domains without an entry of their own may
        do. Raises :class:`~xsffi.errors.NodeNotFoundError` if there is no such node."""
        return self._do(verbs.get_permissions(path))

    def set_permissions(
        self, path: str, permissions: Iterable[PermissionLike], *, allow_any_domain: bool = False
    ) -> None:
        """Set the permissions of a node, the owner's first: ``["n0", "r5"]``, or
        :class:`~xsffi.permissions.Permission`.

        Raises :class:`~xsffi.errors.NodeNotFoundError` if there is no such node,
        :class:`~xsffi.errors.InvalidArgumentError` if a permission is invalid, or the list is empty; also if one is for
        :data:`~xsffi.DOMID_ANY` and that would kill the daemon, as it does xenstored of Xen 4.22. `allow_any_domain`
        asserts that this daemon is known to be fixed.
        """
        return self._do(verbs.set_permissions(self._any_domain, path, permissions, allow_any_domain=allow_any_domain))

    @overload
    def read_many(self, paths: Iterable[str]) -> list[bytes]: ...
    @overload
    def read_many(self, paths: Iterable[str], default: T) -> list[bytes | T]: ...
    def read_many(self, paths: Iterable[str], default: Any = RAISE) -> Any:
        """The values of many nodes, in the order of `paths`, read together, but not all at the same moment
        (:meth:`~xsffi.Client.dump` returns a tree as it is at one moment).

        A missing node yields `default` if that is given; otherwise, and for any other error, the first error is
        raised.
        """
        return self._do(verbs.read_many(paths, default))

    def exists_many(self, paths: Iterable[str]) -> list[bool]:
        """Whether there are such nodes, in the order of `paths`, read as :meth:`read_many` does. Raises
        AccessDeniedError for one that the caller may not read."""
        return self._do(verbs.exists_many(paths))


class DomainVerbs:
    """Operations on domains and the daemon; nearly all are for dom0 only (otherwise AccessDeniedError).

    A domid is an int from 0 to 65535; others are refused before anything is sent. See :class:`NodeVerbs` for the errors
    that every verb may raise. Features exist since Xen 4.21, quotas since 4.22; with an older daemon or libxenstore,
    these verbs raise :class:`~xsffi.errors.NotSupportedError`.
    """

    _any_domain: AnyDomain

    def _do(self, work: Work[T]) -> T:
        raise NotImplementedError

    def get_domain_path(self, domid: int) -> str:
        """The path of a domain's nodes: ``/local/domain/N``, whether the domain exists or not (GET_DOMAIN_PATH of
        xenstore.txt). Raises :class:`~xsffi.errors.InvalidArgumentError` for what is not a domid."""
        return self._do(verbs.get_domain_path(domid))

    def is_domain_introduced(self, domid: int) -> bool:
        """Whether the daemon serves this domain (IS_DOMAIN_INTRODUCED of xenstore.txt). Raises
        :class:`~xsffi.errors.AccessDeniedError` outside of dom0."""
        return self._do(verbs.is_domain_introduced(domid))

    def introduce_domain(self, domid: int, gfn: int, port: int) -> None:
        """Introduce a domain: the guest frame number of its store page, an int of 64 bits, and its event channel's
        port, an int of 32 bits. Other numbers are refused with InvalidArgumentError."""
        return self._do(verbs.introduce_domain(domid, gfn, port))

    def release_domain(self, domid: int) -> None:
        """Tell the daemon that a domain is gone. Domain 0 is refused: some daemons would remove nodes.

        A domain that owns ``@introduceDomain`` or ``@releaseDomain`` is refused, with InvalidArgumentError, if the
        daemon reveals that: xenstored of Xen 4.18 to 4.23 would die. An unknown domain raises NodeNotFoundError with
        xenstored, InvalidArgumentError with oxenstored; so does :meth:`resume_domain`.
        """
        return self._do(verbs.release_domain(domid))

    def resume_domain(self, domid: int) -> None:
        """Tell the daemon that a domain runs again after a suspend, so that it notices its next shutdown (RESUME of
        xenstore.txt). Raises :class:`~xsffi.errors.NodeNotFoundError` if it is not introduced, and
        :class:`~xsffi.errors.AccessDeniedError` outside of dom0."""
        return self._do(verbs.resume_domain(domid))

    def set_target(self, domid: int, target: int) -> None:
        """Let `domid`, a device model's domain, act on the nodes of `target`, its guest. xenstored raises
        NodeNotFoundError for an unknown domain."""
        return self._do(verbs.set_target(domid, target))

    def control(self, command: str, *arguments: str | bytes) -> str:
        """Send the daemon a command, such as ``help``, and return its answer as text (xenstore.txt, "CONTROL"). Raises
        InvalidArgumentError if an argument contains a NUL, or xenstored does not know the command."""
        return self._do(verbs.control(command, *arguments))

    def get_features(self, domid: int | None = None) -> Feature:
        """The features that the daemon has, or that a domain may use (GET_FEATURE of xenstore.txt). Raises
        :class:`~xsffi.errors.NotSupportedError` on a daemon, or over a libxenstore, before Xen 4.21."""
        return self._do(verbs.get_features(domid))

    def set_features(self, domid: int, bits: int) -> None:
        """Set the features that a domain, not yet introduced, may use: members of :class:`xsffi.Feature` combined with
        ``|`` (SET_FEATURE of xenstore.txt). Raises as :meth:`get_features` does."""
        return self._do(verbs.set_features(domid, bits))

    def quota_names(
        self,
    ) -> list[str]:
        """The names of the quotas that the daemon has (GET_QUOTA of xenstore.txt). Raises
        :class:`~xsffi.errors.NotSupportedError` on a daemon, or over a libxenstore, before Xen 4.22."""
        return self._do(verbs.quota_names())

    def get_quota(self, name: str, domid: int | None = None) -> int:
        """A quota of a domain or, without `domid`, the default for new domains: a number of things, or of bytes; 0
        means no limit. Raises InvalidArgumentError for an unknown name. Since Xen 4.22."""
        return self._do(verbs.get_quota(name, domid))

    def set_quota(self, name: str, value: int, domid: int | None = None) -> None:
        """Set a quota of a domain or, without `domid`, the default for new domains, to an int of 32 bits; 0 means no
        limit. Raises InvalidArgumentError for an unknown name. Since Xen 4.22."""
        return self._do(verbs.set_quota(name, value, domid))
