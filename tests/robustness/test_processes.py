"""Forks, signals and threads."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import pytest
from daemons import Daemon
from harness.alarms import Interrupt, handled_elsewhere, interrupted_after, of_finalizers
from harness.children import in_child, python_environment
from harness.stores import client_of, connections_to, events_so_far, nobody_is_accepted
from harness.threads import Call, all_outcomes

import xsffi
from xsffi import Client
from xsffi.backends.wire.native import open_in_c

SOON = 4.0  # seconds, less than the rescue of handled_elsewhere(), however busy the machine


def test_a_child_gets_a_clear_error(xs: Client, top: str) -> None:
    watch = xs.watch(top)
    transaction = xs.transaction()
    xs.fileno()

    def use() -> None:
        uses: list[Callable[[], object]] = [
            lambda: xs.read(top),
            lambda: xs.watch(f"{top}/b"),
            xs.check_watch,
            lambda: xs.read_watch(1),
            xs.fileno,
            lambda: transaction.read(top),
        ]
        for each in uses:
            with pytest.raises(xsffi.ForkedError, match="parent"):
                each()
        with pytest.raises(xsffi.ForkedError):
            watch.close()
        xs.close()

    assert in_child(use, 10) == 0
    transaction.write(f"{top}/a", "1")
    transaction.commit()
    assert xs.read(f"{top}/a") == b"1"
    assert {event.path for event in events_so_far(xs)} == {top, f"{top}/a"}


def test_a_child_that_exits_or_works_on_its_own_disturbs_nobody(
    xs: Client, daemon: Daemon, backend: str, top: str
) -> None:
    xs.watch(top)
    xs.read_watch(5)

    def work() -> None:
        with client_of(daemon, backend) as own:
            own.write(f"{top}/by-child", "")

    assert in_child(work, 10) == 0
    assert in_child(lambda: None, 10) == 0
    assert xs.read_watch(5).path == f"{top}/by-child"
    assert xs.read(f"{top}/by-child") == b""


def test_a_fork_while_other_threads_call_and_wait(xs: Client, top: str) -> None:
    xs.watch(top)
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            xs.read(top)

    def wait() -> None:
        while not stop.is_set():
            if xs.check_watch() is None:
                time.sleep(0.001)

    calls = [Call(work) for work in (call, call, wait)]

    def use() -> None:
        with pytest.raises(xsffi.ForkedError):
            xs.read(top)

    try:
        assert [in_child(use, 10) for _ in range(10)] == [0] * 10
    finally:
        stop.set()
    assert [call.outcome() for call in calls] == [None] * 3


def test_a_child_that_lives_on_does_not_keep_the_connection(own_daemon: Daemon, backend: str) -> None:
    """The parent's close() ends the connection for the daemon, which discards its transactions."""
    with client_of(own_daemon, backend) as xs:
        xs.write("/a", "")
        xs.watch("/a", "token")
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
        os.close(reading)
    try:
        deadline = time.monotonic() + 5
        while connections_to(own_daemon) > 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert connections_to(own_daemon) == 0
    finally:
        os.close(writing)
        os.waitpid(pid, 0)


def test_a_subprocess_with_preexec_fn(xs: Client, top: str) -> None:
    xs.watch(top)
    subprocess.run([sys.executable, "-c", ""], check=True, preexec_fn=lambda: None)
    xs.write(f"{top}/a", "")
    assert xs.read(f"{top}/a") == b""
    assert len(events_so_far(xs)) == 2


def test_an_interrupted_wait(xs: Client, other: Client, top: str) -> None:
    waits: list[Callable[[], object]] = [
        xs.read_watch,
        lambda: xs.read_watch(60),
        lambda: next(xs.events()),
        xs.run,
    ]
    for wait in waits:
        begin = time.monotonic()
        with pytest.raises(Interrupt), interrupted_after(0.05):
            wait()
        assert time.monotonic() - begin < SOON
    watch = xs.watch(top)
    assert xs.read_watch(5).token is watch
    assert xs.read(top) == b""


