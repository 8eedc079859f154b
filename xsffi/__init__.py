"""A client of XenStore, the database in Xen's dom0 through which toolstack, drivers and guests find each other.

::

    import xsffi

    with xsffi.Client() as xs:
        xs.read("/local/domain/0/name")

:class:`Client` is the way in; what it raises is in :mod:`xsffi.errors`.
"""

from .client import Client
from .errors import (
    AccessDeniedError,
    BackendUnavailableError,
    ClientClosedError,
    ConnectionLostError,
    ForkedError,
    InvalidArgumentError,
    NodeNotFoundError,
    NotSupportedError,
    ProtocolError,
    QuotaExceededError,
    TooBigError,
    TransactionConflictError,
    TransactionGoneError,
    WaitTimeoutError,
    WatchExistsError,
    XenStoreError,
)
from .permissions import Permission
from .pipeline import Pipeline
from .records import Node, WatchEvent
from .transaction import Transaction
from .watches import Watch

__all__ = [
    "AccessDeniedError",
    "BackendUnavailableError",
    "Client",
    "ClientClosedError",
    "ConnectionLostError",
    "ForkedError",
    "InvalidArgumentError",
    "Node",
    "NodeNotFoundError",
    "NotSupportedError",
    "Permission",
    "Pipeline",
    "ProtocolError",
    "QuotaExceededError",
    "TooBigError",
    "Transaction",
    "TransactionConflictError",
    "TransactionGoneError",
    "WaitTimeoutError",
    "Watch",
    "WatchEvent",
    "WatchExistsError",
    "XenStoreError",
]
