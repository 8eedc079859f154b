"""Notifies connections of a fork: a child process may not use its parent's."""

from __future__ import annotations

import os
from _weakref import ref  # what weakref exports, faster to import

from .static_types import Protocol

__all__ = ["Forkable", "tell_of_forks"]


class Forkable(Protocol):
    """An object to be notified in child processes."""

    def after_fork_in_child(self) -> None:
        """Disable the connection, which belongs to the parent, and close the child's copies of its descriptors."""


_forkables: set[ref[Forkable]] = set()


def tell_of_forks(forkable: Forkable) -> None:
    """Notify `forkable` of every fork for as long as it lives."""
    _forkables.add(ref(forkable, _forkables.discard))


def _after_fork_in_child() -> None:
    for reference in list(_forkables):
        forkable = reference()
        if forkable is not None:
            forkable.after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
