"""Transactions: how they end, how errors of a daemon that no longer has one are handled, and retries."""

from __future__ import annotations

import errno
import gc
import re
import time
import warnings
from typing import Any, Callable

import pytest
from harness.fakes import FakeBackend

from xsffi import Client, Transaction
from xsffi.errors import (
    AccessDeniedError,
    ClientClosedError,
    ConnectionLostError,
    InvalidArgumentError,
    NodeNotFoundError,
    QuotaExceededError,
    TransactionConflictError,
    TransactionGoneError,
    WaitTimeoutError,
    XenStoreError,
    error_from_errno,
    error_from_wire,
)
from xsffi.protocol.requests import Read, Request, Rm, TransactionEnd, TransactionStart, Write

START, COMMIT, ABORT = TransactionStart(), TransactionEnd(commit=True), TransactionEnd(commit=False)

VERBS: dict[str, Callable[[Transaction], object]] = {
    "read": lambda t: t.read("/a"),
    "get": lambda t: t.get("/a", b""),
    "write": lambda t: t.write("/a", b"value"),
    "mkdir": lambda t: t.mkdir("/a"),
    "rm": lambda t: t.rm("/a"),
    "ls": lambda t: t.ls("/a"),
    "exists": lambda t: t.exists("/a"),
    "get_permissions": lambda t: t.get_permissions("/a"),
    "set_permissions": lambda t: t.set_permissions("/a", ["n0"]),
    "in": lambda t: "/a" in t,
}
ENDS: dict[str, Callable[[Transaction], object]] = {"commit": Transaction.commit, "abort": Transaction.abort}


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The sleeps of transact(), which take no time."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


def fails(fake: FakeBackend, failing: type[Request[Any]], error: Callable[[], BaseException]) -> None:
    """From now on, requests of this kind fail."""
    fake.answer = lambda request, tx_id: error() if isinstance(request, failing) else None


class Thrown(Exception):
    """Raised within a transaction."""


class TestEnds:
    def test_it_commits_at_the_end_of_the_block(self, client: Client, fake: FakeBackend) -> None:
        with client.transaction() as transaction:
            transaction.write("/a", b"1")
            transaction.rm("/b")
        assert fake.calls == [(START, 0), (Write(b"/a", b"1"), 1), (Rm(b"/b"), 1), (COMMIT, 1)]

    @pytest.mark.parametrize("error", [Thrown, KeyboardInterrupt, SystemExit, TransactionConflictError])
    def test_it_aborts_where_an_exception_leaves_the_block(
        self, client: Client, fake: FakeBackend, error: type[BaseException]
    ) -> None:
        thrown = error()
        with pytest.raises(error) as caught, client.transaction():
            raise thrown
        assert caught.value is thrown
        assert fake.calls == [(START, 0), (ABORT, 1)]

    @pytest.mark.parametrize(
        "failure",
        [
            error_from_wire("ENOENT"),
            error_from_wire("EIO"),
            error_from_wire("EWHATEVER"),
            ConnectionLostError(errno.ECONNRESET, "lost"),
            ClientClosedError(errno.EBADF, "closed"),
            WaitTimeoutError(errno.ETIMEDOUT, "late"),
        ],
        ids=repr,
    )
    def test_an_abort_that_fails_hides_nothing(self, client: Client, fake: FakeBackend, failure: XenStoreError) -> None:
        fails(fake, TransactionEnd, lambda: failure)
        with pytest.raises(Thrown), client.transaction() as transaction:
            raise Thrown
        again = [(ABORT, 1)] if isinstance(failure, WaitTimeoutError) else []  # in case the first was not sent
        assert fake.calls == [(START, 0), (ABORT, 1), *again]
        with pytest.raises(TransactionGoneError):
            transaction.read("/a")

    @pytest.mark.parametrize(("end", "sent"), [("commit", COMMIT), ("abort", ABORT)])
    def test_it_may_end_within_the_block(
        self, client: Client, fake: FakeBackend, end: str, sent: TransactionEnd
    ) -> None:
        with client.transaction() as transaction:
            ENDS[end](transaction)
        assert fake.calls == [(START, 0), (sent, 1)]

    def test_it_may_end_within_the_block_and_fail_then(self, client: Client, fake: FakeBackend) -> None:
        with pytest.raises(Thrown), client.transaction() as transaction:
            transaction.commit()
            raise Thrown
        assert fake.calls == [(START, 0), (COMMIT, 1)]

    def test_without_a_block(self, client: Client, fake: FakeBackend) -> None:
        transaction = client.transaction()
        transaction.write("/a", b"1")
        transaction.commit()
        assert fake.calls == [(START, 0), (Write(b"/a", b"1"), 1), (COMMIT, 1)]

    def test_several_at_once(self, client: Client, fake: FakeBackend) -> None:
        with client.transaction() as first, client.transaction() as second:
            second.write("/a", b"2")
            first.write("/a", b"1")
            client.write("/a", b"0")
        assert fake.calls == [
            (START, 0),
            (START, 0),
            (Write(b"/a", b"2"), 2),
            (Write(b"/a", b"1"), 1),
            (Write(b"/a", b"0"), 0),
            (COMMIT, 2),
            (COMMIT, 1),
        ]

    @pytest.mark.parametrize("verb", [*VERBS.values(), *ENDS.values()], ids=[*VERBS, *ENDS])
    @pytest.mark.parametrize(("end", "how"), [("commit", "committed"), ("abort", "aborted")])
    def test_nothing_can_be_done_with_it_then(
        self, client: Client, fake: FakeBackend, end: str, how: str, verb: Callable[[Transaction], object]
    ) -> None:
        transaction = client.transaction()
        ENDS[end](transaction)
        fake.calls.clear()
        with pytest.raises(TransactionGoneError, match=f"the transaction was {how}") as caught:
            verb(transaction)
        assert caught.value.errno == errno.ENOENT
        assert fake.calls == []

    def test_it_tells_its_state(self, client: Client) -> None:
        transaction = client.transaction()
        assert (transaction.id, repr(transaction)) == (1, "<xsffi.Transaction 1 open>")
        transaction.abort()
        assert repr(transaction) == "<xsffi.Transaction 1 aborted>"


