"""Runs a program for a change of a node."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from subprocess import Popen

    from ..records import Change, Node

__all__ = ["CannotRunError", "run_for"]

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class CannotRunError(Exception):
    """The program does not exist, or may not be run."""


def run_for(change: Change, command: Sequence[str]) -> str | None:
    """Run a program for a change, and wait for it to exit; return how it failed, if it did.

    Its environment has ``XENSTORE_PATH``, ``XENSTORE_CHANGE``, which is "made", "changed" or "removed", and the values
    ``XENSTORE_OLD`` and ``XENSTORE_NEW``; each is unset if the node did not exist then, or the value contains a NUL,
    which an environment cannot hold. The new value is on its stdin, whatever it contains. A signal that would end this
    process meanwhile ends the program first. Raises CannotRunError.
    """
    import subprocess

    with _signals_to_the_program() as started:
        try:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, env=_environment(change))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise CannotRunError(f"cannot run {command[0]!r}: {reason}") from None
        with process:
            started(process)
            process.communicate(change.new.value if change.new is not None else b"")
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
def _signals_to_the_program() -> Iterator[Callable[[Popen[bytes]], None]]:
    """Until the end of the ``with`` block, Ctrl-C and the like end the program that the result is called with; then
    they take effect here. A terminal has sent Ctrl-C to the program too, but ``kill`` has not. A second one kills a
    program that does not end. Signals only reach the main thread."""
    from threading import current_thread, main_thread

    came: list[int] = []
    processes: list[Popen[bytes]] = []

    def end(number: int, _: object) -> None:
        came.append(number)
        for process in processes:
            if len(came) == 1:
                process.terminate()
            else:
                process.kill()

    def started(process: Popen[bytes]) -> None:
        processes.append(process)
        if came:  # while it was being started
            process.terminate()

    numbers = _ENDING if current_thread() is main_thread() else ()
    handlers = {number: signal.getsignal(number) for number in numbers}
    for number, handler in handlers.items():
        if handler != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, end)
    try:
        yield started
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
