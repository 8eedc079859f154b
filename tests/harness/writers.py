"""A writer that changes a tree while others read it, and a model that records its states."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import hypothesis.strategies as st

from harness.inprocess import outcomes
from xsffi import Client, Node, NodeNotFoundError, Permission
from xsffi.protocol.requests import Request
from xsffi.sync.transaction import Transaction
from xsffi.sync.trees import snapshot

__all__ = ["CHANGES", "SCHEDULES", "Change", "Disturbed", "Schedule", "Writer", "check_dump", "random_change"]

Operation = tuple[str, str, str]  # the verb, the path below the top, and what to write
Change = list[Operation]  # operations made together, in a transaction if there are several
Schedule = list[tuple[int, Change]]  # each after so many further requests; -1: together with the previous one
Tree = dict[str, tuple[bytes, tuple[Permission, ...], frozenset[str]]]  # value, permissions and children by path

VERBS = ["write", "write", "mkdir", "rm", "rm", "set_permissions"]
PATHS = ["", "/a", "/a/b", "/a/b/c", "/a/b/d", "/a/e", "/a/e/f", "/g", "/g/h"]
TEXTS = ["1", "2", "3"]

CHANGES = st.lists(
    st.tuples(st.sampled_from(VERBS), st.sampled_from(PATHS), st.sampled_from(TEXTS)), min_size=1, max_size=3
)
SCHEDULES = st.lists(st.tuples(st.integers(-1, 6), CHANGES), max_size=10)


def random_change(random: Random) -> Change:
    """One of :data:`CHANGES`."""
    count = random.choice([1, 1, 1, 2, 3])
    return [(random.choice(VERBS), random.choice(PATHS), random.choice(TEXTS)) for _ in range(count)]


def random_start(random: Random) -> Change:
    """Operations that create an initial tree."""
    return [random.choice(random_change(random)) for _ in range(random.randint(1, 8))]


def carry_out(target: Client | Transaction, top: str, operation: Operation) -> None:
    """Carry out an operation below `top`; raises the client's errors."""
    verb, path, text = operation
    arguments: dict[str, tuple[Any, ...]] = {"write": (text,), "set_permissions": (["n0", f"r{text}"],)}
    getattr(target, verb)(top + path, *arguments.get(verb, ()))


class Model:
    """The tree below a top, as its only writer makes it."""

    def __init__(self, top: str) -> None:
        self._top = top
        self._nodes: dict[str, tuple[bytes, tuple[Permission, ...]]] = {}

    def apply(self, operation: Operation) -> None:
        verb, path, text = operation
        if verb == "write":
            self._make(path)
            self._nodes[path] = text.encode(), self._nodes[path][1]
        elif verb == "mkdir":
            self._make(path)
        elif verb == "rm":
            self._nodes = {p: node for p, node in self._nodes.items() if p != path and not p.startswith(f"{path}/")}
        elif path in self._nodes:
            self._nodes[path] = self._nodes[path][0], (Permission(0, "n"), Permission(int(text), "r"))

    def tree(self) -> Tree:
        tree = {}
        for path, (value, permissions) in self._nodes.items():
            below = [p[len(path) + 1 :] for p in self._nodes if p.startswith(f"{path}/")]
            tree[self._top + path] = value, permissions, frozenset(name for name in below if "/" not in name)
        return tree

    def _make(self, path: str) -> None:
        """Create the node and its missing ancestors, each of which inherits its parent's permissions."""
        permissions: tuple[Permission, ...] = (Permission(0, "n"),)
        for path_above in itertools.accumulate(path.split("/"), "{}/{}".format):
            permissions = self._nodes.setdefault(path_above, (b"", permissions))[1]


class Writer:
    """Makes changes in the store and in the model, and keeps all states of the tree.

    After each change it writes a number, so that no two states are equal.
    """

    def __init__(self, client: Client, top: str) -> None:
        self._client = client
        self._top = top
        self._model = Model(top)
        self._numbers = itertools.count(1)
        self.trees = [self._model.tree()]

    def make(self, change: Change) -> None:
        self._make(_told(change))
        self._make([("write", "/number", str(next(self._numbers)))])

    def between_requests(self, waiting: Schedule) -> Callable[[], None]:
        """A function, to be called before each request, that makes each waiting change after its number of calls."""
        requests = 0

        def change() -> None:
            nonlocal requests
            requests += 1
            while waiting and requests > waiting[0][0]:
                requests = 0
                self.make(waiting.pop(0)[1])

        return change

    def _make(self, change: Change) -> None:
        if len(change) == 1:
            self._carry(self._client, change[0])
        else:
            with self._client.transaction() as t:
                for operation in change:
                    self._carry(t, operation)
        for operation in change:
            self._model.apply(operation)
        self.trees.append(self._model.tree())

    def _carry(self, target: Client | Transaction, operation: Operation) -> None:
        try:
            carry_out(target, self._top, operation)
        except NodeNotFoundError:
            assert operation[0] in ("rm", "set_permissions")


def _told(change: Change) -> Change:
    """The change without operations that xenstored sends no event for: it keeps the ancestors of a node that is created
    and removed in the same transaction."""
    told: Change = []
    for verb, path, text in change:
        if verb != "rm" or not any(f"{made}/".startswith(f"{path}/") for _, made, _ in told):
            told.append((verb, path, text))
    return told


class Disturbed:
    """A connection where others make changes before each request."""

    def __init__(self, backend: Any, before: Callable[[], None]) -> None:
        self._backend = backend
        self._before = before

    def call(self, request: Request[Any]) -> Any:
        self._before()
        return self._backend.call(request)

    def call_many(self, requests: Sequence[Request[Any]]) -> list[Any]:
        return outcomes(self.call, requests)

    def post(self, request: Request[Any]) -> None:
        self._backend.post(request)

    def events(self, prefix: str, limit: int = 0) -> Any:
        return self._backend.events(prefix, limit)


def check_dump(client: Client, reader: Any, top: str, before: Change, schedule: Schedule) -> None:
    """A dump over `reader`, while `client` makes changes between its requests, is the tree of some moment meanwhile."""
    writer = Writer(client, top)
    writer.make(before)
    trees_before = len(writer.trees) - 1
    disturbed: Any = Disturbed(reader, writer.between_requests(list(schedule)))
    assert _tree(lambda: snapshot(disturbed, top, 1000)) in writer.trees[trees_before:]
    assert _tree(lambda: list(client.walk(top))) == writer.trees[-1]  # which shows that the model is right
    client.rm(top)


def _tree(read: Callable[[], list[Node]]) -> Tree:
    """What was read, in the form of the model: nothing if there is no top."""
    try:
        nodes = read()
    except NodeNotFoundError:
        return {}
    assert len({node.path for node in nodes}) == len(nodes)
    return {node.path: (node.value, node.permissions, frozenset(node.children)) for node in nodes}
