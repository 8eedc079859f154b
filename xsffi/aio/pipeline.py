"""Many operations at once: they are on their way together, and the daemon need not wait for the client between two of
them."""

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
    """Queues operations and carries them all at once; their results are in :attr:`results`, in the same order.

    The verbs are those of a transaction and take the same; they are queued, so not awaited, and what breaks a rule is
    refused as it is queued. With an ``async with`` block they are carried at its end, and dropped where an exception
    leaves it; else by :meth:`execute`. What needs a second trip to the daemon, such as a very long list of children,
    has it after the first of all others.
    """

    def __init__(
        self,
        target: NodeOperations,
        any_domain: AnyDomain,
        transactions: Transactions | None = None,
        attempts: int = 1,
    ) -> None:
        """To be had from :meth:`xsffi.aio.Client.pipeline`."""
        super().__init__(any_domain)
        self.results: list[Any] = []  #: what came back of each operation: its result, or its error
        self._target = target
        self._transactions = transactions
        self._attempts = attempts

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Carry what is queued, and return the results, which are in :attr:`results` too.

        Every operation is carried, whichever fails; then the first error is raised, or, with `raise_on_error` false,
        each error stands in its place. In a transaction an error that is raised aborts it. Raises
        :class:`~xsffi.errors.TransactionConflictError` where the last attempt to commit was in conflict, and
        :class:`~xsffi.errors.ConnectionLostError` where the daemon is gone: what was carried by then is not known.
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
