"""xenstored of Xen 4.22: the embedded store is compared with tables of recorded answers, and so is xenstored itself, if
installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from daemons import require_packages

import xsffi
from xsffi.testing import EmbeddedStore

from .scene import STORES, Scene, scene_of
from .xen_4_22 import COMMANDS, TABLES


@pytest.fixture(params=STORES)
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    if request.param == "xenstored" and require_packages().version != "4.22":
        pytest.skip("this Xen is not 4.22")
    with scene_of(request.param, "4.22") as scene:
        yield scene


@pytest.mark.parametrize("table", TABLES)
def test_answers(scene: Scene, table: str) -> None:
    for client, request, parts, answer in TABLES[table]:
        if request == "events":
            assert scene.events(client) == answer
        else:
            assert scene.ask(client, request, *parts) == answer, (client, request, parts)


def test_commands(scene: Scene) -> None:
    lines = scene.ask("dom0", "CONTROL", "help").splitlines()
    assert [line for line in lines if not line.startswith("fault")] == COMMANDS


# Permissions for every domain, set over a socket: what a daemon would do if it did not die of it


@pytest.fixture
def store() -> Iterator[EmbeddedStore]:
    with EmbeddedStore({"/a/b": "1"}, release="4.22") as store:
        yield store


def test_permissions_for_every_domain(store: EmbeddedStore) -> None:
    with store.connect(backend="wire") as xs, store.connect(5, backend="wire") as guest:
        with pytest.raises(xsffi.InvalidArgumentError, match="DOMID_ANY"):
            xs.set_permissions("/a/b", ["n0", "r32757"])
        xs.set_permissions("/a/b", ["n0", "w9", "r32757", "b5"], allow_any_domain=True)
        assert guest.read("/a/b") == b"1"
        with pytest.raises(xsffi.AccessDeniedError):  # the first matching entry counts
            guest.write("/a/b", "2")
        xs.write("/a/b/c", "3")  # the permissions are inherited
        assert guest.read("/a/b/c") == b"3"
        xs.set_permissions("/a/b", ["n0", "n5", "r32757"], allow_any_domain=True)
        with pytest.raises(xsffi.AccessDeniedError):
            guest.read("/a/b")


def test_nobody_can_be_every_domain(store: EmbeddedStore) -> None:
    with store.connect(backend="wire") as xs, pytest.raises(xsffi.XenStoreError) as caught:
        xs.set_permissions("/a/b", ["n32757"], allow_any_domain=True)
    assert caught.value.wire_name == "ENOMEM"


@pytest.mark.parametrize("release", ["4.14", "4.17", "4.20"])
def test_every_domain_is_a_domain_like_any_other_before(release: str) -> None:
    with EmbeddedStore({"/a": "1"}, release=release) as store, store.connect(backend="wire") as xs:
        xs.set_permissions("/a", ["n0", "r32757"])
        assert [str(permission) for permission in xs.get_permissions("/a")] == ["n0", "r32757"]
        with store.connect(5, backend="wire") as guest, pytest.raises(xsffi.AccessDeniedError):
            guest.read("/a")


# Cases without a table


def test_set_target(store: EmbeddedStore) -> None:
    with store.connect(5, backend="wire") as guest, store.connect(6, backend="wire") as model:
        guest.write("data", "1")
        with pytest.raises(xsffi.AccessDeniedError):
            model.read("/local/domain/5/data")
        with store.connect(backend="wire") as xs:
            xs.set_target(6, 5)
            assert model.read("/local/domain/5/data") == b"1"
            xs.release_domain(5)
        with pytest.raises(xsffi.AccessDeniedError):
            model.write("/local/domain/5/data", "")


def test_the_trace(store: EmbeddedStore, tmp_path: Path) -> None:
    file = tmp_path / "trace"
    with store.connect(backend="wire") as xs, store.connect(5, backend="wire") as guest:
        assert xs.control("logfile", str(file)) == "OK"
        guest.write("data", "text")
        xs.control("log", "-io")
        xs.read("/a/b")
        xs.control("log", "+io")
        xs.control("log", "off")
        xs.read("/a/b")
        xs.control("log", "on")
        with pytest.raises(xsffi.NodeNotFoundError):
            xs.read("/missing")
    assert [line for line in file.read_text().splitlines() if "CONTROL" not in line] == [
        "io: IN (d5) WRITE (data text)",
        "io: OUT (d5) WRITE (OK )",
        "io: IN (d0) READ (/missing )",
        "io: OUT (d0) ERROR (ENOENT )",
    ]


def test_a_report_of_memory(store: EmbeddedStore, tmp_path: Path) -> None:
    file, trace = tmp_path / "report", tmp_path / "trace"
    with store.connect(backend="wire") as xs:
        assert xs.control("memreport", str(file)) == "OK"
        xs.control("logfile", str(trace))
        assert xs.control("memreport") == "OK"
        assert file.read_text() == "5 nodes, 1 connections\n"
        assert file.read_text() in trace.read_text()
        for unusable in (tmp_path, tmp_path / "folder" / "file"):
            for command in ("logfile", "memreport"):
                with pytest.raises(xsffi.InvalidArgumentError):
                    xs.control(command, str(unusable))


def test_there_is_no_live_update(store: EmbeddedStore) -> None:
    with store.connect(backend="wire") as xs:
        assert xs.control("live-update", "-f", "/nope") != "OK"
        with pytest.raises(xsffi.InvalidArgumentError):
            xs.control("live-update", "-x")
