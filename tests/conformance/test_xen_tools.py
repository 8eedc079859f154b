"""Xen's own command-line tools read what we write, and the reverse."""

from __future__ import annotations

from daemons import Daemon

from xsffi import Client


def test_they_read_what_we_write(xs: Client, daemon: Daemon, top: str) -> None:
    xs.write(f"{top}/name", "guest-5")
    assert daemon.tool("xenstore-read", f"{top}/name").stdout == "guest-5\n"
    assert daemon.tool("xenstore-exists", f"{top}/name").returncode == 0
    xs.rm(f"{top}/name")
    assert daemon.tool("xenstore-exists", f"{top}/name").returncode != 0


def test_we_read_what_they_write(xs: Client, daemon: Daemon, top: str) -> None:
    daemon.tool("xenstore-write", f"{top}/by-tool", "hello", f"{top}/other", "world")
    assert xs.read(f"{top}/by-tool") == b"hello"
    daemon.tool("xenstore-chmod", f"{top}/by-tool", "n0", "r5", "b6")
    assert [str(permission) for permission in xs.get_permissions(f"{top}/by-tool")] == ["n0", "r5", "b6"]
    daemon.tool("xenstore-rm", f"{top}/by-tool")
    assert sorted(xs.ls(top)) == ["other"]


def test_they_list_our_tree(xs: Client, daemon: Daemon, top: str) -> None:
    with xs.transaction() as t:
        t.write(f"{top}/device/vif/0/state", "4")
        t.set_permissions(f"{top}/device/vif/0/state", ["b5", "r0"])
        t.write(f"{top}/name", "a name")
    assert sorted(daemon.tool("xenstore-ls", "-fp", top).stdout.splitlines()) == [
        f'{top}/device = ""   (n0)',
        f'{top}/device/vif = ""   (n0)',
        f'{top}/device/vif/0 = ""   (n0)',
        f'{top}/device/vif/0/state = "4"   (b5,r0)',
        f'{top}/name = "a name"   (n0)',
    ]


def test_they_watch_what_we_do(xs: Client, daemon: Daemon, top: str) -> None:
    with daemon.tool_process("xenstore-watch", "-n", "3", top) as watcher:
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == f"{top}\n"
        xs.write(f"{top}/a", "1")
        xs.rm(f"{top}/a")
        assert watcher.stdout.readline() == f"{top}/a\n"
        assert watcher.stdout.readline() == f"{top}/a\n"
        assert watcher.wait(5) == 0


def test_we_watch_what_they_do(xs: Client, daemon: Daemon, top: str) -> None:
    xs.watch(top, "mine")
    assert xs.read_watch(5) == (top, "mine")
    daemon.tool("xenstore-write", f"{top}/a/b", "1")
    assert xs.read_watch(5) == (f"{top}/a/b", "mine")


def test_values_that_they_quote(xs: Client, daemon: Daemon, top: str) -> None:
    xs.write(f"{top}/raw", b"\0\1\xff\t")
    assert daemon.tool("xenstore-ls", "-f", top).stdout == f'{top}/raw = "\\000\\001\\xff\\t"\n'
