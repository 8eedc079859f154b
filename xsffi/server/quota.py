"""How much a domain may use: which quotas there are, and each domain's limits."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from ..errors import error_from_errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Quota", "Quotas", "node_size"]

_PERMISSION_BYTES = 8


@dataclass(frozen=True)
class Quota:
    """A quota in one release of xenstored."""

    key: str  # its name in this package
    default: int
    description: str
    spare: int = 0  # how much more than its value a domain may use
    soft: bool = False  # it only warns
    name: str = ""  # that release's name for it, if not the key

    @property
    def wire_name(self) -> str:
        """Its name in GET_QUOTA and SET_QUOTA."""
        return f"soft-{self.short_name}" if self.soft else self.short_name

    @property
    def short_name(self) -> str:
        """Its name in CONTROL, which has a separate command for soft quotas."""
        return self.name or self.key


class Quotas:
    """The values of all quotas: the defaults for new domains, or those of one domain. 0 means no limit."""

    __slots__ = ("_kinds", "_limits", "_values")

    def __init__(self, kinds: Sequence[Quota]) -> None:
        """The defaults of a release."""
        self._kinds = {kind.wire_name: kind for kind in kinds}
        self._values: dict[str, int] = {}
        self._limits: dict[str, int] = {}  # by key; no entry means no limit
        for kind in kinds:
            self[kind.wire_name] = kind.default

    def copy(self) -> Quotas:
        """A copy that can be changed independently."""
        copy = Quotas(())
        copy._kinds = self._kinds
        copy._values = dict(self._values)
        copy._limits = dict(self._limits)
        return copy

    def __getitem__(self, name: str) -> int:
        """The value of a quota, by wire name; raises InvalidArgumentError for an unknown name."""
        if name not in self._kinds:
            raise error_from_errno(errno.EINVAL, message=f"unknown quota {name!r}")
        return self._values[name]

    def __setitem__(self, name: str, value: int) -> None:
        """Set a quota; raises InvalidArgumentError for an unknown name."""
        kind = self._kinds.get(name)
        if kind is None:
            raise error_from_errno(errno.EINVAL, message=f"unknown quota {name!r}")
        self._values[name] = value
        if kind.soft:
            return
        if value:
            self._limits[kind.key] = value + kind.spare
        else:
            self._limits.pop(kind.key, None)

    def limit(self, key: str) -> int | None:
        """How much may be used; None: no limit."""
        return self._limits.get(key)

    def allows(self, key: str, amount: int) -> bool:
        """Whether this much may be used."""
        limit = self._limits.get(key)
        return limit is None or amount <= limit


def node_size(header: int, permissions: int, value: int, listing: int) -> int:
    """The size of a node as its record in xenstored's database: a header, this many permissions, and the bytes of its
    value and of its children's names."""
    return header + _PERMISSION_BYTES * permissions + value + listing
