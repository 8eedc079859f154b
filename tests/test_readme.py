"""The README is a promise: its snippets run, and what it names is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from daemons import Daemon, require_packages
from harness.stores import require_libxenstore

import xsffi
from xsffi.lowlevel import uninstall

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text()


def snippets(language: str) -> list[str]:
    """The blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_the_python_snippets(
    daemon: Daemon, backend: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if backend == "libxenstore":
        require_libxenstore()
    monkeypatch.setenv("XSFFI_BACKEND", backend)
    monkeypatch.setenv("XENSTORED_PATH", daemon.socket_path)
    names: dict[str, object] = {}
    try:
        for snippet in snippets("python"):
            exec(compile(snippet, "README.md", "exec"), names)
    finally:
        uninstall()
    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        "/local/domain/5/device/vif/0/state 1",
        "changed: /tool/counter",
        "mirror: /tool/vif/state b'4' b'5'",
        "asyncio: /tool/jobs/7 done",
    ]


def test_the_demo() -> None:
    """On Python alone: neither what this process has nor the extension."""
    assert "ci/demo\n" in snippets("sh")
    environment = {"PATH": os.defpath, "XSFFI_EXTENSION": "no"}
    demo = subprocess.run([REPOSITORY / "ci/demo"], env=environment, capture_output=True, text=True, timeout=60)
    assert demo.returncode == 0, demo.stderr
    assert demo.stdout.count("the driver has connected") == 1
    assert demo.stdout.splitlines()[-1].startswith("/local/domain/")


def test_the_real_demo() -> None:
    require_packages()
    require_libxenstore()
    environment = {**os.environ, "XSFFI_PYTHON": sys.executable}
    command = [str(REPOSITORY / "ci/demo"), "--real"]
    demo = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert demo.returncode == 0, demo.stderr
    assert demo.stdout.count("the driver has connected") == 2
    assert demo.stdout.splitlines()[-1].startswith("/local/domain/")


def test_the_pytest_snippets(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # they are named instead, whether installed or not
    plain, awaited = [text for text in snippets("python") if "def test_" in text]
    options = ["-p", "xsffi.pytest_plugin", "-p", "no:cacheprovider"]
    pytester.makepyfile(plain)
    pytester.runpytest_subprocess(*options).assert_outcomes(passed=2)
    pytester.makepyfile(awaited)
    options += ["-p", "pytest_asyncio.plugin", "-o", "asyncio_mode=auto"]
    pytester.runpytest_subprocess(*options).assert_outcomes(passed=1)


def test_the_figures_are_those_that_were_measured() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "benchmarks.summary"], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    assert said in README


def test_every_error_is_told() -> None:
    told = set(re.findall(r"^\| `(\w+Error)` \|", README, re.MULTILINE))
    errors = {name for name in xsffi.__all__ if name.endswith("Error")}
    assert told == errors - {"XenStoreError"}


def test_every_error_is_the_builtin_that_it_is_said_to_be() -> None:
    for name, builtin in re.findall(r"^\| `(\w+Error)` \| `(\w+)` \|", README, re.MULTILINE):
        assert issubclass(getattr(xsffi, name), getattr(__import__("builtins"), builtin)), name


def test_every_environment_variable_is_told() -> None:
    told = set(re.findall(r"^\| `(X\w+)` \|", README, re.MULTILINE))
    used = set()
    for source in [*REPOSITORY.glob("xsffi/**/*.py"), REPOSITORY / "setup.py", REPOSITORY / "build_ffi.py"]:
        used |= set(re.findall(r'environ(?:\.get\(|\[)"(X\w+)"', source.read_text()))
    assert used <= told


def test_every_file_that_it_links_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (REPOSITORY / target).exists(), target
