"""The trace requested by CONTROL: a file with the messages of all connections."""

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
    """The file, if one was named, and the switches. Of those, only ``io``, for messages, produces output here."""

    def __init__(self, switches: Sequence[str]) -> None:
        """`switches`: those that can be set individually; ``obj`` and ``io`` are on."""
        self.switches = {name: name in ("obj", "io") for name in switches}
        self.path: str | None = None
        self._file: TextIO | None = None

    def open(self, path: str | None = None) -> None:
        """Append to this file from now on, or again to the last one; raises OSError."""
        path = path or self.path
        if path is not None:
            file = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 - until close()
            self.close()
            self.path, self._file = path, file

    def close(self) -> None:
        """Stop writing. Idempotent."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # the last lines may fail to be written
                file.close()

    def set_switch(self, text: str) -> None:
        """``+io`` switches one on, ``-io`` off; raises InvalidArgumentError for an unknown one."""
        sign, name = text[:1], text[1:]
        if sign not in ("+", "-") or name not in self.switches:
            raise error_from_errno(errno.EINVAL, message=f"unknown switch {text!r}")
        self.switches[name] = sign == "+"

    @property
    def is_on(self) -> bool:
        """Whether anything is written."""
        return self._file is not None

    def tell(self, switch: str, text: str) -> None:
        """Write a line, if its switch is on. A file that cannot be written any more is closed."""
        if self._file is None or not self.switches.get(switch, True):
            return
        try:
            self._file.write(f"{switch}: {text}\n")
        except OSError:
            self.close()


def append(path: str, text: str) -> None:
    """Append a text to a file; raises OSError."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(text)
