"""The single place that imports the compiled module: `ffi`, `lib` and `shortcuts`, None if it was not built.

``XSFFI_EXTENSION=no`` in the environment disables it, to see what works without.
"""

from __future__ import annotations

import os
import sys
from _thread import RLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["LIBRARIES", "ffi", "lib", "load_libxenstore", "missed_library", "shortcuts", "why_missing"]

LIBRARIES = ("libxenstore.so.4", "libxenstore.so.3.0")  # since Xen 4.15, and earlier

ffi: Any
lib: Any
_loading = RLock()  # re-entrant: a signal handler may open a client too
why_missing = ""  # why the extension is missing, if it is

if os.environ.get("XSFFI_EXTENSION") == "no":
    ffi = lib = None
    why_missing = "the extension xsffi._xenstore is disabled by XSFFI_EXTENSION=no"
else:
    try:
        from ..._xenstore import ffi, lib
    except ImportError as error:
        ffi = lib = None
        why_missing = f"the extension xsffi._xenstore is not available ({error})"


def load_libxenstore() -> str | None:
    """Load libxenstore into this process, once; return None, or why it cannot be loaded.

    ``XSFFI_LIBXENSTORE`` names the only library to load, by soname or path; otherwise :data:`LIBRARIES` are tried.
    """
    if lib is None:
        return why_missing
    with _loading:
        return _load()


def _load() -> str | None:
    if lib.xsffi_library() != ffi.NULL:
        return None
    reasons = []
    for name in _names():
        reason = lib.xsffi_load(os.fsencode(name))
        if reason == ffi.NULL:
            return None
        reasons.append(ffi.string(reason).decode("utf-8", "replace"))
    return "; ".join(reasons)


def _names() -> tuple[str, ...]:
    named = os.environ.get("XSFFI_LIBXENSTORE")
    return (named,) if named else LIBRARIES


def missed_library() -> str | None:
    """The libxenstore that this host has but that cannot be used for lack of the extension; None if there is none, or
    the environment disables the extension."""
    if lib is not None or os.environ.get("XSFFI_EXTENSION") == "no":
        return None
    try:
        from ctypes import CDLL
    except ImportError:
        return None  # a Python built without ctypes
    for name in _names():
        try:
            CDLL(name)
        except OSError:
            continue
        return name
    return None


def _after_fork_in_child() -> None:
    global _loading
    _loading = RLock()  # another thread of the parent may have held it


os.register_at_fork(after_in_child=_after_fork_in_child)


def _load_shortcuts() -> Any:
    if lib is None:
        return None
    # A second module in the extension's file, since it calls libxenstore through the same table. The spec and loader
    # are built from the classes of the first module's, since importing those would be slow.
    package = __name__.partition(".")[0]
    first: Any = sys.modules[f"{package}._xenstore"].__spec__
    name = f"{package}._shortcuts"
    loader = type(first.loader)(name, first.origin)
    try:
        module = loader.create_module(type(first)(name, loader, origin=first.origin))
        loader.exec_module(module)
    except ImportError:
        return None  # PyPy does not support it
    return module


shortcuts = _load_shortcuts()  # the module in xsffi/_native/shortcuts.c; None if it was not built
