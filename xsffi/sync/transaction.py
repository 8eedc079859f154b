"""Transactions: several operations that take effect all together, or not at all."""

from __future__ import annotations

import errno
import time
import warnings

from ..errors import (
    NodeNotFoundError,
    TransactionConflictError,
    TransactionGoneError,
    XenStoreError,
)
from ..lazy import lazy_module
from ..options import validate_attempts
from .nodes import NodeOperations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Any, SupportsIndex

    from ..backends.base import Backend
    from ..protocol import programs
    from ..protocol import requests as r
    from ..protocol.safeguards import AnyDomain
    from ..static_types import T
else:
    random = lazy_module("random")
    programs = lazy_module("xsffi.protocol.programs")
    r = lazy_module("xsffi.protocol.requests")

__all__ = ["Transaction", "Transactions"]

_IN_CONFLICT = "not committed: it was in conflict with other changes"
_PAUSE = 0.001  # seconds that the second try waits at most; each further one up to twice as long
_PAUSE_MAX = 0.1


class Transaction(NodeOperations):
    """The verbs of a client, within one transaction. Other clients see what was done when it is committed.

    As a context manager it commits at the end, and aborts where an exception leaves the block. On a conflict nothing
    was written, and the whole is to be done again: :meth:`xsffi.Client.transact` does that. Once it has ended, each
    verb raises :class:`~xsffi.errors.TransactionGoneError`.
    """

    def __init__(self, backend: Backend, any_domain: AnyDomain, tx_id: int, orphans: list[int]) -> None:
        """To be had from :meth:`xsffi.Client.transaction`. `orphans`: where its id goes if it is dropped without an
        end."""
        self._backend = backend
        self._any_domain = any_domain
        self._orphans = orphans
        self._ended: str | None = None  # how
        self.id = tx_id

    def commit(self) -> None:
        """Make all that was done take effect at once.

        Raises :class:`~xsffi.errors.TransactionConflictError` where other changes came in between: nothing was written.
        The transaction has ended then, as with any error.
        """
        self._end(commit=True)

    def abort(self) -> None:
        """Drop all that was done."""
        self._end(commit=False)

    def __enter__(self) -> Transaction:
        """Raises :class:`~xsffi.errors.TransactionGoneError` where it has ended already."""
        self._check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._ended is not None:
            return
        if kind is None:
            self.commit()
            return
        if not issubclass(kind, Exception):  # Ctrl-C, perhaps because the daemon does not answer
            self._ended = "interrupted"
            self._backend.post(r.TransactionEnd(commit=False), self.id)
            return
        try:
            self.abort()
        except XenStoreError:
            pass  # the transaction is over either way, and what went wrong first is what matters

    def __repr__(self) -> str:
        return f"<xsffi.Transaction {self.id} {self._ended or 'open'}>"

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        if getattr(self, "_ended", "not begun") is None:
            self._orphans.append(self.id)  # no request from here: this may run in any thread, at any moment
            _warn(f"{self!r} was neither committed nor aborted", ResourceWarning, source=self)

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        raise TypeError("a transaction belongs to its connection: it can be neither copied nor pickled")

    def _end(self, commit: bool) -> None:
        self._check()
        self._ended = "committed" if commit else "aborted"
        try:
            self._backend.call(r.TransactionEnd(commit), self.id)
        except TransactionConflictError as error:
            self._ended = _IN_CONFLICT
            raise _conflict(
                "the transaction was not committed", "it can be done again, as transact() does", error
            ) from None
        except XenStoreError as error:
            self._ended = "lost"
            # No path is concerned, so ENOENT is said of the transaction.
            if isinstance(error, NodeNotFoundError) or _is_io_error(error):
                raise self._gone() from error
            raise
        except BaseException:
            self._ended = "interrupted"
            self._backend.post(r.TransactionEnd(commit=False), self.id)
            raise

    def _call(self, request: r.Request[T]) -> T:
        self._check()
        try:
            return self._backend.call(request, self.id)
        except XenStoreError as error:
            self._look_into(error)
            raise

    def _look_into(self, error: XenStoreError) -> None:
        """Raise TransactionGoneError if that is what the daemon's error means."""
        if isinstance(error, NodeNotFoundError):
            gone = programs.run(programs.transaction_is_gone(), self._call_as_is)
        else:
            gone = _is_io_error(error)
        if gone:
            self._ended = "lost"
            raise self._gone() from error

    def _call_many(self, requests: Sequence[r.Request[Any]]) -> list[Any]:
        self._check()
        if isinstance(requests[0], r.GetFeatures):
            # They are no part of a transaction, and an older libxenstore cannot ask for them.
            return self._backend.bulk().call_many(requests)
        outcomes = self._backend.call_many(requests, self.id)
        # A transaction that is gone stays so: the last outcome tells.
        if outcomes and isinstance(outcomes[-1], XenStoreError):
            self._look_into(outcomes[-1])
        return outcomes

    def _call_as_is(self, request: r.Request[T]) -> T:
        return self._backend.call(request, self.id)

    def _check(self) -> None:
        if self._ended is not None:
            raise TransactionGoneError(errno.ENOENT, f"the transaction was {self._ended}")

    def _gone(self) -> TransactionGoneError:
        return TransactionGoneError(errno.ENOENT, "the daemon does not know the transaction any more")


class Transactions:
    """Starts the transactions of one client, and ends those that were dropped."""

    def __init__(self, backend: Backend, any_domain: AnyDomain) -> None:
        self._backend = backend
        self._any_domain = any_domain
        self._orphans: list[int] = []

    def start(self) -> Transaction:
        """Start a transaction."""
        while self._orphans:
            try:
                orphan = self._orphans.pop()
            except IndexError:
                break  # another thread was faster
            try:
                self._backend.call(r.TransactionEnd(commit=False), orphan)
            except XenStoreError as error:
                if not isinstance(error, NodeNotFoundError) and not _is_io_error(error):
                    raise
                # A reset of the watches ended it before.
        return Transaction(self._backend, self._any_domain, self._backend.call(r.TransactionStart()), self._orphans)

    def repeat(self, function: Callable[[Transaction], T], attempts: int) -> T:
        """Run `function` in a transaction until that is committed, up to `attempts` times."""
        if not callable(function):
            raise TypeError(f"a function is to be given, not {type(function).__name__}: {function!r}")
        validate_attempts(attempts)
        for attempt in range(1, attempts + 1):
            transaction = self.start()
            try:
                with transaction:
                    return function(transaction)
            except TransactionConflictError as error:
                if attempt == attempts:
                    if transaction._ended is not _IN_CONFLICT:
                        raise  # it is about something within
                    tried = "1 attempt" if attempts == 1 else f"{attempts} attempts"
                    advice = "more attempts may do, or a transaction that uses fewer nodes"
                    raise _conflict(f"the transaction was not committed in {tried}", advice, error) from error
                if attempt > 1:  # two that keep meeting must fall out of step
                    time.sleep(random.uniform(0, min(_PAUSE * 2**attempt, _PAUSE_MAX)))
        raise AssertionError("unreachable")


def _conflict(what: str, advice: str, error: TransactionConflictError) -> TransactionConflictError:
    """The error of the daemon, saying what happened and what to do."""
    text = f"{what}: others had changed what it used, and nothing of it was written; {advice}"
    conflict = TransactionConflictError(error.errno, text)
    conflict.wire_name = error.wire_name
    return conflict


def _is_io_error(error: XenStoreError) -> bool:
    return error.errno == errno.EIO and error.wire_name in (None, "EIO")
