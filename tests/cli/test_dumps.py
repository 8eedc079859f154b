"""``xsffi dump`` and ``xsffi load``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from daemons import Daemon
from harness.commands import called, environment_for, on_terminal, ran
from harness.stores import client_of
from hypothesis import given
from hypothesis import strategies as st

import xsffi
from xsffi import Node, Permission
from xsffi.cli.differences import diff
from xsffi.cli.dumps import dump, load
from xsffi.cli.opening import Opening
from xsffi.cli.parsers import UsageError
from xsffi.testing import EmbeddedStore

from .conftest import SAMPLE

DEVICE = "/local/domain/5/device"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Writes nodes to a file; returns its name."""

    def write(*nodes: Node) -> str:
        file = tmp_path / "dump"
        file.write_text("".join(f"{node.to_json()}\n" for node in nodes))
        return str(file)

    return write


def loaded(xs: xsffi.Client, file: str, **options: Any) -> str:
    status, output, errors = called(load, xs, file, **options)
    assert (status, errors) == (0, "")
    return output


def node(path: str, value: str = "", *permissions: str) -> Node:
    return Node(path, value.encode(), (), tuple(map(Permission.parse, permissions)))


def test_a_dump(xs: xsffi.Client) -> None:
    xs.write(f"{DEVICE}/binary", b"\xff\0")
    status, output, errors = called(dump, xs, DEVICE)
    assert (status, errors) == (0, "")
    assert [Node.from_json(line) for line in output.splitlines()] == xs.dump(DEVICE)
    with pytest.raises(xsffi.NodeNotFoundError):
        called(dump, xs, "/missing")


class TestLoading:
    def test_what_was_dumped(self, xs: xsffi.Client, write: Callable[..., str]) -> None:
        nodes = xs.dump(DEVICE)
        xs.rm(DEVICE)
        assert loaded(xs, write(*nodes)) == ""
        assert {each.path: each[1::2] for each in xs.dump(DEVICE)} == {each.path: each[1::2] for each in nodes}

    def test_what_is_beside_it_stays(self, xs: xsffi.Client, write: Callable[..., str]) -> None:
        loaded(xs, write(node("/tool", "1"), node("/tool/name", "2", "n7")))
        assert xs.ls("/tool") == ["xenstored", "motto", "name"]
        assert (xs.read("/tool"), xs.read("/tool/name")) == (b"1", b"2")
        assert xs.get_permissions("/tool/name") == [Permission(7, "n")]
        assert xs.get_permissions("/tool") == [Permission(0, "n")]  # not in the file, so unchanged

    @pytest.mark.parametrize(
        ("paths", "under", "there"),
        [
            (["/a", "/a/b"], "/x/y", ["/x/y", "/x/y/b"]),
            (["/a", "/a/b"], "/", ["/", "/b"]),
            (["/", "/a"], "/x", ["/x", "/x/a"]),
            (["/", "/a"], "/", ["/", "/a"]),
            (["/a/b", "/a/c"], "/x", ["/x/b", "/x/c"]),
            (["/a/b"], "/x", ["/x"]),
            (["data", "data/b"], "/x", ["/x", "/x/b"]),
            (["/a", "/a/b"], "rel", ["/local/domain/0/rel", "/local/domain/0/rel/b"]),
        ],
    )
    def test_under(
        self, xs: xsffi.Client, write: Callable[..., str], paths: list[str], under: str, there: list[str]
    ) -> None:
        file = write(*(node(path, str(number)) for number, path in enumerate(paths)))
        loaded(xs, file, under=under)
        assert [xs.read(path) for path in there] == [b"%d" % number for number in range(len(paths))]

    @pytest.mark.parametrize("under", [None, "/tool"])
    def test_replace(self, xs: xsffi.Client, write: Callable[..., str], under: str | None) -> None:
        xs.write("/tool/new/below", "")
        loaded(xs, write(node("/tool", "1"), node("/tool/name"), node("/tool/a/b/c")), under=under, replace=True)
        assert [each.path for each in xs.dump("/tool")] == [
            "/tool",
            "/tool/name",
            "/tool/a",
            "/tool/a/b",
            "/tool/a/b/c",
        ]

    def test_replace_what_is_not_there(self, xs: xsffi.Client, write: Callable[..., str]) -> None:
        loaded(xs, write(node("/new"), node("/new/a", "1")), replace=True)
        assert xs.read("/new/a") == b"1"

    def test_replace_keeps_to_its_top(self, xs: xsffi.Client, write: Callable[..., str]) -> None:
        loaded(xs, write(node("/tool/name", "1")), replace=True)
        assert xs.ls("/tool") == ["xenstored", "motto", "name"]

    def test_replace_the_whole_store(self, xs: xsffi.Client, write: Callable[..., str]) -> None:
        loaded(xs, write(node("/"), node("/a", "1")), replace=True)
        assert xs.ls("/") == ["a"]

    def test_what_others_remove_meanwhile(
        self, store: EmbeddedStore, xs: xsffi.Client, write: Callable[..., str]
    ) -> None:
        store.fail("ENOENT", "RM", "/tool/motto")
        loaded(xs, write(node("/tool"), node("/tool/name")), replace=True)
        store.fail("EACCES", "RM", "/tool/motto")
        with pytest.raises(xsffi.AccessDeniedError):
            called(load, xs, write(node("/tool"), node("/tool/name")), replace=True)

    def test_as_a_guest(self, store: EmbeddedStore, xs: xsffi.Client, write: Callable[..., str]) -> None:
        with store.connect(5) as guest:
            guest.write("device/a", "1")
            nodes = guest.dump("device")
            guest.write("device/b", "2")
            loaded(guest, write(*nodes), replace=True)
            assert xs.dump(DEVICE) == [each._replace(path=f"/local/domain/5/{each.path}") for each in nodes]
            loaded(guest, write(*nodes), under="other")
            assert xs.read("/local/domain/5/other/a") == b"1"
            with pytest.raises(xsffi.AccessDeniedError):
                called(load, guest, write(node("/tool/name", "x")))


