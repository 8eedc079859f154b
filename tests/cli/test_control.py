"""``xsffi control``, beyond what test_differential.py compares."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic

import pytest
from daemons import Daemon, require_packages, start_xenstored
from daemons.releases import LIVE_UPDATE, require
from harness.commands import called, environment_for, on_terminal, typed
from harness.stores import client_of

import xsffi
from xsffi.cli.control import control
from xsffi.testing import EmbeddedStore

ESCAPE = "\x1b"


def test_what_the_daemon_does_not_take(store: EmbeddedStore) -> None:
    """The error lists the commands that it accepts."""
    status, output, errors = typed(store.path, "control", "nix", "-x")
    assert (status, output) == (3, "")
    lines = errors.splitlines()
    assert lines[:2] == ["xsffi: the daemon does not accept this: nix -x", "it accepts:"]
    assert lines[2:] == typed(store.path, "control", "help").output.splitlines()[:-1]


def test_what_a_guest_may_not(store: EmbeddedStore) -> None:
    ended = typed(store.socket_path(5), "control", "help")
    assert ended == (3, "", "xsffi: help: Permission denied\n")


def test_no_daemon(tmp_path: object) -> None:
    assert typed(f"{tmp_path}/nothing", "control", "help").status == 1


def test_wrong_usage(store: EmbeddedStore) -> None:
    assert typed(store.path, "control") == (
        2,
        "",
        "xsffi: the following arguments are required: COMMAND\nusage: xsffi control [-h] COMMAND [ARGUMENT ...]\n",
    )
    status, _, errors = typed(store.path, "control", "live-update", "-t", "soon", "/a/file")
    assert status == 2
    assert errors.startswith(
        "xsffi: argument -t: a timeout must be a whole number of seconds, at least 1, not 'soon'\nusage: live-update "
    )


class Answering:
    """A client that returns the given answers to CONTROL, such as no daemon sends."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)

    def control(self, command: str, *arguments: bytes) -> str:
        return self.answers.pop(0)


def test_an_answer_up_to_a_nul() -> None:
    assert called(control, Answering("one\0two"), "nix", []).output == "one\n"
    assert called(control, Answering(""), "nix", []).output == ""


def test_a_terminal_is_sent_no_control_bytes(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert on_terminal(environment_for(store.path), "control", "check").output == "OK\n"
    monkeypatch.setattr(xsffi.Client, "control", lambda *_: f"a\tb\n{ESCAPE}[31m")
    assert typed(store.path, "control", "nix", columns=80).output == "a\tb\n\\x1b[31m\n"
    assert typed(store.path, "control", "nix").output == f"a\tb\n{ESCAPE}[31m\n"


class TestLiveUpdate:
    """xenstored replaces itself with another program, here the same one, without clients noticing."""

    @pytest.fixture
    def daemon(self) -> Iterator[Daemon]:
        require_packages()
        with start_xenstored() as daemon:
            require(LIVE_UPDATE, daemon, "wire")
            yield daemon

    @pytest.fixture
    def xs(self, daemon: Daemon) -> Iterator[xsffi.Client]:
        with client_of(daemon, "wire") as xs:
            yield xs

    @pytest.fixture
    def file(self, daemon: Daemon) -> str:
        return str(daemon.packages.xenstored)

    def started(self, daemon: Daemon) -> str:
        """The daemon's command line, which each start of the program changes."""
        with open(f"/proc/{daemon.pid}/cmdline") as file:
            return file.read()

    @pytest.mark.parametrize("options", [[], ["-t", "20"], ["-F"]])
    def test_it_goes_on(self, daemon: Daemon, xs: xsffi.Client, file: str, options: list[str]) -> None:
        before = self.started(daemon)
        xs.write("/a", "1")
        with xs.watch("/a"):
            xs.read_watch(10)
            assert typed(daemon.socket_path, "control", "live-update", *options, file) == (0, "", "")
            assert self.started(daemon) != before  # it now has the option --live-update
            xs.write("/a", "2")
            assert xs.read_watch(10).path == "/a"

    def test_another_command_line(self, daemon: Daemon, xs: xsffi.Client, file: str) -> None:
        ended = typed(daemon.socket_path, "control", "live-update", file, "-c", "--no-fork --entry-nb=77")
        assert ended == (0, "", "")
        assert "--entry-nb=77" in self.started(daemon)
        assert "nodes : 77 Nodes per domain" in " ".join(xs.control("quota").split())

    def test_a_file_that_is_none(self, daemon: Daemon) -> None:
        before = self.started(daemon)
        assert typed(daemon.socket_path, "control", "live-update", "/nothing/there") == (
            3,
            "",
            "xsffi: live-update: the daemon says: File not accessible.\n",
        )
        assert self.started(daemon) == before

    def test_a_transaction_in_its_way(self, daemon: Daemon, xs: xsffi.Client, file: str) -> None:
        """The command waits for the transaction's end and gives up; a second attempt is possible."""
        with xs.transaction() as transaction:
            transaction.write("/a", "1")
            begin = monotonic()
            status, _, errors = typed(daemon.socket_path, "control", "live-update", "-t", "1", file)
            assert status == 3
            assert monotonic() - begin >= 1
            lines = errors.splitlines()
            assert lines[0] == "xsffi: live-update: the daemon says: Domains with long running transactions:"
            assert lines[1].startswith("Domain 0: ")
        assert typed(daemon.socket_path, "control", "live-update", file).status == 0
        assert xs.read("/a") == b"1"

    def test_a_daemon_in_a_domain_of_its_own(self, daemon: Daemon, xs: xsffi.Client, file: str) -> None:
        before = self.started(daemon)
        xs.write("/tool/xenstored/domid", "1")
        status, _, errors = typed(daemon.socket_path, "control", "live-update", file)
        assert status == 3
        assert errors.startswith("xsffi: xenstored runs in its own domain")
        assert self.started(daemon) == before

    @pytest.mark.parametrize(
        ("release", "text"),
        [("4.14", "Invalid argument"), ("4.22", "the daemon says: The embedded store does not support live updates.")],
    )
    def test_a_daemon_that_cannot(self, release: str, text: str) -> None:
        with EmbeddedStore(release=release) as store:
            found = typed(store.path, "control", "live-update", "/a/file")
        assert found == (3, "", f"xsffi: live-update: {text}\n")
