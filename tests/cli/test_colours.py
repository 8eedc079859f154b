"""Colours of words."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from xsffi.cli.colours import Colours


def console(file: io.StringIO, system: str) -> Console:
    return Console(file=file, force_terminal=True, color_system=system, highlight=False, soft_wrap=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("system", ["standard", "256", "truecolor"])
@pytest.mark.parametrize("style", ["dim", "bold blue", "red", "#ff8800"])
def test_as_the_console_itself_has_them(system: str, style: str) -> None:
    file = io.StringIO()
    colours = Colours(console(file, system))
    assert [colours.paint("text", style) for _ in range(2)] == [colours.paint("text", style)] * 2
    assert file.getvalue() == ""
    console(file, system).print("text", style=style, end="")
    assert colours.paint("text", style) == file.getvalue()
    assert "\x1b[" in file.getvalue()


def test_what_looks_like_markup() -> None:
    assert Colours(console(io.StringIO(), "standard")).paint("[red]x[/]", "bold") == "\x1b[1m[red]x[/]\x1b[0m"


def test_without_a_console() -> None:
    assert Colours(None).paint("text", "red") == "text"


def test_nothing_stays_nothing() -> None:
    assert Colours(console(io.StringIO(), "standard")).paint("", "red") == ""
