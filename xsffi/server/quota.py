"""How much a domain may use: the names, the defaults of xenstored, and what each domain may."""

from __future__ import annotations

import errno

from ..errors import error_from_errno

__all__ = ["DESCRIPTIONS", "NAMES", "SOFT_NAMES", "Quotas", "node_size"]

# Name, default and description, as xenstored has them.
_KNOWN = (
    ("nodes", 1000, "Nodes per domain"),
    ("watches", 128, "Watches per domain"),
    ("transactions", 10, "Transactions per domain"),
    ("outstanding", 20, "Outstanding requests per domain"),
    ("transaction-nodes", 1024, "Max. number of accessed nodes per transaction"),
    ("memory", 2560 * 1024, "Total Xenstore memory per domain (error level)"),
    ("node-size", 2048, "Max. size of a node"),
    ("path-max", 2048, "Max. length of a node path"),
    ("node-permissions", 5, "Max. number of permissions per node"),
)
_KNOWN_SOFT = (("memory", 2048 * 1024, "Total Xenstore memory per domain (warning level)"),)
_SOFT = "soft-"

DESCRIPTIONS = {
    **{name: text for name, _, text in _KNOWN},
    **{_SOFT + name: text for name, _, text in _KNOWN_SOFT},
}
NAMES = tuple(name for name, _, _ in _KNOWN)
SOFT_NAMES = tuple(_SOFT + name for name, _, _ in _KNOWN_SOFT)

# A node counts as its record in xenstored's database: a header, its permissions, value, and the names of its children.
_HEADER_BYTES = 24
_PERMISSION_BYTES = 8


class Quotas:
    """The quotas that new domains get, or those of one domain. 0 means no bound."""

    __slots__ = ("_values",)

    def __init__(self, values: dict[str, int] | None = None) -> None:
        """xenstored's defaults, unless `values` are given."""
        self._values = values or {
            **{name: value for name, value, _ in _KNOWN},
            **{_SOFT + name: value for name, value, _ in _KNOWN_SOFT},
        }

    def copy(self) -> Quotas:
        """The same values, to be changed apart from these."""
        return Quotas(dict(self._values))

    def __getitem__(self, name: str) -> int:
        """The value of a quota; raises InvalidArgumentError where there is none of this name."""
        value = self._values.get(name)
        if value is None:
            raise error_from_errno(errno.EINVAL, message=f"there is no quota {name!r}")
        return value

    def __setitem__(self, name: str, value: int) -> None:
        """Set a quota; raises InvalidArgumentError where there is none of this name."""
        if name not in self._values:
            raise error_from_errno(errno.EINVAL, message=f"there is no quota {name!r}")
        self._values[name] = value

    def exceeds(self, name: str, used: int) -> bool:
        """Whether so much is more than allowed."""
        limit = self._values[name]
        return limit > 0 and used > limit

    def reaches(self, name: str, used: int) -> bool:
        """Whether so much leaves no room for more."""
        limit = self._values[name]
        return limit > 0 and used >= limit


def node_size(permissions: int, value: int, listing: int) -> int:
    """What a node counts: by the number of its permissions, and the bytes of its value and of its children's names."""
    return _HEADER_BYTES + _PERMISSION_BYTES * permissions + value + listing
