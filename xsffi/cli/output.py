"""Where the output of a command goes."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO, TextIO

    from rich.console import Console

__all__ = ["Output", "standard_output"]

_LINE_MAX = 2000  # characters of a complaint that are shown


class Output:
    """A command's output: lines for a terminal, a file or a pipe, and complaints on stderr."""

    def __init__(
        self, file: BinaryIO, errors: TextIO | None = None, *, name: str = "xsffi", terminal: bool = False
    ) -> None:
        """`terminal`: whether somebody looks at it there; `name` begins each complaint."""
        self.name = name
        self.terminal = terminal
        self._file = file
        self._errors = errors

    def write(self, data: bytes) -> None:
        """Write bytes as they are."""
        self._file.write(data)

    def line(self, text: str) -> None:
        """Write a line of text, as UTF-8."""
        self._file.write(f"{text}\n".encode("utf-8", "surrogateescape"))

    def json(self, value: Any) -> None:
        """Write a line of JSON, in ASCII."""
        from json import dumps

        self.line(dumps(value))

    def flush(self) -> None:
        """Have all of it seen by now. Raises OSError where it cannot be written."""
        self._file.flush()

    def complain(self, text: str, usage: str = "") -> None:
        """Say on stderr what is wrong, in one line whatever stands in it; and what would be right."""
        if len(text) > _LINE_MAX:
            text = f"{text[:_LINE_MAX]}…"
        line = "".join([letter if letter.isprintable() else repr(letter)[1:-1] for letter in text])
        try:
            print(f"{self.name}: {line}", *usage.splitlines(), sep="\n", file=self._errors, flush=True)
        except (OSError, ValueError):
            pass  # nobody is there to read it

    @property
    def width(self) -> int | None:
        """How many columns the terminal has; None where it is none, or does not say."""
        try:
            return os.get_terminal_size(self._file.fileno()).columns or None
        except (OSError, ValueError):
            return None

    def console(self) -> Console | None:
        """For colours and what moves: one of rich's, where this is a terminal that can do that, nobody has asked for no
        colours, and rich is installed."""
        if not self.terminal or os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
            return None
        try:
            from rich.console import Console
        except ImportError:
            return None
        return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


def standard_output() -> Output:
    """The standard output; nowhere, if that is closed."""
    if sys.stdout is None:
        return Output(open(os.devnull, "wb"), sys.stderr)
    return Output(sys.stdout.buffer, sys.stderr, terminal=sys.stdout.isatty())