class TestALineThatCannotBe:
    @pytest.mark.parametrize(
        ("last", "under", "complaint"),
        [
            (node("/new/a", "x" * 4096), None, "line 5001: /new/a: a request may have at most 4096 bytes"),
            (node("/new/a", "", *["r5"] * 2000), None, "line 5001: /new/a: a request may have at most 4096 bytes"),
            (
                node("/new/" + "a" * 3060),
                "/new/longer/path",
                "line 5001: /new/longer/path/" + "a" * 3060 + ": an absolute path may have at most 3072 bytes",
            ),
            (node("/new/a", "x" * 4088), "/newer", "line 5001: /newer/a: a request may have at most 4096 bytes"),
        ],
        ids=["value", "permissions", "path", "value, moved"],
    )
    def test_nothing_is_written(
        self, xs: xsffi.Client, write: Callable[..., str], last: Node, under: str | None, complaint: str
    ) -> None:
        file = write(node("/new"), *(node(f"/new/{number}") for number in range(4999)), last)
        before = xs.dump("/")
        with pytest.raises(xsffi.InvalidArgumentError) as caught:
            called(load, xs, file, under=under, replace=True)
        assert caught.value.filename == file
        assert str(caught.value.strerror).startswith(complaint)
        assert xs.dump("/") == before

    def test_what_the_daemon_refuses_is_named(
        self, store: EmbeddedStore, xs: xsffi.Client, write: Callable[..., str]
    ) -> None:
        store.fail("ENOSPC", "WRITE", "/new/a")
        with pytest.raises(xsffi.QuotaExceededError, match="/new/a"):
            called(load, xs, write(node("/new"), node("/new/a")))


