"""Node paths: the rules of xenstore.txt and xs_wire.h."""

from __future__ import annotations

import errno
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsffi.errors import InvalidArgumentError, TooBigError
from xsffi.paths import (
    ABSOLUTE_MAX,
    INTRODUCE_DOMAIN,
    RELATIVE_MAX,
    RELEASE_DOMAIN,
    encode,
    is_subpath,
    join,
    level,
    parent,
    validate,
)

ALLOWED = string.ascii_letters + string.digits + "-_@"

GOOD = [
    "/",
    "/a",
    "/local/domain/0/name",
    "a",
    "device/vif/0",
    "/-_@",
    "-",
    "0",
    f"/{ALLOWED}",
    INTRODUCE_DOMAIN,
    RELEASE_DOMAIN,
    "/" + "a" * (ABSOLUTE_MAX - 1),
    "a" * RELATIVE_MAX,
]

# Invalid paths, each with a word from the rule that it breaks.
BAD = [
    ("", "empty"),
    ("//", "double slash"),
    ("/a//b", "double slash"),
    ("//a", "double slash"),
    ("a//b", "double slash"),
    ("/a//", "double slash"),
    ("/a/", "end in a slash"),
    ("a/", "end in a slash"),
    ("/a b", "not ' '"),
    (" /a", "not ' '"),
    ("/a.b", r"not '\.'"),
    ("..", r"not '\.'"),
    ("/a*", r"not '\*'"),
    ("/a:b", "not ':'"),
    ("/a+b", r"not '\+'"),
    ("/a\\b", r"not '\\\\'"),
    ("/a\n", r"not '\\n'"),
    ("/a\0", r"not '\\x00'"),
    ("\0", r"not '\\x00'"),
    ("/\0/b", r"not '\\x00'"),
    ("/a\u00e4", "not '\u00e4'"),
    ("/\u0663", "not '\u0663'"),  # a digit, but not an ASCII one
    ("/\udcff", r"not '\\udcff'"),
]

TOO_LONG = [
    ("/" + "a" * ABSOLUTE_MAX, "absolute", ABSOLUTE_MAX),
    ("/a" * ABSOLUTE_MAX, "absolute", ABSOLUTE_MAX),
    ("a" * (RELATIVE_MAX + 1), "relative", RELATIVE_MAX),
]

NO_STR: list[Any] = [None, 5, b"/a", ["/a"], object]


def short(value: object) -> str:
    """The id of a parameter, abbreviated: a path may have 3072 bytes."""
    return ascii(value)[:30]


@pytest.mark.parametrize("path", GOOD, ids=short)
def test_good_paths(path: str) -> None:
    assert validate(path) is path
    assert encode(path) == path.encode("ascii")


@pytest.mark.parametrize("check", [validate, encode, join, parent])
@pytest.mark.parametrize(("path", "rule"), BAD, ids=short)
def test_bad_paths(check: Any, path: str, rule: str) -> None:
    with pytest.raises(InvalidArgumentError, match=rule) as caught:
        check(path)
    assert caught.value.errno == errno.EINVAL
    assert caught.value.filename == path
    assert repr(path) in str(caught.value)


@pytest.mark.parametrize("check", [validate, encode, join, parent])
@pytest.mark.parametrize(("path", "kind", "limit"), TOO_LONG, ids=short)
def test_too_long(check: Any, path: str, kind: str, limit: int) -> None:
    with pytest.raises(
        TooBigError, match=f"{kind} path may have at most {limit} bytes, this one has {len(path)}"
    ) as caught:
        check(path)
    assert caught.value.errno == errno.E2BIG
    assert caught.value.filename == path


@pytest.mark.parametrize("check", [validate, encode, join, parent])
@pytest.mark.parametrize("path", NO_STR)
def test_what_is_no_str(check: Any, path: Any) -> None:
    with pytest.raises(TypeError, match=f"a path must be a str, not {type(path).__name__}"):
        check(path)


