"""Work that takes several requests, as generators: they yield a request, and are sent its reply or thrown its error.

Whoever drives one decides how requests are carried, waiting or awaiting: :func:`run` is the driver that waits.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar, Union

from ..errors import AccessDeniedError, InvalidArgumentError, NodeNotFoundError, TooBigError, XenStoreError
from ..records import Node
from .requests import (
    Directory,
    DirectoryPart,
    GetFeatures,
    GetPermissions,
    GetQuota,
    GetQuotaNames,
    Read,
    Request,
)

__all__ = [
    "Program",
    "Walk",
    "directory",
    "exists",
    "features",
    "iterate",
    "quota_names",
    "run",
    "transaction_is_gone",
    "walk",
]

T = TypeVar("T")
Program = Generator[Request[Any], Any, T]
WalkStep = Union[list[Request[Any]], Node, XenStoreError]
Walk = Generator[WalkStep, Any, None]

_WALK_NODES = (
    1024  # how many nodes of one level are asked for at once: what is on its way is bounded, however wide a level
)


def run(program: Program[T], call: Callable[[Request[Any]], Any]) -> T:
    """Drive a program by a function that carries one request and returns its reply or raises its error."""
    try:
        request = next(program)
        while True:
            try:
                reply = call(request)
            except XenStoreError as error:
                request = program.throw(error)
            else:
                request = program.send(reply)
    except StopIteration as stop:
        result: T = stop.value
        return result


def directory(path: bytes) -> Program[list[str]]:
    """The names of a node's children, in parts where the list is too long for one reply (xenstored says E2BIG then)."""
    try:
        names: list[str] = yield Directory(path)
        return names
    except TooBigError:
        pass
    names = []
    offset = 0
    generation = None
    while True:
        part = yield DirectoryPart(path, offset)
        if generation is not None and part.generation != generation:
            names, offset, generation = [], 0, None  # the list changed: what came before does not fit to this
            continue
        names += part.names
        if part.last:
            return names
        generation = part.generation
        offset += part.size


def exists(path: bytes) -> Program[bool]:
    """Whether there is such a node.

    Where the caller has no right to see, AccessDeniedError says so: xenstored answers it for missing nodes too.
    """
    try:
        yield Read(path)
    except NodeNotFoundError:
        return False
    return True


def walk(tops: Sequence[bytes], levels: int | None = None) -> Walk:
    """Every node from `tops` down, level by level: yields lists of requests, is sent their outcomes, and yields nodes.

    It goes down so many `levels` (None: all); one is the tops alone.

    A node that is removed meanwhile is left out; an error that is another's, or of a top, is yielded.
    """
    level = list(tops)
    depth = 0
    while level and depth != levels:
        depth += 1
        below: list[bytes] = []
        for start in range(0, len(level), _WALK_NODES):
            paths = level[start : start + _WALK_NODES]
            outcomes = yield [request(path) for path in paths for request in (Read, Directory, GetPermissions)]
            for index, path in enumerate(paths):
                value, children, permissions = outcomes[3 * index : 3 * index + 3]
                if isinstance(children, TooBigError):
                    children = yield from _whole_directory(path)
                # By their types first, which is fast, as there may be very many.
                if not (type(value) is bytes and type(children) is list and type(permissions) is list):
                    error = next((o for o in (value, children, permissions) if isinstance(o, XenStoreError)), None)
                    if error is not None:
                        if depth == 1 or not isinstance(error, NodeNotFoundError):
                            yield error
                        continue
                if path == b"/":
                    # oxenstored lists its special watch paths among the children of the root.
                    children = [name for name in children if not name.startswith("@")]
                prefix = b"/" if path == b"/" else path + b"/"
                below += [prefix + name.encode("utf-8", "surrogateescape") for name in children]
                yield Node(path.decode("utf-8", "surrogateescape"), value, children, permissions)
        level = below


def _whole_directory(path: bytes) -> Generator[WalkStep, Any, list[str] | XenStoreError]:
    program = directory(path)
    try:
        request = next(program)
        while True:
            (outcome,) = yield [request]
            request = program.throw(outcome) if isinstance(outcome, XenStoreError) else program.send(outcome)
    except StopIteration as stop:
        names: list[str] = stop.value
        return names
    except XenStoreError as error:
        return error


def iterate(
    program: Walk, call_many: Callable[[list[Request[Any]]], list[Any]]
) -> Generator[Node | XenStoreError, None, None]:
    """Drive a walk by a function that carries many requests; give what it finds."""
    try:
        step = next(program)
        while True:
            if isinstance(step, list):
                step = program.send(call_many(step))
            else:
                yield step
                step = next(program)
    except StopIteration:
        return


def features() -> Program[int]:
    """The bits of the daemon's features.

    The question for them has no payload, and oxenstored never answers a request without one: so a question that has one
    goes first, and where that is unknown the error of it is the answer.
    """
    try:
        yield GetFeatures(0)
    except AccessDeniedError:
        pass  # a guest may not ask for domain 0; the daemon knows the operation
    bits: int = yield GetFeatures(None)
    return bits


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
