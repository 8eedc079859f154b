"""Processes that a test starts: its own children, and Pythons of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Callable

from .alarms import end_this_process_after

__all__ = ["in_child", "output_of", "python_environment"]


def in_child(work: Callable[[], object], seconds: int = 60) -> int:
    """Fork, do `work` in the child, and give its exit status: 0, or 1 where it raised, or minus a signal's number, as
    where it took longer."""
    pid = os.fork()
    if pid == 0:
        status = 1
        end_this_process_after(seconds)
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def python_environment(**variables: str) -> dict[str, str]:
    """The environment of another Python that finds what this one does, with these variables in it."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **variables}


def output_of(program: str, *arguments: str, **variables: str) -> str:
    """What a program prints, in a Python of its own where warnings are errors, with these arguments and variables.
    Where it fails, the test does."""
    command = [sys.executable, "-W", "error", "-c", program, *arguments]
    done = subprocess.run(command, env=python_environment(**variables), capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout
