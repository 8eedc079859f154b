"""``xsffi completion``, in real shells."""

from __future__ import annotations

import io
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from harness.commands import Ran, called, environment_for, ran, read_to_end
from harness.threads import PATIENCE

import xsffi
from xsffi.cli import COMMANDS
from xsffi.cli.completion import completion
from xsffi.cli.main import run
from xsffi.cli.opening import Opening
from xsffi.cli.output import Output
from xsffi.testing import EmbeddedStore

# What is typed, and the candidates for its last word, which are the same in each shell.
CASES = [
    ("wa", ["wait", "watch"]),
    ("--so", ["--socket"]),
    ("--backend ", ["auto", "libxenstore", "wire"]),
    ("watch --in", ["--initial"]),
    ("read /local/domain/5/d", ["/local/domain/5/device", "/local/domain/5/domid"]),
    ("read /tool/name /tool/m", ["/tool/motto"]),
    ("read /tool", ["/tool", "/tool/motto", "/tool/name", "/tool/xenstored"]),
    ("watch -n 3 --values /tool/n", ["/tool/name"]),
    ("--socket SOCKET read /tool/n", ["/tool/name"]),
    ("--socket=SOCKET read /tool/n", ["/tool/name"]),
    ("--socket /no/such read /tool/n", []),
    ("--domain we", ["web"]),
    ("--domain web ls dev", ["device", "device/vbd", "device/vif"]),
    ("--domain 3 read device/vif/0/st", []),
    ("devices n", ["net"]),
    ("load FOLDER/tre", ["FOLDER/tree.jsonl"]),
    ("load x --under /tool/na", ["/tool/name"]),
    ("diff /tool/na", ["/tool/name"]),
    ("completion z", ["zsh"]),
    ("manual wat", ["watch"]),
    ("wait /tool/na", ["/tool/name"]),
    ("wait /nothing/li", []),
]


@pytest.fixture
def environment(store: EmbeddedStore, tmp_path: Path) -> dict[str, str]:
    """The environment of a shell that finds ``xsffi``, with a home directory of its own."""
    program = tmp_path / "xsffi"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m xsffi "$@"\n')
    program.chmod(0o755)
    (tmp_path / "tree.jsonl").touch()
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    return environment_for(store.path, PATH=path, HOME=str(tmp_path), TERM="dumb")


@pytest.fixture
def cases(store: EmbeddedStore, tmp_path: Path) -> list[tuple[str, list[str]]]:
    def filled(text: str) -> str:
        return text.replace("SOCKET", store.path).replace("FOLDER", str(tmp_path))

    return [(filled(typed), [filled(each) for each in candidates]) for typed, candidates in CASES]


def script(shell: str, environment: dict[str, str], folder: Path) -> Path:
    """Write the completion script to a file; skip the test if the shell is not installed."""
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    written = ran(environment, "completion", shell)
    assert (written.status, written.errors) == (0, "")
    place = folder / "_xsffi"  # the name that zsh expects
    place.write_text(written.output)
    return place


def in_shell(environment: dict[str, str], *command: str) -> list[str]:
    """The output of a shell, as lines."""
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


BASH = """\
source "$0"
complete -p xsffi >/dev/null || exit
function=$(complete -p xsffi | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
compopt() { :; }  # it is for bash's own calls
for line; do
  words=${line//=/ = }
  read -ra COMP_WORDS <<<"xsffi $words"
  [ "${line% }" = "$line" ] || COMP_WORDS+=("")
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  "$function" xsffi "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
  echo "${COMPREPLY[*]}"
done
"""


def test_bash(environment: dict[str, str], tmp_path: Path, cases: list[tuple[str, list[str]]]) -> None:
    place = script("bash", environment, tmp_path)
    lines = in_shell(environment, "bash", "-c", BASH, str(place), *[typed for typed, _ in cases])
    for (typed, candidates), line in zip(cases, lines):
        assert sorted(line.split()) == candidates, typed


def test_fish(environment: dict[str, str], tmp_path: Path, cases: list[tuple[str, list[str]]]) -> None:
    place = script("fish", environment, tmp_path)
    for typed, candidates in cases:
        lines = in_shell(environment, "fish", "--no-config", "-c", f"source {place}; complete -C 'xsffi {typed}'")
        assert sorted(line.partition("\t")[0] for line in lines) == candidates, typed


INTERACTIVE = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "source _xsffi"),
    "zsh": (["zsh", "-f", "-i"], "fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -D"),
    "fish": (["fish", "--no-config", "-i"], "source _xsffi"),
}


