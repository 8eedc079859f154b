"""Operations that take several requests, as generators: they yield effects, and are sent the outcomes.

An effect is a request, whose reply is sent or whose error is thrown; a sequence of requests, for which a list of
replies and errors is sent; or :class:`NextEvent`. The driver of a program decides how effects are carried out, blocking
or awaiting: :func:`run` is the blocking one.
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
    Work = Union[Request[T], Program[T]]  # the result of a verb
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
    """An effect: the next event of the program's own watches, a WatchEvent with the token as received.

    With `wait`, wait for it as long as for a reply; without, None is sent if there is none.
    """

    __slots__ = ()


_RESTARTS_MAX = 100  # how many times the list of a node's children may change while it is read in parts
_PARTS_MAX = 16384  # parts of a list to request, including those before the list changed


def run(program: Generator[Any, Any, T], carry: Callable[[Any], Any]) -> T:
    """Drive a program with a function that carries out an effect, and returns its outcome or raises its error."""
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
    """Send a request, and convert its reply."""
    return finish((yield request))


def unless_missing(request: Request[Any], default: Any) -> Program[Any]:
    """The reply to a request about a node, or `default` if there is no such node."""
    try:
        return (yield request)
    except NodeNotFoundError:
        return default


def directory(path: bytes) -> Program[list[str]]:
    """The names of a node's children, in parts if the list is too long for one reply (xenstored says E2BIG then).

    Raises TransactionConflictError if the list changed each time it was read, and ProtocolError if its parts never end.
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
            # The list changed, so the earlier parts no longer match.
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

    If the caller may not know, AccessDeniedError is raised: xenstored also answers that for missing nodes.
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
        known = False  # it does not know feature bits
    if not known:
        raise NotSupportedError(
            errno.ENOSYS, "the daemon does not support depth-limited watches; xenstored does since Xen 4.22", path
        ) from error


def _has_special_nodes() -> Program[bool]:
    """Whether the special watch paths are nodes to the daemon, as with oxenstored."""
    try:
        yield Read(encode_known(RELEASE_DOMAIN))
    except (AccessDeniedError, InvalidArgumentError, NodeNotFoundError):
        return False
    return True


def encode_known(path: str) -> bytes:
    """Encode a path that came from the daemon or was already validated."""
    return path.encode("utf-8", "surrogateescape")


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def features() -> Program[Feature]:
    """The daemon's features, as far as the calling domain may use them.

    Domain 0 names itself in the question: libxenstore caches its first answer to the question without a domain,
    whichever daemon gave it. That question also has an empty payload, and oxenstored never answers a request without
    one; a guest, which may not name domain 0, thereby first learns that the daemon knows the operation.
    """
    try:
        bits: Feature = yield GetFeatures(0)
    except AccessDeniedError:
        bits = yield GetFeatures(None)
    return bits


def knows_any_domain() -> Program[bool]:
    """Whether the daemon supports DOMID_ANY, permissions for every domain."""
    # With a domid: see features(). As a list of one, since lists go over the wire, whatever the version of libxenstore.
    (bits,) = yield [GetFeatures(0)]
    if isinstance(bits, (AccessDeniedError, InvalidArgumentError, NotSupportedError)):
        return False  # it does not know feature bits, or this is a guest, which may not ask about others
    if isinstance(bits, XenStoreError):
        raise bits
    return bool(bits & Feature.DOMID_ANY)


def release_domain(domid: int) -> Program[None]:
    """Tell the daemon that a domain is gone, unless that would kill the daemon.

    xenstored of Xen 4.18 to 4.23 dies when the owner of a special path is released. Older versions do not reveal the
    owner, and to oxenstored a special path is an ordinary node.
    """
    for path in (INTRODUCE_DOMAIN, RELEASE_DOMAIN):
        try:
            permissions = yield GetPermissions(encode_known(path))
        except (AccessDeniedError, InvalidArgumentError, NodeNotFoundError, NotSupportedError):
            continue
        if permissions and permissions[0].domid == domid and not (yield from _has_special_nodes()):
            raise InvalidArgumentError(
                errno.EINVAL,
                f"domain {domid} owns {path}, and xenstored of Xen 4.18 to 4.23 dies when such a domain is released; "
                "change the owner with set_permissions() first",
                path,
            )
    yield Release(domid)


def quota_names() -> Program[list[str]]:
    """The names of the daemon's quotas; asked in two steps for the reason given in :func:`features`."""
    try:
        yield GetQuota(b"nodes", None)
    except InvalidArgumentError:
        pass  # no quota of that name, but the daemon knows the operation
    names: list[str] = yield GetQuotaNames()
    return names


def transaction_is_gone() -> Program[bool]:
    """Whether the daemon's ENOENT or EIO means that it does not know the transaction, rather than a missing node.

    Run it with the tx_id in question. The daemon looks up the transaction first, and then the path, which is invalid:
    this way the question does not count any node, such as the root, as used by the transaction.
    """
    try:
        yield Read(b"//")
    except NodeNotFoundError:
        return True
    except (InvalidArgumentError, AccessDeniedError):
        pass  # about the path, so the transaction is known
    except XenStoreError as error:
        if error.errno == errno.EIO:
            return True  # oxenstored's answer
        raise
    return False
