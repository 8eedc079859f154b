"""Modules that are imported on first use. A script that reads one node, of which dom0 runs many, starts in half the
time without what only other verbs need.

::

    TYPE_CHECKING = False
    if TYPE_CHECKING:
        from .protocol import requests
    else:
        requests = lazy_module("xsffi.protocol.requests")

What nearly every program needs, and what ``close()`` or a finalizer may need, is imported as usual.
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

_importing: set[int] = set()  # the threads in the middle of an import


def lazy_module(name: str) -> ModuleType | LazyModule:
    """The module of this name, imported on first use.

    It is imported at once in a program that may have threads: a module half imported by one thread when another forks
    stays locked in the child, and importing it there would wait forever.
    """
    return imported(name) if "threading" in sys.modules else LazyModule(name)


class LazyModule:
    """A module that is imported on first use.

    If the import fails, XenStoreError is raised: for example for lack of descriptors, or with EDEADLK in a signal
    handler or finalizer that interrupts its own thread's import.
    """

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __getattr__(self, attribute: str) -> Any:
        name = self.__name__
        me = get_ident()
        if me in _importing:
            raise error_from_errno(
                errno.EDEADLK, None, f"a signal handler or finalizer interrupted its own thread's import of {name}"
            )
        try:
            _importing.add(me)
            self.__dict__ = imported(name).__dict__  # from now on, attributes are found without __getattr__
        except XenStoreError:
            raise  # a bad value in the environment
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
    """The module of this name, as from :func:`importlib.import_module`, which itself takes longer to import than most
    modules."""
    __import__(name)
    return sys.modules[name]