class TestADryRun:
    def test_what_it_tells(self, xs: xsffi.Client, write: Callable[..., str]) -> None:
        file = write(node("/tool", "x"), node("/tool/name", "example", "n5"), node("/tool/a/b", 'say "x"'))
        before = xs.dump("/")
        told = '~ /tool = "" -> "x"\n+ /tool/a = ""\n+ /tool/a/b = "say \\"x\\""\n~ /tool/name (n0,r5) -> (n5)\n'
        assert loaded(xs, file, dry_run=True) == told
        removed = [
            r'- /tool/motto = "caf\xc3\xa9 \\ \x1b[31mred"',
            *told.splitlines()[3:],
            '- /tool/xenstored = ""',
        ]
        told = "\n".join([*told.splitlines()[:3], *removed, ""])
        assert loaded(xs, file, dry_run=True, replace=True) == told
        assert xs.dump("/") == before

    def test_in_json(self, xs: xsffi.Client, write: Callable[..., str]) -> None:
        (line,) = loaded(xs, write(node("/tool/name", "x", "n5")), dry_run=True, json=True).splitlines()
        assert json.loads(line) == {
            "path": "/tool/name",
            "old": {"path": "/tool/name", "value": "example", "permissions": ["n0", "r5"]},
            "new": {"path": "/tool/name", "value": "x", "permissions": ["n5"]},
        }

    def test_nodes_above(self, xs: xsffi.Client, write: Callable[..., str]) -> None:
        told = '+ /a = ""\n+ /a/b = ""\n+ /a/b/c = "1"\n'
        assert loaded(xs, write(node("/a/b/c", "1")), dry_run=True) == told
        xs.mkdir("/a")
        assert loaded(xs, write(node("/a/b/c", "1")), dry_run=True) == told.partition("\n")[2]

    def test_json_alone(self, xs: xsffi.Client, write: Callable[..., str]) -> None:
        with pytest.raises(UsageError):
            called(load, xs, write(node("/a")), json=True)

    paths = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(lambda names: "/top/" + "/".join(names))
    trees = st.dictionaries(paths, st.sampled_from(["", "1"]), min_size=1)

    @given(there=trees, file=trees, replace=st.booleans(), under=st.sampled_from([None, "/top", "/top/a", "/else/b"]))
    def test_it_tells_what_loading_does(
        self, there: dict[str, str], file: dict[str, str], replace: bool, under: str | None
    ) -> None:
        with EmbeddedStore({**there, "dump": ""}) as store, store.connect() as xs:
            dumped = os.path.join(os.path.dirname(store.path), "dump")
            with open(dumped, "w") as lines:
                lines.writelines(f"{node(path, value).to_json()}\n" for path, value in file.items())
            options = {"replace": replace, "under": under}
            told = loaded(xs, dumped, dry_run=True, json=True, **options)
            before = {each.path: each for each in xs.dump("/")}
            loaded(xs, dumped, **options)
            after = {each.path: each for each in xs.dump("/")}
        changed = {}
        for path in before.keys() | after.keys():
            values = [tree[path].value if path in tree else None for tree in (before, after)]
            if values[0] != values[1]:
                changed[path] = values
        assert {change["path"]: [_value(change["old"]), _value(change["new"])] for change in _lines(told)} == changed


def _lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def _value(found: dict[str, str] | None) -> bytes | None:
    return None if found is None else found["value"].encode()


