"""Clients that connect as a guest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from daemons import Daemon, Guest, RingBridge

from .embedded import EmbeddedDaemon

__all__ = ["place_of_guest"]


@contextmanager
def place_of_guest(host: Daemon | EmbeddedDaemon, domid: int) -> Iterator[str]:
    """The path of a socket on which clients are this domain: bridged to its ring, or the embedded store's own."""
    if isinstance(host, EmbeddedDaemon):
        host.create_domain(domid)
        yield host.store.socket_path(domid)
    else:
        with Guest(host, domid) as ring, RingBridge(ring) as bridge:
            yield bridge.socket_path
