"""Which watches there are, and whose event it is: for the client, for asyncio and for the drop-in.

The daemon is given a token of ours, one that is never used twice: so an event is told by one look-up, and one that was
on its way when its watch was removed belongs to none. The user's token is told by identity, since it may be any object;
the table holds it, so its identity is nobody else's while the watch is set.
"""

from __future__ import annotations

from ..static_types import Generic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, TypeVar

__all__ = ["ITSELF", "WatchTable", "Watched"]


class _Itself:
    """The token of a watch that was given none: the watch itself."""

    def __repr__(self) -> str:
        return "the watch itself"


ITSELF = _Itself()


class Watched:
    """A watch: its path, its token as the user gave it, and as it goes over the wire."""

    def __init__(self, path: str, token: Any, wire_token: bytes) -> None:
        self.path = path
        self.token = token
        self.wire_token = wire_token


if TYPE_CHECKING:
    W = TypeVar("W", bound=Watched)
else:
    W = Watched


class WatchTable(Generic[W]):
    """The watches of one connection.

    Any thread may use it at any time, and so may a signal handler or a finalizer that comes in the middle of a method:
    each is a few operations of a dict, none of which can be seen half done.
    """

    def __init__(self) -> None:
        self._by_token: dict[tuple[str, int], W] = {}  # by path and identity of the token
        self._by_wire_token: dict[str, W] = {}

    def add(self, watched: W) -> bool:
        """Take a watch in, before it is set: its first event may come before the reply does. False, and nothing is
        done, where its path is watched with its token."""
        if self._by_token.setdefault(_key(watched), watched) is not watched:
            return False
        self._by_wire_token[watched.wire_token.decode("ascii")] = watched
        return True

    def remove(self, watched: W) -> bool:
        """Forget a watch, whose events belong to none from here on. Of all who call this for it, one is told True."""
        was_there = self._by_wire_token.pop(watched.wire_token.decode("ascii"), None) is not None
        if self._by_token.get(_key(watched)) is watched:
            self._by_token.pop(_key(watched), None)
        return was_there

    def clear(self) -> None:
        """Forget all."""
        for watched in self:
            self.remove(watched)

    def __iter__(self) -> Iterator[W]:
        return iter(list(self._by_wire_token.values()))

    def owner(self, wire_token: str) -> W | None:
        """The watch that an event with this token is of, or None where it is gone."""
        return self._by_wire_token.get(wire_token)

    def find(self, path: str, token: object) -> list[W]:
        """The watch of this path with this token; else all with this token, one of which may have the same path in
        another spelling."""
        exact = self._by_token.get((path, id(token)))
        if exact is not None:
            return [exact]
        return [watched for watched in list(self._by_token.values()) if watched.token is token]

    def __contains__(self, watched: W) -> bool:
        return self._by_wire_token.get(watched.wire_token.decode("ascii")) is watched


def _key(watched: Watched) -> tuple[str, int]:
    return watched.path, id(watched.token)
