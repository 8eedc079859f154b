"""What programs notice of a handle besides the answers to its calls: waiting, threads, signals, forks, its end."""

from __future__ import annotations

import errno
import gc
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from daemons import Daemon
from daemons.packages import REPOSITORY
from harness.alarms import end_this_process_after
from harness.embedded import EmbeddedDaemon

from xsffi import DOMID_ANY
from xsffi.lowlevel.xs import Error, xs

from .conftest import Connect, use

SOON = 10.0


class Thread(threading.Thread):
    """A thread that keeps its function's result, or exception."""

    def __init__(self, function: Any) -> None:
        super().__init__(daemon=True)
        self.function = function
        self.result: Any = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self.function()
        except BaseException as error:
            self.result = error

    def outcome(self) -> Any:
        self.join(SOON)
        assert not self.is_alive()
        return self.result


def test_what_would_end_the_daemon_is_refused(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    """Permissions for every domain, on a daemon that knows them; and releasing the owner of a special path."""
    for_all = [{"dom": 0}, {"dom": DOMID_ANY, "read": True}]
    with EmbeddedDaemon("4.22") as embedded:
        daemon: Any = embedded
        use(monkeypatch, daemon, backend)
        handle = xs()
        handle.write("", "/a", "")
        for _ in range(2):
            with pytest.raises(Error) as caught:
                handle.set_permissions("", "/a", for_all)
            assert caught.value.args == (errno.EINVAL, os.strerror(errno.EINVAL))
        assert handle.get_permissions("", "/a") == [{"dom": 0, "read": 0, "write": 0}]
        daemon.create_domain(5)
        handle.set_permissions("", "@releaseDomain", [{"dom": 5}])
        with pytest.raises(Error) as caught:
            handle.release_domain(5)
        assert caught.value.args[0] == errno.EINVAL
        handle.set_permissions("", "@releaseDomain", [{"dom": 0}])
        handle.release_domain(5)
        handle.close()
    with EmbeddedDaemon("4.17") as embedded:
        daemon = embedded
        use(monkeypatch, daemon, backend)
        handle = xs()
        handle.write("", "/a", "")
        handle.set_permissions("", "/a", for_all)
        assert handle.get_permissions("", "/a")[1]["dom"] == DOMID_ANY
        handle.close()


def descriptors() -> list[str]:
    """What each descriptor of this process refers to."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}").split(":")[0])
        except FileNotFoundError:
            pass  # it was the one used for listing
    return sorted(found)


def test_a_parked_reader_delays_nobody(handle: xs, top: str) -> None:
    token = object()
    handle.watch(top, token)
    assert handle.read_watch() == (top, token)
    parked = Thread(handle.read_watch)
    for number in range(20):
        handle.write("", f"{top}x", str(number))
        assert handle.read("", f"{top}x") == b"%d" % number
        transaction = handle.transaction_start()
        assert handle.ls(transaction, top) == []
        assert handle.transaction_end(transaction) is True
    assert parked.is_alive()
    handle.write("", f"{top}/n", "")
    assert parked.outcome() == (f"{top}/n", token)
    handle.rm("", f"{top}x")


def test_close_ends_a_parked_reader(handle: xs, top: str) -> None:
    handle.watch(top, "token")
    handle.read_watch()
    parked = Thread(handle.read_watch)
    time.sleep(0.1)
    handle.close()
    error = parked.outcome()
    assert isinstance(error, Error)
    assert error.args == (22, "Invalid argument")


def test_ctrl_c_ends_read_watch(handle: xs, top: str) -> None:
    handle.watch(top, "token")
    handle.read_watch()
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    before = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        handle.read_watch()
    assert time.monotonic() - before < SOON / 2
    handle.write("", f"{top}/n", "")
    assert handle.read_watch() == (f"{top}/n", "token")


def test_a_process_ends_while_a_thread_waits(daemon: Daemon, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, daemon, backend)
    program = (
        "import threading, time\n"
        "from xsffi.lowlevel.xs import xs\n"
        "h = xs(); h.watch('/', 1); h.read_watch()\n"
        "threading.Thread(target=h.read_watch, daemon=True).start()\n"
        "time.sleep(0.1)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**daemon.environment(), "XSFFI_BACKEND": backend, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=SOON,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_descriptor_tells_of_events(handle: xs, top: str) -> None:
    assert select.select([handle], [], [], 0)[0] == []
    handle.watch(top, "token")
    assert select.select([handle], [], [], SOON)[0] == [handle]
    assert handle.check_watch() == (top, "token")
    assert handle.check_watch() is None
    assert select.select([handle], [], [], 0)[0] == []
    assert not os.get_inheritable(handle.fileno())


def test_a_token_lives_as_long_as_its_watch(handle: xs, top: str) -> None:
    gone = threading.Event()

    class Token:
        def __del__(self) -> None:
            gone.set()

    handle.watch(top, Token())
    gc.collect()
    assert not gone.is_set()
    path, token = handle.read_watch()
    assert isinstance(token, Token)
    handle.unwatch(path, token)
    del token
    gc.collect()
    assert gone.is_set()


def test_ten_thousand_watches(connect: Connect, xenstored: Daemon, top: str) -> None:
    handle, other = connect(), connect()
    tokens = {f"{top}/{number}": [number] for number in range(10_000)}
    for path, token in tokens.items():
        handle.watch(path, token)
        handle.read_watch()
    for number in (0, 4_321, 9_999):
        path = f"{top}/{number}"
        other.write("", path, "")
        assert handle.read_watch()[1] is tokens[path]


def test_many_threads_and_a_close(connect: Connect, daemon: Daemon, top: str) -> None:
    if isinstance(daemon, EmbeddedDaemon):
        pytest.skip("its own descriptors are in this process too")
    connect().read("", top)
    gc.collect()
    before = Counter(descriptors())
    for _ in range(10):
        handle = connect()
        handle.write("", top, "value")
        wrong: list[object] = []

        def read(handle: xs = handle, wrong: list[object] = wrong) -> None:
            try:
                while True:
                    if handle.read("", top) != b"value":
                        wrong.append("value")
            except Error as error:
                if error.args != (22, "Invalid argument"):
                    wrong.append(error)

        threads = [Thread(read) for _ in range(4)]
        time.sleep(0.02)
        handle.close()
        for thread in threads:
            assert thread.outcome() is None
        assert wrong == []
    assert not Counter(descriptors()) - before  # by now, what an earlier test left may have been collected too


def test_nothing_is_left_of_a_handle(connect: Connect, daemon: Daemon, top: str) -> None:
    if isinstance(daemon, EmbeddedDaemon):
        pytest.skip("its own descriptors are in this process too")
    handle = connect()
    handle.read("", top)
    gc.collect()
    before = descriptors()
    for _ in range(20):
        one = xs()
        one.watch(top, one.read)  # it and its token refer to each other
        one.fileno()
        one.read("", top)
        del one
    gc.collect()
    assert descriptors() == before


def test_a_child_has_a_connection_of_its_own(handle: xs, top: str) -> None:
    handle.write("", top, "value")
    handle.watch(top, "token")
    handle.read_watch()
    handle.fileno()

    def use_it() -> None:
        assert handle.read("", top) == b"value"
        assert handle.check_watch() is None
        handle.watch(top, "child")
        assert select.select([handle], [], [], SOON)[0] == [handle]
        assert handle.read_watch() == (top, "child")
        assert handle.transaction_end(handle.transaction_start()) is True
        handle.close()

    pid = os.fork()
    if pid == 0:
        end_this_process_after(int(SOON))
        status = 1
        try:
            use_it()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert handle.check_watch() is None
    handle.write("", f"{top}/n", "")
    assert handle.read_watch() == (f"{top}/n", "token")


def test_a_program_becomes_a_daemon(handle: xs, top: str) -> None:
    handle.write("", top, "before")
    pid = os.fork()
    if pid == 0:
        end_this_process_after(int(SOON))
        os.setsid()
        if os.fork() == 0:
            handle.write("", top, "after")
            os._exit(0)
        os._exit(0)
    os.waitpid(pid, 0)
    deadline = time.monotonic() + SOON
    while handle.read("", top) != b"after":
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.filterwarnings("ignore:preexec_fn:DeprecationWarning")
def test_a_subprocess_changes_nothing(handle: xs, top: str) -> None:
    handle.write("", top, "value")
    handle.watch(top, "token")
    handle.read_watch()
    subprocess.run(["true"], preexec_fn=os.setsid, check=True)
    subprocess.run(["true"], close_fds=False, check=True)
    assert handle.read("", top) == b"value"
    handle.write("", f"{top}/n", "")
    assert handle.read_watch() == (f"{top}/n", "token")


def test_the_daemon_dies(own_daemon: Daemon, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, own_daemon, backend)
    handle, watching = xs(), xs()
    watching.watch("/x", "token")
    watching.read_watch()
    parked = Thread(watching.read_watch)
    time.sleep(0.1)
    own_daemon.kill()
    error = parked.outcome()
    assert isinstance(error, Error)
    assert error.args == (22, "Invalid argument")
    assert select.select([watching], [], [], SOON)[0] == [watching]
    for call in (lambda: handle.read("", "/x"), lambda: handle.write("", "/x", ""), lambda: watching.ls("", "/")):
        for _ in range(2):
            with pytest.raises(Error) as caught:
                call()
            assert caught.value.args == (9, "Bad file descriptor")
    with pytest.raises(Error) as caught:
        watching.check_watch()
    assert caught.value.args == (22, "Invalid argument")
    watching.close()
    handle.close()
    with pytest.raises(Error) as caught:
        xs()
    assert caught.value.args == (111, "Connection refused")


def test_there_is_no_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XENSTORED_PATH", str(tmp_path / "socket"))
    with pytest.raises(Error) as caught:
        xs()
    assert caught.value.args == (2, "No such file or directory")
