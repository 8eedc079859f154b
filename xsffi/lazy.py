"""Modules that are imported when something of them is first used: a script that reads one node, of which dom0 runs
many, starts in half the time without what only other verbs need.

::

    TYPE_CHECKING = False
    if TYPE_CHECKING:
        from .protocol import requests
    else:
        requests = lazy_module("xsffi.protocol.requests")

What is needed by nearly everybody, and what ``close()`` or a finalizer may need, is imported as usual.
"""

from __future__ import annotations

import errno
import sys
from _thread import get_ident

from .errors import XenStoreError, error_from_errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

__all__ = ["LazyModule", "imported", "lazy_module"]

_importing: set[int] = set()  # the threads that are in the middle of it


def lazy_module(name: str) -> ModuleType | LazyModule:
    """The module of this name; it is imported when something of it is first used.

    But at once in a program that may have threads: what one of them has half imported when another one forks stays so
    for ever in the child, and whoever wants it there waits for ever.
    """
    return imported(name) if "threading" in sys.modules else LazyModule(name)


class LazyModule:
    """A module that is imported when something of it is first used.

    Where that cannot be done, XenStoreError is raised: as for lack of descriptors; and with EDEADLK in a signal handler
    or finalizer that comes in the middle of its own thread's import.
    """

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __getattr__(self, attribute: str) -> Any:
        name = self.__name__
        me = get_ident()
        if me in _importing:
            raise error_from_errno(
                errno.EDEADLK, None, f"a signal handler or finalizer came while its own thread was importing {name}"
            )
        try:
            _importing.add(me)
            self.__dict__ = imported(name).__dict__  # so that it has what the module has, from here on
        except XenStoreError:
            raise  # the environment says what cannot be
        except (ImportError, OSError) as error:
            number = error.errno if isinstance(error, OSError) else None
            raise error_from_errno(number or errno.EIO, None, f"{name} cannot be imported: {error}") from error
        finally:
            _importing.discard(me)
        try:
            return self.__dict__[attribute]
        except KeyError:
            raise AttributeError(f"module {name!r} has no attribute {attribute!r}") from None


def imported(name: str) -> ModuleType:
    """The module of this name, as :func:`importlib.import_module` gives it, which takes longer to import itself than
    most of them."""
    __import__(name)
    return sys.modules[name]
