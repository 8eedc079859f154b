"""Transactions: several operations that take effect all together, or not at all."""

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
    """The verbs of a client, within one transaction. Other clients see what was done when it is committed.

    As an async context manager it commits at the end, and aborts where an exception leaves the block. On a conflict
    nothing was written, and the whole is to be done again: :meth:`xsffi.aio.Client.transact` does that. Once it has
    ended, each verb raises :class:`~xsffi.errors.TransactionGoneError`.
    """

    def __init__(self, backend: Backend, any_domain: AnyDomain, tx_id: int, orphans: list[int], client: object) -> None:
        """To be had from :meth:`xsffi.aio.Client.transaction`. `orphans`: where its id goes if it is dropped without an
        end. `client`: what is not to be dropped before."""
        self._client = client
        self._backend = backend
        self._any_domain = any_domain
        self._orphans = orphans
        self._state = TransactionState()
        self.id = tx_id

    async def commit(self) -> None:
        """Make all that was done take effect at once.

        Raises :class:`~xsffi.errors.TransactionConflictError` where other changes came in between: nothing was written.
        The transaction has ended then, as with any error. Raises :class:`~xsffi.errors.TransactionGoneError` where it
        had ended before, and ConnectionLostError where the daemon is gone: whether it took effect is not known then,
        nor where this is cancelled.
        """
        await self._end(commit=True)

    async def abort(self) -> None:
        """Drop all that was done. Raises as :meth:`commit` does, but for conflicts; nothing takes effect either way."""
        await self._end(commit=False)

    async def __aenter__(self) -> Transaction:
        """Raises :class:`~xsffi.errors.TransactionGoneError` where it has ended already."""
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
        if not issubclass(kind, Exception):  # it is cancelled, perhaps because the daemon does not answer
            self._backend.post(self._state.interrupt(), self.id)
            return
        try:
            await self.abort()
        except XenStoreError:
            pass  # the transaction is over either way, and what went wrong first is what matters

    def __repr__(self) -> str:
        return f"<xsffi.aio.Transaction {self.id} {self._state.ended or 'open'}>"

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        if hasattr(self, "id") and self._state.ended is None:
            self._orphans.append(self.id)
            _warn(f"{self!r} was neither committed nor aborted", ResourceWarning, source=self)

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        raise TypeError("a transaction belongs to its connection: it can be neither copied nor pickled")

    async def _end(self, commit: bool) -> None:
        try:
            await self._run(self._state.end(commit))
        except BaseException as error:
            if isinstance(error, WaitTimeoutError) or not isinstance(error, XenStoreError):
                self._backend.post(self._state.interrupt(), self.id)  # in case it was not sent
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
            return await self._backend.call_many(requests)  # they are no part of a transaction
        outcomes = await self._backend.call_many(requests, self.id)
        # A transaction that is gone stays so: the last outcome tells.
        if outcomes and isinstance(outcomes[-1], XenStoreError):
            await self._run(self._state.look_into(outcomes[-1]))
        return outcomes

    async def _run(self, program: Program[None]) -> None:
        """Run a program of the transaction's state."""
        await run(program, lambda request: self._backend.call(request, self.id))


class Transactions:
    """Starts the transactions of one client, and ends those that were dropped."""

    def __init__(self, backend: Backend, any_domain: AnyDomain) -> None:
        self._backend = backend
        self._any_domain = any_domain
        self._orphans: list[int] = []

    async def start(self, client: object = None) -> Transaction:
        """Start a transaction, which keeps `client`."""
        while self._orphans:
            self._backend.post(r.TransactionEnd(commit=False), self._orphans.pop())
        tx_id = await self._backend.call(r.TransactionStart())
        return Transaction(self._backend, self._any_domain, tx_id, self._orphans, client)

    async def repeat(self, function: Callable[[Transaction], Awaitable[T]], attempts: int) -> T:
        """Run `function` in a transaction until that is committed, up to `attempts` times."""
        if not callable(function):
            raise TypeError(f"a function is to be given, not {type(function).__name__}: {function!r}")
        validate_attempts(attempts)
        for attempt in range(1, attempts + 1):
            transaction = await self.start()
            try:
                async with transaction:
                    result = function(transaction)
                    if not inspect.isawaitable(result):
                        raise TypeError(f"an async function is to be given: this one returned {result!r}")
                    return await result
            except TransactionConflictError as error:
                await asyncio.sleep(pause_before_next(transaction._state, error, attempt, attempts))
        raise AssertionError("unreachable")
