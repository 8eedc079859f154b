"""Tables of text, with columns as wide as needed."""

from __future__ import annotations

from .colours import Colours
from .widths import columns_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .output import Output

__all__ = ["write_table"]

_GAP = "  "


def write_table(out: Output, heads: Sequence[str], rows: Sequence[Sequence[tuple[str, str]]]) -> None:
    """Print rows of texts, each with one of rich's styles, below the column heads. Empty columns are left out."""
    paint = Colours(out.console()).paint
    table = [[(head, "bold") for head in heads], *rows]
    places = [place for place in range(len(heads)) if not rows or any(row[place][0] for row in rows)]
    widths = [max(columns_of(row[place][0]) for row in table) for place in places]
    for row in table:
        line, behind = "", ""  # padding is written before the next text, so that no line ends in it
        for place, width in zip(places, widths):
            text, style = row[place]
            if text:
                line += behind + paint(text, style)
                behind = ""
            behind += " " * (width - columns_of(text)) + _GAP
        out.line(line)
