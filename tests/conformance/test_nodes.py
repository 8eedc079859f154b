"""Operations on nodes, over every backend, on every daemon."""

from __future__ import annotations

import pytest
from daemons import Daemon
from daemons.releases import LONG_PATH
from harness.stores import of_sync_alone

import xsffi
from xsffi import Client, Permission
from xsffi.errors import error_from_wire


@pytest.mark.parametrize(
    "value",
    [b"", b"x", b"\0", b"a\0b\0", b"ends in NUL\0", bytes(range(256)), b"v" * 2000],
    ids=["empty", "one", "NUL", "NULs", "trailing NUL", "all bytes", "long"],
)
def test_a_value_comes_back_exactly(xs: Client, top: str, value: bytes) -> None:
    xs.write(f"{top}/value", value)
    assert xs.read(f"{top}/value") == value


def test_the_longest_value(xs: Client, top: str) -> None:
    path = f"{top}/longest"
    value = b"\xff" * (4096 - len(path) - 1)
    xs.write(path, value)
    assert xs.read(path) == value
    with pytest.raises(xsffi.TooBigError) as caught:
        xs.write(path, value + b"!")
    assert "4096" in str(caught.value)
    assert xs.read(path) == value


def test_text_is_utf8(xs: Client, top: str) -> None:
    xs.write(f"{top}/text", "gäste: ☃")
    assert xs.read(f"{top}/text") == "gäste: ☃".encode()
    assert xs.read_text(f"{top}/text") == "gäste: ☃"
    xs.write(f"{top}/text", b"\xff")
    with pytest.raises(UnicodeDecodeError):
        xs.read_text(f"{top}/text")
    assert xs.read_text(f"{top}/text", errors="replace") == "�"


def test_a_missing_node(xs: Client, top: str) -> None:
    path = f"{top}/missing"
    for verb in (xs.read, xs.ls, xs.get_permissions, xs.read_text):
        with pytest.raises(FileNotFoundError) as caught:
            verb(path)
        assert isinstance(caught.value, xsffi.NodeNotFoundError)
        assert caught.value.filename == path
    with pytest.raises(xsffi.NodeNotFoundError):
        xs.set_permissions(path, ["n0"])
    assert xs.get(path) is None
    assert xs.get(path, b"default") == b"default"
    assert not xs.exists(path)


def test_writing_makes_the_nodes_above(xs: Client, top: str) -> None:
    xs.write(f"{top}/a/b/c", "leaf")
    assert xs.read(f"{top}/a/b") == b""
    assert xs.ls(f"{top}/a") == ["b"]


def test_mkdir(xs: Client, top: str) -> None:
    xs.mkdir(f"{top}/new/below")
    assert xs.read(f"{top}/new/below") == b""
    xs.write(f"{top}/new", "kept")
    xs.mkdir(f"{top}/new")
    assert xs.read(f"{top}/new") == b"kept"


def test_rm_takes_all_below(xs: Client, top: str) -> None:
    xs.write(f"{top}/a/b/c", "")
    xs.rm(f"{top}/a")
    assert not xs.exists(f"{top}/a/b/c")
    assert xs.ls(top) == []


def test_rm_of_a_missing_node(xs: Client, top: str) -> None:
    xs.rm(f"{top}/missing")
    with pytest.raises(xsffi.NodeNotFoundError):
        xs.rm(f"{top}/missing/below")


def test_the_root_is_not_removed(xs: Client, top: str) -> None:
    with pytest.raises(xsffi.InvalidArgumentError):
        xs.rm("/")
    assert xs.exists(top)


def test_ls(xs: Client, top: str) -> None:
    assert xs.ls(top) == []
    for name in ("b", "a", "c"):
        xs.mkdir(f"{top}/{name}")
    assert sorted(xs.ls(top)) == ["a", "b", "c"]


def test_ls_in_parts(xs: Client, daemon: Daemon, top: str, other: Client) -> None:
    """A list that does not fit into a reply of 4096 bytes."""
    names = [f"a-name-that-takes-some-room-{number}" for number in range(1000)]
    for name in names:
        other.mkdir(f"{top}/{name}")
    if xs.backend.name == "libxenstore" and daemon.kind == "oxenstored":
        with pytest.raises(xsffi.ConnectionLostError, match="4096"):
            xs.ls(top)
        return
    assert sorted(xs.ls(top)) == sorted(names)


def test_ls_in_parts_inside_a_transaction(xs: Client, daemon: Daemon, top: str, other: Client) -> None:
    names = [f"a-name-that-takes-some-room-{number}" for number in range(300)]
    for name in names:
        other.mkdir(f"{top}/{name}")
    if xs.backend.name == "libxenstore" and daemon.kind == "oxenstored":
        pytest.skip("libxenstore gives up on the reply")
    with xs.transaction() as t:
        assert sorted(t.ls(top)) == sorted(names)


@of_sync_alone("there is no item syntax, since nothing could be awaited there")
def test_the_mapping(xs: Client, top: str) -> None:
    path = f"{top}/mapped"
    assert path not in xs
    xs[path] = "value"
    assert path in xs
    assert xs[path] == b"value"
    del xs[path]
    with pytest.raises(FileNotFoundError):
        xs[path]
    with pytest.raises(TypeError):
        iter(xs)  # type: ignore[call-overload]


def test_permissions(xs: Client, top: str) -> None:
    xs.set_permissions(top, ["n0", Permission(5, "r"), "w6", "b7"])
    assert xs.get_permissions(top) == [
        Permission(0, "n"),
        Permission(5, "r"),
        Permission(6, "w"),
        Permission(7, "b"),
    ]
    xs.set_permissions(top, ["b9"])
    assert [str(permission) for permission in xs.get_permissions(top)] == ["b9"]


def test_a_new_node_has_its_parents_permissions(xs: Client, top: str) -> None:
    xs.set_permissions(top, ["b3", "r4"])
    xs.write(f"{top}/child", "")
    assert xs.get_permissions(f"{top}/child") == xs.get_permissions(top)


def test_a_failed_call_leaves_the_connection_alone(xs: Client, top: str) -> None:
    for bad in ("", "/a//b", "/a/", "/a b", "/a\0b"):
        with pytest.raises(xsffi.InvalidArgumentError):
            xs.read(bad)
    with pytest.raises(xsffi.TooBigError):
        xs.read("/" + "a" * 3072)
    with pytest.raises(xsffi.TooBigError):
        xs.set_permissions(top, [f"r{domid}" for domid in range(10000, 10700)])
    assert xs.read(top) == b""


def test_a_path_that_the_daemon_alone_finds_too_long(xs: Client, daemon: Daemon, top: str) -> None:
    path = f"{top}/" + "a" * 2500  # xs_wire.h allows it; a quota of 2048 is for guests, in some releases for dom0 too
    with pytest.raises(type(error_from_wire(LONG_PATH.of(daemon)))) as caught:
        xs.read(path)
    assert caught.value.filename == path
    assert xs.read(top) == b""
