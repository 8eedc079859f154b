"""The parts of :mod:`typing` that exist at run time too: for generic classes, protocols and overloads.

At run time these are stand-ins that do nothing: importing typing takes as long as Python's own start, and dom0 runs
short scripts that read one node for each device of each domain. So modules here import it only for type checkers::

    TYPE_CHECKING = False
    if TYPE_CHECKING:
        from typing import Any

Type checkers take that name for true, wherever it comes from. For the same reason, what only a few verbs need is
imported where it is used; tests/test_starts.py checks what a read may import.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Generic, Protocol, TypeVar, overload

    T = TypeVar("T")
else:
    T = None

    class Generic:
        """A base class that accepts type arguments: ``Generic[T]`` is itself."""

        def __class_getitem__(cls, parameters: object) -> type:
            return cls

    class Protocol:
        """A base class for interfaces."""

    def overload(function: object) -> object:
        """A decorator for signatures that only type checkers see."""
        return function


__all__ = ["Generic", "Protocol", "T", "overload"]
