"""The watches of all connections, indexed by path: those elsewhere cost a change nothing."""

from __future__ import annotations

import errno
from collections.abc import Callable

from ..errors import error_from_errno
from ..static_types import Protocol
from .domains import Domain

__all__ = ["Listener", "Watch", "Watches"]


class Listener(Protocol):
    """A connection, which receives events."""

    domain: Domain

    def send_event(self, path: bytes, token: bytes) -> None:
        """Send an event after everything sent before."""


class Watch:
    """A watch of one connection."""

    __slots__ = ("depth", "listener", "number", "path", "prefix", "token")

    def __init__(self, listener: Listener, path: str, prefix: int, token: bytes, depth: int | None) -> None:
        self.listener = listener
        self.path = path
        self.prefix = prefix  # how many characters of paths its events omit, if it was set with a relative path
        self.token = token
        self.depth = depth  # how many levels below the path to include; None: all
        self.number = 0

    def send(self, path: str) -> None:
        """Send an event for a path."""
        self.listener.send_event(path[self.prefix :].encode("latin-1"), self.token)


class Watches:
    """All watches."""

    def __init__(self, root_covers_special: bool) -> None:
        """`root_covers_special`: whether special paths count as below ``/``."""
        self._root_covers_special = root_covers_special
        self._by_path: dict[str, dict[tuple[int, bytes], Watch]] = {}
        self._by_listener: dict[int, dict[int, Watch]] = {}
        self._last_number = 0

    def add(self, watch: Watch) -> None:
        """Set a watch; raises WatchExistsError if the connection has one with the same path and token."""
        key = (id(watch.listener), watch.token)
        at_path = self._by_path.setdefault(watch.path, {})
        if key in at_path:
            raise error_from_errno(errno.EEXIST)
        self._last_number += 1
        watch.number = self._last_number
        at_path[key] = watch
        self._by_listener.setdefault(id(watch.listener), {})[watch.number] = watch
        watch.listener.domain.count("watches", 1)

    def remove(self, listener: Listener, path: str, token: bytes) -> None:
        """Remove a watch; raises NodeNotFoundError if there is none."""
        watch = self._by_path.get(path, {}).get((id(listener), token))
        if watch is None:
            raise error_from_errno(errno.ENOENT)
        del self._by_listener[id(listener)][watch.number]
        self._drop(watch)

    def remove_all(self, listener: Listener) -> None:
        """Remove all watches of a connection."""
        for watch in self._by_listener.pop(id(listener), {}).values():
            self._drop(watch)

    def has(self, listener: Listener, path: str, token: bytes) -> bool:
        """Whether the connection has set such a watch."""
        return (id(listener), token) in self._by_path.get(path, ())

    def fire(self, path: str, exact: bool, permitted: Callable[[Domain], bool]) -> None:
        """Send an event to each watch of the path and, unless `exact`, of those above it, in the order they were set.

        `permitted`: whether a domain may learn of the change; only called if there is a watch.
        """
        found = list(self._by_path.get(path, {}).values())
        if not exact and path != "/" and (path[0] == "/" or self._root_covers_special):
            above = path
            level = 0
            while above != "/":
                above = above.rpartition("/")[0] or "/"
                level += 1
                at_path = self._by_path.get(above)
                if at_path:
                    found += [watch for watch in at_path.values() if watch.depth is None or watch.depth >= level]
        if found:
            self._send(path, found, permitted)

    def fire_special(self, name: str, domid: int, permitted: Callable[[Domain], bool]) -> None:
        """Send the events of a special path that include the domid: to watches of the path with the domid appended, and
        to those of the path itself with a depth above 0. Those without a depth get another event, which does not."""
        detailed = f"{name}/{domid}"
        at_name = self._by_path.get(name, {}).values()
        self._send(name, [watch for watch in at_name if watch.depth is None], permitted)
        told = [watch for watch in at_name if watch.depth]
        self._send(detailed, [*told, *self._by_path.get(detailed, {}).values()], permitted)

    def _send(self, path: str, found: list[Watch], permitted: Callable[[Domain], bool]) -> None:
        if len(found) > 1:
            found.sort(key=lambda watch: watch.number)
        for watch in found:
            if permitted(watch.listener.domain):
                watch.send(path)

    def _drop(self, watch: Watch) -> None:
        at_path = self._by_path[watch.path]
        del at_path[id(watch.listener), watch.token]
        if not at_path:
            del self._by_path[watch.path]
        watch.listener.domain.count("watches", -1)
