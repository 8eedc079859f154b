"""Work that takes several requests, as generators: they yield an effect, and are sent what it came to.

An effect is a request, whose reply is sent in or whose error is thrown; a list of requests, for whose replies a list is
sent, an error standing in the place of its reply; or :class:`NextEvent`. Whoever drives a program decides how effects
are carried, waiting or awaiting: :func:`run` is the driver that waits.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple, TypeVar, Union

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
from ..paths import INTRODUCE_DOMAIN, RELEASE_DOMAIN, child_path, is_subpath, parent_path
from ..records import Node
from .requests import (
    Directory,
    DirectoryPart,
    GetFeatures,
    GetPermissions,
    GetQuota,
    GetQuotaNames,
    Read,
    Release,
    Request,
    Watch,
)
from .wire import REPLY_MAX, Feature

__all__ = [
    "Effect",
    "NextEvent",
    "Program",
    "Walk",
    "directory",
    "exists",
    "features",
    "iterate",
    "knows_any_domain",
    "quota_names",
    "read_nodes",
    "release_domain",
    "run",
    "snapshot",
    "transaction_is_gone",
    "walk",
]

T = TypeVar("T")


class NextEvent(NamedTuple):
    """An effect: the next event of the program's own watches, a WatchEvent with the token as it goes over the wire.

    With `wait` it is waited for, as long as a reply may take; without, None is sent where none is there.
    """

    wait: bool


Effect = Union[Request[Any], "list[Request[Any]]", NextEvent]
Program = Generator[Effect, Any, T]
Walk = Generator[Union[Effect, Node, XenStoreError], Any, None]

_NODES_AT_ONCE = 1024  # nodes read in one go: what is on its way is bounded, however wide a level of the tree
_RESTARTS_MAX = 100  # how often the list of a node's children may change while it is read in parts
_PARTS_MAX = 16384  # parts of a list that are asked for, with those of lists that changed meanwhile
_EVENTS_MAX = 65536  # events taken in one go


def run(program: Program[T], carry: Callable[[Any], Any]) -> T:
    """Drive a program by a function that carries an effect, and returns what it came to or raises its error."""
    try:
        effect = next(program)
        while True:
            effect = _advance(program, carry, effect)
    except StopIteration as stop:
        result: T = stop.value
        return result


def iterate(program: Walk, carry: Callable[[Any], Any]) -> Generator[Node | XenStoreError, None, None]:
    """Drive a walk in the same way; give what it finds."""
    try:
        step = next(program)
        while True:
            if isinstance(step, (Node, XenStoreError)):
                yield step
                step = next(program)
            else:
                step = _advance(program, carry, step)
    except StopIteration:
        return


def _advance(program: Generator[Any, Any, Any], carry: Callable[[Any], Any], effect: Effect) -> Any:
    try:
        reply = carry(effect)
    except XenStoreError as error:
        return program.throw(error)
    return program.send(reply)


def directory(path: bytes) -> Program[list[str]]:
    """The names of a node's children, in parts where the list is too long for one reply (xenstored says E2BIG then).

    Raises TransactionConflictError where the list changed each time that it was read, and ProtocolError where its parts
    have no end.
    """
    try:
        names: list[str] = yield Directory(path)
    except TooBigError:
        names = yield from _directory_in_parts(path)
    return names


def _directory_in_parts(path: bytes) -> Program[list[str]]:
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


def read_nodes(paths: Sequence[bytes]) -> Program[list[Node | XenStoreError]]:
    """Nodes, read together; the error of one that cannot be read stands in its place."""
    outcomes = yield [request(path) for path in paths for request in (Read, Directory, GetPermissions)]
    nodes: list[Node | XenStoreError] = []
    for index, path in enumerate(paths):
        value, children, permissions = outcomes[3 * index : 3 * index + 3]
        if isinstance(children, TooBigError):
            children = yield from _whole_directory(path)
        # By their types first, which is fast, as there may be very many.
        if not (type(value) is bytes and type(children) is list and type(permissions) is list):
            nodes.append(next(o for o in (value, children, permissions) if isinstance(o, XenStoreError)))
            continue
        if path == b"/":
            children = yield from _without_special_paths(children)
        # xenstored may list a child twice, in a transaction that cannot be committed any more.
        nodes.append(Node(_text(path), value, tuple(dict.fromkeys(children)), tuple(permissions)))
    return nodes


def _whole_directory(path: bytes) -> Program[list[str] | XenStoreError]:
    """:func:`_directory_in_parts`, its requests in lists of one: lists are what a walk's driver carries, and over
    libxenstore, which has no call for a part, they go over a wire connection."""
    program = _directory_in_parts(path)
    try:
        request: Any = next(program)
        while True:
            (outcome,) = yield [request]
            request = program.throw(outcome) if isinstance(outcome, XenStoreError) else program.send(outcome)
    except StopIteration as stop:
        names: list[str] = stop.value
        return names
    except XenStoreError as error:
        return error


def _without_special_paths(children: list[str]) -> Program[list[str]]:
    """The children of the root without the special watch paths, which oxenstored lists among them.

    With xenstored a node may be named so too. It can be read then, and the special path cannot.
    """
    suspects = [name for name in (INTRODUCE_DOMAIN, RELEASE_DOMAIN) if name in children]
    if not suspects:
        return children
    outcomes = yield [Read(slash + _encoded(name)) for name in suspects for slash in (b"/", b"")]
    nodes = {
        name
        for name, as_node, as_special in zip(suspects, outcomes[::2], outcomes[1::2])
        if not isinstance(as_node, (NodeNotFoundError, InvalidArgumentError)) and isinstance(as_special, XenStoreError)
    }
    return [name for name in children if name in nodes or name not in suspects]


def _has_special_nodes() -> Program[bool]:
    """Whether the special watch paths are nodes to the daemon, as they are to oxenstored."""
    try:
        yield Read(_encoded(RELEASE_DOMAIN))
    except (AccessDeniedError, InvalidArgumentError, NodeNotFoundError):
        return False
    return True


def walk(top: bytes) -> Walk:
    """Every node from `top` down, level by level: yields effects and, between them, nodes.

    A node that is removed meanwhile is left out; the error of another that cannot be read, or of `top`, is yielded.
    """
    level = [top]
    while level:
        below: list[bytes] = []
        for start in range(0, len(level), _NODES_AT_ONCE):
            for node in (yield from read_nodes(level[start : start + _NODES_AT_ONCE])):
                if isinstance(node, Node):
                    below += map(_encoded, _child_paths(node))
                    yield node
                elif level == [top] or not isinstance(node, NodeNotFoundError):
                    yield node
        level = below


def snapshot(top: str, rounds: int, token: bytes, released: bytes) -> Program[list[Node]]:
    """Every node from `top` down, level by level, as they were at one moment.

    It sets a watch of `top` with `token`, and one of the release of domains with `released`. Whoever drives it gives it
    their events and no others, and takes them away in the end; the second may not be set.

    A transaction would be the obvious way, and is not: xenstored looks through all that a transaction has used at each
    operation in it, so that reading a tree costs the square of its size. A watch tells as surely whether what was read
    is still so: the daemon puts the event of a change into the connection before any later reply.

    A node is changed by what happens at it, or below it: a child made or removed changes the list of its parent, and
    nodes above one that is made are made with it, of which no event tells. So what an event names is read again, and
    each node above it, and whatever those list that is not known. Where a round of this brought no event, all that is
    known was so when the round began, and still at its end.

    When a domain is released, oxenstored removes its nodes, and others its permissions, without an event for each: of
    the release itself a second watch tells, and all is read again.

    Raises TransactionConflictError where each of so many `rounds` brought events.
    """
    known: dict[str, Node] = {}
    failed: dict[str, XenStoreError] = {}
    name = released.decode("ascii")
    yield from _set_watches(top, token, released)
    yield from _take_events(top, name, known)
    changed = {top}
    for _ in range(rounds):
        yield from _read_again(top, changed, known, failed)
        changed = yield from _take_events(top, name, known)
        if changed:
            continue
        nodes, unknown = _reachable(top, known)
        for path in unknown:
            if path == top or not isinstance(failed[path], NodeNotFoundError):
                raise failed[path]
        if not unknown:
            return nodes
        changed = set(unknown)  # a node that was removed without an event, though listed just before
    raise TransactionConflictError(
        errno.EAGAIN, f"something below changed each of {rounds} times while it was read; more attempts may do", top
    )


def _set_watches(top: str, token: bytes, released: bytes) -> Program[None]:
    """Set the watches of a snapshot. The event that each brings at once has come then."""
    yield Watch(_encoded(top), token, None)
    yield NextEvent(wait=True)
    try:
        yield Watch(_encoded(RELEASE_DOMAIN), released, None)
    except XenStoreError:
        return  # a guest may have no more watches, and is not told of releases either
    yield [Read(_encoded(top))]  # the event comes before this reply


def _read_again(top: str, changed: set[str], known: dict[str, Node], failed: dict[str, XenStoreError]) -> Program[None]:
    """Read what changed, all above it, and what is not known below."""
    level = sorted(changed.union(*(_paths_above(path, top) for path in changed)))
    seen: set[str] = set()
    while level:
        seen.update(level)
        below: list[str] = []
        for start in range(0, len(level), _NODES_AT_ONCE):
            paths = level[start : start + _NODES_AT_ONCE]
            for path, node in zip(paths, (yield from read_nodes([*map(_encoded, paths)]))):
                if isinstance(node, Node):
                    known[path] = node
                    below += _child_paths(node)
                else:
                    known.pop(path, None)
                    failed[path] = node
        level = [path for path in below if path not in known and path not in seen]


def _take_events(top: str, released: str, known: dict[str, Node]) -> Program[set[str]]:
    """The paths that the events name which have come; where they do not cease to come, those of the first of them.

    Where a domain was released, nothing is `known` any more.
    """
    paths: set[str] = set()
    for _ in range(_EVENTS_MAX):
        event = yield NextEvent(wait=False)
        if event is None:
            break
        if event.token == released:
            known.clear()
            paths.add(top)
        elif is_subpath(event.path, top):
            paths.add(event.path)
        # xenstored of Xen 4.18 and 4.20 tells a watch of the root of its special paths too.
        elif top != "/" or not event.path.startswith("@"):
            raise ProtocolError(
                errno.EPROTO, f"the daemon told of a change at {event.path!r}, which is not below what is watched", top
            )
    return paths


def _reachable(top: str, known: dict[str, Node]) -> tuple[list[Node], list[str]]:
    """The nodes that are listed, from `top` down, level by level, and the paths of those that are not known."""
    nodes: list[Node] = []
    unknown: list[str] = []
    level = [top]
    while level:
        found = [known[path] for path in level if path in known]
        unknown += [path for path in level if path not in known]
        nodes += found
        level = [path for node in found for path in _child_paths(node)]
    return nodes, unknown


def _paths_above(path: str, top: str) -> list[str]:
    """The paths of the nodes above, up to `top`."""
    above: list[str] = []
    while path != top:
        path = parent_path(path)
        above.append(path)
    return above


def _child_paths(node: Node) -> list[str]:
    return [child_path(node.path, name) for name in node.children]


def _encoded(path: str) -> bytes:
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
    try:
        bits: Feature = yield GetFeatures(0)  # with a domid: see features()
    except (AccessDeniedError, InvalidArgumentError, NotSupportedError):
        return False  # it has no features to tell of, or this is a guest, which it tells nothing of others
    return bool(bits & Feature.DOMID_ANY)


def release_domain(domid: int) -> Program[None]:
    """Tell the daemon that a domain is gone, unless that would end the daemon.

    xenstored of Xen 4.18 to 4.23 dies when the owner of a special path is released. Older ones do not tell who that is,
    and to oxenstored a special path is a node like any other.
    """
    for path in (INTRODUCE_DOMAIN, RELEASE_DOMAIN):
        try:
            permissions = yield GetPermissions(_encoded(path))
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
    """Whether the daemon says ENOENT because it does not know the transaction, and not for want of a node.

    To be run with the tx_id in question. The daemon looks for the transaction first, and then at the path, which is
    none: so no node counts as used by the transaction for this question, as the root would.
    """
    try:
        yield Read(b"//")
    except NodeNotFoundError:
        return True
    except (InvalidArgumentError, AccessDeniedError):
        pass  # said of the path, so the transaction is known
    return False
