"""The fixtures, in a run of pytest of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
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


_TOOL = """
import xsffi

def rename_domain(domid, name):
    with xsffi.Client() as xs:
        xs.transact(lambda t: t.write(f"/local/domain/{domid}/name", name))
"""

_ROOT = Path(__file__).parents[2]


def test_every_test_gets_a_store_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(_TEST)
    assert "3 passed" in run_pytest(tmp_path)


def test_the_examples_of_the_documentation(tmp_path: Path) -> None:
    text = (_ROOT / "docs" / "embedded-store.md").read_text(encoding="utf-8")
    example, other = (block.partition("```")[0] for block in text.split("```python\n")[1:])
    (tmp_path / "mytool.py").write_text(_TOOL)
    (tmp_path / "test_it.py").write_text(f"{example}\ndef test_other():\n" + textwrap.indent(other, "    "))
    assert "3 passed" in run_pytest(tmp_path)


def run_pytest(folder: Path) -> str:
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
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{_ROOT}:{folder}", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout
