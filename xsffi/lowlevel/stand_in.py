"""Stand-ins for ``xen`` and ``xen.lowlevel`` if Xen's own packages are not installed."""

from __future__ import annotations

import os
import sys
from types import ModuleType

__all__ = ["StandIn"]


class StandIn(ModuleType):
    """A package that exists nowhere on disk: ``xen`` or ``xen.lowlevel`` if Xen's own are not installed.

    Modules in a directory of its name are importable nevertheless, as in a namespace package: a program may add the
    directory of a real ``xen.lowlevel.xc`` to :data:`sys.path` later.
    """

    @property
    def __path__(self) -> list[str]:  # type: ignore[override]
        folder = os.path.join(*self.__name__.split("."))
        return [place for place in (os.path.join(entry, folder) for entry in sys.path) if os.path.isdir(place)]
