"""``xsffi watch``: like xenstore-watch, and with values."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from daemons import Daemon
from harness.commands import Ran, called, environment_for, on_terminal, program, ran, running
from harness.stores import client_of
from harness.threads import Call, until

import xsffi
from xsffi.cli.main import run
from xsffi.cli.output import Output
from xsffi.cli.watching import watch
from xsffi.testing import EmbeddedStore

MOMENT = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} ", re.MULTILINE)


class Watching:
    """The command, running in a thread."""

    def __init__(self, xs: xsffi.Client, paths: Sequence[str], **options: Any) -> None:
        self._file = io.BytesIO()
        self.errors = io.StringIO()
        self._call = Call(lambda: watch(xs, Output(self._file, self.errors), paths, **options))

    @property
    def output(self) -> str:
        """Its output so far."""
        return self._file.getvalue().decode("utf-8")

    def lines(self, number: int) -> list[str]:
        """Wait for this many lines, and return them without the times."""
        until(lambda: self.output.count("\n") >= number or self._call.is_over)
        return MOMENT.sub("", self.output).splitlines()

    def end(self) -> list[str]:
        """Wait until it succeeds, and return all its lines."""
        assert self._call.result() == 0
        return self.lines(0)


@contextmanager
def watching(store: EmbeddedStore, *paths: str, **options: Any) -> Iterator[Watching]:
    """The command with a client of its own, which is closed at the end."""
    with store.connect() as xs:
        yield Watching(xs, paths, **options)


# Without options: the output of xenstore-watch.


@pytest.fixture
def environment(daemon: Daemon) -> dict[str, str]:
    return environment_for(daemon.socket_path, LD_LIBRARY_PATH=daemon.packages.library_path)


def change(xs: xsffi.Client, top: str) -> None:
    xs.write(f"{top}/a", "1")
    xs.write(f"{top}/b/c", "2")
    xs.set_permissions(f"{top}/a", ["n0", "r1"])
    with xs.transaction() as t:
        t.write(f"{top}/a", "3")
        t.mkdir(f"{top}/d")
        t.rm(f"{top}/b")
    # xenstored merges an event with an equal one that it has not sent yet, and sends one with each reply to another
    # client. So after these reads it has sent those of the commit, and that of rm before mkdir arrives.
    for _ in range(5):
        xs.read(top)
    xs.rm(top)
    xs.mkdir(top)


@pytest.mark.parametrize(
    ("arguments", "paths"),
    [
        (["TOP", "-n", "9"], 1),
        (["-n", "9", "TOP"], 1),
        (["-n9", "-s", "TOP"], 1),
        (["--number=9", "TOP"], 1),
        (["TOP", "TOP/a", "TOP/elsewhere", "--num", "12"], 3),
        (["TOP", "-n", "7", "TOP/b", "--", "TOP/d"], 3),
        (["/", "-n", "5"], 1),
        (["-n", "1", "@introduceDomain"], 1),
        (["-n", "2", "name", "@releaseDomain"], 2),
        (["-n", "0", "TOP"], 0),
    ],
    ids=str,
)
def test_the_output_is_that_of_xenstore_watch(
    daemon: Daemon, environment: dict[str, str], top: str, other: xsffi.Client, arguments: list[str], paths: int
) -> None:
    arguments = [argument.replace("TOP", top) for argument in arguments]
    theirs = daemon.tool_process("xenstore-watch", *arguments)
    assert theirs.stdout is not None
    with running(environment, "watch", *arguments) as ours:
        outputs = [ours.output, theirs.stdout]
        # Each watch fires at once, so after these lines both are watching.
        begun = ["".join([output.readline() for _ in range(paths)]) for output in outputs]
        change(other, top)
        said = [lines + output.read() for lines, output in zip(begun, outputs)]
        assert said[0] == said[1]
        assert (ours.errors.read(), ours.process.wait(), theirs.wait()) == ("", 0, 0)


@pytest.mark.parametrize(
    "arguments",
    [[], ["-n", "1"], ["TOP", "TOP"], [""], ["//"], ["a b"], ["TOP/"]],
    ids=" ".join,
)
def test_the_status_of_what_is_wrong_is_that_of_xenstore_watch(
    daemon: Daemon, environment: dict[str, str], top: str, arguments: list[str]
) -> None:
    arguments = [argument.replace("TOP", top) for argument in arguments]
    theirs = daemon.tool("xenstore-watch", *arguments)
    ours = ran(environment, "watch", *arguments)
    assert (ours.status, ours.output) == (theirs.returncode, theirs.stdout) == (1, "")
    assert ours.errors.startswith("xsffi: ")


def test_a_depth(store: EmbeddedStore, xs: xsffi.Client) -> None:
    with watching(store, "/tool", "/tool/name", depth=0, number=4) as command:
        command.lines(2)
        xs.write("/tool/name/below", "1")
        xs.write("/tool/name", "new")
        xs.write("/tool/motto", "new")
        xs.write("/tool", "new")
        assert command.end() == ["/tool", "/tool/name", "/tool/name", "/tool"]


def test_a_depth_that_the_daemon_does_not_know(xenstored: Daemon) -> None:
    command = ran(environment_for(xenstored.socket_path), "watch", "-d", "1", "/tool")
    assert (command.status, command.output) == (1, "")
    assert command.errors.startswith("xsffi: /tool: ")
    assert command.errors.count("\n") == 1


@pytest.mark.parametrize("option", ["-n", "-d"])
@pytest.mark.parametrize("value", ["x", "-2", "1.5", ""])
def test_what_is_no_number(option: str, value: str) -> None:
    errors = io.StringIO()
    assert run(["watch", option, value, "/tool"], Output(io.BytesIO(), errors)) == 1
    assert f"not {value!r}" in errors.getvalue()


# With values.


def test_values(store: EmbeddedStore, xs: xsffi.Client) -> None:
    with watching(store, "/tool/name", values=True, initial=True, number=6) as command:
        assert command.lines(1) == ['+ /tool/name = "example"']
        xs.write("/tool/name", "other")
        assert command.lines(2)[1:] == ['~ /tool/name = "example" -> "other"']
        xs.set_permissions("/tool/name", ["n0"])
        assert command.lines(3)[2:] == ["~ /tool/name (n0,r5) -> (n0)"]
        xs.write("/tool/name/below", b"\0\n")  # a change of the list of children is not a change of the node above
        assert command.lines(4)[3:] == [r'+ /tool/name/below = "\000\n"']
        xs.rm("/tool/name")
        assert command.end()[4:] == ['- /tool/name = "other"', r'- /tool/name/below = "\000\n"']
        assert all(MOMENT.match(line) for line in command.output.splitlines())


def test_on_each_daemon(daemon: Daemon, backend: str, other: xsffi.Client, top: str) -> None:
    other.write(f"{top}/a", "1")
    with client_of(daemon, backend) as client:
        command = Watching(client, [f"{top}/a", f"{top}/b"], values=True, initial=True, number=5)
        assert command.lines(1) == [f'+ {top}/a = "1"']
        other.write(f"{top}/a", "2")
        command.lines(2)
        other.write(f"{top}/b", "3")
        command.lines(3)
        other.set_permissions(f"{top}/b", ["n0", "r1"])
        command.lines(4)
        other.rm(f"{top}/a")
        assert command.end()[1:] == [
            f'~ {top}/a = "1" -> "2"',
            f'+ {top}/b = "3"',
            f"~ {top}/b (n0) -> (n0,r1)",
            f'- {top}/a = "2"',
        ]


def test_the_tree_at_the_start_is_no_change(store: EmbeddedStore, xs: xsffi.Client) -> None:
    with watching(store, "/tool", "/local/domain/3", values=True, number=2) as command:
        for number in itertools.count():  # until it has read the tree
            xs.write("/local/domain/3/ready", str(number))
            sleep(0.05)
            if command.output:
                break
        xs.write("/tool/name", "other")
        assert command.end()[1:] == ['~ /tool/name = "example" -> "other"']
        assert "/local/domain/3/ready" in command.lines(1)[0]


def test_what_is_between_two_values_is_left_out(store: EmbeddedStore, xs: xsffi.Client) -> None:
    with watching(store, "/tool/name", values=True, initial=True, number=2) as command:
        command.lines(1)
        with xs.transaction() as t:
            t.write("/tool/name", "first")
            t.write("/tool/name", "second")
        assert command.end()[1:] == ['~ /tool/name = "example" -> "second"']


def test_a_path_below_another_one_is_told_of_once(store: EmbeddedStore, xs: xsffi.Client) -> None:
    with watching(store, "/tool/name", "/tool", "/tool/x", "/tool", values=True, initial=True, number=5) as command:
        found = command.lines(4)
        assert [line.split()[1] for line in found] == ["/tool", "/tool/xenstored", "/tool/motto", "/tool/name"]
        xs.write("/tool/x", "")
        assert command.end()[4:] == ['+ /tool/x = ""']


def test_a_depth_with_values(store: EmbeddedStore, xs: xsffi.Client) -> None:
    with watching(store, "/tool", "/local", values=True, initial=True, depth=1, number=7) as command:
        command.lines(6)
        xs.write("/tool/name/below", "")
        xs.write("/local/domain/5/name", "other")
        xs.write("/tool/new", "")
        assert [line.split()[1] for line in command.end()] == [
            "/tool",
            "/tool/xenstored",
            "/tool/motto",
            "/tool/name",
            "/local",
            "/local/domain",
            "/tool/new",
        ]


def test_relative_paths(store: EmbeddedStore, xs: xsffi.Client) -> None:
    with watching(store, "name", "device", values=True, initial=True, depth=0, number=2) as command:
        assert command.lines(1) == ['+ name = "Domain-0"']
        xs.write("device/vif", "")
        assert command.end()[1:] == ['+ device = ""']


def test_json(store: EmbeddedStore, xs: xsffi.Client) -> None:
    with watching(store, "/tool/name", json=True, initial=True, number=3) as command:
        command.lines(1)
        xs.write("/tool/name", b"\xff")
        command.lines(2)
        xs.rm("/tool/name")
        changes = [json.loads(line) for line in command.end()]
    first = {"path": "/tool/name", "value": "example", "permissions": ["n0", "r5"]}
    second = {"path": "/tool/name", "base64": "/w==", "permissions": ["n0", "r5"]}
    times = [change.pop("time") for change in changes]
    assert times == sorted(times)
    assert changes == [
        {"path": "/tool/name", "old": None, "new": first},
        {"path": "/tool/name", "old": first, "new": second},
        {"path": "/tool/name", "old": second, "new": None},
    ]


def test_it_goes_on_with_another_daemon(tmp_path: Path) -> None:
    place = tmp_path / "socket"
    paths = ["/a", "/b"]
    with EmbeddedStore({"/a": "1", "/b": "1", "/c": "1"}, path=place) as store, store.connect() as xs:
        command = Watching(xs, paths, values=True, initial=True, reconnect=True, number=5)
        command.lines(2)
        store.stop()
        with EmbeddedStore({"/a": "2", "/c": "2"}, path=place), xsffi.Client(place) as second:
            command.lines(4)
            second.write("/b", "3")
            lines = command.end()
    assert lines[:2] == ['+ /a = "1"', '+ /b = "1"']
    assert sorted(lines[2:4]) == ['- /b = "1"', '~ /a = "1" -> "2"']
    assert lines[4:] == ['+ /b = "3"']


def test_the_end_of_the_daemon() -> None:
    store = EmbeddedStore({"/a": "1"})
    with store, running(environment_for(store.path), "watch", "--values", "--initial", "/a") as command:
        assert command.output.readline().endswith('+ /a = "1"\n')
        store.stop()
        assert command.process.wait(60) == 1
        assert re.fullmatch("xsffi: .*\n", command.errors.read())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--values", "@releaseDomain"], "@releaseDomain has no value"),
        (["--initial", "/tool"], "--initial goes with"),
        (["--reconnect", "/tool"], "--reconnect goes with"),
        (["/tool", "--exec"], "--exec needs a program"),
        (["/tool", "--shell", "a", "--exec", "b"], "not allowed with"),
        (["--values"], "required: PATH"),
        (["--values", "/tool/"], "/tool/: a path must not end in a slash"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_usage(store: EmbeddedStore, arguments: list[str], text: str) -> None:
    errors = io.StringIO()
    assert run(["--socket", store.path, "watch", *arguments], Output(io.BytesIO(), errors)) == 1
    assert text in errors.getvalue()


def test_what_may_not_be_read(store: EmbeddedStore) -> None:
    with store.connect(domid=5) as guest, pytest.raises(xsffi.AccessDeniedError):
        watch(guest, Output(io.BytesIO()), ["/tool"], values=True)


def test_lines_are_seen_at_once(store: EmbeddedStore, xs: xsffi.Client) -> None:
    with running(environment_for(store.path), "watch", "--values", "--initial", "/tool/name") as command:
        assert command.output.readline().endswith('+ /tool/name = "example"\n')
        xs.write("/tool/name", "other")
        assert command.output.readline().endswith('"example" -> "other"\n')


@pytest.mark.parametrize("arguments", [["/tool"], ["--values", "--initial", "/tool"]], ids=" ".join)
def test_ctrl_c_ends_it_in_silence(store: EmbeddedStore, arguments: list[str]) -> None:
    with running(environment_for(store.path), "watch", *arguments) as command:
        command.output.readline()
        command.process.send_signal(signal.SIGINT)
        assert (command.process.wait(60), command.errors.read()) == (-signal.SIGINT, "")


@pytest.mark.parametrize("arguments", [["/tool"], ["--values", "--initial", "/tool"]], ids=" ".join)
def test_a_closed_pipe_ends_it_in_silence(store: EmbeddedStore, xs: xsffi.Client, arguments: list[str]) -> None:
    with running(environment_for(store.path), "watch", *arguments) as command:
        command.output.readline()
        command.output.close()
        xs.write("/tool/name", "other")
        assert (command.process.wait(60), command.errors.read()) == (-signal.SIGPIPE, "")


def test_a_terminal(store: EmbeddedStore, xs: xsffi.Client) -> None:
    xs.write("/tool/name", b"\x1b]0;title\x07")
    sent = on_terminal(environment_for(store.path), "watch", "--values", "--initial", "-n1", "/tool/name")
    assert sent.status == 0
    plain = re.sub(r"\x1b\[[\d;]*m", "", sent.output)
    assert re.fullmatch(r'\d\d:\d\d:\d\d\.\d{3} \+ /tool/name = "\\x1b\]0;title\\007"\n', plain)
    assert plain != sent.output
    without = on_terminal(
        environment_for(store.path, NO_COLOR="1"), "watch", "--values", "--initial", "-n1", "/tool/name"
    )
    assert "\x1b" not in without.output


# Running programs.

REPORT = """
import os, sys
names = ["XENSTORE_PATH", "XENSTORE_CHANGE", "XENSTORE_OLD", "XENSTORE_NEW"]
print(*[os.environ.get(name) for name in names], sys.stdin.buffer.read(), sys.argv[1:], flush=True)
"""


def test_a_program_for_each_change(store: EmbeddedStore, xs: xsffi.Client) -> None:
    environment = environment_for(store.path, XENSTORE_OLD="of somebody else")
    program = [sys.executable, "-c", REPORT, "-n", "$HOME"]
    with running(environment, "watch", "-n4", "--initial", "/tool/name", "--exec", *program) as command:
        assert command.output.readline() == "/tool/name made None example b'example' ['-n', '$HOME']\n"
        xs.write("/tool/name", "other")
        assert command.output.readline() == "/tool/name changed example other b'other' ['-n', '$HOME']\n"
        xs.write("/tool/name", b"with\0NUL")
        assert command.output.readline() == "/tool/name changed other None b'with\\x00NUL' ['-n', '$HOME']\n"
        xs.rm("/tool/name")
        assert command.output.read() == "/tool/name removed None None b'' ['-n', '$HOME']\n"
        assert command.process.wait(60) == 0


def test_a_shell_is_used_where_it_is_asked_for(store: EmbeddedStore) -> None:
    line = 'echo "$XENSTORE_PATH" is "$XENSTORE_NEW" | tr a-z A-Z'
    command = ran(environment_for(store.path), "watch", "-n1", "--initial", "/tool/name", "--shell", line)
    assert command == Ran(0, "/TOOL/NAME IS EXAMPLE\n", "")


def test_values_are_told_before_the_program_runs(store: EmbeddedStore) -> None:
    options = ["-n1", "--values", "--initial", "/tool/name"]
    command = ran(environment_for(store.path), "watch", *options, "--exec", "echo", "done")
    assert MOMENT.sub("", command.output) == '+ /tool/name = "example"\ndone\n'


@pytest.mark.parametrize("arguments", [["-n", "--", "hi"], ["--", "-n"], ["--socket", "--values"]])
def test_all_that_follows_is_the_programs(store: EmbeddedStore, arguments: list[str]) -> None:
    program = [sys.executable, "-c", "import sys; print(sys.argv[1:])", *arguments]
    command = ran(environment_for(store.path), "watch", "-n1", "--initial", "/tool/name", "--exec", *program)
    assert command == Ran(0, f"{arguments}\n", "")


def test_a_program_that_ends_badly_does_not_end_the_watch(store: EmbeddedStore) -> None:
    command = ran(
        environment_for(store.path),
        *("watch", "-n2", "--initial", "/tool/xenstored", "/tool/name"),
        *("--shell", '[ "$XENSTORE_PATH" = /tool/name ] && exit 3; kill -TERM $$'),
    )
    assert command.status == 0
    assert command.errors == (
        "xsffi: /tool/xenstored: /bin/sh was killed by signal 15\nxsffi: /tool/name: /bin/sh exited with status 3\n"
    )


@pytest.mark.parametrize("program", ["/no/such/program", "/", ""])
def test_a_program_that_cannot_be_started(store: EmbeddedStore, program: str) -> None:
    command = ran(environment_for(store.path), "watch", "--initial", "/tool", "--exec", program)
    assert (command.status, command.output) == (127, "")
    assert re.fullmatch(f"xsffi: cannot run {program!r}: .*\n", command.errors)


def test_the_next_program_runs_after_the_end_of_the_one_before(
    store: EmbeddedStore, xs: xsffi.Client, tmp_path: Path
) -> None:
    go_on = tmp_path / "go on"
    line = f'echo "$XENSTORE_NEW"; while ! [ -e "{go_on}" ]; do sleep 0.01; done'
    with running(environment_for(store.path), "watch", "-n2", "--initial", "/tool/name", "--shell", line) as command:
        assert command.output.readline() == "example\n"
        for number in range(100):
            xs.write("/tool/name", str(number))
        go_on.touch()
        assert command.output.read() == "99\n"


def test_a_program_that_does_not_read_its_input(store: EmbeddedStore, xs: xsffi.Client) -> None:
    xs.write("/tool/name", b"x" * 4000)
    command = ran(environment_for(store.path), "watch", "-n1", "--initial", "/tool/name", "--exec", "true")
    assert command == Ran(0, "", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_ends_it_ends_the_program_too(store: EmbeddedStore, number: signal.Signals) -> None:
    line = 'echo "$$"; exec sleep 1000'
    with running(environment_for(store.path), "watch", "--initial", "/tool/name", "--shell", line) as command:
        pid = int(command.output.readline())
        command.process.send_signal(number)
        assert (command.process.wait(60), command.errors.read()) == (-number, "")
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_it_waits_for_the_program_to_end(store: EmbeddedStore) -> None:
    line = "trap 'sleep 0.5; echo ended; exit' TERM; echo; while :; do sleep 0.1; done"
    with running(environment_for(store.path), "watch", "--initial", "/tool/name", "--shell", line) as command:
        command.output.readline()
        command.process.send_signal(signal.SIGTERM)
        assert (command.process.wait(60), command.output.read(), command.errors.read()) == (
            -signal.SIGTERM,
            "ended\n",
            "",
        )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_between_programs_it_ends_at_once(store: EmbeddedStore, number: signal.Signals) -> None:
    with running(environment_for(store.path), "watch", "--initial", "/tool/name", "--shell", "echo") as command:
        command.output.readline()
        sleep(0.2)  # for the program to end
        command.process.send_signal(number)
        assert (command.process.wait(60), command.errors.read()) == (-number, "")


def test_a_signal_that_is_ignored_ends_neither(store: EmbeddedStore) -> None:
    """For example under nohup."""
    line = 'kill -HUP "$PPID"; echo still here'
    command = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", sys.executable, "-m", "xsffi", "watch", "-n1", "--initial"]
    ended = program(environment_for(store.path), *command, "/tool/name", "--shell", line)
    assert ended == (0, "still here\n", "")


def test_a_program_in_another_thread(xs: xsffi.Client) -> None:
    """Only the main thread can install signal handlers."""
    watching = Call(lambda: called(watch, xs, ["/tool/name"], number=1, initial=True, program=["false"]))
    assert watching.result() == (0, "", "xsffi: /tool/name: false exited with status 1\n")


def test_ctrl_c_again_ends_a_program_that_does_not_end(store: EmbeddedStore) -> None:
    line = 'trap "" INT TERM; echo "$$"; while :; do sleep 0.1; done'
    with running(environment_for(store.path), "watch", "--initial", "/tool/name", "--shell", line) as command:
        pid = int(command.output.readline())
        while command.process.poll() is None:
            command.process.send_signal(signal.SIGINT)
            sleep(0.1)
        assert (command.process.returncode, command.errors.read()) == (-signal.SIGINT, "")
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_as_a_function_it_gives_the_status(xs: xsffi.Client) -> None:
    assert called(watch, xs, ["/tool"], number=0) == Ran(0, "", "")
