"""The tree of nodes. Nodes are immutable: a change copies the node and those above it, so a snapshot is a pointer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..paths import child_path, parent_path
from .access import NodePermissions
from .children import Children
from .domains import Domain

__all__ = ["NO_CHILDREN", "Node", "Tree", "levels", "own_child", "postorder"]


class Node:
    """A node as it is at one moment."""

    __slots__ = ("children", "generation", "permissions", "value")

    def __init__(self, value: bytes, permissions: NodePermissions, generation: int, children: Children[Node]) -> None:
        self.value = value
        self.permissions = permissions
        self.generation = generation  # changes with value, permissions or the set of children, not with a child
        self.children = children

    def rights(self, domain: Domain) -> int:
        """What a domain may do with it: READ, WRITE and OWNER of :mod:`.access` combined with ``|``."""
        return self.permissions.rights(domain, self.generation)

    def with_child(self, name: str, place: int, child: Node, generation: int) -> Node:
        """A copy with one child set."""
        return Node(self.value, self.permissions, generation, self.children.with_child(name, place, child))

    def without_child(self, name: str, generation: int) -> Node:
        """A copy without one child, which must exist."""
        return Node(self.value, self.permissions, generation, self.children.without(name))


NO_CHILDREN: Children[Node] = Children.none()


class Tree:
    """The nodes as they are now. Paths are absolute and valid."""

    def __init__(self, permissions: NodePermissions) -> None:
        """A tree with only a root."""
        self.generation = 0
        self._place = 0
        self.root = Node(b"", permissions, 0, NO_CHILDREN)
        self.special: dict[str, Node] = {}  # by path, starting with "@"; not part of the tree

    def next_generation(self) -> int:
        """A number higher than every generation so far."""
        self.generation += 1
        return self.generation

    def next_place(self) -> int:
        """The position of a new child among its siblings: after all that were ever created."""
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
        """The lowest existing node above a path, and its level, 0 for the root.

        For the root, and for a special path that does not exist, that is the root.
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
        """Create a node, and missing ones above it, all with the same permissions."""
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
        """Set value and permissions of an existing node."""
        if path[0] == "@":
            self.special[path] = Node(value, permissions, self.next_generation(), NO_CHILDREN)
            return
        names = path[1:].split("/") if path != "/" else []
        spine = self._spine(names)
        old = spine[-1]
        node = Node(value, permissions, self.next_generation(), old.children)
        self._replace(names, spine[:-1], node)

    def put(self, path: str, place: int, value: bytes, permissions: NodePermissions) -> None:
        """Set value and permissions of a node, and its position among its siblings; its parent must exist."""
        names = path[1:].split("/")
        spine = self._spine(names[:-1])
        item = spine[-1].children.get(names[-1])
        children = item[1].children if item is not None else NO_CHILDREN
        node = Node(value, permissions, self.next_generation(), children)
        parent = spine[-1]
        self._replace(names, spine[:-1], parent.with_child(names[-1], place, node, parent.generation))

    def rewrite(self, path: str, permissions: NodePermissions) -> None:
        """Set the permissions of an existing node without changing its generation."""
        if path[0] == "@":
            old = self.special[path]
            self.special[path] = Node(old.value, permissions, old.generation, NO_CHILDREN)
            return
        names = path[1:].split("/") if path != "/" else []
        spine = self._spine(names)
        old = spine[-1]
        self._replace(names, spine[:-1], Node(old.value, permissions, old.generation, old.children))

    def remove(self, path: str) -> None:
        """Remove an existing node and everything below it."""
        names = path[1:].split("/")
        spine = self._spine(names[:-1])
        self._replace(names, spine[:-1], spine[-1].without_child(names[-1], self.next_generation()))

    def _spine(self, names: list[str]) -> list[Node]:
        """The nodes from the root down along these names, as far as they exist."""
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
        """Put `node` where the path of `names` continues after the last of `spine`, copying all of `spine`."""
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
    """A node and everything below it, children first, in order: path, node, and parent (None for the top).

    `child` returns the child of a node, given the node's path, the node, and the child's name. Not recursive: a path
    may have a thousand levels.
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
    """For :func:`postorder`: the child in the node itself."""
    item = node.children.get(name)
    assert item is not None
    return item[1]
