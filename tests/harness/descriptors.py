"""The file descriptors of this process: which are open, how many it may open, and which are readable."""

from __future__ import annotations

import gc
import os
import resource
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["WAYS", "descriptors_left", "is_readable", "open_descriptors"]


def open_descriptors() -> list[str]:
    """What this process has open, after garbage collection, unless the test has disabled that."""
    if gc.isenabled():
        gc.collect()
    # The descriptor used for listing has been closed.
    return sorted(name for name in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{name}"))


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """This process can open exactly so many more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[int] = []
    try:
        # Those beyond the limit are memcheck's own, if this runs under it.
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
    """Whether a descriptor becomes readable within so many seconds."""
    return bool(select.select([descriptor], [], [], timeout)[0])


def _by_poll(descriptor: int, timeout: float = 0) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(timeout * 1000))


def _by_epoll(descriptor: int, timeout: float = 0) -> bool:
    with select.epoll() as epoll:
        epoll.register(descriptor, select.EPOLLIN)
        return bool(epoll.poll(timeout))


#: Implementations of :func:`is_readable`, by name.
WAYS: dict[str, Callable[[int, float], bool]] = {"select": is_readable, "poll": _by_poll, "epoll": _by_epoll}
