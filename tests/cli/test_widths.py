"""The width of a text on a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsffi.cli.widths import columns_of, cut

PRINTABLE = st.text(st.characters(exclude_categories=("C", "Z")) | st.sampled_from("語e\u0301ab"))


@pytest.mark.parametrize(
    ("text", "columns"), [("", 0), ("abc", 3), ("café", 4), ("cafe\u0301", 4), ("語学", 4), ("🦊", 2), ("｡ﾟ", 2)]
)
def test_columns(text: str, columns: int) -> None:
    assert columns_of(text) == columns


@pytest.mark.parametrize(
    ("text", "columns", "mark", "left"),
    [
        ("abc", 3, "…", "abc"),
        ("abcd", 3, "…", "ab…"),
        ("abcdef", 5, "...", "ab..."),
        ("語学語", 6, "…", "語学語"),
        ("語学語", 5, "…", "語学…"),
        ("語学語", 4, "…", "語…"),
        ("abc", 1, "…", "…"),
        ("abc", 0, "…", "…"),
        ("abc", -5, "…", "…"),
        ("", -5, "…", "…"),
    ],
)
def test_cut(text: str, columns: int, mark: str, left: str) -> None:
    assert cut(text, columns, mark) == left


@given(PRINTABLE, st.integers(1, 20))
def test_what_is_left_fits_and_is_as_long_as_may_be(text: str, columns: int) -> None:
    left = cut(text, columns, "…")
    assert columns_of(left) <= columns
    if left != text:
        assert text.startswith(left[:-1])
        assert columns_of(text[: len(left)]) + 1 > columns
