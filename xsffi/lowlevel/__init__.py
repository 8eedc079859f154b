"""A drop-in for ``xen.lowlevel.xs``, the old C module: :mod:`xsffi.lowlevel.xs`.

Three ways to use it::

    from xsffi.lowlevel import xs          # instead of: from xen.lowlevel import xs

    import xsffi.lowlevel                  # once, before the program's own imports:
    xsffi.lowlevel.install()               # from here on, xen.lowlevel.xs is this one

    python -m xsffi.lowlevel SCRIPT ARGS…  # runs an unmodified script this way; also -m MODULE ARGS…
"""

from __future__ import annotations

import sys

from ..lazy import imported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["install", "uninstall"]

_NAME = "xen.lowlevel.xs"


_before: dict[str, ModuleType | None] = {}  # the modules that install() replaced


def install() -> ModuleType:
    """Make ``import xen.lowlevel.xs``, in all its forms, import :mod:`xsffi.lowlevel.xs`, which is returned.

    Xen's own packages are used if installed, so that ``xen.lowlevel.xc`` and the rest stay importable. Names that a
    program has already imported from the old module keep referring to it, so install first. Idempotent.
    """
    from . import xs as ours

    if sys.modules.get(_NAME) is not ours:
        xen = _package("xen")
        lowlevel = _package("xen.lowlevel")
        _before[_NAME] = sys.modules.get(_NAME)
        sys.modules[_NAME] = ours
        xen.lowlevel = lowlevel  # type: ignore[attr-defined]
        lowlevel.xs = ours  # type: ignore[attr-defined]
    return ours


def uninstall() -> None:
    """Undo :func:`install`. Names imported in between keep referring to this module."""
    if _NAME in _before:
        lowlevel = sys.modules.get("xen.lowlevel")
        if lowlevel is not None:
            if _before[_NAME] is not None:
                lowlevel.xs = _before[_NAME]  # type: ignore[attr-defined]
            elif hasattr(lowlevel, "xs"):
                del lowlevel.xs
    while _before:
        name, module = _before.popitem()
        if module is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = module


def _package(name: str) -> ModuleType:
    """The package of this name, or a stand-in for it."""
    from .stand_in import StandIn

    try:
        return imported(name)
    except ModuleNotFoundError as error:
        if error.name not in ("xen", "xen.lowlevel"):
            raise  # it exists, but something that it imports is missing
    _before[name] = None
    sys.modules[name] = stand_in = StandIn(name, f"Stands in for {name}, for the sake of {_NAME}.")
    return stand_in
