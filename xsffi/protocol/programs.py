"""Work that takes several requests, as generators: they yield a request, and are sent its reply or thrown its error.

Whoever drives one decides how requests are carried, waiting or awaiting: :func:`run` is the driver that waits.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

from ..errors import AccessDeniedError, InvalidArgumentError, NodeNotFoundError, TooBigError, XenStoreError
from .requests import Directory, DirectoryPart, GetFeatures, GetQuota, GetQuotaNames, Read, Request

__all__ = ["Program", "directory", "exists", "features", "quota_names", "run", "transaction_is_gone"]

T = TypeVar("T")
Program = Generator[Request[Any], Any, T]


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

    To be run with the tx_id in question, on a daemon that answers ENOENT for both: the root is always there.
    """
    try:
        yield Read(b"/")
    except NodeNotFoundError:
        return True
    except AccessDeniedError:
        pass  # said of the root, so the transaction is known
    return False
