"""``xsffi read``, ``list`` and ``exists``, beyond what xenstore-utils do (see test_differential.py)."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Sequence

import pytest
from daemons import Daemon
from harness.commands import called, environment_for, on_terminal, ran, running, typed
from harness.stores import BACKENDS, require_libxenstore

import xsffi
from xsffi.cli.reading import exists, list_children, read
from xsffi.testing import EmbeddedStore

HOME = "/local/domain/5"
ESCAPE = "\x1b"


def test_read_as_json(xs: xsffi.Client) -> None:
    xs.write("/v/bytes", b"\xff\0")
    xs.write("/v/text", f"{ESCAPE}[31m caf\u00e9\n")
    paths = ["/tool/name", "/v/bytes", "/v/text"]
    lines = called(read, xs, paths, json=True).output
    assert lines.isascii()
    assert ESCAPE not in lines
    assert list(map(json.loads, lines.splitlines())) == [
        {"path": "/tool/name", "value": "example"},
        {"path": "/v/bytes", "base64": "/wA="},
        {"path": "/v/text", "value": f"{ESCAPE}[31m caf\u00e9\n"},
    ]
    assert [xsffi.Node.from_json(line).value for line in lines.splitlines()] == xs.read_many(paths)


def test_list_as_json(xs: xsffi.Client) -> None:
    lines = called(list_children, xs, [f"{HOME}/device", "/"], json=True).output.splitlines()
    children = [json.loads(line) for line in lines]
    names = [*xs.ls(f"{HOME}/device"), "tool", "local"]
    assert [child["name"] for child in children] == names
    assert [child["path"] for child in children[-2:]] == ["/tool", "/local"]
    assert all(xs.exists(child["path"]) for child in children)


def test_forms_that_exclude_each_other(store: EmbeddedStore) -> None:
    status, output, errors = typed(store.path, "read", "-R", "--json", "/tool/name")
    assert (status, output) == (1, "")
    assert errors.startswith("xsffi: argument --json: not allowed with argument -R/--raw\nusage: xsffi read ")


@pytest.mark.parametrize("command", ["read", "list"])
def test_what_is_wrong_is_told(store: EmbeddedStore, command: str) -> None:
    assert typed(store.path, command, "/nothing") == (1, "", "xsffi: /nothing: No such file or directory\n")
    assert typed(store.path, command, "/tool//name") == (
        1,
        "",
        "xsffi: /tool//name: a path must not contain a double slash\n",
    )
    status, _, errors = typed(store.path, command, f"/{ESCAPE}[31m")
    assert status == 1
    assert errors == "xsffi: /\\x1b[31m: a path may contain only letters, digits and -/_@, not '\\x1b'\n"


@pytest.mark.parametrize(
    ("paths", "status", "errors"),
    [
        (["/tool"], 0, ""),
        (["/tool", "/nothing", "/tool//name"], 1, ""),
        (["/tool//name"], 1, "xsffi: /tool//name: a path must not contain a double slash\n"),
        (["/tool", "/tool//name"], 1, "xsffi: /tool//name: a path must not contain a double slash\n"),
    ],
)
def test_exists_is_silent_but_for_what_can_be_no_node(
    store: EmbeddedStore, paths: Sequence[str], status: int, errors: str
) -> None:
    assert typed(store.path, "exists", *paths) == (status, "", errors)


def test_exists_where_the_daemon_is_gone(store: EmbeddedStore, xs: xsffi.Client) -> None:
    """That is an error, not a missing node."""
    store.stop()
    with pytest.raises(xsffi.ConnectionLostError):
        called(exists, xs, ["/tool"])


def test_one_moment_for_several(store: EmbeddedStore, xs: xsffi.Client) -> None:
    """If one changes before all are read, all are read again, and printed once."""
    xs.write("/n/a", "1")
    xs.write("/n/b", "1")
    reads = 0

    class Disturbed(xsffi.Client):
        def transact(self, function, attempts=10):  # type: ignore[no-untyped-def]
            def disturbed(transaction):  # type: ignore[no-untyped-def]
                nonlocal reads
                reads += 1
                outcome = function(transaction)
                if reads < 3:
                    xs.write("/n/a", str(reads + 1))
                return outcome

            return super().transact(disturbed, attempts)

    with Disturbed(store.path, "wire") as client:
        assert called(read, client, ["/n/a", "/n/b"]).output == "3\n1\n"
    assert reads == 3


def test_the_home_of_a_domain(store: EmbeddedStore) -> None:
    assert typed(store.path, "--domain", "web", "read", "-p", "name").output == f"{HOME}/name: web\n"
    assert (
        typed(store.path, "--domain", "5", "list", "device").output
        == typed(store.path, "list", f"{HOME}/device").output
    )


def test_a_terminal_is_sent_no_control_bytes(store: EmbeddedStore, xs: xsffi.Client) -> None:
    xs.write("/v/red", f"{ESCAPE}[31mred")
    environment = environment_for(store.path)
    assert on_terminal(environment, "read", "/v/red").output == "\\x1b[31mred\n"
    assert on_terminal(environment, "read", "-p", f"/{ESCAPE}").output.count(ESCAPE) == 0


def test_raw_bytes_in_a_pipe(store: EmbeddedStore, xs: xsffi.Client) -> None:
    value = bytes(range(256))
    xs.write("/v/bytes", value)
    ended = ran(environment_for(store.path), "read", "-R", "/v/bytes")
    assert ended == (0, value.decode("utf-8", "surrogateescape"), "")


@pytest.mark.parametrize("backend", BACKENDS)
def test_ctrl_c_while_the_daemon_stands_still(own_daemon: Daemon, backend: str) -> None:
    """Even over libxenstore, which keeps waiting after a signal."""
    environment = environment_for(own_daemon.socket_path, XSFFI_BACKEND=backend)
    if backend == "libxenstore":
        require_libxenstore()
        packages = own_daemon.packages
        environment.update(XSFFI_LIBXENSTORE=str(packages.libxenstore), LD_LIBRARY_PATH=packages.library_path)
    own_daemon.pause()
    with running(environment, "read", "/") as command:
        time.sleep(1)  # so that on most machines it is waiting for the daemon by then; it must also end if not
        command.process.send_signal(signal.SIGINT)
        assert command.process.wait(30) == -signal.SIGINT
    own_daemon.resume()
