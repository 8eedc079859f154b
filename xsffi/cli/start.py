"""Where the process of the command begins."""

from __future__ import annotations

from .interrupts import end_at_once

end_at_once()  # before there is more to import

from .main import main  # noqa: E402

__all__ = ["main"]
