"""Which watches are set, and which of them an event belongs to: for the client, for asyncio and for the drop-in.

The daemon is given a token of ours that is never reused, so an event's watch is found by one look-up, and an event
still in flight when its watch was removed belongs to none. The user's token may be any object, and is compared by
identity; the table keeps a reference, so the identity is unique while the watch is set.
"""

from __future__ import annotations

from ..static_types import Generic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, TypeVar

__all__ = ["ITSELF", "WatchTable", "Watched"]


class _Itself:
    """The token of a watch that was given none: stands for the watch itself."""

    def __repr__(self) -> str:
        return "the watch itself"


ITSELF = _Itself()


class Watched:
    """A watch: its path, and its token as the user gave it and as it is sent."""

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

    Safe in any thread, and in a signal handler or finalizer that interrupts one of its methods: each consists of atomic
    operations on dicts.
    """

    def __init__(self) -> None:
        self._by_token: dict[tuple[str, int], W] = {}  # by path and identity of the token
        self._by_wire_token: dict[str, W] = {}

    def add(self, watched: W) -> bool:
        """Add a watch before it is set, since its first event may precede the reply. If its path is already watched
        with its token, return False and do nothing."""
        if self._by_token.setdefault(_key(watched), watched) is not watched:
            return False
        self._by_wire_token[watched.wire_token.decode("ascii")] = watched
        return True

    def remove(self, watched: W) -> bool:
        """Remove a watch; its events belong to none from now on. Only one caller gets True."""
        was_there = self._by_wire_token.pop(watched.wire_token.decode("ascii"), None) is not None
        if self._by_token.get(_key(watched)) is watched:
            self._by_token.pop(_key(watched), None)
        return was_there

    def clear(self) -> None:
        """Remove all watches."""
        for watched in self:
            self.remove(watched)

    def __iter__(self) -> Iterator[W]:
        return iter(list(self._by_wire_token.values()))

    def owner(self, wire_token: str) -> W | None:
        """The watch that an event with this token belongs to; None if it was removed."""
        return self._by_wire_token.get(wire_token)

    def find(self, path: str, token: object) -> list[W]:
        """The watch of this path with this token; otherwise all watches with this token, one of which may have another
        spelling of the path."""
        exact = self._by_token.get((path, id(token)))
        if exact is not None:
            return [exact]
        return [watched for watched in list(self._by_token.values()) if watched.token is token]

    def __contains__(self, watched: W) -> bool:
        return self._by_wire_token.get(watched.wire_token.decode("ascii")) is watched


def _key(watched: Watched) -> tuple[str, int]:
    return watched.path, id(watched.token)
