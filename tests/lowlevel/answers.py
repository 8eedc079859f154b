"""The recorded answers of the C module, in a file with one line for each call, so that diffs are readable.

[name of a script]
the call  =>  its answer
    oxenstored  =>  its answer there, if different
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from daemons import DAEMON_KINDS

from .releases import OTHERWISE

__all__ = ["RECORDED", "Answers", "load_answers", "written"]

RECORDED = Path(__file__).with_name("answers.txt")
Answers = dict[str, list[list[str]]]  # by script: each call and its answer

_FIRST, *_OTHERS = DAEMON_KINDS
_GIVES = "  =>  "
_INDENT = "    "


def load_answers(release: str) -> dict[str, Answers]:
    """The C module's answers, on each kind of daemon of a release of Xen: the recorded ones, with the calls listed in
    releases.py adjusted."""
    answers = _parsed(RECORDED.read_text(encoding="utf-8"))
    for (kind, script, line), difference in OTHERWISE.items():
        (call,) = (call for call in answers[kind][script] if call[0] == line)
        call[1] = difference.at(kind, release)
    return answers


def written(answers: Mapping[str, Answers]) -> str:
    """The text that records answers on each kind of daemon."""
    lines = []
    for script, calls in answers[_FIRST].items():
        lines += ["", f"[{script}]"]
        for number, (call, answer) in enumerate(calls):
            lines.append(f"{call}{_GIVES}{answer}")
            for kind in _OTHERS:
                same, other = answers[kind][script][number]
                assert same == call
                if other != answer:
                    lines.append(f"{_INDENT}{kind}{_GIVES}{other}")
    return "\n".join([*lines[1:], ""])


def _parsed(text: str) -> dict[str, Answers]:
    """The answers in such a text, on each kind of daemon."""
    answers: dict[str, Answers] = {kind: {} for kind in DAEMON_KINDS}
    script = ""
    for line in filter(None, text.splitlines()):
        call, gives, answer = line.partition(_GIVES)
        if not gives:
            script = line[1:-1]
            for scripts in answers.values():
                scripts[script] = []
        elif call.startswith(_INDENT):
            answers[call.strip()][script][-1][1] = answer
        else:
            for scripts in answers.values():
                scripts[script].append([call, answer])
    return answers