class TestFailedEnds:
    @pytest.mark.parametrize(
        ("name", "error", "how"),
        [
            ("EAGAIN", TransactionConflictError, "it conflicted"),
            ("ENOENT", TransactionGoneError, "lost"),
            ("EIO", TransactionGoneError, "lost"),
            ("ENOSPC", QuotaExceededError, "lost"),
            ("EACCES", AccessDeniedError, "lost"),
            ("EWHATEVER", XenStoreError, "lost"),  # its errno is also EIO, but the daemon did not send EIO
        ],
    )
    @pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
    def test_what_the_daemon_says(
        self,
        client: Client,
        fake: FakeBackend,
        end: Callable[[Transaction], object],
        name: str,
        error: type[XenStoreError],
        how: str,
    ) -> None:
        fails(fake, TransactionEnd, lambda: error_from_wire(name))
        transaction = client.transaction()
        with pytest.raises(XenStoreError) as caught:
            end(transaction)
        assert type(caught.value) is error
        assert len(fake.calls) == 2
        with pytest.raises(TransactionGoneError, match=how):
            transaction.read("/a")
        assert len(fake.calls) == 2

    def test_what_libxenstore_says(self, client: Client, fake: FakeBackend) -> None:
        fails(fake, TransactionEnd, lambda: error_from_errno(errno.EIO))
        with pytest.raises(TransactionGoneError), client.transaction():
            pass

    def test_a_conflict_at_the_end_of_the_block(self, client: Client, fake: FakeBackend) -> None:
        fails(fake, TransactionEnd, lambda: error_from_wire("EAGAIN"))
        said = r"not committed.*nothing of it.*transact\(\)"
        with pytest.raises(TransactionConflictError, match=said) as caught, client.transaction():
            pass
        assert (caught.value.errno, caught.value.wire_name) == (errno.EAGAIN, "EAGAIN")
        assert fake.calls == [(START, 0), (COMMIT, 1)]

    @pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
    def test_one_that_has_ended_is_not_entered_again(
        self, client: Client, fake: FakeBackend, end: Callable[[Transaction], object]
    ) -> None:
        transaction = client.transaction()
        end(transaction)
        with pytest.raises(TransactionGoneError), transaction:
            pytest.fail("it was entered")

    @pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
    def test_an_interrupted_end_leaves_nothing_behind(
        self, client: Client, fake: FakeBackend, end: Callable[[Transaction], object]
    ) -> None:
        """Ctrl-C may come before the request has been sent; the daemon would then keep the transaction for ever."""
        transaction = client.transaction()
        interruptions = [KeyboardInterrupt()]
        fake.answer = lambda request, tx_id: interruptions.pop() if interruptions else None
        with pytest.raises(KeyboardInterrupt):
            end(transaction)
        assert fake.calls[2:] == [(ABORT, 1)]
        fake.calls.clear()
        with client.transaction():
            pass
        assert fake.calls == [(START, 0), (COMMIT, 2)]

    def test_an_interrupted_verb_waits_for_no_abort(self, client: Client, fake: FakeBackend) -> None:
        """Users press Ctrl-C because the daemon does not answer."""
        fake.answer = lambda request, tx_id: KeyboardInterrupt() if isinstance(request, Read) else None
        with pytest.raises(KeyboardInterrupt), client.transaction() as transaction:
            transaction.read("/a")
        assert fake.calls == [(START, 0), (Read(b"/a"), 1), (ABORT, 1)]


