"""The differences between the releases of Xen that the tests run on: one table, which tells tests what to expect.

``XSFFI_XEN_RELEASE`` selects the release for a run of pytest; ``ci/every-xen`` runs the tests on each. To add one:

1. If a suite of Debian has it, add the suite to the table in ``ci/fetch-xen`` and to ``ci/every_xen.py``. Otherwise
   build it, and name the folder where it is installed in ``XSFFI_XEN_DIR`` (see ``ci/fetch-xen``). If a daemon does not
   start, ``hypervisor.c`` lacks a call to Xen, which the daemon's log names.
2. ``XSFFI_XEN_RELEASE=X.Y ci/test tests`` shows which tests fail. For behaviour that is intended, add a row here, or a
   value to an existing row, and let the test use it. A test of something that a release lacks is skipped by
   :func:`require`; one that fails because of a bug in the release is marked ``xfail``, with the bug as its reason. Both
   are listed and counted at the end of each run.
3. Record the answers of the C module that differ: see ``tests/lowlevel/record.py``.

A value holds from the first release in which the tests have seen it, which may not be the one that introduced it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

from .packages import release

__all__ = [
    "CHILDREN_ARE_SORTED",
    "EVERY_DOMAIN",
    "FEATURES",
    "GUESTS_TRANSACTIONS",
    "GUESTS_WATCHES",
    "LIVE_UPDATE",
    "LONG_PATH",
    "NEW_OWNER",
    "OLDEST",
    "OWNERS_RELEASE_KILLS",
    "QUOTAS",
    "TOO_LONG_ENDS_IT",
    "WATCHES_OVER_QUOTA",
    "WATCH_DEPTH",
    "Ability",
    "Difference",
    "Store",
    "order",
    "require",
]

T = TypeVar("T")
OLDEST = "4.14"


class Store(Protocol):
    """A daemon, or a substitute for one."""

    @property
    def kind(self) -> str: ...

    @property
    def xen_release(self) -> str: ...


class Difference(Generic[T]):
    """Something that changes with some release, for each kind of daemon and for libxenstore.

    For each of them, its values are given, each with the first release that it holds for; the first of these is the
    oldest release that is tested. A kind that is not given is not affected, and must not be asked for.
    """

    def __init__(self, what: str, **since: Mapping[str, T]) -> None:
        for kind, values in since.items():
            if list(values) != sorted(values, key=order) or next(iter(values)) != OLDEST:
                raise ValueError(f"{what}: the releases of {kind} are not in order, or do not begin with {OLDEST}")
        self.what = what
        self._since = since

    def at(self, kind: str, release: str) -> T:
        """The value for xenstored, oxenstored or libxenstore of a release."""
        values = self._since[kind]
        return values[max((first for first in values if order(first) <= order(release)), key=order)]

    def of(self, store: Store) -> T:
        """The value for a daemon."""
        return self.at(store.kind, store.xen_release)


class Ability(Difference[bool]):
    """Something that older releases cannot do."""

    def __init__(self, what: str, **first: str | None) -> None:
        super().__init__(
            what, **{kind: {OLDEST: False, **({name: True} if name else {})} for kind, name in first.items()}
        )

    def through(self, store: Store, backend: str) -> bool:
        """Whether it can be done with a daemon over one of the backends: libxenstore must support it too."""
        return self.of(store) and (backend != "libxenstore" or self.at("libxenstore", release()))


def require(ability: Ability, store: Store, backend: str) -> None:
    """Skip the test if the daemon, or the libxenstore in between, cannot do it."""
    import pytest  # imported here, so that programs other than tests can use this package without it

    if not ability.through(store, backend):
        between = " over libxenstore" if ability.of(store) else ""
        pytest.skip(f"{store.kind} of Xen {store.xen_release}{between} has no {ability.what}")


def order(release: str) -> tuple[int, ...]:
    """A key by which releases can be compared."""
    return tuple(int(part) for part in release.split("."))


# What clients may ask for

FEATURES = Ability("features", xenstored="4.21", oxenstored=None, libxenstore="4.21")
QUOTAS = Ability("quotas by name", xenstored="4.22", oxenstored=None, libxenstore="4.22")
WATCH_DEPTH = Ability("depth of a watch", xenstored="4.22", oxenstored=None, libxenstore="4.22")
LIVE_UPDATE = Ability("live update", xenstored="4.17", oxenstored="4.17")  # the tool as well
EVERY_DOMAIN = Ability("permissions for every domain", xenstored="4.22", oxenstored=None)  # xenstored would die of it

# What daemons answer

LONG_PATH = Difference(
    "what a path of dom0's over 2048 bytes gets, which is no node's",
    xenstored={"4.14": "ENOENT", "4.17": "EINVAL", "4.20": "ENOENT"},
    oxenstored={"4.14": "EINVAL"},
)
NEW_OWNER = Difference(
    "what a guest gets that gives its node to another domain; EPERM was no error on the wire at first",
    xenstored={"4.14": "EINVAL", "4.17": "EPERM"},
    oxenstored={"4.14": "EACCES"},
)
GUESTS_WATCHES = Difference(
    "how many watches a guest has at least, where no quota is set",
    xenstored={"4.14": 128, "4.22": 127},
    oxenstored={"4.14": 100},
)
GUESTS_TRANSACTIONS = Difference(
    "how many transactions a guest may have open, where no quota is set",
    xenstored={"4.14": 11, "4.22": 9},
    oxenstored={"4.14": 11},
)
WATCHES_OVER_QUOTA = Difference(
    "what a guest gets that has too many watches",
    xenstored={"4.14": "E2BIG", "4.22": "ENOSPC"},
    oxenstored={"4.14": "EQUOTA"},
)
CHILDREN_ARE_SORTED = Difference(
    "children are listed by name, not as they came",
    xenstored={"4.14": False},
    oxenstored={"4.14": False, "4.17": True},
)
OWNERS_RELEASE_KILLS = Difference(
    "the daemon dies of the release of a domain that owns a special path",
    xenstored={"4.14": False, "4.20": True},
    oxenstored={"4.14": False},
)
TOO_LONG_ENDS_IT = Difference(
    "a message that is too long ends its connection; else nothing more is answered there",
    xenstored={"4.14": False, "4.17": True},
    oxenstored={"4.14": False},
)
