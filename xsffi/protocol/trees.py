"""Programs that read whole trees: level by level, thousands of nodes at a time."""

from __future__ import annotations

import errno

from ..errors import (
    AccessDeniedError,
    InvalidArgumentError,
    NodeNotFoundError,
    ProtocolError,
    QuotaExceededError,
    TooBigError,
    TransactionConflictError,
    WaitTimeoutError,
    XenStoreError,
)
from ..paths import INTRODUCE_DOMAIN, RELEASE_DOMAIN, is_subpath, parent_path
from ..records import OVERFLOW, Node
from ..static_types import Protocol
from .lookups import Nodes, node_of
from .programs import NextEvent, directory_in_parts, encode_known
from .requests import Read, Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from typing import Any, Union

    from .programs import Effect, Program

    Walk = Generator[Union[Effect, Node, XenStoreError], Any, None]

__all__ = [
    "NOT_FOR_GUESTS",
    "await_events",
    "child_paths",
    "iterate",
    "reachable",
    "read_again",
    "read_nodes",
    "set_watches",
    "snapshot",
    "take_events",
    "walk",
]

_NODES_AT_ONCE = 4096  # nodes read at a time: bounds what is in flight, however wide a level of the tree
_EVENTS_MAX = 65536  # events taken at a time
#: The errors of a guest's watch of released domains: it may not set one, or has used up its watches.
NOT_FOR_GUESTS = (AccessDeniedError, InvalidArgumentError, QuotaExceededError, TooBigError)


class Known(Protocol):
    """The known nodes by path: a dict, or the part of its interface that is used."""

    def __contains__(self, path: str) -> bool:
        raise NotImplementedError

    def __getitem__(self, path: str) -> Node:
        raise NotImplementedError

    def __setitem__(self, path: str, node: Node) -> None:
        raise NotImplementedError

    def get(self, path: str) -> Node | None:
        raise NotImplementedError

    def pop(self, path: str, default: None) -> Node | None:
        raise NotImplementedError

    def clear(self) -> None:
        raise NotImplementedError


def read_nodes(paths: Sequence[str]) -> Program[list[Node | XenStoreError]]:
    """Nodes, read together; for one that cannot be read, its error. The paths must be valid."""
    found: list[Any] = yield Nodes(paths, encode_known)
    if "/" not in paths and set(map(type, found)) == {Node}:
        return found  # the usual case
    nodes: list[Node | XenStoreError] = []
    for path, each in zip(paths, found):
        if not isinstance(each, Node):
            value, children, permissions = each
            if isinstance(children, TooBigError):
                children = yield from _whole_directory(encode_known(path))
            each = node_of(path, value, children, permissions)
        if not isinstance(each, Node):
            each = next(outcome for outcome in each if isinstance(outcome, XenStoreError))
        elif path == "/":
            each = each._replace(children=tuple((yield from _without_special_paths(each.children))))
        nodes.append(each)
    return nodes


def _whole_directory(path: bytes) -> Program[list[str] | XenStoreError]:
    """:func:`~xsffi.protocol.programs.directory_in_parts` with its requests in lists of one: a walk's driver carries
    lists, and over libxenstore, which has no function for a part, lists go over a wire connection."""
    program = directory_in_parts(path)
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


def _without_special_paths(children: Sequence[str]) -> Program[Sequence[str]]:
    """The children of the root without the special watch paths, which oxenstored lists too.

    In xenstored a real node may have such a name: it can be read, unlike the special path.
    """
    suspects = [name for name in (INTRODUCE_DOMAIN, RELEASE_DOMAIN) if name in children]
    if not suspects:
        return children
    outcomes = yield [Read(slash + encode_known(name)) for name in suspects for slash in (b"/", b"")]
    nodes = {
        name
        for name, as_node, as_special in zip(suspects, outcomes[::2], outcomes[1::2])
        if not isinstance(as_node, (NodeNotFoundError, InvalidArgumentError)) and isinstance(as_special, XenStoreError)
    }
    return [name for name in children if name in nodes or name not in suspects]


def iterate(walk: Walk, carry: Callable[[Any], Any]) -> Generator[Node | XenStoreError, None, None]:
    """Drive a walk as :func:`~xsffi.protocol.programs.run` does a program; yields its nodes and errors."""
    try:
        step = next(walk)
        while True:
            if isinstance(step, (Node, XenStoreError)):
                yield step
                step = next(walk)
            else:
                step = walk.send(carry(step))
    except StopIteration:
        return


def walk(top: str) -> Walk:
    """Every node from `top` down, level by level: yields effects and, in between, nodes.

    Nodes removed meanwhile are left out; the error of any other that cannot be read, or of `top`, is yielded.
    """
    level = [top]
    while level:
        below: list[str] = []
        for start in range(0, len(level), _NODES_AT_ONCE):
            for node in (yield from read_nodes(level[start : start + _NODES_AT_ONCE])):
                if isinstance(node, Node):
                    below += child_paths(node)
                    yield node
                elif level == [top] or not isinstance(node, NodeNotFoundError):
                    yield node
        level = below


