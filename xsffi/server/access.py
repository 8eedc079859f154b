"""Who may do what with a node: the permissions of nodes as the daemon weighs them."""

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
    """The list of a node's permissions, its owner first. It never changes.

    An entry for a single domain counts only for the domain that was meant: once that is gone, a new one of the same id
    does not inherit it. Such an entry is still listed. One for DOMID_ANY, where it counts, is for every domain.
    """

    __slots__ = ("_default", "_others", "entries", "owner")

    def __init__(self, entries: Sequence[Permission], others: list[tuple[int, int]] | None = None) -> None:
        """`others`: the domids and rights of those entries behind the first that count; by default all do."""
        self.entries = tuple(entries)
        self.owner = entries[0].domid
        self._default = _BITS[entries[0].access]  # for all whom no entry names
        if others is None:
            others = [(domid, _BITS[access]) for domid, access in self.entries[1:]]
        self._others = others

    def __len__(self) -> int:
        return len(self.entries)

    def rights(self, domain: Domain, generation: int) -> int:
        """What a domain may do with the node that has this list since `generation`: READ, WRITE, OWNER, or-ed."""
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
        """The list as a reply carries it."""
        return encode_permissions(self.entries)

    def owned_by(self, domid: int) -> NodePermissions:
        """The same list with another owner."""
        if domid == self.owner:
            return self
        return NodePermissions([Permission(domid, self.entries[0].access), *self.entries[1:]], self._others)

    def without(self, domid: int) -> NodePermissions:
        """The same list without the entries of a domain, but for the owner's; itself, where there are none."""
        entries = [self.entries[0], *[entry for entry in self.entries[1:] if entry.domid != domid]]
        if len(entries) == len(self.entries):
            return self
        return NodePermissions(entries, [entry for entry in self._others if entry[0] != domid])

    def without_strangers(self, known: Callable[[int], bool]) -> NodePermissions:
        """The same list, in which the entries of domains that are not `known` do not count, now or later."""
        if all(known(domid) for domid, _ in self._others):
            return self
        return NodePermissions(self.entries, [entry for entry in self._others if known(entry[0])])
