"""The fixtures, in a run of pytest of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_TEST = """
import sys

def test_nothing_is_imported():
    assert "xsffi.testing" not in sys.modules
    assert "xsffi.server" not in sys.modules

def test_one(xenstore, xenstore_server):
    import xsffi
    xenstore.write("/mine", "1")
    with xsffi.Client(backend="wire") as found, xenstore_server.connect(5) as guest:
        assert found.read("/mine") == b"1"
        guest.write("data", "2")

def test_two(xenstore):
    assert xenstore.ls("/") == ["tool"]
"""


def test_every_test_gets_a_store_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(_TEST)
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-W",
            "error",
            "-p",
            "no:cacheprovider",
            "-p",
            "xsffi.pytest_plugin",
            ".",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "3 passed" in run.stdout
