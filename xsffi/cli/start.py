"""Where the command's process starts."""

from __future__ import annotations

from .interrupts import end_at_once

end_at_once()  # before any other import

from .main import main  # noqa: E402

__all__ = ["main"]
