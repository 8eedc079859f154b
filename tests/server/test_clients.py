"""Clients written for the real daemons, on the embedded store: they notice no difference."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from harness.embedded import EmbeddedDaemon
from harness.stores import open_client


@pytest.fixture
def daemon() -> Iterator[EmbeddedDaemon]:
    with EmbeddedDaemon() as daemon:
        assert daemon.packages  # skips the test if there are none
        yield daemon


def output(daemon: EmbeddedDaemon, tool: str, *args: str) -> str:
    run = daemon.tool(tool, *args)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_xen_tools(daemon: EmbeddedDaemon) -> None:
    assert output(daemon, "xenstore-write", "/t/a/b", "hello", "/t/c", "world") == ""
    assert output(daemon, "xenstore-read", "/t/a/b", "/t/c") == "hello\nworld\n"
    assert output(daemon, "xenstore-list", "/t") == "a\nc\n"
    assert output(daemon, "xenstore-chmod", "/t/c", "n0", "r5") == ""
    assert output(daemon, "xenstore-ls", "-fp", "/t").splitlines() == [
        '/t/a = ""   (n0)',
        '/t/a/b = "hello"   (n0)',
        '/t/c = "world"   (n0,r5)',
    ]
    assert output(daemon, "xenstore-rm", "/t/a") == ""
    assert daemon.tool("xenstore-exists", "/t/a").returncode != 0
    assert daemon.tool("xenstore-exists", "/t/c").returncode == 0
    assert daemon.tool("xenstore-read", "/nothing").returncode != 0
    assert "quota" in output(daemon, "xenstore-control", "help")
    assert "1000 Nodes per domain" in output(daemon, "xenstore-control", "quota")


def test_xenstore_watch(daemon: EmbeddedDaemon) -> None:
    with daemon.tool_process("xenstore-watch", "-n", "3", "/t") as watcher:
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == "/t\n"
        output(daemon, "xenstore-write", "/t/a", "1")
        assert watcher.stdout.readline() == "/t/a\n"
        output(daemon, "xenstore-rm", "/t")
        assert watcher.stdout.readline() == "/t\n"
        assert watcher.wait(10) == 0


def test_test_xenstore(daemon: EmbeddedDaemon) -> None:
    """Xen's own test of a store."""
    if not daemon.packages.test_xenstore.exists():
        pytest.skip(f"there is no test-xenstore in Xen {daemon.packages.version}")
    run = subprocess.run(
        [str(daemon.packages.test_xenstore), "-r", "3"],
        env=daemon.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


_LOWLEVEL = """
from xen.lowlevel import xs
h = xs.xs()
t = h.transaction_start()
h.write(t, "/l/a", b"1")
h.mkdir(t, "/l/b")
assert h.transaction_end(t) is True
assert h.read("0", "/l/a") == b"1"
assert h.ls("", "/l") == ["a", "b"]
assert h.read("", "/l/nothing") is None
h.set_permissions("", "/l/a", [{"dom": 0}, {"dom": 5, "read": True}])
assert h.get_permissions("", "/l/a")[1]["dom"] == 5
token = object()
h.watch("/l", token)
assert h.read_watch() == ("/l", token)
h.write("", "/l/a", "2")
assert h.read_watch() == ("/l/a", token)
h.unwatch("/l", token)
h.introduce_domain(7, 1, 1)
assert h.get_domain_path(7) == "/local/domain/7"
h.release_domain(7)
h.rm("", "/l")
h.close()
"""


def test_xen_lowlevel_xs(daemon: EmbeddedDaemon) -> None:
    interpreter = daemon.packages.lowlevel_interpreter
    if interpreter is None:
        pytest.skip("xen.lowlevel.xs was compiled for another Python")
    environment = {**daemon.environment(), "PYTHONPATH": str(daemon.packages.lowlevel_python)}
    subprocess.run([interpreter, "-c", _LOWLEVEL], env=environment, timeout=60, check=True)


_PYXS = """
import sys
from pyxs import Client

with Client(unix_socket_path=sys.argv[1]) as c:
    c[b"/p/a"] = b"1"
    assert c[b"/p/a"] == b"1"
    assert c.list(b"/p") == [b"a"]
    assert c.get_perms(b"/p/a") == [b"n0"]
    c.transaction()
    c[b"/p/b"] = b"2"
    c.commit()
    assert c.exists(b"/p/b")
    c.delete(b"/p")
    with c.monitor() as m:
        m.watch(b"/p", b"token")
        events = m.wait()
        assert tuple(next(events)) == (b"/p", b"token")
        c.write(b"/p/c", b"3")
        assert tuple(next(events)) == (b"/p/c", b"token")
"""


def test_pyxs(daemon: EmbeddedDaemon) -> None:
    pytest.importorskip("pyxs")
    subprocess.run([sys.executable, "-c", _PYXS, daemon.socket_path], env=dict(os.environ), timeout=60, check=True)


def test_libxenstore(daemon: EmbeddedDaemon) -> None:
    with (
        open_client(daemon.socket_path, "libxenstore") as xs,
        open_client(daemon.store.socket_path(5), "libxenstore") as guest,
    ):
        with xs.transaction() as transaction:
            transaction.write("/c/a", "1")
        watch = xs.watch("/c")
        assert xs.read_watch(10).token is watch
        for number in range(1000):
            xs.write("/d/a-rather-long-name-that-is-meant-to-fill-a-message-soon" + str(number), "")
        assert len(xs.ls("/d")) == 1000
        guest.write("data", "2")
        assert xs.read("/local/domain/5/data") == b"2"