class TestAsAProcess:
    def test_there_and_back(self, store: EmbeddedStore, xs: xsffi.Client, tmp_path: Path) -> None:
        environment = environment_for(store.path)
        status, output, errors = ran(environment, "dump", DEVICE)
        assert (status, errors) == (0, "")
        before = {each.path: each[1::2] for each in xs.dump(DEVICE)}
        xs.rm(DEVICE)
        assert ran(environment, "load", "-", given=output.encode()) == (0, "", "")
        assert {each.path: each[1::2] for each in xs.dump(DEVICE)} == before

    def test_of_domains(self, store: EmbeddedStore, xs: xsffi.Client) -> None:
        """The contents of a domain's home are loaded into another domain's home."""
        environment = environment_for(store.path)
        home = ran(environment, "--domain", "web", "dump").output
        assert home.splitlines() == [each.to_json() for each in xs.dump("/local/domain/5")]
        assert ran(environment, "--domain", "net", "load", "-", given=home.encode()) == (0, "", "")
        assert xs.read("/local/domain/3/name") == b"web"
        memory = ran(environment, "--domain", "5", "dump", "memory").output
        assert ran(environment, "--domain", "3", "load", "-", "--under", "x", given=memory.encode()) == (0, "", "")
        assert xs.read("/local/domain/3/x/target") == b"1048576"

    @pytest.mark.parametrize(
        ("arguments", "given", "status", "complaint"),
        [
            (["dump", "/missing"], "", 1, "/missing: No such file or directory"),
            (["dump", "/a b"], "", 1, "/a b: a path may contain only letters, digits and -/_@, not ' '"),
            (["load", "missing.jsonl"], "", 1, "missing.jsonl: No such file or directory"),
            (["load", "-"], "{", 1, "standard input: line 1: not a node: it is not JSON"),
            (["load", "-", "--replace", "--under", "/tool"], "", 1, "standard input: the dump has no nodes"),
            (
                ["load", "-"],
                '{"path": "/a", "value": ""}\n{"path": "b", "value": ""}',
                1,
                "standard input: the nodes of a ",
            ),
            (["load", "-", "--under", "/a/"], '{"path": "/", "value": ""}', 1, "/a/: a path must not end in a slash"),
            (["load"], "", 2, "the following arguments are required: FILE"),
            (["load", "-", "--json"], "", 2, "--json needs --dry-run"),
        ],
    )
    def test_what_is_wrong(
        self, store: EmbeddedStore, arguments: list[str], given: str, status: int, complaint: str
    ) -> None:
        done = ran(environment_for(store.path), *arguments, given=given.encode())
        assert (done.status, done.output) == (status, "")
        assert done.errors.startswith(f"xsffi: {complaint}")
        assert (len(done.errors.splitlines()) == 1) == (status == 1)  # a wrong command line also prints the usage

    def test_progress(self, store: EmbeddedStore, xs: xsffi.Client, write: Callable[..., str]) -> None:
        file = write(*(node(f"/new/{number}") for number in range(5000)))
        status, sent, _ = on_terminal(environment_for(store.path), "load", file)
        assert status == 0
        assert "writing" in sent
        assert len(xs.ls("/new")) == 5000
        assert on_terminal(environment_for(store.path, NO_COLOR="1"), "load", file) == (0, "", "")
        assert on_terminal(environment_for(store.path), "load", write(node("/new"))) == (0, "", "")


class TestOnEachDaemon:
    def test_a_subtree(self, daemon: Daemon, backend: str, top: str) -> None:
        opening = Opening({"socket": daemon.socket_path, "backend": "wire"})
        there, copy = f"{top}/there", f"{top}/copy"
        with client_of(daemon, backend) as xs:
            loaded(xs, str(SAMPLE), under=there)
            nodes = [Node.from_json(line) for line in SAMPLE.read_text().splitlines()]
            assert {each.path: each[1::2] for each in xs.dump(there)} == {
                f"{there}{each.path}".rstrip("/"): each[1::2] for each in nodes
            }
            assert called(diff, opening, str(SAMPLE), there) == (0, "", "")
            loaded(xs, str(SAMPLE), under=copy)
            xs.rm(f"{copy}/tool/motto")
            xs.write(f"{copy}/local/new/below", "1")
            told = '+ local/new = ""\n+ local/new/below = "1"\n- tool/motto = "caf\\xc3\\xa9 \\\\ \\x1b[31mred"\n'
            assert called(diff, opening, there, copy) == (1, told, "")
            assert len(loaded(xs, str(SAMPLE), under=copy, replace=True, dry_run=True).splitlines()) == 3
            loaded(xs, str(SAMPLE), under=copy, replace=True)
            assert called(diff, opening, there, copy) == (0, "", "")

    def test_the_whole_store(self, daemon: Daemon, backend: str, top: str, tmp_path: Path) -> None:
        with client_of(daemon, backend) as xs:
            status, output, _ = called(dump, xs, "/")
            assert status == 0
            (tmp_path / "dump").write_text(output)
            assert loaded(xs, str(tmp_path / "dump"), replace=True, dry_run=True) == ""
