"""When a resource shared by threads may be released: once it has ended and its last user has left."""

from __future__ import annotations

from _thread import get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Lifetime"]


class Lifetime:
    """The users of a resource, and its end.

    Takes no lock, so that a signal handler or finalizer may interrupt it anywhere: it consists of atomic operations on
    a dict and a list.
    """

    def __init__(self, release: Callable[[], object], is_used_elsewhere: Callable[[], bool] | None = None) -> None:
        """`release` is called once, by the last user to leave. `is_used_elsewhere` reports users not counted here."""
        #: Each user with the ident of its thread.
        self.users: dict[object, int] = {}
        self._is_over = False
        self._is_used_elsewhere = is_used_elsewhere
        self._release = [release]

    def enter(self, user: object) -> bool:
        """Whether the resource is still there; if so, it stays until `user` removes itself from :attr:`users`."""
        self.users[user] = get_ident()
        return bool(self._release)

    def left(self) -> None:
        """Call after a user has removed itself: not by a function of ours, since an exception may come on its entry."""
        if self._is_over:
            self.end()

    def end(self) -> None:
        """Release it now, or when the last user leaves. If an exception interrupts this, calling again continues."""
        self._is_over = True
        mine: list[Callable[[], object]] = []
        while not self._is_used():
            try:
                try:
                    mine.extend(map(list.pop, (self._release,)))
                except IndexError:
                    return  # already released, or another thread is about to
                # Whoever entered before this must not find it gone; whoever enters after it is refused.
                if not self._is_used():
                    mine[0]()
                    return
            except BaseException:
                self._release.extend(mine)
                raise
            self._release.append(mine.pop())

    def forget_other_threads(self) -> None:
        """In a child process: their users belong to the parent."""
        me = get_ident()
        for user, thread in list(self.users.items()):
            if thread != me:
                self.users.pop(user, None)

    def _is_used(self) -> bool:
        return bool(self.users) or (self._is_used_elsewhere is not None and self._is_used_elsewhere())
