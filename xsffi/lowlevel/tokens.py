"""The watches of one handle, and the objects that were given as their tokens.

The daemon is given a token of ours, one that is never used twice: so an event is told by one look-up in a table, and
one that was on its way when its watch was removed belongs to none. A token is told by identity, since a program may
give any object; the table holds it, so its identity is nobody else's while the watch is set.
"""

from __future__ import annotations

import itertools
import threading
from typing import Any, NamedTuple

__all__ = ["TokenTable", "Watched"]


class Watched(NamedTuple):
    """One watch."""

    path: bytes
    token: Any
    name: bytes  # what the daemon has as its token


class TokenTable:
    """All watches of a handle."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._by_name: dict[str, Watched] = {}
        self._by_token: dict[tuple[bytes, int], Watched] = {}
        self._lock = threading.Lock()  # of both tables

    def add(self, path: bytes, token: object) -> Watched | None:
        """A new watch; None where this path is watched with this token."""
        key = (path, id(token))
        with self._lock:
            if key in self._by_token:
                return None
            watched = Watched(path, token, b"%x" % next(self._numbers))
            self._by_token[key] = watched
            self._by_name[watched.name.decode("ascii")] = watched
            return watched

    def find(self, path: bytes, token: object) -> list[Watched]:
        """The watch of this path with this token; else all those with this token, one of which may have the same path
        in another spelling."""
        with self._lock:
            exact = self._by_token.get((path, id(token)))
            if exact is not None:
                return [exact]
            return [watched for watched in self._by_token.values() if watched.token is token]

    def remove(self, watched: Watched) -> None:
        """Forget a watch; its events belong to none from here on."""
        with self._lock:
            self._by_name.pop(watched.name.decode("ascii"), None)
            self._by_token.pop((watched.path, id(watched.token)), None)

    def by_name(self, name: str) -> Watched | None:
        """The watch that has an event with this name, or None where it is gone."""
        return self._by_name.get(name)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._by_name.clear()
            self._by_token.clear()
