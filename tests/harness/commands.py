"""Ways to run the command ``xsffi``: its functions, a command line in this process, a process, and a process on a
terminal; and Xen's own programs, which it is compared with."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import IO, Any, NamedTuple

from xsffi.cli.main import run
from xsffi.cli.output import Output

from .stores import environment_of
from .threads import PATIENCE

__all__ = [
    "Ran",
    "Running",
    "called",
    "environment_for",
    "on_terminal",
    "program",
    "program_on_terminal",
    "ran",
    "read_to_end",
    "running",
    "typed",
]

ROOT = Path(__file__).resolve().parents[2]


class Running(NamedTuple):
    """A running command, and its output."""

    process: subprocess.Popen[str]
    output: IO[str]
    errors: IO[str]


class Ran(NamedTuple):
    """How a command ended, and its output, with surrogates for bytes that are not UTF-8."""

    status: int
    output: str
    errors: str


def called(command: Callable[..., int], *arguments: Any, unicode: bool = True, **named: Any) -> Ran:
    """Call a command's function. `arguments`: its first one, a client or a function that opens one, and those after the
    output."""
    file, errors = io.BytesIO(), io.StringIO()
    first, *rest = arguments
    status = command(first, Output(file, errors, unicode=unicode), *rest, **named)
    return Ran(status, file.getvalue().decode("utf-8"), errors.getvalue())


def environment_for(store: str, **variables: str) -> dict[str, str]:
    """The environment for a process that uses the store at this socket."""
    left_out = ("PYTHON", "XSFFI_", "LC_", "COLUMNS", "LINES", "NO_COLOR", "TERM")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    environment.update(PYTHONPATH=str(ROOT), XENSTORED_PATH=store, LC_ALL="C.UTF-8", TERM="xterm-256color")
    return {**environment, **variables}


def typed(store: str, *arguments: str, columns: int | None = None) -> Ran:
    """Run a command line in this process, on the store at this socket. `columns`: the width of the terminal it writes
    to, if any."""
    errors = io.StringIO()
    with _Screen(columns) if columns is not None else io.BytesIO() as file, environment_of(store):
        status = run(arguments, Output(file, errors, terminal=columns is not None))
        return Ran(status, _text(file.getvalue()), errors.getvalue())


def ran(environment: Mapping[str, str], *arguments: str, given: bytes = b"") -> Ran:
    """Run the command as a process, with pipes. `given`: its standard input."""
    return program(environment, *_command(arguments), given=given)


def program(environment: Mapping[str, str], *command: str | Path, given: bytes = b"") -> Ran:
    """Run another program, with pipes."""
    done = subprocess.run(command, env=environment, input=given, capture_output=True, timeout=PATIENCE)
    return Ran(done.returncode, _text(done.stdout), _text(done.stderr))


@contextmanager
def running(environment: Mapping[str, str], *arguments: str) -> Iterator[Running]:
    """Start the command as a process, with pipes; it is killed at the end of the ``with`` block."""
    process = subprocess.Popen(
        _command(arguments),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        try:
            yield Running(process, process.stdout, process.stderr)
        finally:
            process.kill()


def on_terminal(
    environment: Mapping[str, str],
    *arguments: str,
    columns: int = 80,
    meanwhile: Callable[[int], object] = lambda lines: None,
) -> Ran:
    """Run the command as a process whose stdout and stderr are a terminal; returns everything it writes there, with
    newlines as written. `meanwhile` is called with the number of lines so far whenever there are more."""
    return program_on_terminal(environment, *_command(arguments), columns=columns, meanwhile=meanwhile)


def program_on_terminal(
    environment: Mapping[str, str],
    *command: str | Path,
    columns: int = 80,
    meanwhile: Callable[[int], object] = lambda lines: None,
) -> Ran:
    """The same for another program."""
    ours, theirs = _terminal(columns)
    try:
        process = subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    finally:
        os.close(theirs)
    with process:
        try:
            sent = read_to_end(ours, meanwhile)
        except BaseException:
            process.kill()
            raise
        finally:
            os.close(ours)
    return Ran(process.returncode, _text(sent), "")


class _Screen(io.BytesIO):
    """Keeps what is written; its descriptor is a terminal of a given width."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self._ends = _terminal(columns)

    def fileno(self) -> int:
        return self._ends[1]

    def close(self) -> None:
        if not self.closed:
            for end in self._ends:
                os.close(end)
        super().close()


def _terminal(columns: int) -> tuple[int, int]:
    """The two ends of a terminal that does not alter the output."""
    ours, theirs = pty.openpty()
    mode = termios.tcgetattr(theirs)
    mode[1] &= ~termios.OPOST
    termios.tcsetattr(theirs, termios.TCSANOW, mode)
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    return ours, theirs


def _text(output: bytes) -> str:
    return output.decode("utf-8", "surrogateescape")


def read_to_end(terminal: int, meanwhile: Callable[[int], object] = lambda lines: None) -> bytes:
    """Read everything that a process writes to a terminal, until it ends. `meanwhile` is called whenever there are more
    lines."""
    sent = b""
    end = monotonic() + PATIENCE
    while True:
        ready, _, _ = select.select([terminal], [], [], max(0, end - monotonic()))
        if not ready:
            raise TimeoutError(f"it goes on, after {sent!r}")
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux's way of reporting that the other end is no longer open
            return sent
        if not part:
            return sent
        sent += part
        if b"\n" in part:
            meanwhile(sent.count(b"\n"))


def _command(arguments: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "xsffi", *arguments]
