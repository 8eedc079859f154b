"""The tree of nodes. A node never changes: who changes one copies it and those above it, so a snapshot is a pointer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..paths import child_path, parent_path
from .access import NodePermissions
from .children import Children
from .domains import Domain

__all__ = ["NO_CHILDREN", "Node", "Tree", "levels", "own_child", "postorder"]


class Node:
    """A node as it was at some moment."""

    __slots__ = ("children", "generation", "permissions", "value")

    def __init__(self, value: bytes, permissions: NodePermissions, generation: int, children: Children[Node]) -> None:
        self.value = value
        self.permissions = permissions
        self.generation = generation  # changes with value, permissions or the set of children; not with what is below
        self.children = children

    def rights(self, domain: Domain) -> int:
        """What a domain may do with it: READ, WRITE and OWNER of :mod:`.access`, or-ed."""
        return self.permissions.rights(domain, self.generation)

    def with_child(self, name: str, place: int, child: Node, generation: int) -> Node:
        """A copy with one child set."""
        return Node(self.value, self.permissions, generation, self.children.with_child(name, place, child))

    def without_child(self, name: str, generation: int) -> Node:
        """A copy without one child, which must be there."""
        return Node(self.value, self.permissions, generation, self.children.without(name))


NO_CHILDREN: Children[Node] = Children.none()


class Tree:
    """The nodes as they are now. Paths are absolute and valid."""

    def __init__(self, permissions: NodePermissions) -> None:
        """A tree of a root only."""
        self.generation = 0
        self._place = 0
        self.root = Node(b"", permissions, 0, NO_CHILDREN)
        self.special: dict[str, Node] = {}  # by paths that begin with "@", and are no part of the tree

    def next_generation(self) -> int:
        """A number higher than every generation so far."""
        self.generation += 1
        return self.generation

    def next_place(self) -> int:
        """Where a new child stands among its siblings: behind all that were ever made."""
        self._place += 1
        return self._place

    def get(self, path: str) -> Node | None:
        """The node at a path."""
        node = self.root
        if path == "/":
            return node
        if path[0] == "@":
            return self.special.get(path)
        for name in path[1:].split("/"):
            item = node.children.get(name)
            if item is None:
                return None
            node = item[1]
        return node

    def nearest(self, path: str) -> tuple[Node, int]:
        """The lowest node that is there above a path, and at which level it is, the root's being 0.

        Above the root, that is the root; above a special path too, unless a special one is there.
        """
        node = self.root
        if path[0] == "@":
            while (path := parent_path(path)) != "/":
                if path in self.special:
                    return self.special[path], 0
            return node, 0
        level = 0
        for name in path[1:].split("/")[:-1]:
            item = node.children.get(name)
            if item is None:
                break
            node = item[1]
            level += 1
        return node, level

    def create(self, path: str, value: bytes, permissions: NodePermissions) -> None:
        """Make a node, and those above it that are missing, all with the same permissions."""
        generation = self.next_generation()
        names = path[1:].split("/")
        spine = self._spine(names)
        missing = names[len(spine) :]
        node = Node(value, permissions, generation, NO_CHILDREN)
        for name in reversed(missing):
            children = NO_CHILDREN.with_child(name, self.next_place(), node)
            node = Node(b"", permissions, generation, children)
        top = names[len(spine) - 1]
        parent = spine[-1].with_child(top, self.next_place(), node, generation)
        self._replace(names, spine[:-1], parent)

    def update(self, path: str, value: bytes, permissions: NodePermissions) -> None:
        """Set value and permissions of a node that is there."""
        if path[0] == "@":
            self.special[path] = Node(value, permissions, self.next_generation(), NO_CHILDREN)
            return
        names = path[1:].split("/") if path != "/" else []
        spine = self._spine(names)
        old = spine[-1]
        node = Node(value, permissions, self.next_generation(), old.children)
        self._replace(names, spine[:-1], node)

    def put(self, path: str, place: int, value: bytes, permissions: NodePermissions) -> None:
        """Set value and permissions of a node, and its place among its siblings; its parent must be there."""
        names = path[1:].split("/")
        spine = self._spine(names[:-1])
        item = spine[-1].children.get(names[-1])
        children = item[1].children if item is not None else NO_CHILDREN
        node = Node(value, permissions, self.next_generation(), children)
        parent = spine[-1]
        self._replace(names, spine[:-1], parent.with_child(names[-1], place, node, parent.generation))

    def rewrite(self, path: str, permissions: NodePermissions) -> None:
        """Set the permissions of a node that is there, and let it be as old as it was."""
        if path[0] == "@":
            old = self.special[path]
            self.special[path] = Node(old.value, permissions, old.generation, NO_CHILDREN)
            return
        names = path[1:].split("/") if path != "/" else []
        spine = self._spine(names)
        old = spine[-1]
        self._replace(names, spine[:-1], Node(old.value, permissions, old.generation, old.children))

    def remove(self, path: str) -> None:
        """Take a node that is there away, with all below it."""
        names = path[1:].split("/")
        spine = self._spine(names[:-1])
        self._replace(names, spine[:-1], spine[-1].without_child(names[-1], self.next_generation()))

    def _spine(self, names: list[str]) -> list[Node]:
        """The nodes from the root down along these names, as far as they are there."""
        node = self.root
        spine = [node]
        for name in names:
            item = node.children.get(name)
            if item is None:
                break
            node = item[1]
            spine.append(node)
        return spine

    def _replace(self, names: list[str], spine: list[Node], node: Node) -> None:
        """Put `node` where the path of `names` goes on from the last of `spine`, copying all of `spine`."""
        for depth in range(len(spine) - 1, -1, -1):
            above = spine[depth]
            children = above.children.replaced(names[depth], node)
            node = Node(above.value, above.permissions, above.generation, children)
        self.root = node


def levels(path: str) -> int:
    """How many levels below the root a path is."""
    return path.count("/") if path != "/" else 0


def postorder(
    path: str, node: Node, child: Callable[[str, Node, str], Node]
) -> Iterator[tuple[str, Node, Node | None]]:
    """A node and all below it, children first, in their order: path, node, and the node above (None for the top).

    `child` gives the child of a node, by the node's path, the node, and the child's name. Without recursion: a path may
    have a thousand levels.
    """
    stack: list[tuple[str, Node, Node | None, Iterator[str]]] = [(path, node, None, iter(node.children.names()))]
    while stack:
        path, node, parent, names = stack[-1]
        name = next(names, None)
        if name is None:
            stack.pop()
            yield path, node, parent
            continue
        below = child(path, node, name)
        stack.append((child_path(path, name), below, node, iter(below.children.names())))


def own_child(path: str, node: Node, name: str) -> Node:
    """For :func:`postorder`: the child that the node itself has."""
    item = node.children.get(name)
    assert item is not None
    return item[1]
