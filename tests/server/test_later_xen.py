"""What xenstored has since 4.18, 4.21 and 4.22, which the one that the other tests compare with has not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import xsffi
from xsffi.testing import EmbeddedStore


@pytest.fixture
def store() -> Iterator[EmbeddedStore]:
    with EmbeddedStore() as store:
        yield store


@pytest.fixture
def xs(store: EmbeddedStore) -> Iterator[xsffi.Client]:
    with store.connect(backend="wire", timeout=10) as client:
        yield client


def paths_of(xs: xsffi.Client) -> list[tuple[str, str]]:
    xs.read("/")  # what was sent before the answer has come
    found = []
    while (event := xs.check_watch()) is not None:
        found.append((event.path, event.token))
    return found


def test_depth(xs: xsffi.Client) -> None:
    for depth in (0, 1, 2, None):
        xs.watch("/a", f"a{depth}", depth=depth)
        xs.watch("/", f"root{depth}", depth=depth)
    paths_of(xs)
    told = {}
    for path in ("/", "/a", "/a/b", "/a/b/c"):
        xs.write(path, "")
        told[path] = sorted(token for found, token in paths_of(xs) if found == path)
    assert told == {
        "/": ["root0", "root1", "root2", "rootNone"],
        "/a": ["a0", "a1", "a2", "aNone", "root1", "root2", "rootNone"],
        "/a/b": ["a1", "a2", "aNone", "root2", "rootNone"],
        "/a/b/c": ["a2", "aNone", "rootNone"],
    }
    xs.watch("/a/b/c", "gone", depth=0)
    paths_of(xs)
    xs.rm("/a")
    assert ("/a/b/c", "gone") in paths_of(xs)


def test_special_watches_that_tell_the_domain(xs: xsffi.Client) -> None:
    for path, depth in (("@introduceDomain", None), ("@introduceDomain", 1), ("@releaseDomain", 0)):
        xs.watch(path, f"{path}{depth}", depth=depth)
    xs.watch("@releaseDomain/7", "seven", depth=0)
    paths_of(xs)
    xs.introduce_domain(7, 1, 1)
    assert sorted(paths_of(xs)) == [
        ("@introduceDomain", "@introduceDomainNone"),
        ("@introduceDomain/7", "@introduceDomain1"),
    ]
    xs.introduce_domain(8, 1, 1)
    xs.release_domain(8)
    paths_of(xs)
    xs.release_domain(7)
    assert paths_of(xs) == [("@releaseDomain/7", "seven")]


def test_permissions_of_special_paths() -> None:
    from daemons import MessageType, SocketConnection, strings

    with EmbeddedStore() as store, SocketConnection(store.path) as connection:
        connection.call(MessageType.SET_PERMS, strings("@releaseDomain", "n0", "r5"))
        assert connection.call(MessageType.GET_PERMS, strings("@releaseDomain")).payload == b"n0\0r5\0"
        assert connection.call(MessageType.GET_PERMS, strings("@introduceDomain")).payload == b"n0\0"


def test_features(store: EmbeddedStore, xs: xsffi.Client) -> None:
    assert xs.get_features() == 6
    assert xs.get_features(5) == 6
    xs.set_features(5, 2)
    assert xs.get_features(5) == 2
    for bits in (8, 16, 2 | 1 << 31):
        with pytest.raises(xsffi.InvalidArgumentError):
            xs.set_features(5, bits)
    with store.connect(5, backend="wire") as guest:
        assert guest.get_features() == 2
        with pytest.raises(xsffi.AccessDeniedError):
            guest.get_features(0)
        guest.watch("a")
        with pytest.raises(xsffi.XenStoreError):
            guest.watch("a", depth=1)
    with pytest.raises(xsffi.XenStoreError) as caught:
        xs.set_features(5, 6)
    assert caught.value.wire_name == "EBUSY"
    with pytest.raises(xsffi.NodeNotFoundError):
        xs.get_features(0x7FF5)


def test_quotas(store: EmbeddedStore, xs: xsffi.Client) -> None:
    assert {"nodes", "watches", "node-size", "soft-memory"} <= set(xs.quota_names())
    assert xs.get_quota("nodes") == 1000
    xs.set_quota("nodes", 3)
    assert xs.get_quota("nodes") == 3
    xs.set_quota("watches", 1, 5)
    assert (xs.get_quota("watches"), xs.get_quota("watches", 5)) == (128, 1)
    with store.connect(5, backend="wire") as guest, store.connect(6, backend="wire") as other:
        # Domain 5 was known before the quota was set that new ones get.
        guest.watch("a", "1")
        guest.watch("a", "2")
        with pytest.raises(xsffi.TooBigError):
            guest.watch("a", "3")
        other.watch("a", "3")
        other.write("b/c", "")
        with pytest.raises(xsffi.QuotaExceededError):
            other.write("d", "")
        xs.set_quota("nodes", 0, 6)
        other.write("d", "")
    for use in (
        lambda: xs.get_quota("nonsense"),
        lambda: xs.set_quota("nonsense", 1),
        lambda: xs.set_quota("nodes", 0xFFFFFFFF),
    ):
        with pytest.raises(xsffi.InvalidArgumentError):
            use()


def test_set_target(store: EmbeddedStore, xs: xsffi.Client) -> None:
    with store.connect(5, backend="wire") as guest, store.connect(6, backend="wire") as model:
        guest.write("data", "1")
        with pytest.raises(xsffi.AccessDeniedError):
            model.read("/local/domain/5/data")
        xs.set_target(6, 5)
        assert model.read("/local/domain/5/data") == b"1"
        xs.release_domain(5)
        with pytest.raises(xsffi.AccessDeniedError):
            model.write("/local/domain/5/data", "")
