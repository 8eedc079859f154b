"""Connections are told of a fork: a child may not use its parent's."""

from __future__ import annotations

import os
from _weakref import ref  # weakref's own, without the dictionaries that are there too

from .static_types import Protocol

__all__ = ["Forkable", "tell_of_forks"]


class Forkable(Protocol):
    """What wants to be told, in a child process, that it is the parent's."""

    def after_fork_in_child(self) -> None:
        """Never use the connection again, and close the child's copies of its descriptors."""


_forkables: set[ref[Forkable]] = set()


def tell_of_forks(forkable: Forkable) -> None:
    """Have it told of every fork for as long as it lives."""
    _forkables.add(ref(forkable, _forkables.discard))


def _after_fork_in_child() -> None:
    for reference in list(_forkables):
        forkable = reference()
        if forkable is not None:
            forkable.after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