@given(st.text(alphabet=st.sampled_from("ab/@-_. \0\u00e4"), max_size=12) | st.text(max_size=12))
def test_validate_is_the_specification(path: str) -> None:
    """xenstore.txt: names of the allowed characters between single slashes, optionally with a leading one."""
    names = path[1:].split("/") if path.startswith("/") else path.split("/")
    good = path == "/" or all(name and set(name) <= set(ALLOWED) for name in names)
    try:
        validate(path)
    except InvalidArgumentError:
        assert not good
    else:
        assert good


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        (["/"], "/"),
        (["/", "a"], "/a"),
        (["/a", "b"], "/a/b"),
        (["/a", "b/c", "d"], "/a/b/c/d"),
        (["/a/", "b"], "/a/b"),
        (["a", "b"], "a/b"),
        (["", "b"], "b"),
        (["/a", "", "b", ""], "/a/b"),
        (["/a", "/b"], "/b"),
        (["/a", "/b", "c"], "/b/c"),
        (["/a", "/"], "/"),
    ],
)
def test_join(parts: list[str], joined: str) -> None:
    assert join(*parts) == joined


@pytest.mark.parametrize(
    ("parts", "rule"),
    [
        (["/a", "b//c"], "double slash"),
        (["/a//", "b"], "double slash"),
        (["/a", "b/"], "end in a slash"),
        (["", ""], "empty"),
        (["/a", "b c"], "not ' '"),
    ],
)
def test_join_checks_what_it_made(parts: list[str], rule: str) -> None:
    with pytest.raises(InvalidArgumentError, match=rule):
        join(*parts)


@pytest.mark.parametrize("part", NO_STR)
def test_join_takes_only_str(part: Any) -> None:
    with pytest.raises(TypeError, match=f"str, not {type(part).__name__}"):
        join("/a", part)


def test_join_of_too_much() -> None:
    with pytest.raises(TooBigError):
        join("/" + "a" * 2000, "b" * 2000)


@pytest.mark.parametrize(
    ("path", "above"),
    [("/", "/"), ("/a", "/"), ("/a/b", "/a"), ("/a/b/c", "/a/b"), ("a/b", "a"), ("a/b/c", "a/b")],
)
def test_parent(path: str, above: str) -> None:
    assert parent(path) == above


@pytest.mark.parametrize("path", ["a", INTRODUCE_DOMAIN])
def test_a_relative_path_of_one_name_has_no_parent(path: str) -> None:
    with pytest.raises(InvalidArgumentError, match="no parent") as caught:
        parent(path)
    assert caught.value.filename == path


@pytest.mark.parametrize(
    ("path", "top", "below"),
    [
        ("/", "/", True),
        ("/a", "/", True),
        ("/a/b", "/", True),
        ("/a", "/a", True),
        ("/a/b", "/a", True),
        ("/a/b/c", "/a", True),
        ("/ab", "/a", False),
        ("/ab/c", "/a", False),
        ("/a", "/a/b", False),
        ("/", "/a", False),
        ("/b/a", "/a", False),
        ("a", "a", True),
        ("a/b", "a", True),
        ("ab", "a", False),
        ("a", "/", False),
        ("a/b", "/a", False),
        ("/a/b", "a", False),
        (INTRODUCE_DOMAIN, "/", False),
        (INTRODUCE_DOMAIN, INTRODUCE_DOMAIN, True),
    ],
)
def test_is_subpath(path: str, top: str, below: bool) -> None:
    assert is_subpath(path, top) is below


names = st.text(alphabet=ALLOWED, min_size=1, max_size=8)
paths = st.builds(lambda slash, parts: slash + "/".join(parts), st.sampled_from(["", "/"]), st.lists(names, min_size=1))


@given(paths | st.just("/"), names)
def test_a_child_has_its_parent(path: str, name: str) -> None:
    child = join(path, name)
    assert parent(child) == path
    assert is_subpath(child, path)
    assert not is_subpath(path, child)


@given(paths, paths)
def test_below_is_the_same_as_the_names_in_front(path: str, top: str) -> None:
    names_of_top = top.split("/")
    assert is_subpath(path, top) == (path.split("/")[: len(names_of_top)] == names_of_top)


@pytest.mark.parametrize(
    ("path", "names"), [("/", 0), ("/a", 1), ("a", 1), ("/a/b", 2), ("a/b", 2), (INTRODUCE_DOMAIN, 1)]
)
def test_level(path: str, names: int) -> None:
    assert level(path) == names
