"""What reads through a handle in C where the extension is there (see xsffi/_native/reading.c), and what stands for it
where Python has no such classes."""

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
    """The base class of the drop-in: it has ``read(transaction, path)``, in C where that was built and is told of a
    handle; else by ``_read``."""

    __slots__ = ()

    def read(self, *args: Any, **keywords: Any) -> bytes | None:
        """read(transaction, path): the value of a node, or None where there is none."""
        return self._read(*args, **keywords)

    def _read(self, *args: Any, **keywords: Any) -> bytes | None:
        """All that is not the plain case, also where the handle is closed or its daemon gone."""
        raise NotImplementedError

    def _read_through(self, reader: Any) -> None:
        """Read through this from here on (see :attr:`LibraryBackend.reader`); None: through none.

        Raises TypeError where it is anything else.
        """


if shortcuts is not None:
    Reading = shortcuts.Reading  # type: ignore[misc]


class PlainHandle:
    """In the place of the handle in C: it leaves to the binding what that would do faster."""

    def __init__(self, xs: LibXenStore) -> None:
        self._xs = xs

    def read(self, path: str) -> None:
        """None: the path is for Python to look at."""

    def value(self, tx_id: int, path: bytes) -> int:
        """An errno that says nothing of the node: the binding is to be asked."""
        return errno.EBADF

    def take_event(self, into: list[Any]) -> bool | None:
        """Whether the next event was appended; None where libxenstore will never have another."""
        try:
            into.extend(map(tuple, filter(None, map(LibXenStore.xs_check_watch, (self._xs,)))))
        except XenStoreError:
            return None
        return bool(into)

    def end(self) -> bool:
        """Let nobody in any more; whether somebody is inside."""
        return False
