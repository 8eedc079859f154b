"""What callers receive: an event of a watch, and a node as a walk finds it."""

from __future__ import annotations

from typing import Any, NamedTuple

from .permissions import Permission

__all__ = ["Node", "WatchEvent"]


class WatchEvent(NamedTuple):
    """A node that is watched, or one below it, changed; or the watch was just set, which gives one event too.

    `path` is the node that changed, relative if the watch was set with a relative path, or the special path watched.
    `token` is the very object that was given to ``watch``; by default, the watch itself.
    """

    path: str
    token: Any


class Node(NamedTuple):
    """A node of the tree: its path, its value, the names of its children, and its permissions, owner first."""

    path: str
    value: bytes
    children: list[str]
    permissions: list[Permission]
