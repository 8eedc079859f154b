"""Permissions: parsing, invalid input, and their text form."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsffi.errors import InvalidArgumentError
from xsffi.permissions import DOMID_MAX, Permission, PermissionLike, parse_permissions, validate_domid

permissions = st.builds(Permission, st.integers(0, DOMID_MAX), st.sampled_from("nrwb"))


@pytest.mark.parametrize(
    ("text", "permission", "readable", "writable"),
    [
        ("n0", Permission(0, "n"), False, False),
        ("r5", Permission(5, "r"), True, False),
        ("w5", Permission(5, "w"), False, True),
        ("b5", Permission(5, "b"), True, True),
        ("b65535", Permission(65535, "b"), True, True),
        ("n32752", Permission(32752, "n"), False, False),
    ],
)
def test_parse_and_format(text: str, permission: Permission, readable: bool, writable: bool) -> None:
    assert Permission.parse(text) == permission
    assert str(permission) == text
    assert (permission.readable, permission.writable) == (readable, writable)


def test_leading_zeros_are_read_as_the_daemons_do() -> None:
    assert Permission.parse("r005") == Permission(5, "r")


@pytest.mark.parametrize(
    "text",
    [
        "", "r", "5", "R5", "x5", "rw5", "r5 ", " r5", "r 5", "r5\n", "r-5", "r+5", "r5.0", "r0x5", "r5r5", "r5,w6",
        "r\u0665", "r5\0", "r123456", "r99999999999999999999",
    ],
)  # fmt: skip
def test_what_does_not_parse(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="a permission must be n, r, w or b followed by a domid") as caught:
        Permission.parse(text)
    assert caught.value.errno == errno.EINVAL
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["r65536", "n99999"])
def test_a_domid_that_is_too_big(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"a domid must be from 0 to 65535, not {text[1:]}"):
        Permission.parse(text)


@pytest.mark.parametrize("text", [None, 5, b"r5", ("r", 5), ["r5"]])
def test_what_is_no_str(text: Any) -> None:
    with pytest.raises(TypeError, match=f"not {type(text).__name__}"):
        Permission.parse(text)


@given(permissions)
def test_every_permission_survives_its_text(permission: Permission) -> None:
    assert Permission.parse(str(permission)) == permission


@given(st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        permission = Permission.parse(text)
    except InvalidArgumentError:
        return
    assert permission.access == text[0]
    assert permission.domid == int(text[1:])


@pytest.mark.parametrize(
    "given_as",
    [
        ["n0", "r5"],
        [Permission(0, "n"), Permission(5, "r")],
        ["n0", Permission(5, "r")],
        ("n0", "r5"),
        iter(["n0", "r5"]),
    ],
)
def test_a_list_in_every_form(given_as: Any) -> None:
    parsed = parse_permissions(given_as)
    assert parsed == [Permission(0, "n"), Permission(5, "r")]
    assert all(isinstance(permission, Permission) for permission in parsed)


@given(st.lists(permissions, min_size=1))
def test_every_list_survives_its_texts(listed: list[Permission]) -> None:
    mixed: list[PermissionLike] = [str(p) if number % 2 else p for number, p in enumerate(listed)]
    assert parse_permissions(mixed) == listed


@pytest.mark.parametrize("empty", [[], (), iter([])])
def test_an_empty_list_has_no_owner(empty: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="the first names its owner"):
        parse_permissions(empty)


@pytest.mark.parametrize("bad", ["n0", "", b"n0", Permission(0, "n"), None, 5])
def test_what_is_no_list(bad: Any) -> None:
    with pytest.raises(TypeError, match=r"permissions must be a list such as .*, not ") as caught:
        parse_permissions(bad)
    assert repr(bad) in str(caught.value)


@pytest.mark.parametrize(
    ("bad", "error", "named"),
    [
        ("x5", InvalidArgumentError, "'x5'"),
        ("r65536", InvalidArgumentError, "65536"),
        (Permission(5, "x"), InvalidArgumentError, "'x5'"),
        (Permission(-1, "r"), InvalidArgumentError, "'r-1'"),
        (Permission(65536, "r"), InvalidArgumentError, "65536"),
        (Permission(5, ""), InvalidArgumentError, "'5'"),
        (Permission(5, "rw"), InvalidArgumentError, "'rw5'"),
        ((5, "r"), TypeError, "tuple"),
        (5, TypeError, "int"),
        (b"r5", TypeError, "bytes"),
        (None, TypeError, "NoneType"),
    ],
)
def test_each_of_a_list_is_checked(bad: Any, error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        parse_permissions(["n0", bad])


@pytest.mark.parametrize("domid", [0, 1, 0x7FF0, DOMID_MAX])
def test_domids(domid: int) -> None:
    assert validate_domid(domid) == domid


@pytest.mark.parametrize("domid", [-1, DOMID_MAX + 1, 1 << 64])
def test_domids_out_of_range(domid: int) -> None:
    with pytest.raises(InvalidArgumentError, match=f"a domid must be from 0 to 65535, not {domid}"):
        validate_domid(domid)


@pytest.mark.parametrize("domid", [None, "5", 5.0, True, b"5", [5]])
def test_what_is_no_domid(domid: Any) -> None:
    with pytest.raises(TypeError, match=f"a domid must be an int, not {type(domid).__name__}"):
        validate_domid(domid)
