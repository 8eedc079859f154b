"""The client for asyncio: all of :class:`xsffi.Client` awaited, on one connection that any number of tasks share.

::

    from xsffi import aio

    async with aio.Client() as xs:
        await xs.read("/local/domain/0/name")

        async with xs.watch("/local/domain") as events:
            async for event in events:
                ...

:class:`Client` is the way in; what it raises is in :mod:`xsffi.errors`. Item syntax, ``fileno``, ``run``, ``stop``,
``check_watch`` and ``read_watch`` of :class:`xsffi.Client` have no place here: the event loop does that.
"""

from __future__ import annotations

from .client import Client, connect
from .mirror import Mirror
from .pipeline import Pipeline
from .transaction import Transaction
from .watches import Watch

__all__ = ["Client", "Mirror", "Pipeline", "Transaction", "Watch", "connect"]
