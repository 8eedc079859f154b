"""The store: the tree and all that belongs to it, shared by its connections."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from functools import lru_cache

from ..errors import InvalidArgumentError, TooBigError, error_from_errno
from ..paths import INTRODUCE_DOMAIN, RELEASE_DOMAIN, child_path, validate
from ..permissions import Permission
from ..static_types import Protocol
from .access import OWNER, READ, WRITE, NodePermissions
from .domains import Domain, Domains
from .faults import Faults
from .nodes import make, mkdir, set_permissions
from .tree import Tree
from .views import Direct
from .watches import Watches

__all__ = ["Peer", "Store", "canonical", "relative"]

_SPECIAL = (INTRODUCE_DOMAIN, RELEASE_DOMAIN)


class Peer(Protocol):
    """A connection, as the store sees it."""

    domain: Domain

    def reset(self) -> None:
        """Drop its watches and transactions."""

    def end(self, reason: str) -> None:
        """End it."""

    def release_events(self) -> None:
        """Send the events that were held back."""


class Store:
    """A XenStore in memory. It knows no sockets: bytes come and go through its connections."""

    def __init__(self) -> None:
        """One that is as empty as xenstored's is at its start: it holds ``/tool/xenstored``."""
        nobody = NodePermissions([Permission(0, "n")])
        self.tree = Tree(nobody)
        self.domains = Domains()
        self.watches = Watches()
        self.faults = Faults()
        self.direct = Direct(self.tree, self.domains, self.watches)
        self.peers: set[Peer] = set()
        self.talkative: set[Peer] = set()  # those with something new to send; for who sends it to take out
        self._special = dict.fromkeys(_SPECIAL, (nobody, 0))
        self.domains.count_nodes(0, 1)  # the root
        make(self.direct, self.dom0, "/tool/xenstored", b"")

    @property
    def dom0(self) -> Domain:
        """The domain that may do everything."""
        return self.domains.introduced(0)

    # Connections.

    def release_events(self) -> None:
        """No longer hold events back; those held are sent."""
        self.faults.holding_events = False
        for peer in self.peers:
            peer.release_events()

    # Domains.

    def introduce(self, domid: int) -> None:
        """A domain may connect from now on; one that could before is as if it had just begun.

        Raises InvalidArgumentError where there can be no such domain.
        """
        if not self.domains.exists(domid):
            raise error_from_errno(errno.EINVAL)
        domain = self.domains.know(domid, self.tree.generation)
        if domain.introduced:
            for peer in self._peers_of(domain):
                peer.reset()
        else:
            domain.introduced = True
            self._fire_special(INTRODUCE_DOMAIN, domid)

    def create_domain(self, domid: int) -> None:
        """Introduce a domain that is not, and make its home, which it owns, as a toolstack does."""
        domain = self.domains.find(domid)
        if domain is None or not domain.introduced:
            self.introduce(domid)
            home = self.domains.introduced(domid).home
            mkdir(self.direct, self.dom0, home)
            set_permissions(self.direct, self.dom0, home, self.permissions([Permission(domid, "n")]))

    def release(self, domid: int) -> None:
        """A domain is gone: its connections end, its nodes are removed. Raises NodeNotFoundError where it is
        unknown."""
        domain = self.domains.introduced(domid)
        for peer in self._peers_of(domain):
            peer.end("its domain was released")
        for path in self._tops_owned_by(domain):
            node = self.tree.get(path)
            assert node is not None
            self.direct.remove(path, node)
        if self.tree.root.permissions.owner == domid:
            root = self.tree.root
            self.direct.update("/", root, root.value, root.permissions.owned_by(0))
        for name, (permissions, generation) in self._special.items():
            if permissions.owner == domid:
                self._special[name] = (permissions.owned_by(0), generation)
        self.domains.forget(domain)
        self._fire_special(RELEASE_DOMAIN, domid)

    # Special paths.

    def special_permissions(self, name: str) -> NodePermissions:
        """Who is told of introductions, or releases; raises NodeNotFoundError for another name."""
        if name not in self._special:
            raise error_from_errno(errno.EINVAL, name)
        return self._special[name][0]

    def set_special_permissions(self, domain: Domain, name: str, permissions: NodePermissions) -> None:
        """Set who is told; only the owner may."""
        old = self.special_permissions(name)
        if old.rights(domain, self._special[name][1]) & (WRITE | OWNER) != WRITE | OWNER:
            raise error_from_errno(errno.EACCES, name)
        self._special[name] = (permissions, self.tree.next_generation())

    def permissions(self, entries: Sequence[Permission]) -> NodePermissions:
        """A list as a client gave it; raises NodeNotFoundError where its owner cannot exist."""
        self.domains.know(entries[0].domid, self.tree.generation)
        for domid, _ in entries[1:]:
            if self.domains.exists(domid):
                self.domains.know(domid, self.tree.generation)
        return NodePermissions(entries).without_strangers(self.domains.exists)

    # Inside.

    def _peers_of(self, domain: Domain) -> list[Peer]:
        return [peer for peer in self.peers if peer.domain is domain]

    def _tops_owned_by(self, domain: Domain) -> list[str]:
        """The nodes that a domain owns, without those below one of them."""
        tops: list[str] = []
        if domain.nodes == 0:
            return tops
        stack = [("/", self.tree.root)]
        while stack:
            path, node = stack.pop()
            if node.permissions.owner == domain.domid and path != "/":
                tops.append(path)
                continue
            for name in reversed(node.children.names()):
                item = node.children.get(name)
                assert item is not None
                stack.append((child_path(path, name), item[1]))
        return tops

    def _fire_special(self, name: str, domid: int) -> None:
        permissions, generation = self._special[name]
        self.watches.fire_special(name, domid, lambda domain: bool(permissions.rights(domain, generation) & READ))


@lru_cache(maxsize=1024)
def canonical(raw: bytes, home: str, longest: int) -> str:
    """The absolute path that a domain means, whose relative paths are below `home`.

    `longest`: how long it may be, in bytes, not counted the home of any domain in front of it; 0: of any length. Raises
    InvalidArgumentError for what is no path.
    """
    path = raw.decode("latin-1")
    if not path.startswith(("/", "@")):
        path = f"{home}/{path}"
    try:
        validate(path)
    except (InvalidArgumentError, TooBigError) as error:
        raise error_from_errno(errno.EINVAL, path, error.strerror) from None
    if path[0] == "@":
        raise error_from_errno(errno.EINVAL, path, "a special path is none of a node")
    if longest and len(path) > longest and len(relative(path)) > longest:
        raise error_from_errno(errno.EINVAL, path, f"a path has at most {longest} bytes, this one has {len(path)}")
    return path


def relative(path: str) -> str:
    """What a path is to the domain in whose home it is, if it is in one."""
    parts = path.split("/", 4)
    if len(parts) == 5 and parts[:3] == ["", "local", "domain"] and parts[3].isdigit() and len(parts[3]) <= 5:
        return parts[4]
    return path