class TestGone:
    """The daemon may no longer know the transaction: then xenstored answers ENOENT, and oxenstored EIO."""

    @pytest.mark.parametrize(
        ("name", "probed", "error"),
        [
            ("ENOENT", "EINVAL", NodeNotFoundError),  # the probe is not a valid path, so the transaction is known
            ("ENOENT", "EACCES", NodeNotFoundError),  # likewise with any other error for the path
            ("ENOENT", None, NodeNotFoundError),
            ("ENOENT", "ENOENT", TransactionGoneError),
            ("EIO", "ENOENT", TransactionGoneError),
            ("EIO", "EIO", TransactionGoneError),
            ("EIO", "EINVAL", TransactionConflictError),  # xenstored, if others have changed the node
            ("EWHATEVER", None, XenStoreError),  # its errno is also EIO, but the daemon did not send EIO
            ("EINVAL", None, InvalidArgumentError),
            ("EACCES", None, AccessDeniedError),
            ("EAGAIN", None, TransactionConflictError),
        ],
    )
    @pytest.mark.parametrize("verb", [VERBS["read"], VERBS["write"], VERBS["ls"]], ids=["read", "write", "ls"])
    def test_which_error_it_is(
        self,
        client: Client,
        fake: FakeBackend,
        name: str,
        probed: str | None,
        error: type[XenStoreError],
        verb: Callable[[Transaction], object],
    ) -> None:
        def answer(request: Request[Any], tx_id: int) -> Any:
            if request == Read(b"//"):
                assert tx_id == 1
                return error_from_wire(probed) if probed is not None else b""
            return error_from_wire(name, "/a") if tx_id and not isinstance(request, TransactionEnd) else None

        fake.answer = answer
        transaction = client.transaction()
        with pytest.raises(XenStoreError) as caught:
            verb(transaction)
        assert type(caught.value) is error
        fake.answer = None
        if error is TransactionGoneError:
            with pytest.raises(TransactionGoneError, match="lost"):
                transaction.commit()
        else:
            transaction.commit()

    @pytest.mark.parametrize("name", ["ENOENT", "EIO"])
    @pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
    def test_no_verb_hides_it(
        self, client: Client, fake: FakeBackend, verb: Callable[[Transaction], object], name: str
    ) -> None:
        fake.answer = lambda request, tx_id: error_from_wire(name) if tx_id else None
        with pytest.raises(TransactionGoneError), client.transaction() as transaction:
            verb(transaction)
        assert not any(isinstance(request, TransactionEnd) for request in fake.requests)

    @pytest.mark.parametrize(("verb", "result"), [("get", b""), ("exists", False), ("in", False)])
    def test_a_missing_node_is_one_within_a_transaction_too(
        self, client: Client, fake: FakeBackend, verb: str, result: object
    ) -> None:
        fake.answer = lambda request, tx_id: error_from_wire("ENOENT") if request == Read(b"/a") else None
        with client.transaction() as transaction:
            assert VERBS[verb](transaction) == result
        assert fake.requests[-1] == COMMIT

    def test_it_is_no_missing_node(self) -> None:
        assert not issubclass(TransactionGoneError, (FileNotFoundError, TransactionConflictError))


