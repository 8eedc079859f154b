"""What of :mod:`typing` type checkers need, and the program too: for generic classes, protocols and overloads.

At run time there are stand-ins that do nothing: to import typing takes as long as Python's own start, and dom0 runs
scripts that read one node and end for each device of each domain. So no module here imports it but for type checkers::

    TYPE_CHECKING = False
    if TYPE_CHECKING:
        from typing import Any

They take that name for true, wherever it comes from. For the same reason what only a few verbs need is imported where
it is used; tests/test_starts.py holds what a read may import.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Generic, Protocol, TypeVar, overload

    T = TypeVar("T")
else:
    T = None

    class Generic:
        """A base class that may be given a type: ``Generic[T]`` is itself."""

        def __class_getitem__(cls, parameters: object) -> type:
            return cls

    class Protocol:
        """A base class for those that say what others are to have."""

    def overload(function: object) -> object:
        """A decorator of what is there for type checkers alone."""
        return function


__all__ = ["Generic", "Protocol", "T", "overload"]
