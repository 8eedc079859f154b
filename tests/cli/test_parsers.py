"""Command lines, parsed as getopt does."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from xsffi.cli.parsers import Parser, UsageError


def parser() -> Parser:
    made = Parser(prog="xsffi test")
    made.add_argument("-f", "--flat", action="store_true")
    made.add_argument("-n", "--number")
    made.add_argument("--name")
    made.add_argument("-s", "--socket", action="store_true")
    made.add_argument("first", nargs="?")
    made.add_argument("others", nargs="*")
    return made


NOTHING: dict[str, Any] = {"flat": False, "number": None, "name": None, "socket": False, "first": None, "others": []}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ([], {}),
        (["a"], {"first": "a"}),
        (["a", "-f", "b", "-s", "c"], {"flat": True, "socket": True, "first": "a", "others": ["b", "c"]}),
        (["a", "b", "c", "-fs"], {"flat": True, "socket": True, "first": "a", "others": ["b", "c"]}),
        (["-sfn", "5", "a"], {"flat": True, "socket": True, "number": "5", "first": "a"}),
        (["a", "-fn5"], {"flat": True, "number": "5", "first": "a"}),
        (["a", "-nf"], {"number": "f", "first": "a"}),
        (["-n", "-5"], {"number": "-5"}),
        (["-n", "-f"], {"number": "-f"}),
        (["--number", "--name", "a"], {"number": "--name", "first": "a"}),
        (["--number=5"], {"number": "5"}),
        (["--num", "-5", "--fl"], {"number": "-5", "flat": True}),
        (["--name", "two words", "-"], {"name": "two words", "first": "-"}),
        (["--name", ""], {"name": ""}),
        (["--", "-f", "--name"], {"first": "-f", "others": ["--name"]}),
        (["a", "--", "-f", "--n"], {"first": "a", "others": ["-f", "--n"]}),
        (["-f", "--"], {"flat": True}),
        (["", "-f"], {"flat": True, "first": ""}),
    ],
)
def test_what_is_taken(line: list[str], expected: dict[str, Any]) -> None:
    assert parser().parse(line) == {**NOTHING, **expected}


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (["-x"], "unknown option -x;"),
        (["-fx"], "unknown option -x;"),
        (["-5"], "unknown option -5;"),
        (["-5.5", "a"], "unknown option -5;"),
        (["-a b"], "unknown option -a;"),
        (["-flat"], "unknown option -l;"),
        (["--nothing"], "unknown option --nothing;"),
        (["--nothing=5"], "unknown option --nothing;"),
        (["--n", "5"], "ambiguous option: --n could match --number, --name"),
        (["--flat=5"], "argument -f/--flat: ignored explicit argument '5'"),
        (["-n"], "argument -n/--number: expected one argument"),
        (["--name"], "argument --name: expected one argument"),
    ],
)
def test_what_is_refused(line: list[str], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parser().parse(line)
    assert str(caught.value).startswith(text)
    assert caught.value.usage.startswith("usage: xsffi test [-h] [-f] ")


def test_another_programs_options_are_left_to_it() -> None:
    made = Parser(prog="xsffi test")
    made.add_argument("-f", action="store_true")
    made.add_argument("command")
    made.add_argument("rest", nargs=argparse.REMAINDER)
    assert made.parse(["-f", "ls", "-l", "--", "x"]) == {"f": True, "command": "ls", "rest": ["-l", "--", "x"]}
