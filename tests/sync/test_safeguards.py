"""What would crash the daemon is refused: permissions for DOMID_ANY over a socket, on a daemon that knows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Callable

import pytest
from harness.fakes import make_client
from harness.inprocess import InProcessBackend

from xsffi import DOMID_ANY, Client, Feature, InvalidArgumentError, Node, Permission
from xsffi.addresses import Kind
from xsffi.protocol.requests import GetFeatures, Request
from xsffi.server.store import Store

FOR_ALL = ["n0", f"r{DOMID_ANY}"]


class Telling(InProcessBackend):
    """Keeps the requests."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.asked: list[Request[Any]] = []

    def call(self, request: Request[Any], tx_id: int = 0) -> Any:
        self.asked.append(request)
        return super().call(request, tx_id)

    @property
    def questions(self) -> int:
        """How many times the daemon was asked for its features."""
        return self.asked.count(GetFeatures(0))


@pytest.fixture
def backend() -> Telling:
    """A connection to a store that reports that it knows DOMID_ANY."""
    store = Store()
    store.dom0.features |= Feature.DOMID_ANY
    return Telling(store)


@pytest.fixture
def xs(backend: Telling) -> Iterator[Client]:
    with make_client(backend) as client:
        client.write("/a", "")
        yield client


def pipelined(xs: Client, allow: bool, transaction: bool = False) -> None:
    with xs.pipeline(transaction) as p:
        p.set_permissions("/a", FOR_ALL, allow_any_domain=allow)


def in_a_transaction(xs: Client, allow: bool) -> None:
    with xs.transaction() as t:
        t.set_permissions("/a", FOR_ALL, allow_any_domain=allow)


NODE = Node("/a", b"", (), (Permission(0, "n"), Permission(DOMID_ANY, "r")))
WAYS: dict[str, Callable[[Client, bool], object]] = {
    "set_permissions": lambda xs, allow: xs.set_permissions("/a", FOR_ALL, allow_any_domain=allow),
    "as owner": lambda xs, allow: xs.set_permissions("/a", [f"n{DOMID_ANY}"], allow_any_domain=allow),
    "as Permission": lambda xs, allow: xs.set_permissions("/a", NODE.permissions, allow_any_domain=allow),
    "in a transaction": in_a_transaction,
    "pipeline": pipelined,
    "pipeline in a transaction": lambda xs, allow: pipelined(xs, allow, transaction=True),
    "load": lambda xs, allow: xs.load([NODE], allow_any_domain=allow),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_it_is_refused(xs: Client, backend: Telling, way: Callable[[Client, bool], object]) -> None:
    with pytest.raises(InvalidArgumentError, match="allow_any_domain=True") as caught:
        way(xs, False)
    assert caught.value.filename == "/a"
    assert xs.get_permissions("/a") == [Permission(0, "n")]
    with pytest.raises(InvalidArgumentError):
        way(xs, False)
    assert backend.questions == 1


@pytest.mark.parametrize("way", [way for name, way in WAYS.items() if name != "as owner"])
def test_unless_the_daemon_is_known_to_be_mended(
    xs: Client, backend: Telling, way: Callable[[Client, bool], object]
) -> None:
    way(xs, True)
    assert xs.get_permissions("/a") == list(NODE.permissions)
    assert backend.questions == 0


@pytest.mark.parametrize("way", [way for name, way in WAYS.items() if name != "as owner"])
@pytest.mark.parametrize("change", ["an older daemon", "a device", "a guest"])
def test_where_it_is_harmless_it_is_set(
    xs: Client, backend: Telling, way: Callable[[Client, bool], object], change: str
) -> None:
    if change == "an older daemon":
        backend._connection.domain.features = Feature.ERROR | Feature.WATCH_DEPTH
    elif change == "a device":
        backend.kind = Kind.DEVICE
    else:
        backend._connection.domain.privileged = False
    with make_client(backend) as client:
        way(client, False)
        way(client, False)
        assert client.get_permissions("/a") == list(NODE.permissions)
        assert backend.questions == (0 if change == "a device" else 1)
        client._closed = True  # the connection belongs to the other client


def test_nobody_asks_without_need(xs: Client, backend: Telling) -> None:
    xs.set_permissions("/a", ["n0", "r5", f"r{DOMID_ANY - 1}"])
    with xs.pipeline() as p:
        p.set_permissions("/a", ["n0", "r5"])
    assert backend.questions == 0


def test_what_is_refused_in_a_pipeline_stands_in_its_place(xs: Client) -> None:
    p = xs.pipeline()
    p.write("/b", "1")
    p.set_permissions("/b", FOR_ALL)
    p.set_permissions("/b", FOR_ALL, allow_any_domain=True)
    p.read("/b")
    first, refused, third, value = p.execute(raise_on_error=False)
    assert (first, third, value) == (None, None, b"1")
    assert isinstance(refused, InvalidArgumentError)
    assert refused.filename == "/b"


def test_what_others_have_given_can_be_added_to_elsewhere(xs: Client) -> None:
    xs.set_permissions("/a", FOR_ALL, allow_any_domain=True)
    with pytest.raises(InvalidArgumentError, match="allow_any_domain=True"):
        xs.set_permissions("/a", [*xs.get_permissions("/a"), "r5"])
    xs.set_permissions("/a", [p for p in xs.get_permissions("/a") if p.domid != DOMID_ANY])
    with pytest.raises(InvalidArgumentError, match="allow_any_domain=True"):
        xs.load([NODE])
    with pytest.raises(InvalidArgumentError, match="allow_any_domain=True"):
        xs.load([Node("/b", b"", (), ()), NODE])
    assert xs.exists("/b")
