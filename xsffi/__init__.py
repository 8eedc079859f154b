"""A client of XenStore, the database in Xen's dom0 through which toolstack, drivers and guests find each other.

::

    import xsffi

    with xsffi.Client() as xs:
        xs.read("/local/domain/0/name")

Start with :class:`Client`; the exceptions are in :mod:`xsffi.errors`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .domids import DOMID_ANY
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
    from .protocol.wire import Feature
    from .records import Change, Node, WatchEvent
    from .sync.client import Client
    from .sync.mirror import Mirror
    from .sync.pipeline import Pipeline
    from .sync.transaction import Transaction
    from .sync.watches import Watch

__version__ = "0.1.0"

__all__ = [
    "DOMID_ANY",
    "AccessDeniedError",
    "BackendUnavailableError",
    "Change",
    "Client",
    "ClientClosedError",
    "ConnectionLostError",
    "Feature",
    "ForkedError",
    "InvalidArgumentError",
    "Mirror",
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

if not TYPE_CHECKING:
    # Each name is imported on first use: a pytest plugin, or code that only catches an error, need not load the client.
    _HOMES = {  # where each name is defined, except the errors
        "Change": "records",
        "Client": "sync.client",
        "DOMID_ANY": "domids",
        "Feature": "protocol.wire",
        "Mirror": "sync.mirror",
        "Node": "records",
        "Permission": "permissions",
        "Pipeline": "sync.pipeline",
        "Transaction": "sync.transaction",
        "Watch": "sync.watches",
        "WatchEvent": "records",
    }

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'xsffi' has no attribute {name!r}")
        from .lazy import imported

        value = globals()[name] = getattr(imported(f"xsffi.{_HOMES.get(name, 'errors')}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted([*__all__, "__version__"])
