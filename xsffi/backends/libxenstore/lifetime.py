"""When what threads share may be released: once it is over, and the last of them is out."""

from __future__ import annotations

from _thread import get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Lifetime"]


class Lifetime:
    """Who uses a thing, and its end.

    It takes no lock, so that a signal handler or a finalizer may come in between anywhere: it is made of single
    operations on a dict and a list, none of which can be seen half done.
    """

    def __init__(self, release: Callable[[], object], is_used_elsewhere: Callable[[], bool] | None = None) -> None:
        """`release` is called once, by whoever is the last one out. `is_used_elsewhere` tells of users that are not
        counted here."""
        #: The users, each with its thread.
        self.users: dict[object, int] = {}
        self._is_over = False
        self._is_used_elsewhere = is_used_elsewhere
        self._release = [release]

    def enter(self, user: object) -> bool:
        """Whether it is there, and stays so until the user takes itself out of :attr:`users`."""
        self.users[user] = get_ident()
        return bool(self._release)

    def left(self) -> None:
        """A user took itself out: not by a function of ours, since an exception may come as one begins."""
        if self._is_over:
            self.end()

    def end(self) -> None:
        """Release it, at once or when the last user leaves. Where an exception came in the middle, again goes on."""
        self._is_over = True
        mine: list[Callable[[], object]] = []
        while not self._is_used():
            try:
                try:
                    mine.extend(map(list.pop, (self._release,)))
                except IndexError:
                    return  # it was done, or another thread is about to
                # Whoever entered since must not find it gone; whoever enters from here on is told that it is.
                if not self._is_used():
                    mine[0]()
                    return
            except BaseException:
                self._release.extend(mine)
                raise
            self._release.append(mine.pop())

    def forget_other_threads(self) -> None:
        """In a child process: they are the parent's."""
        me = get_ident()
        for user, thread in list(self.users.items()):
            if thread != me:
                self.users.pop(user, None)

    def _is_used(self) -> bool:
        return bool(self.users) or (self._is_used_elsewhere is not None and self._is_used_elsewhere())
