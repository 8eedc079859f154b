"""What stands in for ``xen`` and ``xen.lowlevel`` where Xen's own packages are not installed."""

from __future__ import annotations

import os
import sys
from types import ModuleType

__all__ = ["StandIn"]


class StandIn(ModuleType):
    """A package that is nowhere to be imported from: ``xen`` or ``xen.lowlevel`` where Xen's own are not installed.

    What lies in a folder of its name is importable from it nevertheless, as of a namespace package: a program may put
    the folder that holds a real ``xen.lowlevel.xc`` into :data:`sys.path` later.
    """

    @property
    def __path__(self) -> list[str]:  # type: ignore[override]
        folder = os.path.join(*self.__name__.split("."))
        return [place for place in (os.path.join(entry, folder) for entry in sys.path) if os.path.isdir(place)]
