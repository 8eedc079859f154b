"""Random sequences of operations on C xenstored and the embedded store at once: the answers must not differ.

Hypothesis finds short sequences and shrinks them; in the long walks, which are merely random, clients interfere with
each other far more.
"""

from __future__ import annotations

import os
from contextlib import suppress
from random import Random
from typing import Callable

import hypothesis.strategies as st
import pytest
from daemons import GuestQuotas, MessageType, require_packages, strings
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from xsffi.permissions import DOMID_ANY
from xsffi.protocol.wire import Feature

from .pair import GUESTS, KnownDeath, Pair

# Few paths, so that clients meet: a shared subtree, and the guests' homes, also as relative paths.
_PATHS = (
    ["/t", "/t/a", "/t/a/b", "/t/a/c", "/t/a/b/c", "/t/b", "/t/c"] * 3
    + ["a", "a/b", "c", "/local/domain/5/a", "/local/domain/5/a/b", "/local/domain/6/a"] * 2
    + ["/", "/local/domain/5", "/local/domain/6", "/local/domain", "/u/v/w"]
)
_ROOM = (("/t/a", ["b0"]), ("/t", ["b0", "r6"]), ("/local/domain/6", ["r6", "b5"]))
_MANAGEMENT = [
    (MessageType.RESET_WATCHES, b"\0"),
    (MessageType.INTRODUCE, strings("7", "1", "1")),
    (MessageType.RELEASE, strings("7")),
    (MessageType.SET_TARGET, strings("6", "5")),
    (MessageType.IS_DOMAIN_INTRODUCED, strings("7")),
]
_paths = st.sampled_from(_PATHS)
_inner = st.sampled_from([path for path in _PATHS if path != "/"])  # see _step
_specials = st.sampled_from(["@introduceDomain", "@releaseDomain"])
_clients = st.sampled_from(["a", "a", "b", "b", *[f"guest {domid}" for domid in GUESTS]])
_tokens = st.sampled_from(["1", "2"])
_entries = st.builds("{}{}".format, st.sampled_from("nrwb"), st.sampled_from([0, 5, 5, 6, 7]))
_owners = st.builds("{}{}".format, st.sampled_from("nrwb"), st.sampled_from([0, 0, 5, 6]))
_lists = st.lists(_entries, min_size=1, max_size=3)

# Requests that work on a node, repeated according to their weight.
_requests = st.one_of(
    st.tuples(
        st.just(MessageType.WRITE), st.builds(lambda p, v: strings(p) + v, _paths, st.sampled_from([b"", b"x\0"]))
    ),
    st.tuples(st.just(MessageType.WRITE), st.builds(lambda p: strings(p) + b"yy", _paths)),
    st.tuples(st.just(MessageType.RM), st.builds(strings, _paths)),
    st.tuples(st.sampled_from([MessageType.READ, MessageType.MKDIR]), st.builds(strings, _paths)),
    st.tuples(st.sampled_from([MessageType.DIRECTORY, MessageType.GET_PERMS]), st.builds(strings, _paths)),
    st.tuples(st.just(MessageType.SET_PERMS), st.builds(lambda path, list: strings(path, *list), _inner, _lists)),
    st.tuples(st.just(MessageType.DIRECTORY_PART), st.builds(strings, _paths, st.sampled_from("0235"))),
)


def _goes_on(machine: BothStores) -> bool:
    return not machine.is_over


class BothStores(RuleBasedStateMachine):
    """The rules: what any client may do at any time."""

    quotas: GuestQuotas | None = None

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair(self.quotas)
        self.is_over = False

    def teardown(self) -> None:
        self.pair.close()

    def _transaction(self, client: str, choice: int) -> int:
        open_ones = self.pair.clients[client].transactions
        return open_ones[choice % len(open_ones)] if open_ones and choice else 0

    @initialize()
    def make_room(self) -> None:
        for path, entries in _ROOM:
            self.pair.call("a", MessageType.MKDIR, strings(path))
            self.pair.call("a", MessageType.SET_PERMS, strings(path, *entries))

    @precondition(_goes_on)
    @rule(client=_clients, requests=st.lists(_requests, min_size=1, max_size=4), choice=st.integers(0, 2))
    def use_nodes(self, client: str, requests: list[tuple[MessageType, bytes]], choice: int) -> None:
        for type, payload in requests:
            self.pair.call(client, type, payload, self._transaction(client, choice))

    @precondition(_goes_on)
    @rule(client=_clients, path=st.one_of(_paths, _paths, _specials), token=_tokens)
    def watch(self, client: str, path: str, token: str) -> None:
        self.pair.call(client, MessageType.WATCH, strings(path, token))

    @precondition(_goes_on)
    @rule(client=_clients, path=st.one_of(_paths, _paths, _specials), token=_tokens)
    def unwatch(self, client: str, path: str, token: str) -> None:
        self.pair.call(client, MessageType.UNWATCH, strings(path, token))

    @precondition(_goes_on)
    @rule(client=_clients)
    def start(self, client: str) -> None:
        self.pair.call(client, MessageType.TRANSACTION_START)

    @precondition(_goes_on)
    @rule(client=_clients, choice=st.integers(1, 2), commit=st.sampled_from(["T", "T", "T", "F"]))
    def end(self, client: str, choice: int, commit: str) -> None:
        tx_id = self._transaction(client, choice)
        try:
            self.pair.call(client, MessageType.TRANSACTION_END, strings(commit), tx_id)
        except KnownDeath:
            self.is_over = True

    @precondition(_goes_on)
    @rule(client=_clients, request=st.sampled_from(_MANAGEMENT))
    def manage(self, client: str, request: tuple[MessageType, bytes]) -> None:
        self.pair.call(client, *request)

    # Not by guests: up to 4.17, xenstored refuses these with whatever errno was set last. And not for the domain that
    # is released: later ones die of that.
    @precondition(_goes_on)
    @rule(client=st.sampled_from("ab"), name=_specials, owner=_owners, entry=_entries, choice=st.integers(0, 2))
    def set_special_permissions(self, client: str, name: str, owner: str, entry: str, choice: int) -> None:
        self.pair.call(client, MessageType.SET_PERMS, strings(name, owner, entry), self._transaction(client, choice))

    @precondition(_goes_on)
    @rule(client=_clients, name=_specials, choice=st.integers(0, 2))
    def get_special_permissions(self, client: str, name: str, choice: int) -> None:
        self.pair.call(client, MessageType.GET_PERMS, strings(name), self._transaction(client, choice))

    @precondition(lambda machine: _goes_on(machine) and machine.pair.xen.features & Feature.WATCH_DEPTH)
    @rule(client=_clients, path=st.one_of(_paths, _specials), token=_tokens, depth=st.sampled_from("0123"))
    def watch_to_a_depth(self, client: str, path: str, token: str, depth: str) -> None:
        self.pair.call(client, MessageType.WATCH, strings(path, token, depth))


