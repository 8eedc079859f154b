"""The same calls through the C module and through ours: the answers must be equal, except for the listed
differences."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from daemons import DAEMON_KINDS, require_packages, start_daemon
from daemons.packages import DEFAULT_RELEASE
from harness.stores import require_libxenstore

from .answers import load_answers
from .differences import DIFFERENCES, SAID_BY_THE_INTERPRETER
from .scripts import SCRIPTS
from .stage import play_ours, play_theirs

RECORDED_UNDER = (3, 11)  # the version of the interpreter whose messages were recorded
DOCUMENT = Path(__file__).parents[2] / "docs" / "coming-from.md"


@pytest.mark.parametrize("kind", DAEMON_KINDS)
def test_ours_answers_as_the_c_module(kind: str, backend: str) -> None:
    release = require_packages().version
    if backend == "libxenstore":
        require_libxenstore()
    with start_daemon(kind) as daemon:
        ours = play_ours(daemon, backend)
    theirs = load_answers(release)[kind]
    expected = [
        (difference, line)
        for difference in DIFFERENCES
        if difference.holds(kind, backend, release)
        for line in difference.calls
    ]
    wrong = []
    seen = set()
    for script, answers in theirs.items():
        for (line, answer), (our_line, our_answer) in zip(answers, ours[script]):
            assert line == our_line
            if our_answer == answer:
                continue
            if line in SAID_BY_THE_INTERPRETER and sys.version_info[:2] != RECORDED_UNDER:
                answer = our_answer = ""
            listed = next((d for d, known in expected if d.script == script and known == line), None)
            if listed is not None and our_answer in ("", listed.ours(line, answer)):
                seen.add((listed.title, script, line))
            else:
                wrong.append(f"{script}: {line}\n  theirs {answer}\n  ours   {our_answer}")
    assert not wrong, "\n".join(wrong)
    gone = [(d.title, d.script, line) for d, line in expected if (d.title, d.script, line) not in seen]
    assert not gone, f"these differ no longer: {gone}"


@pytest.mark.parametrize("kind", DAEMON_KINDS)
def test_the_recorded_answers_are_those_of_the_c_module(kind: str) -> None:
    packages = require_packages()
    if packages.lowlevel_interpreter is None:
        pytest.skip("there is no interpreter here that xen.lowlevel.xs was compiled for")
    say = "import sys; print(sys.version_info[:2])"
    if subprocess.check_output([packages.lowlevel_interpreter, "-c", say], text=True).strip() != str(RECORDED_UNDER):
        pytest.skip("the answers were recorded under another version of Python, which has other words")
    with start_daemon(kind) as daemon:
        assert play_theirs(daemon) == load_answers(packages.version)[kind], (
            "record them anew: python -m lowlevel.record, in tests/"
        )


def test_many_different_calls_are_compared() -> None:
    calls = {line for script in SCRIPTS.values() for line in script.splitlines() if "(" in line}
    assert len(calls) >= 200
    for kind, scripts in load_answers(DEFAULT_RELEASE).items():
        assert kind in DAEMON_KINDS
        recorded = {name: [line for line, _ in answers] for name, answers in scripts.items()}
        assert recorded == {name: [line for line in text.splitlines() if line] for name, text in SCRIPTS.items()}


def test_the_documents_tell_each_difference() -> None:
    text = DOCUMENT.read_text()
    for difference in DIFFERENCES:
        assert f"**{difference.title}**" in text
