"""Plays the scripts on a daemon, by the C module under its own interpreter or by ours under this one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from daemons import Daemon
from daemons.packages import REPOSITORY

from .releases import OTHERWISE
from .scripts import SCRIPTS

__all__ = ["ANSWERS", "Answers", "load_answers", "play_ours", "play_theirs"]

HERE = Path(__file__).parent
ANSWERS = HERE / "answers.json"
Answers = dict[str, list[list[str]]]  # of each script, each line and its outcome


def load_answers(release: str) -> dict[str, Answers]:
    """What the C module answers, on each kind of daemon of a release of Xen: as it was recorded on one of them, but for
    the calls that are listed in releases.py."""
    answers: dict[str, Answers] = json.loads(ANSWERS.read_text())
    for (kind, script, line), difference in OTHERWISE.items():
        (call,) = (call for call in answers[kind][script] if call[0] == line)
        call[1] = difference.at(kind, release)
    return answers


def play_theirs(daemon: Daemon) -> Answers:
    """What the C module answers."""
    interpreter = daemon.packages.lowlevel_interpreter
    assert interpreter is not None
    return _play([interpreter, str(HERE / "player.py")], daemon, {"PYTHONPATH": str(daemon.packages.lowlevel_python)})


def play_ours(daemon: Daemon, backend: str) -> Answers:
    """What ours answers, over one of the backends."""
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
    # Where in its source an interpreter finds fault is its own affair, and another one's is elsewhere.
    answers: Any = json.loads(re.sub(r"(?:\.\./)?Python/getargs\.c:\d+", "getargs.c", done.stdout))
    return dict(answers)
