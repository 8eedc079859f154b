"""Each verb once: a function from its arguments to a request, or to a program of several.

Invalid arguments are refused when the function is called, before anything is sent. The public classes have a method for
each of these, with the same docstring; ``ci/faces`` generates them. They pass the `any_domain` of their connection
themselves.
"""

from __future__ import annotations

import errno
from itertools import islice

from ..domids import validate_domid
from ..errors import RAISE, InvalidArgumentError, NodeNotFoundError, XenStoreError
from ..lazy import lazy_module
from ..paths import encode
from ..static_types import overload
from . import requests as r

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from .. import permissions as p
    from ..permissions import Permission, PermissionLike
    from ..static_types import T
    from . import lookups, programs, safeguards
    from .programs import Program, Work
    from .requests import Request
    from .safeguards import AnyDomain
    from .wire import Feature
else:
    p = lazy_module("xsffi.permissions")
    lookups = lazy_module("xsffi.protocol.lookups")
    programs = lazy_module("xsffi.protocol.programs")
    safeguards = lazy_module("xsffi.protocol.safeguards")

OF_NODES = (
    "read",
    "read_text",
    "get",
    "write",
    "mkdir",
    "rm",
    "ls",
    "exists",
    "get_permissions",
    "set_permissions",
    "read_many",
    "exists_many",
)
OF_DOMAINS = (
    "get_domain_path",
    "is_domain_introduced",
    "introduce_domain",
    "release_domain",
    "resume_domain",
    "set_target",
    "control",
    "get_features",
    "set_features",
    "quota_names",
    "get_quota",
    "set_quota",
)
__all__ = ["OF_DOMAINS", "OF_NODES", "encode_value", *OF_DOMAINS, *OF_NODES]

_LOOK_UP_AT_ONCE = 8192
_UINT_MAX = 0xFFFFFFFF  # the C API's unsigned int
_ULONG_MAX = 0xFFFFFFFFFFFFFFFF  # the C API's unsigned long


# Nodes.


def read(path: str) -> Request[bytes]:
    """The value of a node, exactly; raises :class:`~xsffi.errors.NodeNotFoundError` if there is no such node."""
    return r.Read(encode(path))


def read_text(path: str, encoding: str = "utf-8", errors: str = "strict") -> Program[str]:
    """The value of a node as text, by `encoding` and `errors` as in ``bytes.decode``, which raises
    UnicodeDecodeError if it cannot be decoded; raises :class:`~xsffi.errors.NodeNotFoundError` if there is no such
    node."""
    return programs.then(r.Read(encode(path)), lambda value: value.decode(encoding, errors))


@overload
def get(path: str) -> Program[bytes | None]: ...
@overload
def get(path: str, default: T) -> Program[bytes | T]: ...
def get(path: str, default: Any = None) -> Program[Any]:
    """The value of a node, or `default` if there is no such node. Raises all other errors of :meth:`read`."""
    return programs.unless_missing(r.Read(encode(path)), default)


def write(path: str, value: bytes | str) -> Request[None]:
    """Set the value of a node: bytes as they are, a str as UTF-8. It and the nodes above it are created if missing.

    Raises :class:`~xsffi.errors.TooBigError` if path and value do not fit into one message (4096 bytes with the NUL
    between them, 4080 on the kernel's device), or the daemon refuses a value of that length, and
    :class:`~xsffi.errors.QuotaExceededError` if the calling domain has used up its quota of nodes.
    """
    return r.Write(encode(path), encode_value(value))


def mkdir(path: str) -> Request[None]:
    """Create a node with an empty value, and missing nodes above it. An existing node is left as it is. Raises
    :class:`~xsffi.errors.QuotaExceededError` as :meth:`write` does."""
    return r.Mkdir(encode(path))


def rm(path: str) -> Request[None]:
    """Remove a node and everything below it. A missing node is no error if its parent exists; otherwise
    :class:`~xsffi.errors.NodeNotFoundError` is raised.

    The root is refused: some daemons would wipe the whole store.
    """
    encoded = encode(path)
    if encoded == b"/":
        raise InvalidArgumentError(errno.EINVAL, "the root cannot be removed", path)
    return r.Rm(encoded)


def ls(path: str) -> Program[list[str]]:
    """The names of a node's children, however many: sorted by oxenstored, in order of creation by xenstored. Raises
    :class:`~xsffi.errors.NodeNotFoundError` if there is no such node.

    A list too long for one message is read in parts. If it changes during each of a hundred attempts,
    :class:`~xsffi.errors.TransactionConflictError` is raised; if it never ends, :class:`~xsffi.errors.ProtocolError`.
    libxenstore reads the parts itself, and retries without limit.
    """
    return programs.directory(encode(path))


