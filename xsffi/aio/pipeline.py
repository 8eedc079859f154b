"""Many operations at once: they are in flight together, so the daemon need not wait for the client in between."""

from __future__ import annotations

import warnings

from ..errors import XenStoreError
from ..protocol.pipelines import Queue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    from ..protocol.safeguards import AnyDomain
    from .nodes import NodeOperations
    from .transaction import Transactions

__all__ = ["Pipeline"]


class Pipeline(Queue):
    """Queues operations and carries them all out at once; their results are in :attr:`results`, in the same order.

    The verbs and their arguments are those of a transaction; they are only queued, so not awaited, and invalid
    arguments are refused when queued. With an ``async with`` block they are carried out at its end, or dropped if an
    exception leaves it; otherwise call :meth:`execute`. Operations that need a second round trip, such as a very long
    list of children, continue after the first round of all others.
    """

    def __init__(
        self,
        target: NodeOperations,
        any_domain: AnyDomain,
        transactions: Transactions | None = None,
        attempts: int = 1,
    ) -> None:
        """Created by :meth:`xsffi.aio.Client.pipeline`."""
        super().__init__(any_domain)
        self.results: list[Any] = []  #: the outcome of each operation: its result, or its error
        self._target = target
        self._transactions = transactions
        self._attempts = attempts

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Carry out what is queued, and return the results, which are also in :attr:`results`.

        All operations are carried out even if some fail; then the first error is raised or, with `raise_on_error`
        false, each error is in the results. In a transaction, an error that is raised aborts it. Raises
        :class:`~xsffi.errors.TransactionConflictError` if the last attempt to commit failed with a conflict, and
        :class:`~xsffi.errors.ConnectionLostError` if the daemon is gone: which operations were carried out is then
        unknown.
        """
        queued, self.results = self.take(), []

        async def carry(target: NodeOperations) -> None:
            self.results = await target._do(queued.program())
            if raise_on_error:
                for result in self.results:
                    if isinstance(result, XenStoreError):
                        raise result

        if self._transactions is None:
            await carry(self._target)
        else:
            await self._transactions.repeat(carry, self._attempts)
        return self.results

    async def __aenter__(self) -> Pipeline:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            await self.execute()
        else:
            self.take()

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        if getattr(self, "_queued", None):
            _warn(f"a pipeline was dropped with operations queued: {len(self)}", ResourceWarning, source=self)
