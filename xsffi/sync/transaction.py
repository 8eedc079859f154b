"""Transactions: several operations that all take effect at once, or not at all."""

from __future__ import annotations

import time
import warnings

from ..errors import TransactionConflictError, WaitTimeoutError, XenStoreError
from ..lazy import lazy_module
from ..options import validate_attempts
from .nodes import NodeOperations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Any, SupportsIndex

    from ..backends.base import Backend
    from ..protocol import programs, transactions
    from ..protocol import requests as r
    from ..protocol.programs import Program
    from ..protocol.safeguards import AnyDomain
    from ..static_types import T
else:
    programs = lazy_module("xsffi.protocol.programs")
    r = lazy_module("xsffi.protocol.requests")
    transactions = lazy_module("xsffi.protocol.transactions")

__all__ = ["Transaction", "Transactions"]


class Transaction(NodeOperations):
    """The verbs of a client, within one transaction. Other clients see its changes once it is committed.

    As a context manager it commits on exit, and aborts if an exception leaves the block. After a conflict nothing has
    been written, and the whole transaction must be retried: :meth:`xsffi.Client.transact` does that. Once it has ended,
    every verb raises :class:`~xsffi.errors.TransactionGoneError`.
    """

    def __init__(self, backend: Backend, any_domain: AnyDomain, tx_id: int, orphans: list[int]) -> None:
        """Created by :meth:`xsffi.Client.transaction`. `orphans`: receives its id if it is dropped without having
        ended."""
        self._backend = backend
        self._any_domain = any_domain
        self._orphans = orphans
        self._state = transactions.TransactionState()
        self.id = tx_id

    def commit(self) -> None:
        """Make all changes take effect at once.

        Raises :class:`~xsffi.errors.TransactionConflictError` if other clients changed what it used: nothing was
        written. Whatever the outcome, the transaction has then ended. Raises
        :class:`~xsffi.errors.TransactionGoneError` if it had already ended, and ConnectionLostError if the daemon is
        gone: whether it took effect is then unknown, as it is if Ctrl-C ends the wait for the reply.
        """
        self._end(commit=True)

    def abort(self) -> None:
        """Discard all changes. Raises as :meth:`commit` does, except for conflicts; nothing takes effect either way."""
        self._end(commit=False)

    def __enter__(self) -> Transaction:
        """Raises :class:`~xsffi.errors.TransactionGoneError` if it has already ended."""
        self._state.check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._state.ended is not None:
            return
        if kind is None:
            self.commit()
            return
        if not issubclass(kind, Exception):  # Ctrl-C, perhaps because the daemon does not answer
            self._backend.post(self._state.interrupt(), self.id)
            return
        try:
            self.abort()
        except XenStoreError:
            pass  # it has ended either way, and the first error matters

    def __repr__(self) -> str:
        return f"<xsffi.Transaction {self.id} {self._state.ended or 'open'}>"

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        if hasattr(self, "id") and self._state.ended is None:
            self._orphans.append(self.id)  # no request here: this may run in any thread, at any point
            _warn(f"{self!r} was neither committed nor aborted", ResourceWarning, source=self)

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        raise TypeError("a transaction belongs to its connection: it cannot be copied or pickled")

    def _end(self, commit: bool) -> None:
        try:
            self._run(self._state.end(commit))
        except BaseException as error:
            if isinstance(error, WaitTimeoutError) or not isinstance(error, XenStoreError):
                self._backend.post(self._state.interrupt(), self.id)  # in case the request was not sent
            raise

    def _call(self, request: r.Request[T]) -> T:
        self._state.check()
        try:
            return self._backend.call(request, self.id)
        except XenStoreError as error:
            self._run(self._state.look_into(error))
            raise

    def _call_many(self, requests: Sequence[r.Request[Any]]) -> list[Any]:
        self._state.check()
        if isinstance(requests[0], r.GetFeatures):
            # These are not part of a transaction, and an older libxenstore cannot request them.
            return self._backend.bulk().call_many(requests)
        outcomes = self._backend.call_many(requests, self.id)
        # A transaction that is gone stays gone, so the last outcome shows it.
        if outcomes and isinstance(outcomes[-1], XenStoreError):
            self._run(self._state.look_into(outcomes[-1]))
        return outcomes

    def _run(self, program: Program[None]) -> None:
        """Run a program of the transaction's state."""
        programs.run(program, lambda request: self._backend.call(request, self.id))


class Transactions:
    """Starts the transactions of one client, and aborts those that were dropped."""

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
                break  # another thread took it first
            self._backend.post(r.TransactionEnd(commit=False), orphan)
        return Transaction(self._backend, self._any_domain, self._backend.call(r.TransactionStart()), self._orphans)

    def repeat(self, function: Callable[[Transaction], T], attempts: int) -> T:
        """Run `function` in a transaction until that commits, up to `attempts` times."""
        if not callable(function):
            raise TypeError(f"expected a function, not {type(function).__name__}: {function!r}")
        validate_attempts(attempts)
        for attempt in range(1, attempts + 1):
            transaction = self.start()
            try:
                with transaction:
                    return function(transaction)
            except TransactionConflictError as error:
                time.sleep(transactions.pause_before_next(transaction._state, error, attempt, attempts))
        raise AssertionError("unreachable")
