"""Watches shared by several waits of one client, by path: a guest may set some hundred in all."""

from __future__ import annotations

from ..static_types import Generic
from .requests import Unwatch, Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator
    from typing import TypeVar

    W = TypeVar("W", bound=Hashable)
else:
    W = None

__all__ = ["SharedWatch", "SharedWatches"]


class SharedWatch(Generic[W]):
    """A watch that is set, or about to be, and the waits that need its events."""

    def __init__(self, path: str, wire_token: bytes) -> None:
        self.path = path
        self.wire_token = wire_token
        self.is_set = False  # the daemon has acknowledged it
        self.may_be_set = False  # the request may have been sent
        self.setter: W | None = None  # the wait that is setting it
        self.waits: set[W] = set()

    def request(self) -> Watch:
        """The request that sets it."""
        return Watch(self.path.encode("ascii"), self.wire_token, None)

    def unwatch_request(self) -> Unwatch:
        """The request that removes it."""
        return Unwatch(self.path.encode("ascii"), self.wire_token)


class SharedWatches(Generic[W]):
    """The watches by path and token. Not thread-safe."""

    def __init__(self) -> None:
        self._by_path: dict[str, SharedWatch[W]] = {}
        self._by_token: dict[str, SharedWatch[W]] = {}
        self._of_wait: dict[W, dict[SharedWatch[W], None]] = {}

    def join(self, path: str, wait: W, new_token: Callable[[], bytes]) -> SharedWatch[W]:
        """Add a wait to the watch at a path, and return the watch; the caller must set it if it is not set."""
        watch = self._by_path.get(path)
        if watch is None:
            watch = SharedWatch(path, new_token())
            self._by_token[watch.wire_token.decode("ascii")] = watch
            self._by_path[path] = watch
        self._of_wait.setdefault(wait, {})[watch] = None
        watch.waits.add(wait)
        return watch

    def at(self, path: str) -> SharedWatch[W]:
        """The watch at a path; there must be one."""
        return self._by_path[path]

    def of_wait(self, wait: W) -> list[SharedWatch[W]]:
        """The watches that a wait is added to."""
        return list(self._of_wait.get(wait, ()))

    def part(self, watch: SharedWatch[W], wait: W) -> bool:
        """Remove a wait from a watch; whether nobody needs the watch any more, so that the caller must remove it. If an
        exception interrupts this, it can be called again."""
        watch.waits.discard(wait)
        if not watch.waits:
            self._by_token.pop(watch.wire_token.decode("ascii"), None)
            self._by_path.pop(watch.path, None)
        of_wait = self._of_wait.get(wait, {})
        of_wait.pop(watch, None)
        if not of_wait:
            self._of_wait.pop(wait, None)
        return not watch.waits

    def of(self, wire_token: str) -> SharedWatch[W] | None:
        """The watch that an event with this token belongs to; None if it was removed."""
        return self._by_token.get(wire_token)

    def __iter__(self) -> Iterator[SharedWatch[W]]:
        return iter(list(self._by_path.values()))