def snapshot(top: str, rounds: int, token: bytes, released: bytes) -> Program[list[Node]]:
    """Every node from `top` down, level by level, as they were at one moment.

    It sets a watch of `top` with token `token`, and one of the release of domains with token `released`; the latter may
    fail. The driver delivers the events of these and no others, and removes the watches in the end.

    A transaction would be the obvious way, but at each operation xenstored looks through everything the transaction has
    used, so reading a tree would take time quadratic in its size. A watch is just as reliable: the daemon sends the
    event of a change before any later reply on the connection.

    A node changes by what happens at it, or below it: a child created or removed changes the list of its parent, and
    missing nodes above a new one are created with it, without events of their own. So the path of an event is read
    again, and each node above it, and whatever those list that is not known. If such a round brings no event,
    everything known was so when the round began, and still at its end.

    When a domain is released, oxenstored removes its nodes, and xenstored its permissions, without an event for each;
    the second watch reports the release itself, and everything is read again.

    Raises TransactionConflictError if each of `rounds` rounds brought events.
    """
    known: dict[str, Node] = {}
    failed: dict[str, XenStoreError] = {}
    yield from set_watches(top, token, released)
    yield from take_events(top, token, released, known, set())
    changed = {top}
    for _ in range(rounds):
        yield from read_again(top, changed, known, failed)
        yield from await_events(top)
        changed = set()
        yield from take_events(top, token, released, known, changed)
        if changed:
            continue
        nodes, unknown = reachable(top, known)
        for path in unknown:
            if path == top or not isinstance(failed[path], NodeNotFoundError):
                raise failed[path]
        if not unknown:
            return nodes
        changed = set(unknown)  # nodes just listed, but removed without an event
    raise TransactionConflictError(
        errno.EAGAIN,
        f"something below changed each of the {rounds} times that it was read; more attempts may help",
        top,
    )


def no_event_error(timeout: float | None, path: str) -> WaitTimeoutError:
    """What is raised if the immediate event of a new watch is late."""
    return WaitTimeoutError(errno.ETIMEDOUT, f"no event of a new watch within {timeout} seconds", path)


def set_watches(top: str, token: bytes, released: bytes) -> Program[None]:
    """Set the watches of a snapshot, and wait for the event that each sends immediately."""
    yield Watch(encode_known(top), token, None)
    yield NextEvent(wait=True)
    try:
        yield Watch(encode_known(RELEASE_DOMAIN), released, None)
    except NOT_FOR_GUESTS:
        return
    yield from await_events(top)


def await_events(top: str) -> Program[None]:
    """Wait until the events of everything that has happened have arrived: they precede the reply to a last request on
    the connection of the watches; the reads may have used other connections."""
    yield [Read(encode_known(top))]


def read_again(top: str, changed: set[str], known: Known, failed: dict[str, XenStoreError]) -> Program[None]:
    """Read what changed, everything above it, and what those now list that is not known."""
    level = sorted(_with_all_above(changed, top))
    seen: set[str] = set()
    while level:
        seen.update(level)
        below: list[str] = []
        for start in range(0, len(level), _NODES_AT_ONCE):
            paths = level[start : start + _NODES_AT_ONCE]
            for path, node in zip(paths, (yield from read_nodes(paths))):
                if isinstance(node, Node):
                    before = known.get(path)
                    known[path] = node
                    if before is None or before.children != node.children:
                        below += child_paths(node)
                else:
                    known.pop(path, None)
                    failed[path] = node
        level = [path for path in below if path not in known and path not in seen]


def take_events(top: str, token: bytes, released: bytes, known: Known, changed: set[str]) -> Program[None]:
    """Add the paths of all pending events to `changed`; if they keep arriving, only those of the first. Events with
    other tokens are of watches since removed.

    If a domain was released, or the queue overflowed, `known` is cleared.
    """
    of_top, of_release = token.decode("ascii"), released.decode("ascii")
    for _ in range(_EVENTS_MAX):
        event = yield NextEvent(wait=False)
        if event is None:
            break
        if event.token in (of_release, OVERFLOW.token):
            changed.add(top)
            known.clear()
        elif event.token != of_top:
            continue
        elif is_subpath(event.path, top):
            changed.add(event.path)
        # xenstored of Xen 4.18 and 4.20 also sends a watch of the root the events of its special paths.
        elif top != "/" or not event.path.startswith("@"):
            raise ProtocolError(
                errno.EPROTO,
                f"the daemon reported a change at {event.path!r}, which is not below the watched path",
                top,
            )


def reachable(top: str, known: Known) -> tuple[list[Node], list[str]]:
    """The nodes that are listed, from `top` down, level by level, and the paths of listed nodes that are not known."""
    nodes: list[Node] = []
    unknown: list[str] = []
    level = [top]
    while level:
        found = [known[path] for path in level if path in known]
        unknown += [path for path in level if path not in known]
        nodes += found
        level = [path for node in found for path in child_paths(node)]
    return nodes, unknown


def _with_all_above(paths: set[str], top: str) -> set[str]:
    """Paths, and those of all nodes above them up to `top`."""
    found: set[str] = set()
    for path in paths:
        while path not in found:
            found.add(path)
            if path == top:
                break
            path = parent_path(path)
    return found


def child_paths(node: Node) -> list[str]:
    """The paths of a node's children."""
    names = node.children
    if not names:
        return []
    above = node.path if node.path == "/" else node.path + "/"
    return [above + name for name in names]
