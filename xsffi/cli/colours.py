"""Colours of single words, for a hundred thousand lines of them: each of rich's styles is converted only once."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Colours"]


class Colours:
    """Colours texts for a console of rich's; without one, leaves them as they are."""

    def __init__(self, console: Console | None) -> None:
        self._console = console
        self._ends: dict[str, tuple[str, str]] = {}  # the escape codes before and after, by style

    def paint(self, text: str, style: str) -> str:
        """A text in a style such as ``"bold blue"``."""
        if self._console is None or not text:
            return text
        try:
            before, behind = self._ends[style]
        except KeyError:
            before, behind = self._ends[style] = _ends(self._console, style)
        return f"{before}{text}{behind}"


def _ends(console: Console, style: str) -> tuple[str, str]:
    with console.capture() as capture:
        console.print("x", style=style, end="")
    before, _, behind = capture.get().partition("x")
    return before, behind
