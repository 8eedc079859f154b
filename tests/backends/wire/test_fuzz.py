"""A hostile daemon: the client never hangs, crashes or grows without limit, and no request gets another's reply."""

from __future__ import annotations

import itertools
import os
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import pytest
from daemons import load_packages
from harness.children import python_environment
from harness.hostile import NOBODYS, hostile, is_mutated
from harness.peer import Link, MessageType, Peer, value_of
from harness.stores import require_libxenstore

from xsffi.backends.base import Events
from xsffi.backends.wire.native import Connection
from xsffi.errors import XenStoreError

from .conftest import Connect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xsffi.protocol.session import Reply

M = MessageType
Step = Callable[[Connection, bool], None]
CASES = int(os.environ.get("XSFFI_FUZZ_CASES", "1500"))
GROWTH_MAX = 300 << 10  # KiB: a few messages of the maximum length, and the allocator's overhead


def check(path: bytes, reply: Reply, mutated: bool) -> None:
    """The reply must be that of the path, or have an id that no request had: it could be correct from a kernel that
    assigns ids of its own."""
    payload = reply[1] if isinstance(reply, tuple) else reply
    assert isinstance(payload, bytes)
    if not mutated:
        assert payload in (value_of(path), NOBODYS), payload


def read(connection: Connection, mutated: bool) -> None:
    check(b"/a", connection.carry(M.READ, b"/a\0"), mutated)


def read_plain(connection: Connection, mutated: bool) -> None:
    check(b"/plain", connection.read("/plain") or b"", mutated)


def read_many(connection: Connection, mutated: bool) -> None:
    paths = [b"/%d" % number for number in range(5)]
    replies = connection.replies(connection.send_many([(M.READ, path + b"\0") for path in paths]))
    assert len(replies) == 5
    for path, reply in zip(paths, replies):
        check(path, reply, mutated)


def forget(connection: Connection, mutated: bool) -> None:
    connection.forget(connection.send_many([(M.TRANSACTION_START, b"\0"), (M.WATCH, b"/a\0a:1\0")]))


def take_events(queue: Events) -> None:
    for _ in range(1000):
        event = queue.next_event(0)
        if event is None:
            return
        assert isinstance(event.path + event.token, str)
        assert event.token.rpartition(":")[2] in ("1", "2")  # an event with any other token is dropped
    pytest.fail("there is no end of events")


def use(connection: Connection, mutated: bool, order: itertools.cycle[Step]) -> None:
    queues = [connection.events(prefix) for prefix in ("", "a:")]
    assert [queue.new_token() for queue in queues] == [b"1", b"a:2"]
    for step in itertools.islice(order, 4):
        step(connection, mutated)
        for queue in queues:
            take_events(queue)


def test_a_connection(connect: Connect) -> None:
    seeds = itertools.count()
    steps: list[Step] = [read, read_many, read_plain, forget, read]
    order = itertools.cycle(steps)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def serve(link: Link) -> None:
        hostile(next(seeds), link)

    with Peer(serve, backlog=CASES) as peer:  # on a busy machine it may accept them late
        for seed in range(CASES):
            connection = connect(peer.path, 0.01)
            try:
                use(connection, is_mutated(seed), order)
            except XenStoreError:
                pass
            except BaseException as error:
                raise AssertionError(f"with the seed {seed}") from error
            finally:
                connection.close()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWTH_MAX


@pytest.mark.parametrize("backend", ["wire", "libxenstore"])
def test_a_client_in_a_process_of_its_own(backend: str) -> None:
    """Without timeouts, which libxenstore does not have; so the daemon hangs up when nothing happens."""
    if backend == "libxenstore":
        require_libxenstore()
    packages = load_packages()
    seeds = itertools.count(1)

    def serve(link: Link) -> None:
        link.socket.settimeout(0.05)
        with suppress(OSError):
            hostile(next(seeds), link, whole_events=backend == "libxenstore")
        link.hang_up()

    with Peer(serve) as peer:
        environment = python_environment(
            PYTHONFAULTHANDLER="1",
            XENSTORED_PATH=peer.path,
            LD_LIBRARY_PATH=packages.library_path if packages is not None else "",
        )
        command = [sys.executable, "-m", "harness.hostile", backend, peer.path, str(CASES // 3)]
        told = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert told.returncode == 0, f"{told.stdout[-100:]} {told.stderr}"
        outcomes = Counter(line.split(maxsplit=1)[1] for line in told.stdout.splitlines())
        assert sum(outcomes.values()) == CASES // 3
        assert outcomes["ConnectionLostError"] > CASES // 10, outcomes
