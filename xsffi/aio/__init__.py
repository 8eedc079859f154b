"""The client for asyncio: all of :class:`xsffi.Client`, awaited, on one connection shared by any number of tasks.

::

    from xsffi import aio

    async with aio.Client() as xs:
        await xs.read("/local/domain/0/name")

        async with xs.watch("/local/domain") as events:
            async for event in events:
                ...

Start with :class:`Client`; the exceptions are in :mod:`xsffi.errors`. Item syntax, ``fileno``, ``run``, ``stop``,
``check_watch`` and ``read_watch`` of :class:`xsffi.Client` are missing here: the event loop takes their place.
"""

from __future__ import annotations

from .client import Client, connect
from .mirror import Mirror
from .pipeline import Pipeline
from .transaction import Transaction
from .watches import Watch

__all__ = ["Client", "Mirror", "Pipeline", "Transaction", "Watch", "connect"]
