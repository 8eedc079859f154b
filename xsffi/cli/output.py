"""Where the output of a command goes."""

from __future__ import annotations

import os
import sys
from io import BufferedWriter, FileIO

from .values import escaped, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, BinaryIO, TextIO, TypeVar

    from rich.console import Console

    T = TypeVar("T")

__all__ = ["Output", "standard_output", "text_of"]

_LINE_MAX = 2000  # characters of a complaint that are shown


class Output:
    """A command's output: lines for a terminal, a file or a pipe, and complaints on stderr."""

    def __init__(
        self,
        file: BinaryIO,
        errors: TextIO | None = None,
        *,
        name: str = "xsffi",
        terminal: bool = False,
        unicode: bool = True,
    ) -> None:
        """`terminal`: whether somebody looks at it there; `unicode`: whether it shows more than ASCII; `name` begins
        each complaint."""
        self.name = name
        self.terminal = terminal
        self.unicode = unicode
        self.failure = 1  # the exit status where something stands in the way
        self._file = file
        self._errors = errors

    def write(self, data: bytes) -> None:
        """Write bytes as they are."""
        self._file.write(data)

    def line(self, text: str) -> None:
        """Write a line of text, as UTF-8."""
        self._file.write(f"{text}\n".encode("utf-8", "surrogateescape"))

    def shown(self, value: bytes) -> str:
        """A value for the eyes, as far as this shows more than ASCII."""
        return shown(value) if self.unicode else escaped(value)

    def json(self, value: Any) -> None:
        """Write a line of JSON, in ASCII."""
        from json import dumps

        self.line(dumps(value))

    def flush(self) -> None:
        """Have all of it seen by now. Raises OSError where it cannot be written."""
        self._file.flush()

    def complain(self, text: str, usage: str = "") -> None:
        """Say on stderr what is wrong, in one line whatever stands in it; and what would be right."""
        if self._errors is None:
            return  # print() would take standard output
        if len(text) > _LINE_MAX:
            text = f"{text[:_LINE_MAX]}…"
        line = "".join([letter if letter.isprintable() else _visible(letter) for letter in text])
        try:
            print(f"{self.name}: {line}", *usage.splitlines(), sep="\n", file=self._errors, flush=True)
        except (OSError, ValueError):
            pass  # nobody is there to read it

    @property
    def columns(self) -> int | None:
        """How many columns the terminal says that it has, which may be 0; None where it is none."""
        try:
            return os.get_terminal_size(self._file.fileno()).columns
        except (OSError, ValueError):
            return None

    @property
    def width(self) -> int | None:
        """How many columns the terminal has; None where it is none, or does not say."""
        return self.columns or None

    def console(self) -> Console | None:
        """For colours and what moves: one of rich's, where this is a terminal that can do that, nobody has asked for no
        colours, and rich is installed."""
        return _console() if self.terminal else None

    def progress(self, items: Sequence[T], text: str) -> Iterable[T]:
        """The items, and on stderr, where that is a terminal as above, how many of them are taken."""
        console = _console(stderr=True) if self._errors is not None and self._errors.isatty() else None
        if console is None:
            return items
        from rich.progress import track

        from .interrupts import raise_exceptions

        raise_exceptions()  # the cursor, which it hides, is to be shown again
        return track(items, text, console=console, transient=True)


def _visible(letter: str) -> str:
    """A letter that cannot be printed; a byte of the command line that is not UTF-8 as what it is."""
    return f"\\x{ord(letter) - 0xDC00:02x}" if "\udc80" <= letter <= "\udcff" else repr(letter)[1:-1]


def text_of(error: OSError) -> str:
    """What is to be said of an error: what it is about, and what is wrong."""
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
    """The standard output; nowhere, if that is closed."""
    if sys.stdout is None:
        return Output(open(os.devnull, "wb"), sys.stderr)
    unicode = sys.stdout.encoding.lower().replace("_", "-") in ("utf-8", "utf8")
    # One of its own, since Python's has no buffer where PYTHONUNBUFFERED is set, and then writes a part at times.
    file = BufferedWriter(FileIO(sys.stdout.fileno(), "wb", closefd=False))
    return Output(file, sys.stderr, terminal=sys.stdout.isatty(), unicode=unicode)
