"""Common conditions to wait for with :meth:`xsffi.Client.wait` and :meth:`xsffi.aio.Client.wait`."""

from __future__ import annotations

from .protocol.conditions import View, all_of, any_of, node_appears, node_disappears, value_becomes

__all__ = ["View", "all_of", "any_of", "node_appears", "node_disappears", "value_becomes"]
