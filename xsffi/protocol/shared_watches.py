"""Watches that several waits of one client share, by their paths: a guest may set 128 in all."""

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
    """A watch that is set, or about to be, and who waits for its events."""

    def __init__(self, path: str, wire_token: bytes) -> None:
        self.path = path
        self.wire_token = wire_token
        self.is_set = False  # the daemon has said so
        self.may_be_set = False  # it was asked to set it
        self.setter: W | None = None  # who is asking it
        self.waits: set[W] = set()

    def request(self) -> Watch:
        """What sets it."""
        return Watch(self.path.encode("ascii"), self.wire_token, None)

    def unwatch_request(self) -> Unwatch:
        """What takes it away."""
        return Unwatch(self.path.encode("ascii"), self.wire_token)


class SharedWatches(Generic[W]):
    """Which watches there are. The methods are for one thread at a time."""

    def __init__(self) -> None:
        self._by_path: dict[str, SharedWatch[W]] = {}
        self._by_token: dict[str, SharedWatch[W]] = {}
        self._of_wait: dict[W, dict[SharedWatch[W], None]] = {}

    def join(self, path: str, wait: W, new_token: Callable[[], bytes]) -> SharedWatch[W]:
        """Have a wait told of the events at a path: the watch, which is to be set where it is not."""
        watch = self._by_path.get(path)
        if watch is None:
            watch = SharedWatch(path, new_token())
            self._by_token[watch.wire_token.decode("ascii")] = watch
            self._by_path[path] = watch
        self._of_wait.setdefault(wait, {})[watch] = None
        watch.waits.add(wait)
        return watch

    def at(self, path: str) -> SharedWatch[W]:
        """The watch at a path at which there is one."""
        return self._by_path[path]

    def of_wait(self, wait: W) -> list[SharedWatch[W]]:
        """The watches of whose events a wait is told."""
        return list(self._of_wait.get(wait, ()))

    def part(self, watch: SharedWatch[W], wait: W) -> bool:
        """Tell a wait of the events of a watch no more: whether nobody needs the watch now, so that it is to be taken
        away. Where an exception comes in the middle, it can be called again."""
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
        """The watch that an event with this token is of; None where it was taken away."""
        return self._by_token.get(wire_token)

    def __iter__(self) -> Iterator[SharedWatch[W]]:
        return iter(list(self._by_path.values()))
