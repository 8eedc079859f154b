"""Where the output of a command goes."""

from __future__ import annotations

import os
import sys
from io import BufferedWriter, FileIO

from .values import encoded, escaped, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import BinaryIO, TextIO, TypeVar

    from rich.console import Console

    T = TypeVar("T")

__all__ = ["Output", "standard_output", "text_of"]

_LINE_MAX = 2000  # characters of an error that are shown


class Output:
    """A command's output: lines for a terminal, a file or a pipe, and errors on stderr."""

    def __init__(
        self,
        file: BinaryIO,
        errors: TextIO | None = None,
        *,
        name: str = "xsffi",
        terminal: bool = False,
        unicode: bool = True,
    ) -> None:
        """`terminal`: whether the output is a terminal; `unicode`: whether it can show more than ASCII; `name` precedes
        each error."""
        self.name = name
        self.terminal = terminal
        self.unicode = unicode
        self.failure = 1  # the exit status for errors
        self._file = file
        self._errors = errors

    def write(self, data: bytes) -> None:
        """Write bytes as they are."""
        self._file.write(data)

    def line(self, text: str) -> None:
        """Write a line of text, as UTF-8."""
        self._file.write(encoded(f"{text}\n"))

    def shown(self, value: bytes) -> str:
        """A value for people, in Unicode if the output can show that."""
        return shown(value) if self.unicode else escaped(value)

    def flush(self) -> None:
        """Write all buffered output. Raises OSError if it cannot be written."""
        self._file.flush()

    def complain(self, text: str, usage: str = "") -> None:
        """Print an error on stderr, in one line whatever it contains; and the right usage."""
        if self._errors is None:
            return  # print() would use standard output
        if len(text) > _LINE_MAX:
            text = f"{text[:_LINE_MAX]}…"
        line = "".join([letter if letter.isprintable() else _visible(letter) for letter in text])
        try:
            print(f"{self.name}: {line}", *usage.splitlines(), sep="\n", file=self._errors, flush=True)
        except (OSError, ValueError):
            pass  # nobody reads it

    @property
    def columns(self) -> int | None:
        """How many columns the terminal says it has, possibly 0; None if it is no terminal."""
        try:
            return os.get_terminal_size(self._file.fileno()).columns
        except (OSError, ValueError):
            return None

    @property
    def width(self) -> int | None:
        """How many columns the terminal has; None if it is no terminal, or does not say."""
        return self.columns or None

    def console(self) -> Console | None:
        """One of rich's consoles, for colours and animation, if this is a capable terminal, colours are not disabled,
        and rich is installed."""
        return _console() if self.terminal else None

    def progress(self, items: Sequence[T], text: str) -> Iterable[T]:
        """The items, with their progress on stderr if that is a terminal as above."""
        console = _console(stderr=True) if self._errors is not None and self._errors.isatty() else None
        if console is None:
            return items
        from rich.progress import track

        from .interrupts import raise_exceptions

        raise_exceptions()  # to show the cursor, which it hides, again
        return track(items, text, console=console, transient=True)


def _visible(letter: str) -> str:
    """Escape an unprintable character; a byte of the command line that is not UTF-8 as that byte."""
    return f"\\x{ord(letter) - 0xDC00:02x}" if "\udc80" <= letter <= "\udcff" else repr(letter)[1:-1]


def text_of(error: OSError) -> str:
    """The text of an error: what it is about, and what is wrong."""
    return ": ".join([str(part) for part in (error.filename, error.strerror or error) if part is not None])


def _console(stderr: bool = False) -> Console | None:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True, stderr=stderr)


def standard_output() -> Output:
    """The standard output; a dummy if that is closed."""
    if sys.stdout is None:
        return Output(open(os.devnull, "wb"), sys.stderr)
    unicode = sys.stdout.encoding.lower().replace("_", "-") in ("utf-8", "utf8")
    # A new one, since Python's has no buffer if PYTHONUNBUFFERED is set, and may then write only part.
    file = BufferedWriter(FileIO(sys.stdout.fileno(), "wb", closefd=False))
    return Output(file, sys.stderr, terminal=sys.stdout.isatty(), unicode=unicode)
