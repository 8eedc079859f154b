"""Processes started by a test: forked children, and new Python interpreters."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Callable

from .alarms import end_this_process_after

__all__ = ["in_child", "output_of", "python_environment"]


def in_child(work: Callable[[], object], seconds: int = 60) -> int:
    """Fork, run `work` in the child, and return its exit status: 0; 1 if it raised; or minus the number of the signal
    that ended it, as happens after `seconds`."""
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
    """The environment for another Python that imports from the same places as this one, with these variables added."""
    return {**os.environ, **variables, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def output_of(program: str, *arguments: str, **variables: str) -> str:
    """Run a program in a new Python where warnings are errors, with these arguments and variables, and return what it
    prints. The test fails if it does."""
    command = [sys.executable, "-W", "error", "-c", program, *arguments]
    done = subprocess.run(command, env=python_environment(**variables), capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout
