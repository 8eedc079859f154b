"""An unprivileged guest over its ring, on each of the daemons, whose answers differ in places."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from daemons import DAEMON_KINDS, Daemon, GuestQuotas, require_packages, start_daemon
from daemons.releases import GUESTS_TRANSACTIONS, GUESTS_WATCHES, NEW_OWNER, WATCHES_OVER_QUOTA
from harness.embedded import EmbeddedDaemon
from harness.guests import place_of_guest
from harness.stores import client_of, events_so_far, open_client

import xsffi
from xsffi import Client, Permission
from xsffi.errors import error_from_wire

DOMID = 5


@pytest.fixture(params=[*DAEMON_KINDS, "embedded"])
def host(request: pytest.FixtureRequest) -> Iterator[Daemon | EmbeddedDaemon]:
    """A daemon with the default quotas for guests."""
    require_packages()
    if request.param == "embedded":
        with EmbeddedDaemon() as embedded:
            yield embedded
        return
    with start_daemon(request.param, quotas=GuestQuotas()) as daemon:
        yield daemon


@pytest.fixture
def dom0(host: Daemon) -> Iterator[Client]:
    with client_of(host, "wire") as client:
        yield client


@pytest.fixture
def guest(host: Daemon, backend: str) -> Iterator[Client]:
    """A client over each backend, as the guest: a bridge connects it to the ring."""
    with place_of_guest(host, DOMID) as path, open_client(path, backend) as client:
        yield client


def test_relative_paths_are_its_own(guest: Client, dom0: Client) -> None:
    dom0.write(f"/local/domain/{DOMID}/name", "guest-5")
    dom0.set_permissions(f"/local/domain/{DOMID}/name", ["n0", f"r{DOMID}"])
    assert guest.read("name") == b"guest-5"
    guest.write("data/mine", "1")
    assert dom0.read(f"/local/domain/{DOMID}/data/mine") == b"1"
    assert guest.ls("data") == ["mine"]
    assert guest.get_domain_path(DOMID) == f"/local/domain/{DOMID}"


def test_what_it_may_not_do(guest: Client, dom0: Client, host: Daemon) -> None:
    dom0.write("/secret/value", "x")
    for use in (
        lambda: guest.read("/secret/value"),
        lambda: guest.write("/secret/value", ""),
        lambda: guest.rm("/secret/value"),
        lambda: guest.mkdir("/secret/new"),
        lambda: guest.set_permissions("/secret/value", ["n5"]),
        lambda: guest.introduce_domain(9, 1, 9),
        lambda: guest.release_domain(9),
    ):
        with pytest.raises(PermissionError) as caught:
            use()
        assert isinstance(caught.value, xsffi.AccessDeniedError)
    assert dom0.read("/secret/value") == b"x"
    dom0.set_permissions("/secret/value", ["n0", f"r{DOMID}"])
    assert guest.read("/secret/value") == b"x"
    with pytest.raises(xsffi.AccessDeniedError):
        guest.write("/secret/value", "")


def test_a_missing_node_below_a_closed_parent(guest: Client, dom0: Client, host: Daemon) -> None:
    dom0.mkdir("/secret")
    if host.kind == "xenstored":
        with pytest.raises(xsffi.AccessDeniedError):
            guest.exists("/secret/missing")
    else:
        assert not guest.exists("/secret/missing")


def test_a_new_nodes_owner(guest: Client, dom0: Client, host: Daemon) -> None:
    dom0.mkdir("/shared")
    dom0.set_permissions("/shared", ["b0", f"b{DOMID}"])
    guest.write("/shared/new", "")
    owner = dom0.get_permissions("/shared/new")[0]
    assert owner == (Permission(DOMID, "b") if host.kind == "xenstored" else Permission(0, "b"))


def test_the_owner_cannot_be_given_away(guest: Client, dom0: Client, host: Daemon) -> None:
    guest.write("mine", "")
    guest.set_permissions("mine", [f"n{DOMID}", "r7"])
    assert [str(p) for p in dom0.get_permissions(f"/local/domain/{DOMID}/mine")] == [f"n{DOMID}", "r7"]
    with pytest.raises(type(error_from_wire(NEW_OWNER.of(host)))):
        guest.set_permissions("mine", ["n0"])


def test_its_watches(guest: Client, dom0: Client) -> None:
    guest.watch("device", "mine")
    assert guest.read_watch(5) == ("device", "mine")
    dom0.write(f"/local/domain/{DOMID}/device/vif", "")
    dom0.set_permissions(f"/local/domain/{DOMID}/device/vif", ["n0", f"r{DOMID}"])
    assert {event.path for event in events_so_far(guest)} - {"device"} == {"device/vif"}


def test_the_quota_of_watches(guest: Client, host: Daemon) -> None:
    limit = GUESTS_WATCHES.of(host)
    for number in range(limit):
        guest.watch(f"watched/{number}")
    name = WATCHES_OVER_QUOTA.of(host)
    if name == "EQUOTA" and guest.backend.name == "libxenstore":
        name = "EINVAL"  # for errors that libxenstore does not know
    with pytest.raises(type(error_from_wire(name))) as caught:
        for number in range(limit, limit + 3):
            guest.watch(f"watched/{number}")
    if guest.backend.name == "wire":
        assert caught.value.wire_name == name
    guest.write("still", "alive")


def over_quota(guest: Client, host: Daemon) -> type[xsffi.XenStoreError]:
    """The error for a guest over its quota: oxenstored sends EQUOTA, which libxenstore does not know."""
    unknown = host.kind == "oxenstored" and guest.backend.name == "libxenstore"
    return xsffi.InvalidArgumentError if unknown else xsffi.QuotaExceededError


def test_the_quota_of_transactions(guest: Client, host: Daemon) -> None:
    transactions = []
    with pytest.raises(over_quota(guest, host)):
        for _ in range(12):
            transactions.append(guest.transaction())
    assert len(transactions) == GUESTS_TRANSACTIONS.of(host)
    for transaction in transactions:
        transaction.abort()
    with guest.transaction() as t:
        t.write("after", "")


def test_the_quota_of_nodes(guest: Client, host: Daemon) -> None:
    with pytest.raises(over_quota(guest, host)):
        for number in range(1100):  # in groups, since the names of its children count towards the size of a node
            guest.write(f"many/{number // 100}/{number % 100}", "")
    assert 900 < sum(len(guest.ls(f"many/{group}")) for group in guest.ls("many")) <= 1000
    guest.rm("many")
    guest.write("after", "")


def test_the_quota_of_a_value(guest: Client, host: Daemon) -> None:
    guest.write("value", b"v" * 1900)
    with pytest.raises(xsffi.QuotaExceededError if host.kind == "xenstored" else xsffi.TooBigError):
        guest.write("value", b"v" * 2049)
    assert guest.read("value") == b"v" * 1900


def test_a_guests_control(guest: Client, host: Daemon) -> None:
    if host.kind == "xenstored":
        with pytest.raises(xsffi.AccessDeniedError):
            guest.control("help")
    else:
        assert guest.control("help") == "OK"


def test_the_nodes_of_a_released_domain(host: Daemon, dom0: Client) -> None:
    with place_of_guest(host, 6) as path, xsffi.Client(path, backend="wire") as guest:
        guest.write("mine", "1")
        assert dom0.exists("/local/domain/6/mine")
    dom0.watch("/local/domain/6/mine")
    events_so_far(dom0)
    dom0.release_domain(6)
    if host.kind == "xenstored":
        assert not dom0.exists("/local/domain/6/mine")
    assert dom0.exists("/local/domain")
