"""``xsffi manual``."""

from __future__ import annotations

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from harness.commands import called, environment_for, ran, typed

from xsffi import __version__
from xsffi.cli import COMMANDS
from xsffi.cli.main import run
from xsffi.cli.manual import manual
from xsffi.cli.manual_texts import ENVIRONMENT, EXAMPLES, FURTHER_STATUSES, exit_statuses
from xsffi.cli.opening import Opening
from xsffi.cli.output import Output
from xsffi.cli.parsers import command_parser, whole_parser
from xsffi.testing import EmbeddedStore

PAGES = [None, *COMMANDS]
HEADINGS = ["NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "ENVIRONMENT", "EXAMPLES", "SEE ALSO"]
DOCS = Path(__file__).resolve().parents[2] / "docs"


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
    headings = [line.removeprefix(".SH ") for line in text.splitlines() if line.startswith(".SH ")]
    optional = {"OPTIONS", "COMMANDS", "NOTES"}
    assert [heading for heading in headings if heading not in optional] == HEADINGS


def test_the_main_page_lists_the_commands() -> None:
    text = page(None)
    for name, entry in COMMANDS.items():
        assert f".TP\n\\fB{name}\\fR\n{entry.summary}\n".replace("-", "\\-") in text


def test_options_are_told() -> None:
    text = page("watch")
    assert "\\-\\-values" in text
    assert "XENSTORE_PATH" in text


def test_the_date_is_one_to_man(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its dashes must not become minus signs; packagers set the date."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert page("watch").splitlines()[0] == f'.TH XSFFI\\-WATCH "1" "2023-11-14" "xsffi {__version__}" "User Commands"'


def test_every_other_dash_is_a_minus_sign() -> None:
    """So that text copied from the page, or searched for in it, matches."""
    for name in PAGES:
        lines = page(name).splitlines()[1:]
        assert [line for line in lines if re.search(r"(?<!\\)-", line)] == []


@pytest.mark.parametrize("name", PAGES)
def test_mandoc_has_nothing_to_complain_of(name: str | None) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("there is no mandoc")
    said = subprocess.run(["mandoc", "-T", "lint"], input=page(name), capture_output=True, text=True, timeout=60)
    assert (said.stdout, said.stderr) == ("", "")


@pytest.mark.parametrize("name", PAGES)
def test_what_man_shows(name: str | None) -> None:
    """Long lines are wrapped, and no text is taken for a macro or an escape."""
    if shutil.which("mandoc") is None:
        pytest.skip("there is no mandoc")
    command = ["mandoc", "-T", "utf8", "-O", "width=1000"]
    shown = subprocess.run(command, input=page(name), capture_output=True, text=True, timeout=60).stdout
    words = re.sub(".\b", "", shown).split()  # bold letters are printed twice
    parser = whole_parser() if name is None else command_parser(name)
    expected = [*EXAMPLES[name], *EXAMPLES[name].values(), *exit_statuses(name).values(), *ENVIRONMENT.values()]
    if name is not None:
        expected += [parser.epilog or "", parser.format_usage().removeprefix("usage: ")]
    for text in expected:
        wanted = text.split()
        assert any(words[place : place + len(wanted)] == wanted for place in range(len(words))), text


def test_every_command_has_examples() -> None:
    assert list(EXAMPLES) == PAGES
    for name, examples in EXAMPLES.items():
        assert [line for line in examples if "xsffi" not in line or f" {name or ''}" not in line] == []


@pytest.mark.parametrize("line", [line for examples in EXAMPLES.values() for line in examples])
def test_an_example(store: EmbeddedStore, tmp_path: Path, line: str) -> None:
    """It succeeds, or fails because it has found something; what never ends is only parsed."""
    (tmp_path / "xsffi").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m xsffi "$@"\n')
    (tmp_path / "xsffi").chmod(0o755)
    (tmp_path / "man").write_text("#!/bin/sh\nexec cat\n")
    (tmp_path / "man").chmod(0o755)
    environment = environment_for(store.path, PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    home = ran(environment, "dump", "/local/domain/5").output
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "web.jsonl").write_text(home)
    words = shlex.split(line)
    if words[1] in ("watch", "serve"):
        assert command_parser(words[1]).parse(words[2:])
        return
    done = subprocess.run(["sh", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1 if "--check" in line else 0, "")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_exit_statuses(name: str) -> None:
    """The documented statuses of a wrong command line and of an error of the store match the actual ones."""
    statuses = exit_statuses(name)
    assert "a wrong command line" in statuses[typed("/no/such/socket", name, "--nonsense").status]
    lines = {"read": ["/a"], "write": ["/a", "1"], "list": ["/a"], "rm": ["/a"], "exists": ["/a"], "watch": ["/a"],
             "chmod": ["/a", "n0"], "control": ["check"], "wait": ["/a"], "load": [str(DOCS / "none")],
             "diff": ["/a", "/b"]}  # fmt: skip
    if name not in ("serve", "completion", "manual"):
        assert "an error of the store" in statuses[typed("/no/such/socket", name, *lines.get(name, [])).status]


def test_what_the_documentation_says_of_them() -> None:
    text = (DOCS / "command-line.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\d+: .*) \|$", text, re.MULTILINE)
    told = {
        name: "; ".join(f"{status}: {meaning}" for status, meaning in FURTHER_STATUSES[name].items())
        for name in FURTHER_STATUSES
    }
    assert dict(rows) == told


def test_what_the_documentation_says_of_the_environment() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", (DOCS / "reference/environment.md").read_text(), re.MULTILINE))
    for name, meaning in ENVIRONMENT.items():
        if name != "NO_COLOR":
            assert rows[name].replace("`", "") == meaning


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