class TestRetries:
    @pytest.fixture(autouse=True)
    def no_time(self, pauses: list[float]) -> None:
        """Retries take no time."""

    def test_without_a_conflict(self, client: Client, fake: FakeBackend, pauses: list[float]) -> None:
        def function(transaction: Transaction) -> str:
            transaction.write("/a", b"1")
            return "result"

        assert client.transact(function) == "result"
        assert fake.calls == [(START, 0), (Write(b"/a", b"1"), 1), (COMMIT, 1)]
        assert pauses == []

    @pytest.mark.parametrize("conflicts", range(5))
    def test_until_it_succeeds(self, client: Client, fake: FakeBackend, pauses: list[float], conflicts: int) -> None:
        seen: list[int] = []
        fake.answer = lambda request, tx_id: (
            error_from_wire("EAGAIN") if request == COMMIT and tx_id <= conflicts else None
        )

        def function(transaction: Transaction) -> int:
            seen.append(transaction.id)
            return transaction.id

        assert client.transact(function, attempts=5) == conflicts + 1
        assert seen == list(range(1, conflicts + 2))
        assert fake.calls == [call for tx_id in seen for call in ((START, 0), (COMMIT, tx_id))]

    @pytest.mark.parametrize("attempts", [1, 2, 3, 10])
    def test_exactly_so_many_attempts(self, client: Client, fake: FakeBackend, attempts: int) -> None:
        fails(fake, TransactionEnd, lambda: error_from_wire("EAGAIN"))
        calls: list[int] = []
        said = "in 1 attempt:" if attempts == 1 else f"in {attempts} attempts:"
        with pytest.raises(TransactionConflictError, match=said) as caught:
            client.transact(lambda transaction: calls.append(transaction.id), attempts=attempts)
        assert (caught.value.errno, caught.value.wire_name) == (errno.EAGAIN, "EAGAIN")
        assert calls == list(range(1, attempts + 1))
        assert fake.requests == [START, COMMIT] * attempts

    def test_a_conflict_about_something_within_is_told_as_it_is(self, client: Client, fake: FakeBackend) -> None:
        within = TransactionConflictError(errno.EAGAIN, "the list of children changed", "/big")

        def function(transaction: Transaction) -> None:
            raise within

        with pytest.raises(TransactionConflictError) as caught:
            client.transact(function, attempts=2)
        assert caught.value is within
        assert fake.requests == [START, ABORT] * 2

    def test_ten_attempts_by_default(self, client: Client, fake: FakeBackend) -> None:
        fails(fake, TransactionEnd, lambda: error_from_wire("EAGAIN"))
        with pytest.raises(TransactionConflictError):
            client.transact(lambda transaction: None)
        assert fake.requests.count(START) == 10

    def test_the_pauses_are_short(self, client: Client, fake: FakeBackend, pauses: list[float]) -> None:
        fails(fake, TransactionEnd, lambda: error_from_wire("EAGAIN"))
        with pytest.raises(TransactionConflictError):
            client.transact(lambda transaction: None, attempts=30)
        assert all(0 <= pause <= 0.1 for pause in pauses)
        assert len(set(pauses)) > 1  # so that colliding clients fall out of step

    @pytest.mark.parametrize("within", ["read", "commit"])
    def test_a_conflict_that_shows_within_the_function(self, client: Client, fake: FakeBackend, within: str) -> None:
        """As after a suspend, when the kernel answers EAGAIN to everything in an earlier transaction."""
        fake.answer = lambda request, tx_id: (
            error_from_wire("EAGAIN") if tx_id == 1 and request in (Read(b"/a"), COMMIT) else None
        )
        used: dict[str, Callable[[Transaction], object]] = {**VERBS, **ENDS}
        client.transact(used[within])
        asked = Read(b"/a") if within == "read" else COMMIT
        assert fake.calls == [
            (START, 0),
            (asked, 1),
            *([(ABORT, 1)] if within == "read" else []),
            (START, 0),
            (asked, 2),
            *([(COMMIT, 2)] if within == "read" else []),
        ]

    @pytest.mark.parametrize(
        "error",
        [Thrown(), KeyboardInterrupt(), TransactionGoneError(), error_from_wire("EIO"), TimeoutError()],
        ids=repr,
    )
    def test_any_other_exception_aborts_and_goes_on(
        self, client: Client, fake: FakeBackend, error: BaseException
    ) -> None:
        def function(transaction: Transaction) -> None:
            raise error

        with pytest.raises(type(error)) as caught:
            client.transact(function)
        assert caught.value is error
        assert fake.calls == [(START, 0), (ABORT, 1)]

    @pytest.mark.parametrize("name", ["ENOENT", "EIO", "ENOSPC"])
    def test_any_other_failure_of_the_commit_goes_on(self, client: Client, fake: FakeBackend, name: str) -> None:
        fails(fake, TransactionEnd, lambda: error_from_wire(name))
        with pytest.raises(XenStoreError) as caught:
            client.transact(lambda transaction: None)
        assert not isinstance(caught.value, TransactionConflictError)
        assert fake.requests == [START, COMMIT]

    def test_a_transaction_that_cannot_start(self, client: Client, fake: FakeBackend) -> None:
        fails(fake, TransactionStart, lambda: error_from_wire("ENOSPC"))
        with pytest.raises(QuotaExceededError):
            client.transact(lambda transaction: pytest.fail("it is not called"))
        assert fake.requests == [START]

    @pytest.mark.parametrize("end", ["commit", "abort"])
    def test_a_function_that_ends_it_itself(self, client: Client, fake: FakeBackend, end: str) -> None:
        assert client.transact(ENDS[end]) is None
        assert len(fake.calls) == 2

    @pytest.mark.parametrize("attempts", [0, -1, None, "3", 2.5])
    def test_bad_numbers_of_attempts(self, client: Client, fake: FakeBackend, attempts: Any) -> None:
        with pytest.raises(ValueError, match=re.escape(f"attempts must be an int of at least 1, not {attempts!r}")):
            client.transact(lambda transaction: None, attempts=attempts)
        assert fake.calls == []


