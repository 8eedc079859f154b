"""Work that takes several requests, as generators: they yield an effect, and are sent what it came to.

An effect is a request, whose reply is sent in or whose error is thrown; a sequence of requests, for whose replies a
list is sent, an error standing in the place of its reply; or :class:`NextEvent`. Whoever drives a program decides how
effects are carried, waiting or awaiting: :func:`run` is the driver that waits.
"""

from __future__ import annotations

import errno
from collections import namedtuple

from ..errors import (
    AccessDeniedError,
    InvalidArgumentError,
    NodeNotFoundError,
    NotSupportedError,
    ProtocolError,
    TooBigError,
    TransactionConflictError,
    XenStoreError,
)
from ..paths import INTRODUCE_DOMAIN, RELEASE_DOMAIN
from .requests import (
    Directory,
    DirectoryPart,
    GetFeatures,
    GetPermissions,
    GetQuota,
    GetQuotaNames,
    Read,
    Release,
)
from .wire import REPLY_MAX, Feature

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from typing import Any, NamedTuple, Union

    from ..static_types import T
    from .requests import Request

    class _NextEvent(NamedTuple):
        wait: bool

    Effect = Union[Request[Any], Sequence[Request[Any]], "NextEvent"]
    Program = Generator[Effect, Any, T]
    Work = Union[Request[T], Program[T]]  # what a verb makes
else:
    _NextEvent = namedtuple("NextEvent", ["wait"])

__all__ = [
    "NextEvent",
    "directory",
    "directory_in_parts",
    "encode_known",
    "exists",
    "features",
    "knows_any_domain",
    "look_into_depth",
    "quota_names",
    "release_domain",
    "run",
    "then",
    "transaction_is_gone",
    "unless_missing",
]


class NextEvent(_NextEvent):
    """An effect: the next event of the program's own watches, a WatchEvent with the token as it goes over the wire.

    With `wait` it is waited for, as long as a reply may take; without, None is sent where none is there.
    """

    __slots__ = ()


_RESTARTS_MAX = 100  # how often the list of a node's children may change while it is read in parts
_PARTS_MAX = 16384  # parts of a list that are asked for, with those of lists that changed meanwhile


def run(program: Generator[Any, Any, T], carry: Callable[[Any], Any]) -> T:
    """Drive a program by a function that carries an effect, and returns what it came to or raises its error."""
    try:
        effect = next(program)
        while True:
            try:
                reply = carry(effect)
            except XenStoreError as error:
                effect = program.throw(error)
            else:
                effect = program.send(reply)
    except StopIteration as stop:
        result: T = stop.value
        return result


def then(request: Request[Any], finish: Callable[[Any], T]) -> Program[T]:
    """A request, and what is made of its reply."""
    return finish((yield request))


def unless_missing(request: Request[Any], default: Any) -> Program[Any]:
    """A request about a node, or `default` where there is no such node."""
    try:
        return (yield request)
    except NodeNotFoundError:
        return default


def directory(path: bytes) -> Program[list[str]]:
    """The names of a node's children, in parts where the list is too long for one reply (xenstored says E2BIG then).

    Raises TransactionConflictError where the list changed each time that it was read, and ProtocolError where its parts
    have no end.
    """
    try:
        names: list[str] = yield Directory(path)
    except TooBigError:
        names = yield from directory_in_parts(path)
    return names


def directory_in_parts(path: bytes) -> Program[list[str]]:
    """The same, in parts from the start."""
    names: list[str] = []
    offset = 0
    generation = None
    restarts = 0
    for _ in range(_PARTS_MAX):
        part = yield DirectoryPart(path, offset)
        if generation is not None and part.generation != generation:
            # The list changed: what came before does not fit to this.
            names, offset, generation = [], 0, None
            restarts += 1
            if restarts == _RESTARTS_MAX:
                break
            continue
        names += part.names
        if part.last:
            return names
        generation = part.generation
        offset += part.size
        if offset > REPLY_MAX:
            raise ProtocolError(errno.EPROTO, f"the list of children does not end after {offset} bytes", _text(path))
    if restarts == 0:
        raise ProtocolError(errno.EPROTO, f"the list of children does not end after {_PARTS_MAX} parts", _text(path))
    raise TransactionConflictError(
        errno.EAGAIN, f"the list of children changed {restarts} times while it was read", _text(path)
    )


