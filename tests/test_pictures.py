"""The pictures in the documentation match the command's output on a terminal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_they_are_as_they_would_be_made() -> None:
    subprocess.run([sys.executable, ROOT / "ci" / "pictures", "--check"], check=True)
