"""Reading through a handle in C if the extension is available (see xsffi/_native/reading.c), and its replacement if
Python does not support that."""

from __future__ import annotations

import errno

from ...errors import XenStoreError
from .binding import LibXenStore
from .extension import shortcuts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["PlainHandle", "Reading"]


class Reading:
    """The base class of the drop-in. Its ``read(transaction, path)`` runs in C if that was built and has been given a
    handle; otherwise it calls ``_read``."""

    __slots__ = ()

    def read(self, *args: Any, **keywords: Any) -> bytes | None:
        """read(transaction, path): the value of a node, or None if there is none."""
        return self._read(*args, **keywords)

    def _read(self, *args: Any, **keywords: Any) -> bytes | None:
        """Every case but the plain one, including a closed handle and a lost daemon."""
        raise NotImplementedError

    def _read_through(self, reader: Any) -> None:
        """Read through this from now on (see :attr:`LibraryBackend.reader`); None: through nothing.

        Raises TypeError for anything else.
        """


if shortcuts is not None:
    Reading = shortcuts.Reading  # type: ignore[misc]


class PlainHandle:
    """Replaces the C handle: it leaves everything to the binding."""

    def __init__(self, xs: LibXenStore) -> None:
        self._xs = xs

    def read(self, path: str) -> None:
        """None: Python must handle this path."""

    def value(self, tx_id: int, path: bytes) -> int:
        """An errno that says nothing about the node: the caller must ask the binding."""
        return errno.EBADF

    def take_event(self, into: list[Any]) -> bool | None:
        """Whether the next event was appended; None if libxenstore will never have another."""
        try:
            into.extend(map(tuple, filter(None, map(LibXenStore.xs_check_watch, (self._xs,)))))
        except XenStoreError:
            return None
        return bool(into)

    def end(self) -> bool:
        """Refuse new users; whether any are inside."""
        return False
