"""``xsffi manual``."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from harness.commands import called

from xsffi.cli import COMMANDS
from xsffi.cli.main import run
from xsffi.cli.manual import manual
from xsffi.cli.opening import Opening
from xsffi.cli.output import Output

PAGES = [None, *COMMANDS]


def page(name: str | None) -> str:
    status, output, errors = called(manual, Opening({}), name)
    assert (status, errors) == (0, "")
    return output


@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_has(name: str | None) -> None:
    text = page(name)
    title = "xsffi" if name is None else f"xsffi-{name}"
    assert text.startswith(".TH " + title.upper().replace("-", "\\-"))
    summary = "XenStore at a shell" if name is None else COMMANDS[name].summary
    assert f".SH NAME\n{title} - {summary}\n".replace("-", "\\-") in text
    for heading in ("SYNOPSIS", "DESCRIPTION", "OPTIONS", "SEE ALSO"):
        assert f".SH {heading}\n" in text or (heading == "OPTIONS" and name is not None), heading


def test_the_main_page_lists_the_commands() -> None:
    text = page(None)
    for name, entry in COMMANDS.items():
        assert f".TP\n\\fB{name}\\fR\n{entry.summary}\n".replace("-", "\\-") in text


def test_options_are_told() -> None:
    text = page("watch")
    assert "\\-\\-values" in text
    assert "XENSTORE_PATH" in text


@pytest.mark.parametrize("name", PAGES)
def test_mandoc_has_nothing_to_complain_of(name: str | None) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("there is no mandoc")
    command = ["mandoc", "-T", "lint", "-W", "warning"]
    said = subprocess.run(command, input=page(name), capture_output=True, text=True, timeout=60)
    # argparse-manpage writes a date with \-, which mandoc does not know.
    assert [line for line in said.stdout.splitlines() if "cannot parse date" not in line] == []


def test_all_pages_in_a_folder(tmp_path: Path) -> None:
    assert called(manual, Opening({}), directory=str(tmp_path)).status == 0
    assert {file.name for file in tmp_path.iterdir()} == {"xsffi.1", *[f"xsffi-{name}.1" for name in COMMANDS]}
    assert (tmp_path / "xsffi-watch.1").read_text("utf-8") == page("watch")


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["--directory", "/no/such"], 1, "xsffi: /no/such/xsffi.1: No such file or directory\n"),
        (["watch", "--directory", "/tmp"], 2, "does not go with PAGE"),
        (["nothing"], 2, "invalid choice: 'nothing'"),
    ],
)
def test_what_cannot_be(arguments: list[str], status: int, text: str) -> None:
    errors = io.StringIO()
    assert run(["manual", *arguments], Output(io.BytesIO(), errors)) == status
    assert text in errors.getvalue()


def test_without_argparse_manpage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "argparse_manpage.manpage", None)
    errors = io.StringIO()
    assert run(["manual"], Output(io.BytesIO(), errors)) == 2
    assert errors.getvalue() == (
        "xsffi: man pages require argparse-manpage, which is not installed\npip install 'xsffi[shell]'\n"
    )
