"""What a mirror is to be, whatever writers do meanwhile."""

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
    """The nodes as the model has them; fails where one comes before the one above it."""
    before: set[str] = set()
    for path, node in nodes.items():
        assert node.path == path
        above = path.rpartition("/")[0] or "/"
        assert path == "/" or not before or above in before
        before.add(path)
    return {path: (node.value, node.permissions, frozenset(node.children)) for path, node in nodes.items()}


def apply(changes: Sequence[Told], known: dict[str, Node]) -> None:
    """Bring what is known to where it was after these changes; fails where they do not fit to it."""
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
    """Where nothing moves, it is a dump."""
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
        """The one beneath is somebody else's."""


def check_mirror(client: Client, reader: Any, top: str, before: Change, schedules: Sequence[Schedule]) -> None:
    """A mirror over `reader`, while `client` makes changes between its requests: each update, one for each schedule, is
    the tree of a moment meanwhile; what it tells, applied to what was known, gives the same; and what it is in the end
    is a dump."""
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
