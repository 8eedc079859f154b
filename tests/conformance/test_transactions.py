"""Transactions, over every backend, on every daemon."""

from __future__ import annotations

import errno
import gc

import pytest
from daemons import Daemon

import xsffi
from xsffi import Client, Transaction
from xsffi.protocol.requests import TransactionEnd


class Stop(Exception):
    """Raised by tests inside a transaction."""


def test_a_commit_takes_effect_at_once(xs: Client, other: Client, top: str) -> None:
    with xs.transaction() as t:
        t.write(f"{top}/a", "1")
        t.mkdir(f"{top}/b")
        t.set_permissions(f"{top}/a", ["n0", "r5"])
        assert t.read(f"{top}/a") == b"1"
        assert sorted(t.ls(top)) == ["a", "b"]
        assert not other.exists(f"{top}/a")
    assert other.read(f"{top}/a") == b"1"
    assert [str(p) for p in other.get_permissions(f"{top}/a")] == ["n0", "r5"]


def test_an_exception_aborts(xs: Client, other: Client, top: str) -> None:
    with pytest.raises(Stop), xs.transaction() as t:
        t.write(f"{top}/a", "1")
        raise Stop
    assert not other.exists(f"{top}/a")


def test_abort_and_commit_by_name(xs: Client, other: Client, top: str) -> None:
    t = xs.transaction()
    t.write(f"{top}/a", "1")
    t.abort()
    assert not other.exists(f"{top}/a")
    t = xs.transaction()
    t.write(f"{top}/a", "2")
    t.commit()
    assert other.read(f"{top}/a") == b"2"


def test_an_ended_transaction(xs: Client, top: str) -> None:
    with xs.transaction() as t:
        t.commit()
    for use in (lambda: t.read(top), t.commit, t.abort):
        with pytest.raises(xsffi.TransactionGoneError, match="committed"):
            use()


def test_a_conflict(xs: Client, other: Client, top: str) -> None:
    xs.write(f"{top}/counter", "1")
    with pytest.raises(xsffi.TransactionConflictError), xs.transaction() as t:
        value = int(t.read(f"{top}/counter"))
        other.write(f"{top}/counter", "7")
        t.write(f"{top}/counter", str(value + 1))
    assert xs.read(f"{top}/counter") == b"7"


def test_transact_tries_again(xs: Client, other: Client, top: str) -> None:
    xs.write(f"{top}/counter", "1")
    calls = []

    def increment(t: Transaction) -> int:
        value = int(t.read(f"{top}/counter"))
        calls.append(value)
        if len(calls) < 3:
            other.write(f"{top}/counter", str(value + 10))
        t.write(f"{top}/counter", str(value + 1))
        return value

    assert xs.transact(increment) == 21
    assert calls == [1, 11, 21]
    assert other.read(f"{top}/counter") == b"22"


def test_transact_gives_up(xs: Client, other: Client, top: str) -> None:
    xs.write(f"{top}/counter", "1")
    calls = []

    def collide(t: Transaction) -> None:
        calls.append(t.read(f"{top}/counter"))
        other.write(f"{top}/counter", f"try {len(calls)}")  # a new value each time, since oxenstored compares them
        t.write(f"{top}/counter", "mine")

    with pytest.raises(xsffi.TransactionConflictError):
        xs.transact(collide, attempts=3)
    assert len(calls) == 3


def test_two_at_once(xs: Client, other: Client, top: str) -> None:
    xs.mkdir(f"{top}/one")
    xs.mkdir(f"{top}/two")
    first, second = xs.transaction(), xs.transaction()
    assert first.id != second.id
    first.write(f"{top}/one", "1")
    second.write(f"{top}/two", "2")
    assert first.read(f"{top}/two") == b""
    assert xs.read(f"{top}/one") == b""
    first.commit()
    second.commit()
    assert (other.read(f"{top}/one"), other.read(f"{top}/two")) == (b"1", b"2")


def test_a_failed_operation_does_not_spoil_the_commit(xs: Client, top: str) -> None:
    with xs.transaction() as t:
        t.write(f"{top}/a", "1")
        assert t.get(f"{top}/missing") is None
        assert not t.exists(f"{top}/missing")
        with pytest.raises(xsffi.NodeNotFoundError):
            t.read(f"{top}/missing")
        with pytest.raises(xsffi.InvalidArgumentError):
            t.read("//")
    assert xs.read(f"{top}/a") == b"1"


def test_a_transaction_that_the_daemon_does_not_know(xs: Client, top: str) -> None:
    """The exception is the same, whichever errno the daemon sends."""

    def gone(use: str) -> None:
        t = xs.transaction()
        xs.backend.call(TransactionEnd(commit=False), t.id)  # without the transaction's knowledge
        with pytest.raises(xsffi.TransactionGoneError) as caught:
            {
                "read": lambda: t.read(top),
                "missing": lambda: t.read(f"{top}/missing"),
                "exists": lambda: t.exists(f"{top}/missing"),
                "get": lambda: t.get(f"{top}/missing"),
                "write": lambda: t.write(f"{top}/a", ""),
                "rm": lambda: t.rm(f"{top}/a"),
                "ls": lambda: t.ls(top),
                "commit": t.commit,
                "abort": t.abort,
            }[use]()
        assert not isinstance(caught.value, FileNotFoundError)
        with pytest.raises(xsffi.TransactionGoneError):
            t.read(top)

    for use in ("read", "missing", "exists", "get", "write", "rm", "ls", "commit", "abort"):
        gone(use)
    assert xs.read(top) == b""


def test_the_exception_in_the_block_is_not_hidden(xs: Client, top: str) -> None:
    with pytest.raises(Stop), xs.transaction() as t:
        xs.backend.call(TransactionEnd(commit=False), t.id)  # so that the abort at the end fails
        raise Stop


def test_a_dropped_transaction_is_ended(daemon: Daemon, xs: Client, top: str) -> None:
    t = xs.transaction()
    t.write(f"{top}/a", "1")
    tx_id = t.id
    with pytest.warns(ResourceWarning, match="neither committed nor aborted"):  # noqa: PT031
        del t
        gc.collect()  # immediately, on PyPy too
    with xs.transaction():
        pass
    with pytest.raises(xsffi.XenStoreError) as caught:
        xs.backend.call(TransactionEnd(commit=True), tx_id)
    assert caught.value.errno == (errno.EIO if daemon.kind == "oxenstored" else errno.ENOENT)
    assert not xs.exists(f"{top}/a")
