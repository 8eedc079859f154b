"""``xsffi diff``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.commands import Ran, called, environment_for, on_terminal, ran

import xsffi
from xsffi import Node
from xsffi.cli.differences import diff
from xsffi.cli.opening import Opening
from xsffi.cli.parsers import UsageError
from xsffi.testing import EmbeddedStore

DEVICES = "/local/domain/5/device/vif"
NOWHERE = Opening({"socket": "/nowhere/socket"})  # comparing files opens no store


@pytest.fixture
def dumped(tmp_path: Path) -> Callable[..., str]:
    """Writes nodes to a file; returns its name."""

    def write(name: str, nodes: list[Node]) -> str:
        (tmp_path / name).write_text("".join(f"{node.to_json()}\n" for node in nodes))
        return str(tmp_path / name)

    return write


def compared(store: EmbeddedStore, old: str, new: str, **options: Any) -> Ran:
    return called(diff, Opening({"socket": store.path, **options.pop("opening", {})}), old, new, **options)


def test_the_same(store: EmbeddedStore, xs: xsffi.Client, dumped: Callable[..., str]) -> None:
    file = dumped("a", xs.dump("/local"))
    assert compared(store, "/local", "/local") == (0, "", "")
    assert compared(store, file, "/local") == (0, "", "")
    assert compared(store, "/local", file) == (0, "", "")
    assert called(diff, NOWHERE, file, file) == (0, "", "")


def test_before_and_after(store: EmbeddedStore, xs: xsffi.Client, dumped: Callable[..., str]) -> None:
    before = dumped("before", xs.dump(DEVICES))
    xs.write(f"{DEVICES}/0/state", "6")
    xs.write(f"{DEVICES}/0/script", 'a "b"')
    xs.rm(f"{DEVICES}/1/mac")
    xs.set_permissions(f"{DEVICES}/1/state", ["n3"])
    told = (
        f'+ {DEVICES}/0/script = "a \\"b\\""\n'
        f'~ {DEVICES}/0/state = "4" -> "6"\n'
        f'- {DEVICES}/1/mac = "00:16:3e:2a:05:01"\n'
        f"~ {DEVICES}/1/state (n5,r3) -> (n3)\n"
    )
    assert compared(store, before, DEVICES) == (1, told, "")
    assert called(diff, NOWHERE, before, dumped("after", xs.dump(DEVICES))) == (1, told, "")
    status, output, _ = compared(store, before, DEVICES, json=True)
    assert status == 1
    changes = [json.loads(line) for line in output.splitlines()]
    assert [change["path"] for change in changes] == [line.split()[1] for line in told.splitlines()]
    assert [(change["old"] is None, change["new"] is None) for change in changes] == [
        (True, False),
        (False, False),
        (False, True),
        (False, False),
    ]
    assert changes[1]["new"] == json.loads(xs.dump(f"{DEVICES}/0/state")[0].to_json())


def test_two_subtrees(store: EmbeddedStore) -> None:
    status, output, errors = compared(store, f"{DEVICES}/0", f"{DEVICES}/1")
    assert (status, errors) == (1, "")
    assert output.splitlines()[0] == "~ . (n5,r0) -> (n5,r3)"
    assert output.splitlines()[-1] == '~ state = "4" -> "1" (n5,r0) -> (n5,r3)'


def test_the_root_and_a_copy(store: EmbeddedStore, xs: xsffi.Client, dumped: Callable[..., str]) -> None:
    nodes = xs.dump("/")
    xs.load(node._replace(path=f"/copy{node.path}".rstrip("/")) for node in nodes)
    assert compared(store, dumped("root", nodes), "/copy") == (0, "", "")


class TestWhichIsWhich:
    def test_prefixes(
        self, store: EmbeddedStore, xs: xsffi.Client, dumped: Callable[..., str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = dumped("store:a", xs.dump("/tool"))
        assert compared(store, f"file:{file}", "store:/tool") == (0, "", "")
        monkeypatch.chdir(Path(file).parent)
        assert compared(store, "file:store:a", "/tool") == (0, "", "")
        plain = dumped("plain", xs.dump("/tool"))
        assert compared(store, plain, "/tool") == (0, "", "")
        with pytest.raises(xsffi.NodeNotFoundError, match=plain):
            compared(store, f"store:{plain}", "/tool")

    def test_a_folder_is_no_file(self, store: EmbeddedStore, xs: xsffi.Client) -> None:
        """A path such as /tmp may exist both in the store and as a directory."""
        xs.write("/tmp", "1")
        assert compared(store, "/tmp", "store:/tmp") == (0, "", "")

    def test_relative_paths_are_of_the_domain(self, store: EmbeddedStore) -> None:
        opening = {"domain": "web"}
        assert compared(store, "store:device/vif", DEVICES, opening=opening) == (0, "", "")
        assert compared(store, "store:name", "store:name", opening=opening) == (0, "", "")

    def test_both_from_standard_input(self) -> None:
        with pytest.raises(UsageError):
            called(diff, NOWHERE, "-", "-")


class TestAsAProcess:
    def test_with_standard_input(self, store: EmbeddedStore, xs: xsffi.Client) -> None:
        environment = environment_for(store.path)
        given = ran(environment, "dump", "/tool").output.encode()
        assert ran(environment, "diff", "-", "/tool", given=given) == (0, "", "")
        xs.write("/tool/name", "new")
        assert ran(environment, "diff", "-", "/tool", given=given) == (1, '~ /tool/name = "example" -> "new"\n', "")
        assert ran(environment, "diff", "/tool", "-", given=given) == (1, '~ /tool/name = "new" -> "example"\n', "")

    def test_without_a_store(self, dumped: Callable[..., str]) -> None:
        one, other = dumped("a", [Node("/a", b"1", (), ())]), dumped("b", [Node("/b", b"2", (), ())])
        assert ran(environment_for("/nowhere"), "diff", one, other) == (1, '~ . = "1" -> "2"\n', "")

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (["/tool", "/missing"], "/missing: No such file or directory"),
            (["missing", "/tool"], "missing: No such file or directory"),
            (["/tool", "-"], "standard input: the dump has no nodes"),
            (["-", "-"], "only one of the two can be standard input"),
            (["/tool"], "the following arguments are required: B"),
            (["--what", "/tool", "/tool"], ""),
            (["store:", "/tool"], "a path must not be empty"),
        ],
    )
    def test_trouble(self, store: EmbeddedStore, arguments: list[str], complaint: str) -> None:
        status, output, errors = ran(environment_for(store.path), "diff", *arguments)
        assert (status, output) == (2, "")
        assert complaint in errors.splitlines()[0]
        assert errors.startswith("xsffi: ")

    def test_no_way_to_the_store(self) -> None:
        status, _, errors = ran(environment_for("/nowhere"), "diff", "/a", "/b")
        assert status == 2
        assert "cannot connect to the store" in errors

    def test_an_output_that_is_full(self, store: EmbeddedStore) -> None:
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "xsffi", "diff", f"{DEVICES}/0", f"{DEVICES}/1"],
                env=environment_for(store.path),
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
            )
        assert (done.returncode, done.stderr) == (2, "xsffi: cannot write the output: No space left on device\n")

    def test_on_a_terminal(self, store: EmbeddedStore, xs: xsffi.Client, dumped: Callable[..., str]) -> None:
        before = dumped("before", xs.dump("/tool"))
        xs.write("/tool/name", "\x1b[2J")
        status, sent, _ = on_terminal(environment_for(store.path), "diff", before, "/tool")
        assert status == 1
        assert "\x1b[2J" not in sent
        assert "\x1b[33m~\x1b[0m /tool/name" in sent
        assert on_terminal(environment_for(store.path, NO_COLOR="1"), "diff", before, "/tool").output == (
            '~ /tool/name = "example" -> "\\x1b[2J"\n'
        )