@pytest.mark.parametrize("shell", INTERACTIVE)
def test_by_the_key(shell: str, environment: dict[str, str], tmp_path: Path) -> None:
    """The completed commands run, and their output shows that they are correct."""
    script(shell, environment, tmp_path)
    command, prepare = INTERACTIVE[shell]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", *command], env=environment, stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path
    )
    os.close(theirs)
    typed = [
        prepare,
        "xsffi rea\t/tool/na\t",
        "xsffi --domain we\tread device/vif/0/ma\t",
        "xsffi read /local/domain/5/device/vbd/5171\t/devi\t",  # an only child, which has children itself
        "xsffi devices --ch\tne\t",
        "exit",
    ]
    with process:
        try:
            os.write(ours, "".join(f"{line}\n" for line in typed).encode())
            sent = read_to_end(ours).decode()
        finally:
            process.kill()
            os.close(ours)
    lines = sent.replace("\r", "\n").splitlines()
    for printed in ("example", "00:16:3e:2a:05:00", "disk"):
        assert printed in lines, sent
    assert any(line.startswith("5 (web)  vif/1") for line in lines), sent


# What the completion scripts call.


@pytest.fixture
def opening(store: EmbeddedStore) -> Opening:
    return Opening({"socket": store.path})


@pytest.mark.parametrize(
    ("word", "candidates"),
    [
        ("", ["/"]),
        ("/", ["/tool", "/local"]),
        ("/lo", ["/local", "/local/domain"]),
        ("/local/domain/3/na", ["/local/domain/3/name"]),
        ("/local/domain/3/name/", []),
        ("rel", []),
    ],
)
def test_paths(store: EmbeddedStore, opening: Opening, word: str, candidates: list[str]) -> None:
    found = called(completion, opening, nodes=word, line=["--socket", store.path, "read", "/x", "-p"])
    assert (found.status, found.errors) == (0, "")
    assert sorted(found.output.splitlines()) == sorted(candidates)


def test_a_path_that_is_none_a_node_that_may_not_be_read_and_no_store_are_silent(
    store: EmbeddedStore, opening: Opening
) -> None:
    guest = ["--socket", store.socket_path(9)]
    for word, line in (
        ("/a b/", ["--socket", store.path]),
        ("/no/such/", ["--socket", store.path]),
        ("/tool/", guest),
        ("/tool/", ["--socket", "/no/such"]),
        ("/tool/", ["--domain", "nobody", "--socket", store.path]),
        ("/tool/", ["--backend", "nothing", "x"]),
    ):
        assert called(completion, opening, nodes=word, line=line) == Ran(1, "", ""), (word, line)


def test_help_on_the_line_is_not_given(store: EmbeddedStore, opening: Opening) -> None:
    found = called(completion, opening, nodes="/tool/n", line=["--socket", store.path, "--help", "read"])
    assert found == Ran(0, "/tool/name\n", "")


def test_options_on_the_line_that_say_how_the_store_is_asked(store: EmbeddedStore, opening: Opening) -> None:
    line = ["--backend=libxenstore", "--timeout", "=", "0", "--socket", "=", store.path, "--domain", "3", "read"]
    assert called(completion, opening, nodes="na", line=line) == Ran(0, "name\n", "")


def test_domains_without_names(store: EmbeddedStore, opening: Opening, xs: xsffi.Client) -> None:
    xs.write("/local/domain/3/name", b"\x1b[2J\n")
    found = called(completion, opening, domains="", line=["--socket", store.path])
    assert found == Ran(0, "0\nDomain-0\n3\n\\x1b[2J\\n\n5\nweb\n", "")


@pytest.mark.parametrize(
    ("arguments", "text"), [([], "no shell given"), (["tcsh"], "invalid choice: 'tcsh'")], ids=["none", "unknown"]
)
def test_wrong_usage(arguments: list[str], text: str) -> None:
    errors = io.StringIO()
    assert run(["completion", *arguments], Output(io.BytesIO(), errors)) == 2
    assert text in errors.getvalue()


def test_without_shtab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    errors = io.StringIO()
    assert run(["completion", "bash"], Output(io.BytesIO(), errors)) == 2
    assert errors.getvalue() == (
        "xsffi: completion requires shtab, which is not installed\npip install 'xsffi[shell]'\n"
    )


def test_zsh_s_function_is_shtab_s() -> None:
    """Ours replaces shtab's and calls it. This relies on details that shtab does not document: its name, where it is
    defined and called, and that it drops the words before the command, which ours must therefore save."""
    lines = [line.strip() for line in called(completion, Opening({}), "zsh").output.splitlines()]

    def places(text: str) -> list[int]:
        return [place for place, line in enumerate(lines) if line == text]

    theirs, ours = places("_shtab_xsffi() {")
    [dropped] = places('words=($line[1] "${words[@]}")')
    [kept] = places("functions[_xsffi_complete]=$functions[_shtab_xsffi]")
    [registered] = places("compdef _shtab_xsffi -N xsffi")
    [called_at_once] = places('_shtab_xsffi "$@"')
    assert theirs < dropped < kept < ours < registered < called_at_once


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_command_is_known(environment: dict[str, str], shell: str) -> None:
    written = ran(environment, "completion", shell).output
    assert [name for name in COMMANDS if name not in written] == []
    assert "--nodes=" in written
    assert "_xsffi_nodes" in written
