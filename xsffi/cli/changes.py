"""Changes of nodes, as lines for people and as JSON."""

from __future__ import annotations

from .values import shown_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..permissions import Permission
    from ..records import Change, Node

__all__ = ["change_json", "change_line", "is_own"]


def is_own(change: Change) -> bool:
    """Whether the node itself was changed, created or removed, and not only the list of its children."""
    _, old, new = change
    return old is None or new is None or old.value != new.value or _other_permissions(old, new)


def change_line(change: Change, shown: Callable[[bytes], str], paint: Callable[[str, str], str]) -> str:
    """``+ /path = "value"`` for a node that was created, ``-`` for one that was removed, ``~ /path = "old" -> "new"``
    for one that was changed; permissions, if they changed, in brackets. `paint` applies one of rich's styles to a
    text."""
    path, old, new = change
    if old is None or new is None:
        sign, style, node = ("+", "green", new) if old is None else ("-", "red", old)
        assert node is not None
        return f"{paint(sign, style)} {shown_name(path)} = {paint(_quoted(node, shown), style)}"
    parts = [paint("~", "yellow"), shown_name(path)]
    if old.value != new.value:
        parts += ["=", paint(_quoted(old, shown), "red"), "->", paint(_quoted(new, shown), "green")]
    if _other_permissions(old, new):
        parts += [paint(_bracketed(old.permissions), "red"), "->", paint(_bracketed(new.permissions), "green")]
    return " ".join(parts)


def change_json(change: Change, time: float | None = None) -> str:
    """An object with "path", "old" and "new", each a node as in :meth:`~xsffi.Node.to_json`, or null if it did not
    exist; also "time", in seconds since 1970, if given."""
    from json import dumps

    path, old, new = change
    begin = "" if time is None else f'"time": {time:.6f}, '
    return f'{{{begin}"path": {dumps(path)}, "old": {_node_json(old)}, "new": {_node_json(new)}}}'


def _other_permissions(old: Node, new: Node) -> bool:
    """Unknown permissions, as of nodes in a hand-written file, do not count as different."""
    return old.permissions != new.permissions and bool(old.permissions) and bool(new.permissions)


def _quoted(node: Node, shown: Callable[[bytes], str]) -> str:
    text = shown(node.value).replace('"', '\\"')
    return f'"{text}"'


def _bracketed(permissions: tuple[Permission, ...]) -> str:
    return f"({','.join(map(str, permissions))})"


def _node_json(node: Node | None) -> str:
    return "null" if node is None else node.to_json()
