"""Nodes as values and as lines of JSON."""

from __future__ import annotations

import json
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from xsffi.errors import InvalidArgumentError
from xsffi.permissions import Permission
from xsffi.records import Node

names = st.text("abcXYZ019-_@", min_size=1, max_size=8)
permissions = st.builds(Permission, st.integers(0, 65535), st.sampled_from("nrwb"))
nodes = st.builds(
    Node,
    st.lists(names, min_size=1, max_size=4).map("/".join)
    | st.lists(names, max_size=4).map(lambda n: "/" + "/".join(n)),
    st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.lists(names, max_size=4).map(tuple),
    st.lists(permissions, max_size=4).map(tuple),
)


@given(nodes)
def test_there_and_back(node: Node) -> None:
    line = node.to_json()
    assert line.isascii()
    assert len(line.splitlines()) == 1
    assert Node.from_json(line) == node
    assert {Node.from_json(line), node} == {node}  # it is hashable


@pytest.mark.parametrize(
    ("node", "fields"),
    [
        (
            Node("/a", b"text", ("b", "c"), (Permission(0, "n"), Permission(5, "r"))),
            {"path": "/a", "value": "text", "permissions": ["n0", "r5"], "children": ["b", "c"]},
        ),
        (Node("a", b"\xc3\xa9\n\0", (), ()), {"path": "a", "value": "\u00e9\n\0"}),
        (Node("/", b"\xff\0", (), (Permission(0, "b"),)), {"path": "/", "base64": "/wA=", "permissions": ["b0"]}),
        (Node("/a", b"\xed\xa0\x80", (), ()), {"path": "/a", "base64": "7aCA"}),  # a surrogate: not UTF-8
    ],
)
def test_what_a_line_holds(node: Node, fields: dict[str, Any]) -> None:
    assert json.loads(node.to_json()) == fields
    assert Node.from_json(json.dumps(fields, ensure_ascii=False)) == node


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "it is not JSON"),
        ("nonsense", "it is not JSON"),
        ('{"path": "/a", "value": "x"} more', "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[]", "it is not an object, but []"),
        ("null", "it is not an object, but None"),
        ("{}", '"path" must be a text, not None'),
        ('{"path": 5, "value": "x"}', '"path" must be a text, not 5'),
        ('{"path": "", "value": "x"}', "a path must not be empty"),
        ('{"path": "/a b", "value": "x"}', "a path may contain only letters, digits and -/_@, not ' '"),
        ('{"path": "/a"}', 'it must have one of "value" and "base64"'),
        ('{"path": "/a", "value": "x", "base64": "eA=="}', 'it must have one of "value" and "base64"'),
        ('{"path": "/a", "value": null}', '"value" must be a text, not None'),
        ('{"path": "/a", "value": 5}', '"value" must be a text, not 5'),
        ('{"path": "/a", "value": "\\ud800"}', '"value" has a surrogate'),
        ('{"path": "/a", "base64": 5}', '"base64" must be a text, not 5'),
        ('{"path": "/a", "base64": "!!!"}', '"base64" is not base64'),
        ('{"path": "/a", "base64": "eA="}', '"base64" is not base64'),
        ('{"path": "/a", "base64": "eA==\\n"}', '"base64" is not base64'),
        ('{"path": "/a", "base64": "\\u00e9"}', '"base64" is not base64'),
        ('{"path": "/a", "base64": "eB=="}', "\"base64\" is not the canonical encoding of b'x': 'eB=='"),
        ('{"path": "/a", "value": "x", "permissions": "n0"}', "\"permissions\" must be a list of texts, not 'n0'"),
        ('{"path": "/a", "value": "x", "permissions": [0]}', '"permissions" must be a list of texts, not [0]'),
        ('{"path": "/a", "value": "x", "permissions": ["x0"]}', "not 'x0'"),
        ('{"path": "/a", "value": "x", "permissions": ["n65536"]}', "not 65536"),
        ('{"path": "/a", "value": "x", "children": {"b": 1}}', '"children" must be a list of texts'),
        ('{"path": "/a", "value": "x", "children": ["b", "c/d"]}', "or contain a slash: 'c/d'"),
        ('{"path": "/a", "value": "x", "children": [""]}', "the name of a child must not be empty"),
        ('{"path": "/a", "value": "x", "children": ["c d"]}', "a path may contain only letters"),
        ('{"path": "/a", "value": "x", "vlaue": "y"}', "it has 'vlaue', which a node does not have"),
        ('{"path": "/a", "value": "x", "value": "y"}', "it has a duplicate field"),
    ],
)
def test_a_line_that_is_none(line: str, said: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        Node.from_json(line)
    assert said in str(caught.value)
    assert str(caught.value).startswith("[Errno 22] not a node: ")
    if '"path": "/a"' in line and not any(word in said for word in ("JSON", "which a node does not have", "duplicate")):
        assert caught.value.filename == "/a"


def test_an_error_is_short_however_long_the_line() -> None:
    for line in (f'["{"x" * 10_000}"]', f'{{"path": {[1] * 1000}}}', f'{{"{"x" * 10_000}": 1}}'):
        with pytest.raises(InvalidArgumentError) as caught:
            Node.from_json(line)
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("line", [b"{}", None, 5])
def test_what_is_no_text(line: Any) -> None:
    with pytest.raises(TypeError, match="a line must be a str"):
        Node.from_json(line)