def exists(path: bytes) -> Program[bool]:
    """Whether there is such a node.

    Where the caller has no right to see, AccessDeniedError says so: xenstored answers it for missing nodes too.
    """
    try:
        yield Read(path)
    except NodeNotFoundError:
        return False
    return True


def look_into_depth(path: str, error: InvalidArgumentError) -> Program[None]:
    """Raise NotSupportedError if that is what the daemon's error to a watch with a depth means."""
    try:
        known = Feature.WATCH_DEPTH in (yield from features())
    except (AccessDeniedError, InvalidArgumentError, NotSupportedError):
        known = False  # it has no features to tell of
    if not known:
        raise NotSupportedError(
            errno.ENOSYS, "the daemon knows no depth of a watch; xenstored does since Xen 4.22", path
        ) from error


def _has_special_nodes() -> Program[bool]:
    """Whether the special watch paths are nodes to the daemon, as they are to oxenstored."""
    try:
        yield Read(encode_known(RELEASE_DOMAIN))
    except (AccessDeniedError, InvalidArgumentError, NodeNotFoundError):
        return False
    return True


def encode_known(path: str) -> bytes:
    """A path as the daemon gave it, or as it was checked before."""
    return path.encode("utf-8", "surrogateescape")


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def features() -> Program[Feature]:
    """The bits of the daemon's features, as far as the asking domain may use them.

    Domain 0 asks for itself by name: libxenstore keeps its first answer to the question that names no domain, whichever
    daemon gave it. That question has no payload either, and oxenstored never answers a request without one; a guest,
    which may not ask for domain 0, so learns first that the daemon knows the operation.
    """
    try:
        bits: Feature = yield GetFeatures(0)
    except AccessDeniedError:
        bits = yield GetFeatures(None)
    return bits


def knows_any_domain() -> Program[bool]:
    """Whether the daemon knows DOMID_ANY, permissions for every domain."""
    # With a domid: see features(). In a list of one: over the wire, which asks the daemon whatever the age of
    # libxenstore.
    (bits,) = yield [GetFeatures(0)]
    if isinstance(bits, (AccessDeniedError, InvalidArgumentError, NotSupportedError)):
        return False  # it has no features to tell of, or this is a guest, which it tells nothing of others
    if isinstance(bits, XenStoreError):
        raise bits
    return bool(bits & Feature.DOMID_ANY)


def release_domain(domid: int) -> Program[None]:
    """Tell the daemon that a domain is gone, unless that would end the daemon.

    xenstored of Xen 4.18 to 4.23 dies when the owner of a special path is released. Older ones do not tell who that is,
    and to oxenstored a special path is a node like any other.
    """
    for path in (INTRODUCE_DOMAIN, RELEASE_DOMAIN):
        try:
            permissions = yield GetPermissions(encode_known(path))
        except (AccessDeniedError, InvalidArgumentError, NodeNotFoundError, NotSupportedError):
            continue
        if permissions and permissions[0].domid == domid and not (yield from _has_special_nodes()):
            raise InvalidArgumentError(
                errno.EINVAL,
                f"domain {domid} owns {path}, and xenstored of Xen 4.18 to 4.23 ends when such a domain is released: "
                "set_permissions() gives it another owner",
                path,
            )
    yield Release(domid)


def quota_names() -> Program[list[str]]:
    """The names of the daemon's quotas; asked in two steps for the reason that :func:`features` gives."""
    try:
        yield GetQuota(b"nodes", None)
    except InvalidArgumentError:
        pass  # no quota of that name, but the daemon knows the operation
    names: list[str] = yield GetQuotaNames()
    return names


def transaction_is_gone() -> Program[bool]:
    """Whether the daemon says ENOENT, or EIO, because it does not know the transaction, and not for want of a node.

    To be run with the tx_id in question. The daemon looks for the transaction first, and then at the path, which is
    none: so no node counts as used by the transaction for this question, as the root would.
    """
    try:
        yield Read(b"//")
    except NodeNotFoundError:
        return True
    except (InvalidArgumentError, AccessDeniedError):
        pass  # said of the path, so the transaction is known
    except XenStoreError as error:
        if error.errno == errno.EIO:
            return True  # as oxenstored says it
        raise
    return False