def test_ctrl_c_ends_a_program_at_once(daemon: Daemon, backend: str) -> None:
    program = (
        "import sys, xsffi\n"
        "xs = xsffi.Client(sys.argv[1], backend=sys.argv[2])\n"
        "xs.watch('/never'); xs.read_watch(5)\n"
        "print('waiting', flush=True)\n"
        "try:\n"
        "    xs.read_watch()\n"
        "except KeyboardInterrupt:\n"
        "    xs.write('/interrupted', 'yes'); print(xs.read('/interrupted').decode())\n"
        "    xs.close()\n"
    )
    libraries = daemon.packages.library_path
    environment = python_environment(**{**daemon.environment(), "LD_LIBRARY_PATH": libraries})
    if backend == "libxenstore":
        with client_of(daemon, backend):
            pass
    with subprocess.Popen(
        [sys.executable, "-c", program, daemon.socket_path, backend],
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "yes\n"
        assert process.wait(60) == 0


def test_an_interrupted_request_on_the_wire(own_daemon: Daemon) -> None:
    with client_of(own_daemon, "wire") as xs:
        xs.write("/a", "value of a")
        xs.write("/b", "value of b")
        own_daemon.pause()
        uses: list[Callable[[], object]] = [
            lambda: xs.read("/a"),
            xs.transaction,
            lambda: xs.watch("/a", "mine"),
            lambda: xs.ls("/"),
            lambda: xs.read_many(["/a"] * 1000),
        ]
        for use in uses:
            with pytest.raises(Interrupt), interrupted_after(0.05):
                use()
        own_daemon.resume()
        assert xs.read("/b") == b"value of b"
        xs.write("/a", "")
        assert events_so_far(xs) == []  # the watch whose creation was interrupted has gone
        with xs.watch("/a", "mine"):
            assert xs.read_watch(5).token == "mine"


def test_waiting_for_many_replies_of_a_daemon_that_hangs(own_daemon: Daemon) -> None:
    """It is one wait, not many short ones: a signal between two of them would not end either."""
    with client_of(own_daemon, "wire") as xs:
        own_daemon.pause()
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        with pytest.raises(Interrupt), interrupted_after(0.4):
            xs.read_many(["/"] * 1000)
        assert resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before < 100
        own_daemon.resume()
        assert xs.read("/") == b""


def test_interrupted_though_the_wait_is_not(own_daemon: Daemon, backend: str) -> None:
    with client_of(own_daemon, backend) as xs:
        uses: list[Callable[[], object]] = [xs.read_watch, lambda: list(xs.events()), xs.run]
        if backend == "wire":
            own_daemon.pause()
            uses += [lambda: xs.read("/"), lambda: xs.write("/a", ""), lambda: xs.read_many(["/"] * 1000)]
        for use in uses:
            begin = time.monotonic()
            with pytest.raises(Interrupt), handled_elsewhere(), interrupted_after(0.05):
                use()
            assert time.monotonic() - begin < SOON
        own_daemon.resume()
        assert xs.read("/") == b""


def test_interrupted_while_the_daemon_accepts_nobody(own_daemon: Daemon) -> None:
    with nobody_is_accepted(own_daemon):
        begin = time.monotonic()
        with pytest.raises(Interrupt), handled_elsewhere(), interrupted_after(0.05):
            xsffi.Client(own_daemon.socket_path, backend="wire")
        assert time.monotonic() - begin < SOON
        came: list[bool] = []

        def handler() -> None:
            came.append(True)
            own_daemon.resume()

        with interrupted_after(0.05, handler), xsffi.Client(own_daemon.socket_path, backend="wire") as xs:
            assert xs.read("/") == b""
        assert came == [True]


@of_finalizers
def test_interrupted_anywhere(daemon: Daemon, top: str) -> None:
    """After repeated interruptions, anywhere, the client is still in step with the daemon. A connection in Python may
    be over, with an error that says so; then a new client works."""
    with ExitStack() as clients:
        xs = clients.enter_context(client_of(daemon, "wire"))
        for number in range(50):
            xs.write(f"{top}/{number}", str(number))
        interruptions = 0
        for round in range(150):
            try:
                with interrupted_after(0.0005 + round % 10 * 0.0003):
                    while True:
                        for number in range(50):
                            assert xs.read(f"{top}/{number}") == str(number).encode()
            except Interrupt:
                interruptions += 1
            except xsffi.ConnectionLostError as error:
                if open_in_c is not None or "in the middle of a step" not in str(error):
                    raise
                xs = clients.enter_context(client_of(daemon, "wire"))
        assert interruptions > 30
        assert interruptions == 150 or open_in_c is None
        if open_in_c is None:
            xs = clients.enter_context(client_of(daemon, "wire"))
        assert xs.read(f"{top}/7") == b"7"


def test_a_signal_handler_may_use_the_client(xs: Client, top: str) -> None:
    seen: list[bytes] = []

    def handler() -> None:
        xs.write(f"{top}/by-handler", "yes")
        seen.append(xs.read(f"{top}/by-handler"))

    xs.watch(top)
    xs.read_watch(5)
    begin = time.monotonic()
    with interrupted_after(0.05, handler):
        assert xs.read_watch(5).path == f"{top}/by-handler"
    assert seen == [b"yes"]
    assert time.monotonic() - begin < SOON


def test_a_signal_handler_may_close_the_client(xs: Client) -> None:
    with pytest.raises(xsffi.ClientClosedError), interrupted_after(0.05, xs.close):
        xs.read_watch(5)


def test_sixteen_threads_on_one_client(xs: Client, other: Client, top: str) -> None:
    count, rounds = 16, 60
    watched = f"{top}/watched"
    xs.watch(watched, "mine")
    xs.read_watch(5)
    seen: list[str] = []

    def work(number: int) -> None:
        mine = f"{top}/{number}"
        for round in range(rounds):
            xs.write(mine, f"{number} {round}")
            assert xs.read(mine) == f"{number} {round}".encode()
            with pytest.raises(xsffi.NodeNotFoundError):
                xs.read(f"{mine}/missing")
            if round % 20 == 0:
                with xs.transaction() as t:
                    t.write(f"{mine}/in-transaction", str(round))
                    t.abort()
                other.write(f"{watched}/{number}-{round}", "")

    def wait() -> None:
        while len(seen) < count * rounds // 20:
            seen.append(xs.read_watch(60).path)

    works: list[Callable[[], None]] = [partial(work, number) for number in range(count)]
    assert all_outcomes([*works, wait]) == [None] * (count + 1)
    assert sorted(seen) == sorted(f"{watched}/{n}-{r}" for n in range(count) for r in range(0, rounds, 20))


@pytest.mark.usefixtures("long_waits")
def test_a_parked_waiter_holds_up_nobody(xs: Client, top: str) -> None:
    parked = threading.Thread(target=lambda: list(xs.events(timeout=1.0)), daemon=True)
    parked.start()
    time.sleep(0.05)
    for _ in range(100):
        begin = time.monotonic()
        xs.read(top)
        assert time.monotonic() - begin < 0.5
    parked.join(5)
    assert not parked.is_alive()
