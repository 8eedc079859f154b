"""The base class of what reads in C where the extension is there; see xsffi/_native/reading.c."""

from __future__ import annotations

from typing import Any

from .extension import shortcuts

__all__ = ["Reading"]


class Reading:
    """What has ``read(transaction, path)``: in C, where that was built and is told of a handle; else by ``_read``."""

    __slots__ = ()

    def read(self, *args: Any, **keywords: Any) -> bytes | None:
        """read(transaction, path): the value of a node, or None where there is none."""
        return self._read(*args, **keywords)

    def _read(self, *args: Any, **keywords: Any) -> bytes | None:
        """All that is not the plain case."""
        raise NotImplementedError

    def _read_through(self, use: int) -> None:
        """Read through the handle with this use (see :attr:`LibraryBackend.use`) from here on; 0: through none.

        The use must live as long as this object does, since another thread may be reading.
        """


if shortcuts is not None:
    Reading = shortcuts.Reading  # type: ignore[misc]
