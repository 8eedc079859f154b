"""Dump files."""

from __future__ import annotations

import errno
from io import BytesIO

import pytest

from xsffi import InvalidArgumentError, Node, NodeNotFoundError, Permission
from xsffi.dump_files import line_error, numbered_nodes


def test_lines_and_their_numbers() -> None:
    node = Node("/a", b"\xff", ("b",), (Permission(0, "n"),))
    lines = [b"\xef\xbb\xbf\n", node.to_json().encode() + b"\r\n", b" \t\n", b'{"path": "b", "value": "\xc3\xa9"}']
    assert list(numbered_nodes(BytesIO(b"".join(lines)), "file")) == [(2, node), (4, Node("b", "é".encode(), (), ()))]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"\xff\n", "line 2 is not UTF-8"),
        (b"{\n", "line 2: not a node: it is not JSON"),
        (b"[]\n", "line 2: not a node: it is not an object"),
        (b'{"path": "/a b", "value": ""}\n', "line 2: /a b: not a node: a path may contain only letters"),
        (b"\xef\xbb\xbf{}", "line 2: not a node: it is not JSON"),
    ],
)
def test_what_is_no_node(line: bytes, text: str) -> None:
    nodes = numbered_nodes(BytesIO(b'{"path": "/a", "value": ""}\n' + line), "file")
    assert next(nodes)[0] == 1
    with pytest.raises(InvalidArgumentError) as caught:
        next(nodes)
    assert caught.value.filename == "file"
    assert str(caught.value.strerror).startswith(text)


def test_a_line_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xsffi.dump_files._LINE_MAX", 100)
    with open("/dev/zero", "rb") as file, pytest.raises(InvalidArgumentError, match="line 1 is too long for a node"):
        next(numbered_nodes(file, "file"))


@pytest.mark.parametrize(("path", "text"), [("/a", "line 7: /a: gone"), (None, "line 7: gone")])
def test_an_error_of_a_line(path: str | None, text: str) -> None:
    arguments = (errno.ENOENT, "gone") if path is None else (errno.ENOENT, "gone", path)
    error = line_error("file", 7, NodeNotFoundError(*arguments))
    assert (error.strerror, error.filename, error.errno) == (text, "file", errno.EINVAL)
