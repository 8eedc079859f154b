"""The CI workflows run only the project's own scripts and pinned actions."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_there_are_workflows() -> None:
    assert WORKFLOWS


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_scripts_of_this_project_are_run_and_nothing_else(workflow: Path) -> None:
    text = workflow.read_text()
    commands = re.findall(r"^ +(?:- )?run: (.*)$", text, re.MULTILINE)
    assert len(commands) == len(re.findall(r"\brun:", text))
    for listed in re.findall(r"^ +script: \[(.*)\]$", text, re.MULTILINE):
        commands.remove("${{ matrix.script }}")
        commands += listed.split(", ")
    for command in commands:
        script = command.partition(" ")[0]
        assert script.startswith("ci/"), command
        assert os.access(ROOT / script, os.X_OK), command


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_of_one_commit(workflow: Path) -> None:
    """With the version in a comment, for readers."""
    for used in re.findall(r"\buses: (.*)$", workflow.read_text(), re.MULTILINE):
        if used.startswith("./"):
            assert (ROOT / used).exists(), used
        else:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used), used


def test_each_python_is_tested() -> None:
    """From the oldest supported one on."""
    (oldest,) = re.findall(r'^requires-python = ">=3\.(\d+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    (listed,) = re.findall(r"^ +python: \[(.*)\]$", (ROOT / ".github/workflows/tests.yml").read_text(), re.MULTILINE)
    minors = [int(minor) for minor in re.findall(r'"3\.(\d+)"', listed)]
    assert minors == list(range(int(oldest), minors[-1] + 1))
    assert len(minors) == listed.count(",") + 1