def exists(path: str) -> Program[bool]:
    """Whether there is such a node. Raises AccessDeniedError for one that the caller may not read: xenstored answers
    that for missing nodes too."""
    return programs.exists(encode(path))


def get_permissions(path: str) -> Request[list[Permission]]:
    """The permissions of a node; the first names its owner, and says what domains without an entry of their own may
    do. Raises :class:`~xsffi.errors.NodeNotFoundError` if there is no such node."""
    return r.GetPermissions(encode(path))


def set_permissions(
    any_domain: AnyDomain, path: str, permissions: Iterable[PermissionLike], *, allow_any_domain: bool = False
) -> Work[None]:
    """Set the permissions of a node, the owner's first: ``["n0", "r5"]``, or :class:`~xsffi.permissions.Permission`.

    Raises :class:`~xsffi.errors.NodeNotFoundError` if there is no such node,
    :class:`~xsffi.errors.InvalidArgumentError` if a permission is invalid, or the list is empty; also if one is for
    :data:`~xsffi.DOMID_ANY` and that would kill the daemon, as it does xenstored of Xen 4.22. `allow_any_domain`
    asserts that this daemon is known to be fixed.
    """
    request = r.SetPermissions(encode(path), p.parse_permissions(permissions))
    if allow_any_domain or not safeguards.names_any_domain(request.permissions):
        return request
    return any_domain.carry(request)


@overload
def read_many(paths: Iterable[str]) -> Program[list[bytes]]: ...
@overload
def read_many(paths: Iterable[str], default: T) -> Program[list[bytes | T]]: ...
def read_many(paths: Iterable[str], default: Any = RAISE) -> Program[Any]:
    """The values of many nodes, in the order of `paths`, read together, but not all at the same moment
    (:meth:`~xsffi.Client.dump` returns a tree as it is at one moment).

    A missing node yields `default` if that is given; otherwise, and for any other error, the first error is raised.
    """

    def value(outcome: Any) -> Any:
        if isinstance(outcome, XenStoreError):
            if default is RAISE or not isinstance(outcome, NodeNotFoundError):
                raise outcome
            return default
        return outcome

    return _look_up_values(paths, value)


def exists_many(paths: Iterable[str]) -> Program[list[bool]]:
    """Whether there are such nodes, in the order of `paths`, read as :meth:`read_many` does. Raises AccessDeniedError
    for one that the caller may not read."""

    def found(outcome: Any) -> bool:
        if isinstance(outcome, XenStoreError) and not isinstance(outcome, NodeNotFoundError):
            raise outcome
        return not isinstance(outcome, XenStoreError)

    return _look_up_values(paths, found)


def _look_up_values(paths: Iterable[str], finish: Callable[[Any], T]) -> Program[list[T]]:
    if isinstance(paths, (str, bytes)):
        raise TypeError(f"paths must be an iterable of paths, not one: {paths!r}")
    found: list[T] = []
    paths = iter(paths)
    # In chunks, to need no more memory than the values do.
    while some := list(islice(paths, _LOOK_UP_AT_ONCE)):
        found += map(finish, (yield lookups.Values(some)))
    return found


def encode_value(value: bytes | str) -> bytes:
    """A value as the bytes that are sent; raises TypeError unless it is bytes or str."""
    if isinstance(value, str):
        return value.encode("utf-8")
    if not isinstance(value, bytes):
        raise TypeError(f"a value must be bytes or str, not {type(value).__name__}: {value!r}")
    return value


# Domains and the daemon.


def get_domain_path(domid: int) -> Request[str]:
    """The path of a domain's nodes: ``/local/domain/N``, whether the domain exists or not (GET_DOMAIN_PATH of
    xenstore.txt). Raises :class:`~xsffi.errors.InvalidArgumentError` for what is not a domid."""
    return r.GetDomainPath(validate_domid(domid))


def is_domain_introduced(domid: int) -> Request[bool]:
    """Whether the daemon serves this domain (IS_DOMAIN_INTRODUCED of xenstore.txt). Raises
    :class:`~xsffi.errors.AccessDeniedError` outside of dom0."""
    return r.IsDomainIntroduced(validate_domid(domid))


def introduce_domain(domid: int, gfn: int, port: int) -> Request[None]:
    """Introduce a domain: the guest frame number of its store page, an int of 64 bits, and its event channel's port, an
    int of 32 bits. Other numbers are refused with InvalidArgumentError."""
    _check(gfn, "a frame number", _ULONG_MAX)
    _check(port, "an event channel's port", _UINT_MAX)
    return r.Introduce(validate_domid(domid), gfn, port)


