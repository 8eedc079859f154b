"""Plays the scripts on a daemon, with the C module under its own interpreter, or with ours under this one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from daemons import Daemon
from daemons.packages import REPOSITORY

from .answers import Answers
from .scripts import SCRIPTS

__all__ = ["play_ours", "play_theirs"]

HERE = Path(__file__).parent


def play_theirs(daemon: Daemon) -> Answers:
    """The answers of the C module."""
    interpreter = daemon.packages.lowlevel_interpreter
    assert interpreter is not None
    return _play([interpreter, str(HERE / "player.py")], daemon, {"PYTHONPATH": str(daemon.packages.lowlevel_python)})


def play_ours(daemon: Daemon, backend: str) -> Answers:
    """Our answers, over one of the backends."""
    command = [sys.executable, "-m", "xsffi.lowlevel", str(HERE / "player.py")]
    return _play(command, daemon, {"PYTHONPATH": str(REPOSITORY), "XSFFI_BACKEND": backend})


def _play(command: list[str], daemon: Daemon, environment: dict[str, str]) -> Answers:
    done = subprocess.run(
        command,
        input=json.dumps(SCRIPTS),
        env={**daemon.environment(), **environment},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stderr}"
    # The place in the interpreter's source is irrelevant, and depends on its version.
    answers: Any = json.loads(re.sub(r"(?:\.\./)?Python/getargs\.c:\d+", "getargs.c", done.stdout))
    return dict(answers)
