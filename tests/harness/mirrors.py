"""What must hold for a mirror, whatever writers do meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.fakes import make_client
from harness.writers import Change, Disturbed, Schedule, Tree, Writer
from xsffi import Client, Node, NodeNotFoundError
from xsffi.addresses import Kind
from xsffi.records import Change as Told

__all__ = ["apply", "check_is_dump", "check_mirror", "tree_of"]


def tree_of(nodes: Mapping[str, Node]) -> Tree:
    """The nodes in the form of the model; fails if a node precedes its parent."""
    before: set[str] = set()
    for path, node in nodes.items():
        assert node.path == path
        above = path.rpartition("/")[0] or "/"
        assert path == "/" or not before or above in before
        before.add(path)
    return {path: (node.value, node.permissions, frozenset(node.children)) for path, node in nodes.items()}


def apply(changes: Sequence[Told], known: dict[str, Node]) -> None:
    """Apply these changes to the known nodes; fails if they do not match."""
    for path, old, new in changes:
        assert old != new
        assert known.get(path) == old
        if new is None:
            del known[path]
        else:
            assert new.path == path
            known[path] = new
    assert len({change.path for change in changes}) == len(changes)


def check_is_dump(mirror: Mapping[str, Node], client: Client, top: str) -> None:
    """While nothing changes, the mirror equals a dump."""
    try:
        nodes = client.dump(top)
    except NodeNotFoundError:
        nodes = []
    assert dict(mirror.items()) == {node.path: node for node in nodes}


class _DisturbedBackend(Disturbed):
    name = "disturbed"
    kind = Kind.SOCKET
    path = "/of/a/test"
    description = "of a test"

    def bulk(self) -> Any:
        return self

    def close(self) -> None:
        """The underlying backend is closed by its owner."""


def check_mirror(client: Client, reader: Any, top: str, before: Change, schedules: Sequence[Schedule]) -> None:
    """Check a mirror over `reader` while `client` makes changes between its requests. After each update, one per
    schedule, it is the tree of some moment since the last one; the changes it reports, applied to the previous nodes,
    give the same tree; and in the end it equals a dump."""
    writer = Writer(client, top)
    writer.make(before)
    waiting: Schedule = []
    with make_client(_DisturbedBackend(reader, writer.between_requests(waiting))) as disturbed:
        waiting += schedules[0]
        trees_before = len(writer.trees) - 1
        with disturbed.mirror(top) as mirror:
            known = mirror.copy()
            assert tree_of(mirror) in writer.trees[trees_before:]
            for schedule in schedules[1:]:
                waiting += schedule
                trees_before = len(writer.trees) - 1
                apply(mirror.update(), known)
                assert known == mirror.copy()
                assert tree_of(mirror) in writer.trees[trees_before:]
            while waiting:
                writer.make(waiting.pop(0)[1])
            apply(mirror.update(), known)
            assert known == mirror.copy()
            assert tree_of(mirror) == writer.trees[-1]
            assert mirror.update() == []
            check_is_dump(mirror, client, top)
    if known:
        client.rm(top)
