"""Arguments in place of a command: help, version, and mistakes."""

from __future__ import annotations

import pytest
from harness.commands import typed

from xsffi.cli import COMMANDS
from xsffi.testing import EmbeddedStore


@pytest.mark.parametrize(
    ("guess", "option"),
    [
        (["help"], ["-h"]),
        (["help", "read"], ["read", "-h"]),
        (["help", "manual"], ["manual", "-h"]),
        (["--trace", "help"], ["-h"]),
        (["help", "-h"], ["-h"]),
        (["version"], ["--version"]),
        (["--timeout", "1", "version"], ["--timeout", "1", "--version"]),
    ],
)
def test_help_and_version(store: EmbeddedStore, guess: list[str], option: list[str]) -> None:
    found = typed(store.path, *guess)
    assert (found.status, found.errors) == (0, "")
    assert found == typed(store.path, *option)


def test_what_help_says(store: EmbeddedStore) -> None:
    lines = typed(store.path, "help").output.splitlines()
    assert lines[0] == "usage: xsffi [OPTIONS] COMMAND …"
    for name, entry in COMMANDS.items():
        assert f"  {name:<12} {entry.summary}" in lines
    assert typed(store.path, "help", "read").output.startswith("usage: xsffi read [-h] ")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (["help", "raed"], "xsffi: unknown command 'raed'\ndid you mean read?\n"),
        (["nonsense"], "xsffi: unknown command 'nonsense'\nxsffi -h shows them all\n"),
        ([], "xsffi: no command given\nxsffi -h shows them all\n"),
    ],
)
def test_what_is_no_command(store: EmbeddedStore, line: list[str], complaint: str) -> None:
    assert typed(store.path, *line) == (2, "", complaint)
