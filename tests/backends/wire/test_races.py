"""Threads that share a connection in C, without the GIL. ci/sanitize runs it for longer, under ThreadSanitizer."""

from __future__ import annotations

import subprocess
from pathlib import Path

from harness.compiled import compile_races
from harness.threads import PATIENCE

ROOT = Path(__file__).resolve().parents[3]


def test_each_gets_its_own_reply_and_nobody_sleeps_for_ever(tmp_path: Path) -> None:
    program = tmp_path / "races"
    compile_races(ROOT, program, ["-O1", "-g", "-Wall", "-Wextra", "-Werror"])
    subprocess.run([program, "2"], check=True, timeout=PATIENCE)
