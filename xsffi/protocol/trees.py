"""Whole trees, read in programs: level by level, thousands of nodes at a time."""

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

_NODES_AT_ONCE = 4096  # nodes read in one go: what is on its way is bounded, however wide a level of the tree
_EVENTS_MAX = 65536  # events taken in one go
#: What a guest is told that asks to be told of released domains: it may not be, or has as many watches as it may.
NOT_FOR_GUESTS = (AccessDeniedError, InvalidArgumentError, QuotaExceededError, TooBigError)


class Known(Protocol):
    """The nodes that are known, by their paths: a dict, or what is one as far as this goes."""

    def __contains__(self, path: object) -> bool:
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
    """Nodes, read together; the error of one that cannot be read stands in its place. The paths are right already."""
    found: list[Any] = yield Nodes(paths, encode_known)
    if "/" not in paths and set(map(type, found)) == {Node}:
        return found  # as nearly always
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
    """:func:`~xsffi.protocol.programs.directory_in_parts`, its requests in lists of one: lists are what a walk's driver
    carries, and over libxenstore, which has no call for a part, they go over a wire connection."""
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
    """The children of the root without the special watch paths, which oxenstored lists among them.

    With xenstored a node may be named so too. It can be read then, and the special path cannot.
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
    """Drive a walk as :func:`~xsffi.protocol.programs.run` does a program; give what it finds."""
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
    """Every node from `top` down, level by level: yields effects and, between them, nodes.

    A node that is removed meanwhile is left out; the error of another that cannot be read, or of `top`, is yielded.
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
        changed = set(unknown)  # a node that was removed without an event, though listed just before
    raise TransactionConflictError(
        errno.EAGAIN, f"something below changed each of {rounds} times while it was read; more attempts may do", top
    )


def no_event_error(timeout: float | None, path: str) -> WaitTimeoutError:
    """What is raised where the event did not come in time that a new watch brings at once."""
    return WaitTimeoutError(errno.ETIMEDOUT, f"no event of a new watch came for {timeout} seconds", path)


def set_watches(top: str, token: bytes, released: bytes) -> Program[None]:
    """Set the watches of a snapshot, as it tells. The event that each brings at once has come then."""
    yield Watch(encode_known(top), token, None)
    yield NextEvent(wait=True)
    try:
        yield Watch(encode_known(RELEASE_DOMAIN), released, None)
    except NOT_FOR_GUESTS:
        return
    yield from await_events(top)


def await_events(top: str) -> Program[None]:
    """The events of all that has happened have come then: they come before the reply to what the connection of the
    watches is asked last. What was read may have been read over others."""
    yield [Read(encode_known(top))]


def read_again(top: str, changed: set[str], known: Known, failed: dict[str, XenStoreError]) -> Program[None]:
    """Read what changed, all above it, and what those list that they did not before, and is not known."""
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
    """Add to what has `changed` the paths that the events name which have come; where they do not cease to come, those
    of the first of them. Events of other watches than these two are of some that were taken away.

    Where a domain was released, or there were more events than their queue holds, nothing is `known` any more.
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
        # xenstored of Xen 4.18 and 4.20 tells a watch of the root of its special paths too.
        elif top != "/" or not event.path.startswith("@"):
            raise ProtocolError(
                errno.EPROTO, f"the daemon told of a change at {event.path!r}, which is not below what is watched", top
            )


def reachable(top: str, known: Known) -> tuple[list[Node], list[str]]:
    """The nodes that are listed, from `top` down, level by level, and the paths of those that are not known."""
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
