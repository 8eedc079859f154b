"""The daemons as run by the harness, on which every other test against a real daemon relies."""

from __future__ import annotations

import gc
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from harness.descriptors import open_descriptors

from daemons import (
    Daemon,
    DaemonError,
    Guest,
    GuestQuotas,
    MessageType,
    Packages,
    Packet,
    PtyBridge,
    Reply,
    RingBridge,
    SocketBridge,
    error_reply,
    start_daemon,
    start_oxenstored,
    start_xenstored,
    strings,
    write_payload,
)
from daemons.releases import WATCHES_OVER_QUOTA

from .conftest import RunScript

ALL_BYTES = bytes(range(256))
OK = b"OK\0"


def wait_for_end(pid: int) -> None:
    """Waits until a process, not necessarily our child, has ended."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.002)
    pytest.fail(f"process {pid} is still there")


class TestDaemon:
    def test_answers(self, daemon: Daemon, kind: str) -> None:
        assert daemon.kind == kind
        with daemon.connect() as dom0:
            assert dom0.call(MessageType.WRITE, write_payload("/a", ALL_BYTES)).payload == OK
            assert dom0.call(MessageType.READ, strings("/a")) == Reply(MessageType.READ, ALL_BYTES)

    def test_many_side_by_side(self, kind: str) -> None:
        with ExitStack() as stack:
            connections = []
            for number in range(5):
                daemon = stack.enter_context(start_daemon(kind))
                connections.append(stack.enter_context(daemon.connect()))
                connections[-1].call(MessageType.WRITE, write_payload("/number", str(number).encode()))
            values = [connection.call(MessageType.READ, strings("/number")).payload for connection in connections]
        assert values == [b"0", b"1", b"2", b"3", b"4"]

    def test_leaves_nothing_behind(self, kind: str) -> None:
        descriptors = open_descriptors()
        with start_daemon(kind) as daemon:
            with Guest(daemon, 1) as guest, RingBridge(guest), SocketBridge(daemon.socket_path):
                pass
            with PtyBridge(daemon.socket_path):
                pass
            watch = daemon.tool_process("xenstore-watch", "/")
        assert not daemon.directory.exists()
        assert open_descriptors() == descriptors
        wait_for_end(daemon.pid)
        assert watch.returncode is not None
        daemon.stop()

    def test_uses_a_directory_given_and_leaves_it(self, kind: str) -> None:
        with start_daemon(kind) as other, start_daemon(kind, other.directory / "below") as daemon:
            assert daemon.socket_path == str(other.directory / "below" / "socket")
            daemon.stop()
            assert daemon.directory.exists()
        too_long = Path("/tmp") / ("x" * 100)
        with pytest.raises(ValueError, match="too long"):
            start_daemon(kind, too_long)

    def test_kill_leaves_a_dead_socket_and_restart_revives_it(self, daemon: Daemon) -> None:
        with daemon.connect() as dom0:
            dom0.call(MessageType.MKDIR, strings("/old"))
            daemon.kill()
            assert not daemon.is_running
            with pytest.raises(ConnectionError):
                dom0.call(MessageType.READ, strings("/old"))
        with pytest.raises(ConnectionRefusedError):
            daemon.connect()
        daemon.restart()
        with daemon.connect() as dom0:
            assert dom0.call(MessageType.READ, strings("/old")) == error_reply("ENOENT")

    def test_paused_it_answers_nothing(self, daemon: Daemon) -> None:
        with daemon.connect() as dom0:
            dom0.call(MessageType.READ, strings("/"))
            daemon.pause()
            request = Packet(MessageType.GET_DOMAIN_PATH, 7, 0, strings("3"))
            dom0.send(request.encode())
            with pytest.raises(TimeoutError):
                dom0.receive(timeout=0.05)
            daemon.resume()
            assert dom0.receive() == Packet(MessageType.GET_DOMAIN_PATH, 7, 0, strings("/local/domain/3"))
            daemon.pause()
        daemon.stop()

    def test_pausing_a_dead_one_fails(self, daemon: Daemon) -> None:
        daemon.kill()
        with pytest.raises(DaemonError, match="dead"):
            daemon.pause()

    def test_an_xenstored_that_cannot_start_shows_its_log(self, packages: Packages) -> None:
        with pytest.raises(DaemonError, match="--no-fork"):
            start_xenstored(options=["--help"])

    def test_an_oxenstored_that_cannot_start_shows_its_log(self, packages: Packages) -> None:
        with pytest.raises(DaemonError, match="/no/such/port"):
            start_oxenstored(settings={"xenstored-port": "/no/such/port"})

    def test_ends_as_garbage(self, kind: str) -> None:
        daemon = start_daemon(kind)
        pid, directory = daemon.pid, daemon.directory
        del daemon
        gc.collect()
        wait_for_end(pid)
        assert not directory.exists()

    def test_ends_with_the_process_that_started_it_even_if_paused(self, kind: str, run_script: RunScript) -> None:
        script = """
            import sys, time
            from daemons import start_daemon
            running, paused = start_daemon(sys.argv[1]), start_daemon(sys.argv[1])
            paused.pause()
            print(running.pid, paused.pid, running.directory, paused.directory, flush=True)
            time.sleep(60)
        """
        with run_script(script, kind) as process:
            assert process.stdout is not None
            running, paused, *directories = process.stdout.readline().split()
            process.kill()
        wait_for_end(int(running))
        wait_for_end(int(paused))
        for directory in directories:
            subprocess.run(["rm", "-r", directory], check=True)

    def test_outlives_the_exit_of_a_forked_child(self, kind: str, run_script: RunScript) -> None:
        script = """
            import os, sys
            from daemons import start_daemon
            daemon = start_daemon(sys.argv[1])
            child = os.fork()
            if child == 0:
                sys.exit()
            os.waitpid(child, 0)
            daemon.connect().close()
            daemon.stop()
            print("lived")
        """
        with run_script(script, kind) as process:
            assert process.communicate()[0] == "lived\n"

    def test_unknown_kind(self) -> None:
        with pytest.raises(ValueError, match="'zenstored'"):
            start_daemon("zenstored")


class TestQuotas:
    def test_of_guests(self, kind: str) -> None:
        quotas = GuestQuotas(nodes=4, watches=2, transactions=2)
        with start_daemon(kind, quotas=quotas) as daemon, Guest(daemon, 9) as guest:
            watches = [guest.call(MessageType.WATCH, strings("x", str(number))) for number in range(4)]
            starts = [guest.call(MessageType.TRANSACTION_START) for _ in range(4)]
            writes = [guest.call(MessageType.MKDIR, strings(f"d{number}")) for number in range(6)]
        for replies in (watches, starts, writes):
            assert replies[0].type != MessageType.ERROR
            assert replies[-1].type == MessageType.ERROR
        assert watches[-1] == error_reply(WATCHES_OVER_QUOTA.of(daemon))

    def test_oxenstored_has_none_unless_asked(self, packages: Packages) -> None:
        value = write_payload("/a", b"x" * 4000)
        with start_oxenstored() as daemon, daemon.connect() as dom0:
            assert dom0.call(MessageType.WRITE, value).payload == OK
        with start_oxenstored(quotas=GuestQuotas()) as daemon, daemon.connect() as dom0:
            assert dom0.call(MessageType.WRITE, value) == error_reply("E2BIG")

    def test_one_that_the_daemon_lacks(self, packages: Packages) -> None:
        with pytest.raises(ValueError, match="permissions"):
            start_oxenstored(quotas=GuestQuotas(permissions=3))


class TestTools:
    def test_run_against_the_daemon(self, daemon: Daemon) -> None:
        assert daemon.tool("xenstore-write", "/from/tool", "value").returncode == 0
        listing = daemon.tool("xenstore-ls")
        assert (listing.returncode, listing.stderr) == (0, "")
        assert ' tool = "value"\n' in listing.stdout
        assert daemon.tool("xenstore-read", "/missing").returncode != 0

    def test_one_that_runs_on(self, daemon: Daemon) -> None:
        watch = daemon.tool_process("xenstore-watch", "/w")
        assert watch.stdout is not None
        assert watch.stdout.readline() == "/w\n"
        daemon.tool("xenstore-write", "/w/below", "")
        assert watch.stdout.readline() == "/w/below\n"

    def test_unknown_tool(self, daemon: Daemon) -> None:
        with pytest.raises(FileNotFoundError, match="xenstore-nothing"):
            daemon.tool("xenstore-nothing")

    def test_the_old_python_module(self, daemon: Daemon, packages: Packages) -> None:
        interpreter = packages.lowlevel_interpreter
        if interpreter is None:
            pytest.skip("the Python for which xen.lowlevel.xs was compiled is not installed")
        script = "from xen.lowlevel.xs import xs; h = xs(); h.write('', '/k', 'v'); print(h.read('', '/k'))"
        environment = dict(daemon.environment(), PYTHONPATH=str(packages.lowlevel_python))
        result = subprocess.run(
            [interpreter, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        assert result.stdout == "b'v'\n"

    def test_paths_of_what_is_unpacked(self, packages: Packages) -> None:
        for path in (packages.xenstored, packages.libxenstore, packages.include / "xenstore.h"):
            assert path.is_file()
