"""Transactions: several operations that all take effect at once, or not at all."""

from __future__ import annotations

import asyncio
import inspect
import warnings

from ..errors import TransactionConflictError, WaitTimeoutError, XenStoreError
from ..options import validate_attempts
from ..protocol import requests as r
from ..protocol.transactions import TransactionState, pause_before_next
from .driver import run
from .nodes import NodeOperations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType
    from typing import Any, SupportsIndex

    from ..protocol.programs import Program
    from ..protocol.safeguards import AnyDomain
    from ..static_types import T
    from .backend import Backend

__all__ = ["Transaction", "Transactions"]


class Transaction(NodeOperations):
    """The verbs of a client, within one transaction. Other clients see its changes once it is committed.

    As an async context manager it commits on exit, and aborts if an exception leaves the block. After a conflict
    nothing has been written, and the whole transaction must be retried: :meth:`xsffi.aio.Client.transact` does that.
    Once it has ended, every verb raises :class:`~xsffi.errors.TransactionGoneError`.
    """

    def __init__(self, backend: Backend, any_domain: AnyDomain, tx_id: int, orphans: list[int], client: object) -> None:
        """Created by :meth:`xsffi.aio.Client.transaction`. `orphans`: receives its id if it is dropped without having
        ended. `client` is kept alive as long as this is."""
        self._client = client
        self._backend = backend
        self._any_domain = any_domain
        self._orphans = orphans
        self._state = TransactionState()
        self.id = tx_id

    async def commit(self) -> None:
        """Make all changes take effect at once.

        Raises :class:`~xsffi.errors.TransactionConflictError` if other clients changed what it used: nothing was
        written. Whatever the outcome, the transaction has then ended. Raises
        :class:`~xsffi.errors.TransactionGoneError` if it had already ended, and ConnectionLostError if the daemon is
        gone: whether it took effect is then unknown, as it is if this is cancelled.
        """
        await self._end(commit=True)

    async def abort(self) -> None:
        """Discard all changes. Raises as :meth:`commit` does, except for conflicts; nothing takes effect either way."""
        await self._end(commit=False)

    async def __aenter__(self) -> Transaction:
        """Raises :class:`~xsffi.errors.TransactionGoneError` if it has already ended."""
        self._state.check()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._state.ended is not None:
            return
        if kind is None:
            await self.commit()
            return
        if not issubclass(kind, Exception):  # cancelled, perhaps because the daemon does not answer
            self._backend.post(self._state.interrupt(), self.id)
            return
        try:
            await self.abort()
        except XenStoreError:
            pass  # it has ended either way, and the first error matters

    def __repr__(self) -> str:
        return f"<xsffi.aio.Transaction {self.id} {self._state.ended or 'open'}>"

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        if hasattr(self, "id") and self._state.ended is None:
            self._orphans.append(self.id)
            _warn(f"{self!r} was neither committed nor aborted", ResourceWarning, source=self)

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        raise TypeError("a transaction belongs to its connection: it cannot be copied or pickled")

    async def _end(self, commit: bool) -> None:
        try:
            await self._run(self._state.end(commit))
        except BaseException as error:
            if isinstance(error, WaitTimeoutError) or not isinstance(error, XenStoreError):
                self._backend.post(self._state.interrupt(), self.id)  # in case the request was not sent
            raise

    async def _call(self, request: r.Request[T]) -> T:
        self._state.check()
        try:
            return await self._backend.call(request, self.id)
        except XenStoreError as error:
            await self._run(self._state.look_into(error))
            raise

    async def _call_many(self, requests: Sequence[r.Request[Any]]) -> list[Any]:
        self._state.check()
        if isinstance(requests[0], r.GetFeatures):
            return await self._backend.call_many(requests)  # these are not part of a transaction
        outcomes = await self._backend.call_many(requests, self.id)
        # A transaction that is gone stays gone, so the last outcome shows it.
        if outcomes and isinstance(outcomes[-1], XenStoreError):
            await self._run(self._state.look_into(outcomes[-1]))
        return outcomes

    async def _run(self, program: Program[None]) -> None:
        """Run a program of the transaction's state."""
        await run(program, lambda request: self._backend.call(request, self.id))


class Transactions:
    """Starts the transactions of one client, and aborts those that were dropped."""

    def __init__(self, backend: Backend, any_domain: AnyDomain) -> None:
        self._backend = backend
        self._any_domain = any_domain
        self._orphans: list[int] = []

    async def start(self, client: object = None) -> Transaction:
        """Start a transaction, which keeps `client` alive."""
        while self._orphans:
            self._backend.post(r.TransactionEnd(commit=False), self._orphans.pop())
        tx_id = await self._backend.call(r.TransactionStart())
        return Transaction(self._backend, self._any_domain, tx_id, self._orphans, client)

    async def repeat(self, function: Callable[[Transaction], Awaitable[T]], attempts: int) -> T:
        """Run `function` in a transaction until that commits, up to `attempts` times."""
        if not callable(function):
            raise TypeError(f"expected a function, not {type(function).__name__}: {function!r}")
        validate_attempts(attempts)
        for attempt in range(1, attempts + 1):
            transaction = await self.start()
            try:
                async with transaction:
                    result = function(transaction)
                    if not inspect.isawaitable(result):
                        raise TypeError(f"expected an async function, but this one returned {result!r}")
                    return await result
            except TransactionConflictError as error:
                await asyncio.sleep(pause_before_next(transaction._state, error, attempt, attempts))
        raise AssertionError("unreachable")
