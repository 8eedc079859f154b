"""How many columns of a terminal a text takes."""

from __future__ import annotations

__all__ = ["columns_of", "cut"]


def columns_of(text: str) -> int:
    """The columns of a text that can be printed: two of a wide character, as in Chinese, none of an accent that stands
    on the one before."""
    if text.isascii():
        return len(text)
    return sum(map(_width, text))


def cut(text: str, columns: int, mark: str) -> str:
    """The text, if that fits; else as much of its beginning as does with the mark behind it, that at least."""
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
