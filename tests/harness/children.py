"""What a child process does."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable

from .alarms import end_this_process_after

__all__ = ["in_child"]


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