class TestDropped:
    """A transaction that is neither committed nor aborted, and no longer referenced."""

    @pytest.fixture
    def dropped(self, client: Client, fake: FakeBackend) -> None:
        transaction = client.transaction()
        with pytest.warns(ResourceWarning, match="Transaction 1 open> was neither committed nor aborted"):
            del transaction

    @pytest.mark.usefixtures("dropped")
    def test_nothing_is_sent_at_that_moment(self, fake: FakeBackend) -> None:
        """It may happen at any moment, in any thread, in the middle of another request."""
        assert fake.calls == [(START, 0)]

    @pytest.mark.usefixtures("dropped")
    def test_it_is_aborted_before_the_next_starts(self, client: Client, fake: FakeBackend) -> None:
        for _ in range(2):
            with client.transaction():
                pass
        assert fake.calls == [(START, 0), (ABORT, 1), (START, 0), (COMMIT, 2), (START, 0), (COMMIT, 3)]

    @pytest.mark.parametrize("name", ["ENOENT", "EIO"])
    @pytest.mark.usefixtures("dropped")
    def test_one_that_the_daemon_has_ended_already(self, client: Client, fake: FakeBackend, name: str) -> None:
        """As reset_watches() does; then xenstored answers ENOENT, and oxenstored EIO."""
        fake.answer = lambda request, tx_id: error_from_wire(name) if (request, tx_id) == (ABORT, 1) else None
        with client.transaction() as transaction:
            assert transaction.id == 2
        assert fake.calls == [(START, 0), (ABORT, 1), (START, 0), (COMMIT, 2)]

    @pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
    def test_one_that_was_ended_is_dropped_in_silence(
        self, client: Client, fake: FakeBackend, end: Callable[[Transaction], object]
    ) -> None:
        transaction = client.transaction()
        end(transaction)
        fake.calls.clear()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del transaction
            gc.collect()
        assert caught == []
        with client.transaction():
            pass
        assert fake.calls == [(START, 0), (COMMIT, 2)]

    def test_one_that_the_daemon_lost_is_dropped_in_silence(self, client: Client, fake: FakeBackend) -> None:
        fake.answer = lambda request, tx_id: error_from_wire("EIO") if tx_id else None
        transaction = client.transaction()
        with pytest.raises(TransactionGoneError) as caught:
            transaction.read("/a")
        del caught, transaction
        gc.collect()
