"""Who may do what with a node: the daemon's interpretation of permissions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..domids import DOMID_ANY
from ..permissions import Permission, encode_permissions
from .domains import Domain

__all__ = ["OWNER", "READ", "WRITE", "NodePermissions"]

READ, WRITE, OWNER = 1, 2, 4

_ALL = READ | WRITE | OWNER
_BITS = {"n": 0, "r": READ, "w": WRITE, "b": READ | WRITE}


class NodePermissions:
    """The permissions of a node, its owner's first. Immutable.

    An entry for a single domain only counts for the domain that was meant: once that is gone, a new one with the same
    id does not inherit it, though the entry is still listed. An entry for DOMID_ANY, where supported, is for every
    domain.
    """

    __slots__ = ("_default", "_others", "entries", "owner")

    def __init__(self, entries: Sequence[Permission], others: list[tuple[int, int]] | None = None) -> None:
        """`others`: the domids and rights of the entries after the first that count; by default all do."""
        self.entries = tuple(entries)
        self.owner = entries[0].domid
        self._default = _BITS[entries[0].access]  # for domains without an entry
        if others is None:
            others = [(domid, _BITS[access]) for domid, access in self.entries[1:]]
        self._others = others

    def __len__(self) -> int:
        return len(self.entries)

    def rights(self, domain: Domain, generation: int) -> int:
        """What a domain may do with a node that has had this list since `generation`: READ, WRITE, OWNER combined with
        ``|``."""
        if domain.privileged:
            return _ALL
        target = domain.target
        if self.owner == domain.domid or (target is not None and self.owner == target.domid):
            return _ALL
        for domid, bits in self._others:
            if domid == domain.domid and domain.since <= generation:
                return bits
            if target is not None and domid == target.domid and target.since <= generation:
                return bits
            if domid == DOMID_ANY:
                return bits
        return self._default

    def payload(self) -> bytes:
        """The list as in a reply."""
        return encode_permissions(self.entries)

    def owned_by(self, domid: int) -> NodePermissions:
        """The same list with another owner."""
        if domid == self.owner:
            return self
        return NodePermissions([Permission(domid, self.entries[0].access), *self.entries[1:]], self._others)

    def without(self, domid: int) -> NodePermissions:
        """The same list without the entries of a domain, except the owner's; itself if there are none."""
        entries = [self.entries[0], *[entry for entry in self.entries[1:] if entry.domid != domid]]
        if len(entries) == len(self.entries):
            return self
        return NodePermissions(entries, [entry for entry in self._others if entry[0] != domid])

    def without_strangers(self, known: Callable[[int], bool]) -> NodePermissions:
        """The same list, in which the entries of domains that are not `known` do not count, now or later."""
        if all(known(domid) for domid, _ in self._others):
            return self
        return NodePermissions(self.entries, [entry for entry in self._others if known(entry[0])])
