"""EmbeddedStore: its life cycle, contents, domains and faults."""

from __future__ import annotations

import errno
import fcntl
import gc
import itertools
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable

import pytest
from harness.alarms import interrupted_after
from harness.descriptors import open_descriptors
from harness.embedded import parse_use
from harness.threads import until

import xsffi
from xsffi.records import Node
from xsffi.server.listener import Listener
from xsffi.testing import EmbeddedStore


def client_of(store: EmbeddedStore, domid: int = 0) -> xsffi.Client:
    return store.connect(domid, backend="wire", timeout=10)


# Life cycle


def test_nothing_is_left_behind() -> None:
    threads = threading.active_count()
    descriptors = open_descriptors()
    with EmbeddedStore() as store, client_of(store) as xs, client_of(store, 5):
        xs.write("/a", "b")
        folder = os.path.dirname(store.path)
        assert stat.S_IMODE(os.stat(store.path).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert not os.path.exists(folder)
    assert threading.active_count() == threads
    assert open_descriptors() == descriptors


def test_nothing_is_left_behind_by_one_that_nobody_stopped() -> None:
    store = EmbeddedStore()
    folder = os.path.dirname(store.path)
    del store
    gc.collect()
    assert not os.path.exists(folder)
    script = "from xsffi.testing import EmbeddedStore; store = EmbeddedStore(); print(store.path)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert run.stderr == ""
    assert not os.path.exists(os.path.dirname(run.stdout.strip()))


def test_clients_see_it_end_as_a_daemon_that_dies() -> None:
    with EmbeddedStore() as store, client_of(store) as xs:
        store.stop()
        with pytest.raises(xsffi.ConnectionLostError):
            xs.read("/")
        store.stop()
        with pytest.raises(RuntimeError):
            store.dump()


def test_a_path_of_choice(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with EmbeddedStore(path=path) as store, xsffi.Client(path, "wire") as xs:
        assert store.path == path
        assert xs.ls("/") == ["tool"]
        with pytest.raises(OSError, match="listens") as caught:
            EmbeddedStore(path=path)
        assert (caught.value.errno, caught.value.filename) == (errno.EADDRINUSE, path)
        assert xs.ls("/") == ["tool"]
    assert not os.path.exists(path)


def test_a_dead_socket_is_replaced_and_a_file_is_not(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    with EmbeddedStore(path=path):
        pass
    Path(path).write_text("mine")
    with pytest.raises(FileExistsError):
        EmbeddedStore(path=path)
    assert Path(path).read_text() == "mine"


@pytest.mark.parametrize(("name", "number"), [("x" * 200, errno.ENAMETOOLONG), ("missing/socket", errno.ENOENT)])
def test_a_path_where_there_can_be_no_socket(tmp_path: Path, name: str, number: int) -> None:
    path = str(tmp_path / name)
    with pytest.raises(OSError) as caught:  # noqa: PT011  # which one depends on the path
        EmbeddedStore(path=path)
    assert (caught.value.errno, caught.value.filename) == (number, path)


def test_another_that_took_its_place_is_left_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with EmbeddedStore(path=path) as first:
        os.rename(path, tmp_path / "elsewhere")
        with EmbeddedStore(path=path) as second:
            first.stop()
            with client_of(second) as xs:
                assert xs.ls("/") == ["tool"]


def test_the_child_of_a_fork_does_not_stop_it() -> None:
    with EmbeddedStore() as store:
        child = os.fork()
        if child == 0:
            store.stop()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        with client_of(store) as xs:
            assert xs.ls("/") == ["tool"]


@contextmanager
def copied_by_a_child() -> Iterator[None]:
    """A forked child meanwhile has a copy of every descriptor."""
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_its_clients_see_it_end_though_a_child_has_copies_of_the_descriptors(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with EmbeddedStore(path=path) as store, client_of(store) as xs:
        xs.read("/")
        with copied_by_a_child():
            store.stop()
            with pytest.raises(xsffi.ConnectionLostError):
                xs.read("/")
            with EmbeddedStore(path=path) as again, client_of(again) as xs_again:
                assert xs_again.ls("/") == ["tool"]


def test_who_waits_to_be_accepted_sees_it_end(tmp_path: Path) -> None:
    listener = Listener(str(tmp_path / "socket"))
    with socket.socket(socket.AF_UNIX) as waiting, copied_by_a_child():
        waiting.connect(listener.path)
        os.link(listener.path, tmp_path / "other name")
        listener.close()
        waiting.settimeout(10)
        assert waiting.recv(1) == b""
        with socket.socket(socket.AF_UNIX) as late, pytest.raises(ConnectionRefusedError):
            late.connect(str(tmp_path / "other name"))


@pytest.mark.parametrize("end", ["cut", "release"])
def test_a_connection_ends_though_a_child_has_copies_of_the_descriptors(end: str) -> None:
    with EmbeddedStore() as store, client_of(store) as xs, client_of(store, 5) as guest:
        guest.read("/local/domain/5")
        with copied_by_a_child():
            if end == "cut":
                store.cut_next_answer(domid=5)
            else:
                xs.release_domain(5)
            with pytest.raises(xsffi.ConnectionLostError):
                guest.read("/local/domain/5")


@pytest.mark.parametrize("kind", [Path, str, os.fsencode])
def test_a_place_of_any_kind(tmp_path: Path, kind: Callable[[Path], Any]) -> None:
    with EmbeddedStore(path=kind(tmp_path / "socket")) as store, client_of(store) as xs:
        assert store.path == str(tmp_path / "socket")
        assert xs.ls("/") == ["tool"]


def test_a_relative_place_and_a_program_that_goes_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with EmbeddedStore(path="socket") as store, xsffi.Client("socket") as early:
        monkeypatch.chdir("/")
        with store.connect() as xs, store.connect(5) as guest:
            xs.write("/a", "1")
            guest.write("b", "2")
        assert early.read_many(["/a"]) == [b"1"]
        assert [node.path for node in early.dump("/a")] == ["/a"]
        with xsffi.Client(store.environment()["XENSTORED_PATH"]) as by_environment:
            assert by_environment.read("/a") == b"1"
    assert os.listdir(tmp_path) == []


def test_a_lock_of_others_on_the_folder_holds_up_nobody(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        with EmbeddedStore(path=tmp_path / "socket") as store, client_of(store) as xs:
            assert xs.ls("/") == ["tool"]
    finally:
        os.close(folder)
    assert os.listdir(tmp_path) == []


def test_another_server_that_takes_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xsffi.server.listener._LOCK_MAX", 0.05)
    lock = tmp_path / ".socket.xsffi-lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="another server is just starting there") as caught:
            EmbeddedStore(path=tmp_path / "socket")
        assert (caught.value.errno, caught.value.filename) == (errno.EADDRINUSE, str(tmp_path / "socket"))
    with EmbeddedStore(path=tmp_path / "socket"):  # the socket of a dead one is replaced
        assert os.listdir(tmp_path) == ["socket"]


def test_a_server_that_does_not_listen_yet_is_not_taken_for_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xsffi.server.listener._LOCK_MAX", 0.05)
    path = str(tmp_path / "socket")
    real_listen = socket.socket.listen

    def listen(first: socket.socket, backlog: int) -> None:
        monkeypatch.setattr(socket.socket, "listen", real_listen)
        with pytest.raises(OSError, match="another server is just starting there"):
            Listener(path)
        first.listen(backlog)

    monkeypatch.setattr(socket.socket, "listen", listen)
    listener = Listener(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    listener.close()
    assert os.listdir(tmp_path) == []


def test_a_lock_whose_file_was_removed_as_it_was_taken_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / ".socket.xsffi-lock"
    locked: list[bool] = []
    real_flock, real_bind = fcntl.flock, Listener._bind

    def flock(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", real_flock)
        lock.unlink()  # as the holder of the lock does
        real_flock(descriptor, operation)

    def bind(self: Listener, path: str) -> None:
        locked.append(lock.exists())
        real_bind(self, path)

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(Listener, "_bind", bind)
    Listener(str(tmp_path / "socket")).close()
    assert locked == [True]


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_what_is_in_the_place_of_the_lock_is_told(tmp_path: Path, kind: str) -> None:
    lock = tmp_path / ".socket.xsffi-lock"
    lock.mkdir() if kind == "folder" else lock.symlink_to("elsewhere")
    with pytest.raises(OSError, match="its lock") as caught:
        EmbeddedStore(path=tmp_path / "socket")
    assert str(lock) in str(caught.value)


def test_of_many_that_begin_in_the_place_of_a_dead_one_one_serves(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)
        begin = threading.Barrier(4)
        made: list[Listener] = []
        refused: list[int | None] = []

        def listen(begin: threading.Barrier, made: list[Listener], refused: list[int | None]) -> None:
            begin.wait()
            try:
                made.append(Listener(path))
            except OSError as error:
                refused.append(error.errno)

        threads = [threading.Thread(target=listen, args=(begin, made, refused)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert len(made) == 1
        assert refused == [errno.EADDRINUSE] * 3
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
        made[0].close()
        assert os.listdir(tmp_path) == []


def test_a_signal_handler_may_stop_it_at_any_moment() -> None:
    for number in range(30):
        store = EmbeddedStore()
        soon = 0.001 * (1 + number % 5)
        with interrupted_after(soon, store.stop), pytest.raises(RuntimeError, match="has been stopped"):
            while True:
                store.create_domain(5)
        assert not os.path.exists(store.path)


def test_it_may_be_dropped_in_its_own_thread() -> None:
    """The last reference may be in a call passed to the loop, or in garbage that is collected there."""
    threads = threading.active_count()
    for _ in range(20):
        store = EmbeddedStore()
        folder = os.path.dirname(store.path)
        gone = threading.Event()
        weakref.finalize(store, gone.set)
        loop, holder = store._loop, [store]
        del store
        loop._calls.append(holder.clear)
        loop._ring()
        assert gone.wait(10)
        until(lambda: threading.active_count() == threads)
        assert not os.path.exists(folder)


def test_stop_in_another_thread_returns_once_it_is_done() -> None:
    for _ in range(50):
        store = EmbeddedStore()
        thread = threading.Thread(target=store.stop)
        thread.start()
        store.stop()
        with socket.socket(socket.AF_UNIX) as client, pytest.raises(FileNotFoundError):
            client.connect(store.path)
        thread.join()


def test_the_socket_of_a_domain_is_gone_once_it_is_released() -> None:
    with EmbeddedStore() as store, client_of(store) as xs:
        for domid in range(1, 50):
            path = store.socket_path(domid)
            xs.release_domain(domid)
            assert not os.path.exists(path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        EmbeddedStore(path=tmp_path / "folder" / "socket")
    assert caught.value.filename == str(tmp_path / "folder" / "socket")


def test_the_environment_leads_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedStore() as store:
        monkeypatch.setenv("XENSTORED_PATH", store.environment()["XENSTORED_PATH"])
        with xsffi.Client(backend="wire") as xs:
            assert xs.ls("/") == ["tool"]


# Contents


def test_it_begins_with_a_dict() -> None:
    tree = {"/a/b": "text", "c": {"d": b"\xff\0", "e": {"f": "", "g/h": "deep"}}, "/c/e": "late"}
    with EmbeddedStore(tree) as store, client_of(store) as xs:
        assert xs.read("/a/b") == b"text"
        assert xs.read("/c/d") == b"\xff\0"
        assert xs.read("/c/e") == b"late"
        assert xs.ls("/c/e") == ["f", "g"]
        assert xs.read("/c/e/g/h") == b"deep"


@pytest.mark.parametrize(
    ("tree", "error"),
    [
        ({"/a": 5}, TypeError),
        ({"/a": None}, TypeError),
        ({"/a b": "c"}, xsffi.InvalidArgumentError),
        ({"a//b": "c"}, xsffi.InvalidArgumentError),
        ({"": "c"}, xsffi.InvalidArgumentError),
    ],
)
def test_what_is_no_tree(tree: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        EmbeddedStore(tree)


def test_loading_fires_watches_and_a_dump_can_be_loaded() -> None:
    with EmbeddedStore({"/a/b": "1"}) as store, client_of(store) as xs:
        xs.set_permissions("/a/b", ["n5", "r6"])
        watch = xs.watch("/x")
        assert xs.read_watch(5).path == "/x"
        store.load({"/x/y": "2"})
        assert xs.read_watch(5) == ("/x/y", watch)
        dump = store.dump()
        assert Node("/a/b", b"1", (), (xsffi.Permission(5, "n"), xsffi.Permission(6, "r"))) in dump
        assert [node.path for node in store.dump("/x")] == ["/x", "/x/y"]
        assert store.dump("/nothing") == []
        with EmbeddedStore(dump) as other:
            assert other.dump() == dump


@pytest.mark.parametrize(
    ("node", "error", "said"),
    [
        (Node("/a", b"v" * 5000, (), ()), xsffi.TooBigError, "at most 4096 bytes"),
        (Node("/" + "a" * 3500, b"", (), ()), xsffi.TooBigError, "at most 3072 bytes"),
        (Node("/local/domain/5/a", b"v" * 4095, (), ()), xsffi.TooBigError, "at most 4096 bytes"),
        (Node("/a", b"", (), (xsffi.Permission(0, "n"),) * 2000), xsffi.TooBigError, "at most 4096 bytes"),
        (Node("/a", b"", (), (xsffi.Permission(40000, "n"),)), xsffi.NodeNotFoundError, "domain 40000 cannot exist"),
        (Node("@releaseDomain", b"", (), ()), xsffi.InvalidArgumentError, "special path"),
        (Node("//", b"", (), ()), xsffi.InvalidArgumentError, "double slash"),
    ],
)
def test_what_no_client_could_write_is_not_loaded(node: Node, error: type[Exception], said: str) -> None:
    with EmbeddedStore() as store:
        before = store.dump()
        with pytest.raises(error, match=said) as caught:
            store.load([node])
        assert isinstance(caught.value, OSError)
        assert caught.value.filename == node.path
        assert store.dump() == before


@pytest.mark.parametrize("tree", [[("/a", b"")], ["/a"], [{"/a": ""}], [Node("/a", 5, (), ())]])  # type: ignore[arg-type]
def test_what_is_no_node_is_not_loaded(tree: Any) -> None:
    with EmbeddedStore() as store, pytest.raises(TypeError):
        store.load(tree)


def test_relative_nodes_are_dom0_s() -> None:
    """As dumped by a client of dom0."""
    with EmbeddedStore({"/local/domain/0/a/b": "1"}) as store, client_of(store) as xs:
        dump = xs.dump("a")
        assert [node.path for node in dump] == ["a", "a/b"]
        with EmbeddedStore(dump) as other, client_of(other) as other_xs:
            assert other_xs.dump("a") == dump
            assert other_xs.read("/local/domain/0/a/b") == b"1"


# Domains


def test_a_guest() -> None:
    with EmbeddedStore({"/secret": "x"}) as store, client_of(store) as xs, client_of(store, 5) as guest:
        assert xs.is_domain_introduced(5)
        guest.write("data", "1")
        assert xs.read("/local/domain/5/data") == b"1"
        assert xs.get_permissions("/local/domain/5/data") == [xsffi.Permission(5, "n")]
        with pytest.raises(xsffi.AccessDeniedError):
            guest.read("/secret")
        with client_of(store, 5) as again:
            assert again.read("data") == b"1"
        xs.release_domain(5)
        with pytest.raises(xsffi.ConnectionLostError):
            guest.read("data")
        assert not xs.exists("/local/domain/5")


def test_a_domain_released_may_come_again() -> None:
    with EmbeddedStore() as store, client_of(store) as xs:
        for _ in range(3):
            with client_of(store, 7) as guest:
                assert guest.ls("/local/domain/7") == []
                guest.write("data", "1")
            xs.release_domain(7)


def test_a_domain_introduced_again_begins_anew() -> None:
    with EmbeddedStore() as store, client_of(store) as xs, client_of(store, 5) as guest:
        guest.watch("a")
        transaction = guest.transaction()
        xs.introduce_domain(5, 1, 1)
        assert parse_use(xs.control("quota", "5"))["watches"] == 0
        with pytest.raises(xsffi.TransactionGoneError):
            transaction.commit()
        assert guest.ls("/local/domain/5") == []


def test_a_domain_that_cannot_be() -> None:
    with EmbeddedStore() as store:
        for domid in (-1, 65536):
            with pytest.raises(xsffi.InvalidArgumentError):
                store.connect(domid)
        with pytest.raises(xsffi.InvalidArgumentError):
            store.create_domain(0x7FF0)


# Faults


def test_commits_in_conflict() -> None:
    with EmbeddedStore() as store, client_of(store) as xs:
        store.fail_commits(2)
        calls = itertools.count(1)
        xs.transact(lambda t: t.write("/a", str(next(calls))))
        assert xs.read("/a") == b"3"
        store.fail_commits()
        with pytest.raises(xsffi.TransactionConflictError), xs.transaction() as t:
            t.write("/b", "")
        assert not xs.exists("/b")


def test_chosen_errors() -> None:
    with EmbeddedStore({"/a": "1", "/b": "2"}) as store, client_of(store) as xs:
        store.fail("ENOSPC", "write", "/a")
        xs.write("/b", "3")
        assert xs.read("/a") == b"1"
        with pytest.raises(xsffi.QuotaExceededError):
            xs.write("/a", "4")
        xs.write("/a", "5")
        store.fail("EPERM", path="/b", times=2)
        for _ in range(2):
            with pytest.raises(xsffi.AccessDeniedError):
                xs.ls("/b")
        assert xs.ls("/b") == []
        store.fail("EWHATEVER", "READ", times=None)
        for _ in range(3):
            with pytest.raises(xsffi.XenStoreError, match="EWHATEVER"):
                xs.read("/b")
        store.clear_faults()
        assert xs.read("/b") == b"3"
        with pytest.raises(ValueError, match="nonsense"):
            store.fail("EIO", "nonsense")


def test_delayed_answers() -> None:
    with EmbeddedStore() as store, client_of(store) as xs:
        store.delay_answers(0.2)
        begin = time.monotonic()
        xs.read("/")
        assert time.monotonic() - begin >= 0.2
        with store.connect(backend="wire", timeout=0.05) as hasty, pytest.raises(xsffi.WaitTimeoutError):
            hasty.read("/")
        store.delay_answers(0)
        assert xs.ls("/") == ["tool"]


@pytest.mark.parametrize(
    ("ask", "error", "said"),
    [
        (lambda store: store.delay_answers("1"), TypeError, "a delay must be a number of seconds, not str: '1'"),
        (lambda store: store.delay_answers(None), TypeError, "a delay must be a number of seconds, not NoneType: None"),
        (lambda store: store.delay_answers(-0.5), ValueError, "a delay must not be negative: -0.5"),
        (lambda store: store.delay_answers(float("nan")), ValueError, "a delay must not be negative: nan"),
        (lambda store: store.fail_commits(-1), ValueError, "a number of commits must be an int of at least 0, not -1"),
        (
            lambda store: store.fail_commits("2"),
            ValueError,
            "a number of commits must be an int of at least 0, not '2'",
        ),
        (lambda store: store.fail("EIO", times=1.5), ValueError, "times must be an int of at least 0, not 1.5"),
        (lambda store: store.fail(5), TypeError, "an error must be given by name, a str, not int: 5"),
    ],
)
def test_what_is_no_fault_is_refused(ask: Callable[[EmbeddedStore], None], error: type[Exception], said: str) -> None:
    """The store continues to work."""
    with EmbeddedStore({"/a": "1"}) as store, client_of(store) as xs:
        with pytest.raises(error) as caught:
            ask(store)
        assert str(caught.value) == said
        assert xs.transact(lambda t: t.read("/a")) == b"1"


@pytest.mark.parametrize("middle", [False, True])
def test_a_connection_that_is_cut(middle: bool) -> None:
    with EmbeddedStore({"/a": "1"}) as store, client_of(store) as xs, client_of(store, 5) as guest:
        store.cut_next_answer(middle=middle, domid=0)
        guest.write("x", "y")
        with pytest.raises(xsffi.ConnectionLostError):
            xs.write("/a", "2")
        guest.read("x")
        with client_of(store) as other:
            assert other.read("/a") == b"2"


def test_events_held_back() -> None:
    with EmbeddedStore() as store, client_of(store) as xs:
        xs.watch("/a")
        xs.read_watch(5)
        with store.events_held():
            xs.write("/a/1", "")
            xs.write("/a/2", "")
            xs.read("/a/1")
            assert xs.check_watch() is None
        assert [xs.read_watch(5).path for _ in range(2)] == ["/a/1", "/a/2"]
        xs.write("/a/3", "")
        assert xs.read_watch(5).path == "/a/3"


def test_control(caplog: pytest.LogCaptureFixture) -> None:
    with EmbeddedStore() as store, client_of(store) as xs:
        assert xs.control("print", "a text") == "OK"
        assert [record.getMessage() for record in caplog.records] == ["control: a text"]
        assert xs.control("check") == "OK"
        for wrong in (("memreport",), ("check", "x"), ("help", "x"), ("log", "x"), ("quota", "x"), ("quota-soft", "x")):
            with pytest.raises(xsffi.InvalidArgumentError):
                xs.control(*wrong)


def test_faults_by_control() -> None:
    with EmbeddedStore() as store, client_of(store) as xs, client_of(store) as other:
        assert "fault" in xs.control("help")
        xs.control("fault", "conflict", "1")
        with pytest.raises(xsffi.TransactionConflictError), xs.transaction() as t:
            t.write("/b", "")
        xs.control("fault", "error", "EIO", "read", "/tool")
        with pytest.raises(xsffi.XenStoreError, match="Input/output error") as caught:
            xs.read("/tool")
        assert caught.value.wire_name == "EIO"
        xs.control("fault", "error", "EIO")
        xs.control("fault", "clear")
        xs.control("fault", "cut", "middle")
        with pytest.raises(xsffi.ConnectionLostError):
            xs.read("/tool")
        for wrong in ((), ("nonsense",), ("conflict", "x"), ("error",), ("error", "EIO", "nonsense"), ("cut",)):
            with pytest.raises(xsffi.InvalidArgumentError):
                other.control("fault", *wrong)
