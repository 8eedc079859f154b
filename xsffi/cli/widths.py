"""How many columns of a terminal a text takes."""

from __future__ import annotations

__all__ = ["columns_of", "cut"]


def columns_of(text: str) -> int:
    """The columns of a printable text: two for a wide character, as in Chinese, none for a combining accent."""
    if text.isascii():
        return len(text)
    return sum(map(_width, text))


def cut(text: str, columns: int, mark: str) -> str:
    """The text if it fits; otherwise as much of its start as fits with the mark after it, at least the mark."""
    if columns_of(text) <= columns:
        return text
    columns -= columns_of(mark)
    end = 0
    for character in text:
        columns -= _width(character)
        if columns < 0:
            break
        end += 1
    return text[:end] + mark


def _width(character: str) -> int:
    from unicodedata import category, east_asian_width

    if category(character) in ("Mn", "Me"):
        return 0
    return 2 if east_asian_width(character) in ("W", "F") else 1
