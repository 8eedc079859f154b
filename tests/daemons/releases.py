"""What differs between the releases of Xen that the tests run on: the one table, which tests ask what to expect.

``XSFFI_XEN_RELEASE`` chooses the release of a whole run of pytest; ``ci/every-xen`` runs the tests on each. To add a release:

1. A suite of Debian that has it goes into the table in ``ci/fetch-xen``; what Debian has not is built, and its folder named by
   ``XSFFI_XEN_DIR`` (see there). Where the daemon does not start, ``hypervisor.c`` lacks a call by which it reaches Xen: its log
   names it.
2. ``XSFFI_XEN_RELEASE=X.Y ci/test tests`` shows the tests that expect otherwise. What the daemon means to do otherwise gets a row
   here, or one more value in a row that there is, and the test asks it. A test of what a release lacks is skipped by
   :func:`require`, which the end of the run lists and counts; one that a fault of the release's makes fail is marked ``xfail``
   with the release as its reason.
3. What the drop-in's C module answers otherwise is recorded: see ``tests/lowlevel/record.py``.

A row says since which release its value holds: the first that the tests have seen it in, not the commit that brought it.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

from .packages import release

__all__ = [
    "CHILDREN_ARE_SORTED",
    "EPERM_IS_KNOWN",
    "FEATURES",
    "LONG_PATH",
    "OWNERS_RELEASE_KILLS",
    "QUOTAS",
    "WATCHES_OVER_QUOTA",
    "Difference",
    "Store",
    "require",
]

T = TypeVar("T")
_OLDEST = "4.14"


class Store(Protocol):
    """A daemon, or what stands in for one."""

    @property
    def kind(self) -> str: ...

    @property
    def release(self) -> str: ...


class Difference(Generic[T]):
    """One thing that is otherwise from some release on, for each kind of daemon and for libxenstore.

    Each of them is given by its values, each with the first release that it holds for; the oldest release is named always. What
    is not given has no part in it, and may not be asked for.
    """

    def __init__(self, what: str, **values: Mapping[str, T]) -> None:
        for kind, of_kind in values.items():
            if list(of_kind) != sorted(of_kind, key=_order) or next(iter(of_kind)) != _OLDEST:
                raise ValueError(f"{what}: the releases of {kind} are not in order, or do not begin with {_OLDEST}")
        self.what = what
        self._values = values

    def at(self, kind: str, release: str) -> T:
        """The value of xenstored, oxenstored or libxenstore, of a release."""
        values = self._values[kind]
        return values[max((since for since in values if _order(since) <= _order(release)), key=_order)]

    def of(self, store: Store) -> T:
        """The value of a daemon."""
        return self.at(store.kind, store.release)

    def of_libxenstore(self) -> T:
        """The value of the libxenstore that is tested."""
        return self.at("libxenstore", release())


def _order(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split("."))
