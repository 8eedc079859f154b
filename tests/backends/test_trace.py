"""The log and the trace."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from daemons import Daemon
from harness.stores import client_of

import xsffi
from xsffi import Client
from xsffi.backends.trace import TracedBackend

TIME = re.compile(r"\d+ µs")


def use(xs: Client, top: str) -> None:
    """Use a few operations of each kind."""
    xs.write(f"{top}/a", "secret")
    assert xs.read(f"{top}/a") == b"secret"
    assert xs.get(f"{top}/b") is None
    with xs.transaction() as t:
        t.write(f"{top}/c", b"1")
    xs.ls(top)
    xs.get_domain_path(5)
    with xs.watch(top, token="of the user") as watch:
        assert xs.read_watch(5).token == "of the user"
        assert watch.path == top
    xs.read_many([f"{top}/a", f"{top}/b"], None)


def lines_of(top: str) -> list[str]:
    """The trace of :func:`use`."""
    return [
        f"WRITE {top}/a (6 bytes): done, N µs",
        f"READ {top}/a: 6 bytes, N µs",
        f"READ {top}/b: ENOENT, N µs",
        "TRANSACTION_START: ID, N µs",
        f"WRITE {top}/c (1 byte) in transaction ID: done, N µs",
        "TRANSACTION_END T in transaction ID: done, N µs",
        f"DIRECTORY {top}: a list of 2, N µs",
        "GET_DOMAIN_PATH 5: '/local/domain/5', N µs",
        f"WATCH {top}: done, N µs",
        f"event at {top} of the watch TOKEN",
        f"UNWATCH {top}: done, N µs",
        f"READ {top}/a: 6 bytes, N µs with all 2 at once",
        f"READ {top}/b: ENOENT, N µs with all 2 at once",
        "closed",
    ]


def general(line: str) -> str:
    line = TIME.sub("N µs", line)
    line = re.sub(r"(transaction|TRANSACTION_START:) \d+", r"\1 ID", line)
    return re.sub(r"of the watch \w+$", "of the watch TOKEN", line)


def test_the_log_at_debug(daemon: Daemon, backend: str, top: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="xsffi"), client_of(daemon, backend) as xs:
        use(xs, top)
    chosen, *messages = [record.getMessage() for record in caplog.records if record.name == "xsffi"]
    assert chosen.startswith(f"the backend is {'the wire' if backend == 'wire' else backend} at {daemon.socket_path}")
    assert [general(message) for message in messages] == lines_of(top)
    assert {record.levelno for record in caplog.records[1:]} == {logging.DEBUG}


def test_the_log_at_info_and_above(daemon: Daemon, backend: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="xsffi"), client_of(daemon, backend) as xs:
        xs.ls("/")
        assert not isinstance(xs.backend, TracedBackend)
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.INFO
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="xsffi"), client_of(daemon, backend) as xs:
        assert not isinstance(xs.backend, TracedBackend)
    assert caplog.records == []


def test_why_it_is_not_another(
    embedded: Daemon, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("xsffi.backends.libxenstore.extension.load_libxenstore", lambda: "there is none")
    with caplog.at_level(logging.INFO, logger="xsffi"), Client(embedded.socket_path):
        pass
    assert re.fullmatch(
        rf"the backend is the wire at {embedded.socket_path}, in (C|Python, .*); not libxenstore: there is none",
        caplog.records[0].getMessage(),
    )


PROGRAM = """
import sys, xsffi
with xsffi.Client(sys.argv[1], backend="wire") as xs:
    xs.write("/of-a-trace", "secret")
    try:
        xs.read("/no/such/node")
    except xsffi.NodeNotFoundError:
        print("as usual")
    print("logging" in sys.modules)
"""


def run_traced(path: str, trace: str | None, *, closed: bool = False) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XSFFI_TRACE")}
    environment["PYTHONPATH"] = str(Path(xsffi.__file__).parents[1])
    if trace is not None:
        environment["XSFFI_TRACE"] = trace
    command = [sys.executable, "-c", PROGRAM, path]
    if closed:
        command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


def test_on_stderr(embedded: Daemon) -> None:
    done = run_traced(embedded.socket_path, "1")
    lines = [TIME.sub("N µs", line) for line in done.stderr.splitlines()]
    assert lines[0].startswith(f"xsffi: the backend is the wire at {embedded.socket_path}, in ")
    assert lines[1:] == [
        "xsffi: WRITE /of-a-trace (6 bytes): done, N µs",
        "xsffi: READ /no/such/node: ENOENT, N µs",
        "xsffi: closed",
    ]
    assert done.stdout == "as usual\nFalse\n"


@pytest.mark.parametrize("trace", [None, "", "0"])
def test_where_it_is_off_nothing_is_told(embedded: Daemon, trace: str | None) -> None:
    done = run_traced(embedded.socket_path, trace)
    assert (done.stdout, done.stderr) == ("as usual\nFalse\n", "")


def test_nobody_minds_that_stderr_is_closed(embedded: Daemon) -> None:
    assert run_traced(embedded.socket_path, "1", closed=True).stdout == "as usual\nFalse\n"


def test_bulk_work_and_its_end(
    embedded: Daemon, top: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XSFFI_TRACE", "1")
    with client_of(embedded, "wire") as xs:
        xs.load([xsffi.Node(f"{top}/a", b"1", (), (xsffi.Permission(0, "n"),))])
        assert [node.path for node in xs.dump(top)] == [top, f"{top}/a"]
        assert isinstance(xs.backend.bulk(), TracedBackend)
        xs.close()
        with pytest.raises(xsffi.ClientClosedError):
            xs.read_many([top] * 5)
        with pytest.raises(xsffi.ClientClosedError):
            xs.read(top)
    told = capsys.readouterr().err
    for expected in (
        f"xsffi: WRITE {top}/a (1 byte): done, ",
        f"xsffi: SET_PERMS {top}/a: done, ",
        f"xsffi: READ, DIRECTORY and GET_PERMS {top}/a: 1 byte, a list of 0, a list of 1, ",
        "xsffi: 5 requests at once: EBADF, ",
        f"xsffi: READ {top}: EBADF, ",
    ):
        assert expected in told


def test_a_handler_that_closes_the_client_in_the_middle_of_a_line(
    embedded: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python refuses the reentrant write; the client is closed nevertheless, and nothing is raised."""

    class Busy:
        def write(self, text: str) -> None:
            raise RuntimeError("reentrant call inside")

    monkeypatch.setenv("XSFFI_TRACE", "1")
    monkeypatch.setattr("sys.stderr", Busy())
    with client_of(embedded, "wire") as xs:
        xs.write("/of-a-trace", "")
        xs.close()
        with pytest.raises(xsffi.ClientClosedError):
            xs.read("/of-a-trace")