def release_domain(domid: int) -> Program[None]:
    """Tell the daemon that a domain is gone. Domain 0 is refused: some daemons would remove nodes.

    A domain that owns ``@introduceDomain`` or ``@releaseDomain`` is refused, with InvalidArgumentError, if the daemon
    reveals that: xenstored of Xen 4.18 to 4.23 would die. An unknown domain raises NodeNotFoundError with xenstored,
    InvalidArgumentError with oxenstored; so does :meth:`resume_domain`.
    """
    domid = validate_domid(domid)
    if domid == 0:
        raise InvalidArgumentError(errno.EINVAL, "domain 0 cannot be released")
    return programs.release_domain(domid)


def resume_domain(domid: int) -> Request[None]:
    """Tell the daemon that a domain runs again after a suspend, so that it notices its next shutdown (RESUME of
    xenstore.txt). Raises :class:`~xsffi.errors.NodeNotFoundError` if it is not introduced, and
    :class:`~xsffi.errors.AccessDeniedError` outside of dom0."""
    return r.Resume(validate_domid(domid))


def set_target(domid: int, target: int) -> Request[None]:
    """Let `domid`, a device model's domain, act on the nodes of `target`, its guest. xenstored raises
    NodeNotFoundError for an unknown domain."""
    return r.SetTarget(validate_domid(domid), validate_domid(target))


def control(command: str, *arguments: str | bytes) -> Request[str]:
    """Send the daemon a command, such as ``help``, and return its answer as text (xenstore.txt, "CONTROL"). Raises
    InvalidArgumentError if an argument contains a NUL, or xenstored does not know the command."""
    parts = [_control_text(part) for part in (command, *arguments)]
    if not parts[0]:
        raise InvalidArgumentError(errno.EINVAL, "a command of CONTROL must not be empty")
    return r.Control(parts)


def get_features(domid: int | None = None) -> Work[Feature]:
    """The features that the daemon has, or that a domain may use (GET_FEATURE of xenstore.txt). Raises
    :class:`~xsffi.errors.NotSupportedError` on a daemon, or over a libxenstore, before Xen 4.21."""
    return programs.features() if domid is None else r.GetFeatures(validate_domid(domid))


def set_features(domid: int, bits: int) -> Request[None]:
    """Set the features that a domain, not yet introduced, may use: members of :class:`xsffi.Feature` combined with
    ``|`` (SET_FEATURE of xenstore.txt). Raises as :meth:`get_features` does."""
    _check(bits, "feature bits", _UINT_MAX)
    return r.SetFeatures(validate_domid(domid), bits)


def quota_names() -> Program[list[str]]:
    """The names of the quotas that the daemon has (GET_QUOTA of xenstore.txt). Raises
    :class:`~xsffi.errors.NotSupportedError` on a daemon, or over a libxenstore, before Xen 4.22."""
    return programs.quota_names()


def get_quota(name: str, domid: int | None = None) -> Request[int]:
    """A quota of a domain or, without `domid`, the default for new domains: a number of things, or of bytes; 0 means no
    limit. Raises InvalidArgumentError for an unknown name. Since Xen 4.22."""
    return r.GetQuota(_quota_name(name), None if domid is None else validate_domid(domid))


def set_quota(name: str, value: int, domid: int | None = None) -> Request[None]:
    """Set a quota of a domain or, without `domid`, the default for new domains, to an int of 32 bits; 0 means no limit.
    Raises InvalidArgumentError for an unknown name. Since Xen 4.22."""
    _check(value, "a quota", _UINT_MAX)
    return r.SetQuota(_quota_name(name), value, None if domid is None else validate_domid(domid))


def _check(number: int, what: str, most: int) -> None:
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"{what} must be an int, not {type(number).__name__}: {number!r}")
    if not 0 <= number <= most:
        raise InvalidArgumentError(errno.EINVAL, f"{what} must be from 0 to {most}, not {number}")


def _control_text(text: str | bytes) -> bytes:
    if not isinstance(text, (str, bytes)):
        raise TypeError(f"an argument of CONTROL must be a str or bytes, not {type(text).__name__}: {text!r}")
    encoded = text.encode("utf-8") if isinstance(text, str) else text
    if b"\0" in encoded:
        raise InvalidArgumentError(errno.EINVAL, f"an argument of CONTROL must not contain a NUL: {text!r}")
    return encoded


def _quota_name(name: str) -> bytes:
    if not isinstance(name, str):
        raise TypeError(f"a quota's name must be a str, not {type(name).__name__}: {name!r}")
    if not name or not name.isascii() or not name.isprintable() or " " in name:
        raise InvalidArgumentError(errno.EINVAL, f"a quota's name must be printable ASCII without blanks, not {name!r}")
    return name.encode("ascii")
