"""The children of a node: an immutable map from name to node that keeps the order in which names were added.

A map with one more child shares all but a few small pieces with the original, however many children there are; so a
node can be copied even if it has a hundred thousand children.
"""

from __future__ import annotations

from ..static_types import Generic, T

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    # A trie over the bits of the name's hash: a tuple is a branch, 32 ways; a dict is a leaf, split when it grows too
    # big.
    _Leaf = dict[str, "tuple[int, Any]"]
    _Trie = Any  # _Leaf | tuple[_Trie, ...], a recursive type that mypy cannot follow through a loop

__all__ = ["Children"]

_LEAF_MAX = 32
_BITS = 5
_MASK = (1 << _BITS) - 1
_DEPTH_MAX = 12  # beyond the bits of a hash: names with equal hashes share a leaf


class Children(Generic[T]):
    """An immutable map from name to node, ordered by when each name was added."""

    __slots__ = ("_count", "_listing", "_trie", "size")

    def __init__(self, trie: _Trie, count: int, size: int, listing: bytes | None = None) -> None:
        """Created from :meth:`none` by :meth:`with_child`."""
        self._trie = trie
        self._count = count
        self._listing = listing
        self.size = size  # of the listing, in bytes

    @classmethod
    def none(cls) -> Children[T]:
        """An empty map."""
        return cls({}, 0, 0, b"")

    def __len__(self) -> int:
        return self._count

    def get(self, name: str) -> tuple[int, T] | None:
        """The position of a child in the order, and the child; None if there is none with this name."""
        trie = self._trie
        if type(trie) is tuple:
            bits = hash(name)
            while type(trie) is tuple:
                trie = trie[bits & _MASK]
                bits >>= _BITS
        item: tuple[int, T] | None = trie.get(name)
        return item

    def names(self) -> list[str]:
        """The names, oldest first."""
        items: list[tuple[int, str]] = []
        tries = [self._trie]
        while tries:
            trie = tries.pop()
            if isinstance(trie, tuple):
                tries += trie
            else:
                items += [(place, name) for name, (place, _) in trie.items()]
        items.sort()
        return [name for _, name in items]

    def listing(self) -> bytes:
        """The names as in a reply: each terminated by a NUL, oldest first."""
        if self._listing is None:
            self._listing = "".join([f"{name}\0" for name in self.names()]).encode("ascii")
        return self._listing

    def with_child(self, name: str, place: int, node: T) -> Children[T]:
        """A copy with one child set, at this position in the order."""
        old = self.get(name)
        trie = _put(self._trie, hash(name), name, (place, node), 0)
        if old is None:
            return Children(trie, self._count + 1, self.size + len(name) + 1)
        return Children(trie, self._count, self.size, self._listing if old[0] == place else None)

    def replaced(self, name: str, node: T) -> Children[T]:
        """A copy with another node for an existing child, at the same position."""
        # Separate from with_child, and not recursive: every write does this at each level of its path.
        trie = self._trie
        branches: list[tuple[tuple[_Trie, ...], int]] = []
        if type(trie) is tuple:
            bits = hash(name)
            while type(trie) is tuple:
                index = bits & _MASK
                branches.append((trie, index))
                trie = trie[index]
                bits >>= _BITS
        trie = trie.copy()
        trie[name] = (trie[name][0], node)
        for branch, index in reversed(branches):
            trie = (*branch[:index], trie, *branch[index + 1 :])
        return Children(trie, self._count, self.size, self._listing)

    def without(self, name: str) -> Children[T]:
        """A copy without one child, which must exist."""
        if self._count == 1:
            return Children.none()
        return Children(_remove(self._trie, hash(name), name), self._count - 1, self.size - len(name) - 1)


def _put(trie: _Trie, bits: int, name: str, item: tuple[int, Any], depth: int) -> _Trie:
    if isinstance(trie, tuple):
        index = bits & _MASK
        branches = list(trie)
        branches[index] = _put(branches[index], bits >> _BITS, name, item, depth + 1)
        return tuple(branches)
    leaf: _Leaf = trie.copy()
    leaf[name] = item
    if len(leaf) > _LEAF_MAX and depth < _DEPTH_MAX:
        return _split(leaf, depth)
    return leaf


def _split(leaf: _Leaf, depth: int) -> _Trie:
    leaves: list[_Leaf] = [{} for _ in range(1 << _BITS)]
    for name, item in leaf.items():
        leaves[(hash(name) >> (_BITS * depth)) & _MASK][name] = item
    return tuple(leaves)


def _remove(trie: _Trie, bits: int, name: str) -> _Trie:
    if isinstance(trie, tuple):
        index = bits & _MASK
        branches = list(trie)
        branches[index] = _remove(branches[index], bits >> _BITS, name)
        return tuple(branches)
    leaf: _Leaf = trie.copy()
    del leaf[name]
    return leaf
