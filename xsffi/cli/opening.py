"""The client of a command line."""

from __future__ import annotations

from .homes import home_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ..sync.client import Client

__all__ = ["Opening"]


class Opening:
    """Opens the client that the options before the command ask for, once, or perhaps never."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options

    def __call__(self) -> Client:
        """A new client. Raises XenStoreError where there is no way to the store."""
        from ..sync.client import Client

        options = self._options
        return Client(options.get("socket"), options.get("backend", "auto"), options.get("timeout"))

    def home(self, xs: Client) -> str | None:
        """The home of the domain that was asked for; None where none was. Raises XenStoreError where there is none."""
        return home_of(xs, self._options.get("domain"))
