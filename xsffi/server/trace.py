"""The trace that CONTROL asks for: a file with what goes over the connections."""

from __future__ import annotations

import errno
from contextlib import suppress

from ..errors import error_from_errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

__all__ = ["Trace", "append"]


class Trace:
    """The file, once one was named, and the switches. Of those, ``io`` has something to tell here: the messages."""

    def __init__(self, switches: Sequence[str]) -> None:
        """`switches`: those that can be switched apart; ``obj`` and ``io`` are on."""
        self.switches = {name: name in ("obj", "io") for name in switches}
        self.path: str | None = None
        self._file: TextIO | None = None

    def open(self, path: str | None = None) -> None:
        """Write to this file from now on, behind what it has, or again to the last one; raises OSError."""
        path = path or self.path
        if path is not None:
            file = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 - until close()
            self.close()
            self.path, self._file = path, file

    def close(self) -> None:
        """Write no longer. Again does nothing."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # what was to be written last, and cannot be
                file.close()

    def set_switch(self, text: str) -> None:
        """``+io`` switches one on, ``-io`` off; raises InvalidArgumentError where there is none of this name."""
        sign, name = text[:1], text[1:]
        if sign not in ("+", "-") or name not in self.switches:
            raise error_from_errno(errno.EINVAL, message=f"there is no switch {text!r}")
        self.switches[name] = sign == "+"

    @property
    def is_on(self) -> bool:
        """Whether anything is written."""
        return self._file is not None

    def tell(self, switch: str, text: str) -> None:
        """Write a line, if that is switched on. A file that can take no more is closed."""
        if self._file is None or not self.switches.get(switch, True):
            return
        try:
            self._file.write(f"{switch}: {text}\n")
        except OSError:
            self.close()


def append(path: str, text: str) -> None:
    """Write a text behind what a file has; raises OSError."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(text)
