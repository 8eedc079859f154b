"""The contents of dump files, their common top, and the differences between two of them."""

from __future__ import annotations

import errno
import io
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsffi import Change, InvalidArgumentError, Node, Permission, XenStoreError
from xsffi.cli.contents import below, common_top, compare, read_file, relative

NAMES = st.lists(st.sampled_from("ab"), max_size=3)
PATHS = NAMES.map(lambda names: "/" + "/".join(names))
OWNERS = st.sampled_from([(), (Permission(0, "n"),), (Permission(5, "n"), Permission(0, "r"))])
TREES = st.dictionaries(PATHS, st.tuples(st.sampled_from([b"", b"1", b"2"]), OWNERS), min_size=1).map(
    lambda found: {path: Node(path, value, (), permissions) for path, (value, permissions) in found.items()}
)


@pytest.mark.parametrize(
    ("paths", "top"),
    [
        (["/a"], "/a"),
        (["/a", "/a/b", "/a/c/d"], "/a"),
        (["/a/b", "/a/c"], "/a"),
        (["/a/b/c", "/a/bc"], "/a"),
        (["/a", "/b"], "/"),
        (["/", "/b"], "/"),
        (["/a/b", "/a"], "/a"),
        (["data", "data/x"], "data"),
        (["data/x", "data/y"], "data"),
    ],
)
def test_a_top(paths: list[str], top: str) -> None:
    assert common_top(paths, "file") == top


@pytest.mark.parametrize("paths", [["a", "b"], ["/a", "a"], ["a", "/a"], ["a/b", "ab"]])
def test_no_top(paths: list[str]) -> None:
    with pytest.raises(InvalidArgumentError, match=rf"not: {paths[0]} and {paths[1]}: 'file'"):
        common_top(paths, "file")


@given(PATHS, PATHS)
def test_relative_and_below(top: str, other: str) -> None:
    path = below(top, other if other != "/" else "")
    assert below(top, relative(path, top)) == path
    assert relative(top, top) == ""


@given(TREES, TREES)
def test_the_changes_make_of_the_one_the_other(old: dict[str, Node], new: dict[str, Node]) -> None:
    made = dict(old)
    changes = list(compare(old, new))
    for path, before, after in changes:
        assert made.pop(path, None) == before
        if after is not None:
            made[path] = after
    assert made.keys() == new.keys()
    for path, node in new.items():
        assert made[path].value == node.value
        assert () in (made[path].permissions, node.permissions) or made[path].permissions == node.permissions
    assert [change.path for change in changes] == sorted((change.path for change in changes), key=_components)


@given(TREES)
def test_the_same_is_no_change(tree: dict[str, Node]) -> None:
    assert list(compare(tree, dict(reversed(tree.items())))) == []


def test_what_is_no_change() -> None:
    old = Node("/a", b"", ("b", "c"), (Permission(0, "n"),))
    assert list(compare({"/a": old}, {"/a": Node("/a", b"", ("c",), ())})) == []
    other = Node("/a", b"", (), (Permission(1, "n"),))
    assert list(compare({"": old}, {"": other})) == [Change("", old, other)]


class TestAFile:
    def test_its_nodes(self, tmp_path: Path) -> None:
        (tmp_path / "dump").write_bytes(b'\n{"path": "/a", "value": "1"}\n{"path": "/b", "base64": "/w=="}')
        nodes = read_file(str(tmp_path / "dump"))
        assert nodes == {2: Node("/a", b"1", (), ()), 3: Node("/b", b"\xff", (), ())}

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("", "the dump has no nodes"),
            ("\n\n", "the dump has no nodes"),
            ('{"path": "/a"}', 'line 1: /a: not a node: it must have one of "value" and "base64"'),
            (
                '{"path": "/a", "value": ""}\n{"path": "/b", "value": ""}\n{"path": "/a", "value": "1"}',
                "line 3: /a: this node is already in line 1",
            ),
        ],
    )
    def test_what_is_no_dump(self, tmp_path: Path, text: str, complaint: str) -> None:
        (tmp_path / "dump").write_text(text)
        with pytest.raises(InvalidArgumentError) as caught:
            read_file(str(tmp_path / "dump"))
        assert (caught.value.strerror, caught.value.filename) == (complaint, str(tmp_path / "dump"))

    @pytest.mark.parametrize(("name", "number"), [("none", errno.ENOENT), (".", errno.EISDIR), ("x" * 300, 36)])
    def test_what_cannot_be_read(self, tmp_path: Path, name: str, number: int) -> None:
        with pytest.raises(XenStoreError) as caught:
            read_file(str(tmp_path / name))
        assert (caught.value.errno, caught.value.filename) == (number, str(tmp_path / name))

    def test_standard_input(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"path": "/a", "value": "1"}')))
        assert read_file("-") == {1: Node("/a", b"1", (), ())}
        with pytest.raises(InvalidArgumentError) as caught:
            read_file("-")
        assert caught.value.filename == "standard input"

    def test_closed_standard_input(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", None)
        with pytest.raises(XenStoreError, match="closed"):
            read_file("-")


def _components(path: str) -> list[str]:
    return path.split("/") if path != "/" else [""]