class WithTightQuotas(BothStores):
    """The same, with quotas that guests soon reach."""

    quotas = GuestQuotas(nodes=5, watches=2, transactions=1, permissions=2, node_size=48)


@pytest.mark.parametrize("machine", [BothStores, WithTightQuotas])
def test_equal(machine: type[BothStores]) -> None:
    require_packages()
    run: Callable[..., None] = run_state_machine_as_test  # untyped in the hypothesis for Python 3.9
    run(
        machine,
        settings=settings(  # each example starts a daemon
            max_examples=settings().max_examples * 2 // 5,
            stateful_step_count=40,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("tight", [False, True])
@pytest.mark.parametrize("seed", range(int(os.environ.get("XSFFI_WALKERS", "3"))))
def test_long_walk(seed: int, tight: bool) -> None:
    """As above, with everything happening at once. XSFFI_WALKS is the number of steps per walk."""
    require_packages()
    random = Random(seed * 2 + tight)
    steps = int(os.environ.get("XSFFI_WALKS", "300"))
    with Pair(WithTightQuotas.quotas if tight else None) as pair:
        for path, entries in _ROOM:
            pair.call("a", MessageType.MKDIR, strings(path))
            pair.call("a", MessageType.SET_PERMS, strings(path, *entries))
        with suppress(KnownDeath):
            for number in range(steps):
                _step(random, pair)
                if number % 20 == 0:
                    pair.compare_use()


def _step(random: Random, pair: Pair) -> None:
    client = random.choice(list(pair.clients))
    open_ones = pair.clients[client].transactions
    tx_id = random.choice(open_ones) if open_ones and random.random() < 0.7 else 0
    path = random.choice(_PATHS)
    chance = random.random()
    if chance < 0.15:
        pair.call(client, MessageType.WRITE, strings(path) + bytes(random.randrange(30)), tx_id)
    elif chance < 0.65:
        type = random.choice([MessageType.READ, MessageType.DIRECTORY, MessageType.MKDIR, MessageType.RM])
        pair.call(client, type, strings(path), tx_id)
    elif chance < 0.72:
        domids = [0, 5, 5, 6, 7]
        if pair.xen.features & Feature.DOMID_ANY and client.startswith("guest"):  # over a socket it would be deadly
            domids.append(DOMID_ANY)
        entries = [f"{random.choice('nrwb')}{random.choice(domids)}" for _ in range(random.randint(1, 3))]
        if path == "/":
            entries[0] = "n0"  # xenstored wipes the store when the root's owner is released
        pair.call(client, MessageType.SET_PERMS, strings(path, *entries), tx_id)
    elif chance < 0.75:
        pair.call(client, MessageType.GET_PERMS, strings(path), tx_id)
    elif chance < 0.82:
        type = random.choice([MessageType.WATCH, MessageType.WATCH, MessageType.UNWATCH])
        watched = random.choice([*_PATHS, "@introduceDomain", "@releaseDomain", "@releaseDomain/7"])
        depths = [[], [], ["0"], ["1"]] if type == MessageType.WATCH else [[]]
        pair.call(client, type, strings(watched, random.choice("12"), *random.choice(depths)))
    elif chance < 0.83:
        special = random.choice(["@introduceDomain", "@releaseDomain"])
        entry = f"{random.choice('nrwb')}{random.choice([5, 6, 7])}"
        if pair.xen.special_nodes or client in ("a", "b"):  # see set_special_permissions
            pair.call(client, MessageType.SET_PERMS, strings(special, f"{random.choice('nr')}0", entry), tx_id)
        pair.call(client, MessageType.GET_PERMS, strings(special), tx_id)
    elif chance < 0.88:
        pair.call(client, MessageType.TRANSACTION_START)
    elif chance < 0.97:
        pair.call(client, MessageType.TRANSACTION_END, strings(random.choice("TTTF")), tx_id)
    else:
        pair.call(client, *random.choice(_MANAGEMENT))
