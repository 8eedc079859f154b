"""Runs a program for a change of a node."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from subprocess import Popen

    from ..records import Change, Node

__all__ = ["CannotRunError", "run_for"]


class CannotRunError(Exception):
    """The program does not exist, or may not be run."""


def run_for(change: Change, command: Sequence[str]) -> str | None:
    """Run a program for a change, and wait for it to exit; return how it failed, if it did.

    Its environment has ``XENSTORE_PATH``, ``XENSTORE_CHANGE``, which is "made", "changed" or "removed", and the values
    ``XENSTORE_OLD`` and ``XENSTORE_NEW``; each is unset if the node did not exist then, or the value contains a NUL,
    which an environment cannot hold. The new value is on its stdin, whatever it contains. If this is interrupted, so is
    the program. Raises CannotRunError.
    """
    import subprocess

    process = None
    try:
        with _interruptions_held():  # otherwise a program could be left running
            try:
                process = subprocess.Popen(command, stdin=subprocess.PIPE, env=_environment(change))
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                raise CannotRunError(f"cannot run {command[0]!r}: {reason}") from None
        process.communicate(change.new.value if change.new is not None else b"")
    except BaseException:
        if process is not None:
            _end(process)
        raise
    status = process.returncode
    if status < 0:
        return f"{command[0]} was killed by signal {-status}"
    return f"{command[0]} exited with status {status}" if status else None


def _environment(change: Change) -> dict[bytes, bytes]:
    path, old, new = change
    environment = dict(os.environb)
    environment[b"XENSTORE_PATH"] = path.encode("ascii")
    environment[b"XENSTORE_CHANGE"] = b"made" if old is None else b"removed" if new is None else b"changed"
    _put_value(environment, b"XENSTORE_OLD", old)
    _put_value(environment, b"XENSTORE_NEW", new)
    return environment


def _put_value(environment: dict[bytes, bytes], name: bytes, node: Node | None) -> None:
    environment.pop(name, None)
    if node is not None and b"\0" not in node.value:
        environment[name] = node.value


@contextmanager
def _interruptions_held() -> Iterator[None]:
    """Delay Ctrl-C until the end of the ``with`` block. It only reaches the main thread."""
    from threading import current_thread, main_thread

    handler = signal.getsignal(signal.SIGINT)
    if current_thread() is not main_thread() or not callable(handler):
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)


def _end(process: Popen[bytes]) -> None:
    """End the program after Ctrl-C. A terminal has sent that to the program too; if it was sent to this process only,
    pass it on. A second one kills a program that does not end."""
    try:
        process.terminate()
        process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
