"""The file descriptors of this process: which there are, how many there may be, and which are readable."""

from __future__ import annotations

import gc
import os
import resource
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["WAYS", "descriptors_left", "is_readable", "open_descriptors"]


def open_descriptors() -> list[str]:
    """What this process has open, once garbage was collected, unless the test has turned that off."""
    if gc.isenabled():
        gc.collect()
    # The one by which they are listed is closed by now.
    return sorted(name for name in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{name}"))


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """This process can open so many more, and no others."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[int] = []
    try:
        # Those beyond the limit are memcheck's own, where this runs under it.
        in_use = [fd for fd in map(int, os.listdir("/proc/self/fd")) if hard == resource.RLIM_INFINITY or fd < hard]
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(in_use) + count + 1, hard))
        try:
            while True:
                held.append(os.dup(0))
        except OSError:
            pass
        for _ in range(count):
            os.close(held.pop())
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def is_readable(descriptor: int, timeout: float = 0) -> bool:
    """Whether a descriptor is readable, within so many seconds."""
    return bool(select.select([descriptor], [], [], timeout)[0])


def _by_poll(descriptor: int, timeout: float = 0) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(timeout * 1000))


def _by_epoll(descriptor: int, timeout: float = 0) -> bool:
    with select.epoll() as epoll:
        epoll.register(descriptor, select.EPOLLIN)
        return bool(epoll.poll(timeout))


#: Each way to ask what :func:`is_readable` says, by its name.
WAYS: dict[str, Callable[[int, float], bool]] = {"select": is_readable, "poll": _by_poll, "epoll": _by_epoll}
