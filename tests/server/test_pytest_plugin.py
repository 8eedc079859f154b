"""The fixtures, in a separate run of pytest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from xsffi.server.releases import NEWEST

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

_RELEASES = """
import pytest
{fixture}
def test_release(xenstore_server):
    print("as", xenstore_server.release)

def test_without_a_store():
    pass
"""

_FIXTURE = """
@pytest.fixture(params=["4.14", "4.20"])
def xenstore_release(request):
    return request.param
"""

_ROOT = Path(__file__).parents[2]


def test_every_test_gets_a_store_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(_TEST)
    assert "3 passed" in run_pytest(tmp_path)


@pytest.mark.parametrize(
    ("options", "fixture", "found"),
    [
        ([], "", [NEWEST]),
        (["--xenstore-release", "4.17"], "", ["4.17"]),
        (["--xenstore-release=4.22", "--xenstore-release=4.14"], "", ["4.22", "4.14"]),
        ([], _FIXTURE, ["4.14", "4.20"]),
        (["--xenstore-release", "4.17"], _FIXTURE, ["4.14", "4.20"]),
    ],
)
def test_the_release(tmp_path: Path, options: list[str], fixture: str, found: list[str]) -> None:
    (tmp_path / "test_it.py").write_text(_RELEASES.format(fixture=fixture))
    output = run_pytest(tmp_path, "-s", *options)
    assert re.findall(r"as (\S+)", output) == found
    assert f"{len(found) + 1} passed" in output


def test_a_release_that_there_is_not(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(_TEST)
    run = start_pytest(tmp_path, "--xenstore-release", "4.17", "--xenstore-release", "4.99")
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--xenstore-release: a release must be one of 4.14, 4.17, 4.20, 4.22, not '4.99'" in run.stderr


def run_pytest(folder: Path, *options: str) -> str:
    run = start_pytest(folder, *options)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def start_pytest(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
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
            *options,
            ".",
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{_ROOT}:{folder}", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
