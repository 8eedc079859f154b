"""Opens the client for a command line."""

from __future__ import annotations

import os

from .homes import home_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ..sync.client import Client

__all__ = ["Opening"]


class Opening:
    """Opens the client according to the global options, once or never."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options

    def __call__(self, timeout: float | None = None) -> Client:
        """A new client. `timeout`: how many seconds the daemon may take to reply, if the options name neither a timeout
        nor a backend. Raises XenStoreError if it cannot connect."""
        from ..sync.client import Client

        options = self._options
        backend = options.get("backend", "auto")
        asked = options.get("timeout")
        if asked is None and backend == "auto" and os.environ.get("XSFFI_BACKEND", "auto") == "auto":
            asked = timeout
        return Client(options.get("socket"), backend, asked)

    def home(self, xs: Client) -> str | None:
        """The home of the domain in the options; None if they name none. Raises XenStoreError if it does not exist."""
        return home_of(xs, self._options.get("domain"))
