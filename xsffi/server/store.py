"""The store: the tree and everything that belongs to it, shared by its connections."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Sequence
from functools import lru_cache

from ..domids import DOMID_ANY
from ..errors import error_from_errno
from ..paths import INTRODUCE_DOMAIN, RELEASE_DOMAIN, child_path
from ..permissions import Permission
from ..protocol.wire import Feature
from ..static_types import Protocol
from .access import OWNER, WRITE, NodePermissions
from .domains import Domain, Domains
from .faults import Faults
from .nodes import make, mkdir, set_permissions
from .releases import NEWEST, RELEASES, Release
from .trace import Trace
from .tree import NO_CHILDREN, Node, Tree, own_child, postorder
from .views import Direct, may_learn
from .watches import Watches

__all__ = ["Peer", "Store", "canonical", "relative"]

_PATH = re.compile(r"/|(/[-\w@]+)+", re.ASCII)
_SPECIAL_PATH = re.compile(r"@[-\w@]*(/[-\w@]+)*", re.ASCII)


class Peer(Protocol):
    """The store's view of a connection."""

    domain: Domain

    def reset(self) -> None:
        """Remove its watches and abort its transactions."""

    def end(self, reason: str) -> None:
        """End it."""

    def release_events(self) -> None:
        """Send the held events."""


class Store:
    """A XenStore in memory, without I/O: bytes come and go through its connections."""

    def __init__(self, release: Release = RELEASES[NEWEST]) -> None:
        """As empty as xenstored of this release is when it starts: it contains ``/tool/xenstored``."""
        self.xen = release
        nobody = NodePermissions([Permission(0, "n")])
        self.tree = Tree(nobody)
        self.domains = Domains(release)
        self.watches = Watches(release.root_covers_special)
        self.faults = Faults()
        self.trace = Trace(release.log_switches)
        self.direct = Direct(self.tree, self.domains, self.watches, release)
        self.peers: set[Peer] = set()
        self.talkative: set[Peer] = set()  # those with something new to send; removed by the sender
        for name, permissions in (
            (INTRODUCE_DOMAIN, nobody),
            (RELEASE_DOMAIN, NodePermissions(release.release_permissions)),
        ):
            self.tree.special[name] = Node(b"", permissions, 0, NO_CHILDREN)
        self.domains.count_nodes(0, 3 if release.special_nodes else 1)  # the root, and the special nodes
        make(self.direct, self.dom0, "/tool/xenstored", b"")

    @property
    def dom0(self) -> Domain:
        """The domain that may do everything."""
        return self.domains.introduced(0)

    # Connections.

    def release_events(self) -> None:
        """Stop holding events, and send the held ones."""
        self.faults.holding_events = False
        for peer in self.peers:
            peer.release_events()

    # Domains.

    def introduce(self, domid: int) -> None:
        """Let a domain connect from now on; if it already could, reset it to the initial state.

        Raises InvalidArgumentError if no such domain can exist.
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
        """Introduce a domain, unless that is done, and create its home, which it owns, as a toolstack does."""
        domain = self.domains.find(domid)
        if domain is None or not domain.introduced:
            self.introduce(domid)
            home = self.domains.introduced(domid).home
            mkdir(self.direct, self.dom0, home)
            set_permissions(self.direct, self.dom0, home, self.permissions(self.dom0, [Permission(domid, "n")]))

    def release(self, domid: int) -> None:
        """A domain is gone: close its connections and remove its nodes. Raises NodeNotFoundError if it is unknown."""
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
        self._forget_in_permissions(domid)
        self.domains.forget(domain)
        self._fire_special(RELEASE_DOMAIN, domid)

    # Special paths.

    def set_special_permissions(self, domain: Domain, name: str, permissions: NodePermissions) -> None:
        """Set who gets the events of introductions or releases, if special paths are not nodes; only the owner may."""
        old = self.tree.special.get(name)
        if old is None:
            raise error_from_errno(errno.EINVAL, name)
        if old.rights(domain) & (WRITE | OWNER) != WRITE | OWNER:
            raise error_from_errno(errno.EACCES, name)
        # Newer than anything: an entry is for whoever has its domid, even if that is another domain by now.
        self.tree.special[name] = Node(b"", permissions, sys.maxsize, NO_CHILDREN)

    def permissions(self, domain: Domain, entries: Sequence[Permission]) -> NodePermissions:
        """A list given by a domain; raises NodeNotFoundError if its owner cannot exist."""

        def counts(domid: int) -> bool:
            return self.domains.exists(domid) or (domid == DOMID_ANY and bool(domain.features & Feature.DOMID_ANY))

        for domid, _ in entries:
            if self.domains.exists(domid):
                self.domains.know(domid, self.tree.generation)
        owner = entries[0].domid
        if not counts(owner):
            raise error_from_errno(errno.ENOENT, message=f"domain {owner} cannot exist")
        return NodePermissions(entries).without_strangers(counts)

    # Inside.

    def _peers_of(self, domain: Domain) -> list[Peer]:
        return [peer for peer in self.peers if peer.domain is domain]

    def _tops_owned_by(self, domain: Domain) -> list[str]:
        """The nodes that a domain owns, without those below another of them."""
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

    def _forget_in_permissions(self, domid: int) -> None:
        """Remove the entries of a domain that is gone from permissions, if the release does so."""
        for path, node in self.tree.special.items():
            # If special paths are nodes, xenstored dies of this.
            if node.permissions.owner == domid and (self.xen.forgets_special_permissions or self.xen.special_nodes):
                self.tree.rewrite(path, node.permissions.owned_by(0))
                if self.xen.special_nodes:
                    self.domains.count_nodes(0, 1)
        paths = [*self.tree.special] if self.xen.forgets_special_permissions else []
        if self.xen.forgets_permissions:
            paths += self._paths_that_name(domid)
        for path in paths:
            named = self.tree.get(path)
            assert named is not None
            if named.permissions.without(domid) is not named.permissions:
                self.tree.rewrite(path, self.direct.settled(named).without(domid))

    def _paths_that_name(self, domid: int) -> list[str]:
        """The nodes whose permissions name a domain."""
        return [
            path
            for path, node, _ in postorder("/", self.tree.root, own_child)
            if any(entry.domid == domid for entry in node.permissions.entries)
        ]

    def _fire_special(self, name: str, domid: int) -> None:
        node = self.tree.special[name]
        # xenstored treats a special node as any other: its events go to those that may read its parent.
        above = self.tree.root if self.xen.special_nodes else None
        permitted = may_learn(node, above)
        if self.xen.special_events_name_domain:
            self.watches.fire_special(name, domid, permitted)
        else:
            self.watches.fire(name, self.xen.special_events_exact, permitted)


@lru_cache(maxsize=1024)
def canonical(raw: bytes, home: str, special: bool = False) -> tuple[str, int]:
    """The absolute path for a domain whose relative paths are below `home`, and its length as quotas count it: without
    the home of any domain at its start.

    `special`: whether it may be a special path. Raises InvalidArgumentError for an invalid path.
    """
    path = raw.decode("latin-1")
    if not path.startswith(("/", "@")):
        path = f"{home}/{path}"
    if not _PATH.fullmatch(path) and not (special and _SPECIAL_PATH.fullmatch(path)):
        special_text = "a special path is not a node's" if path[0] == "@" else None
        raise error_from_errno(errno.EINVAL, path, special_text)
    return path, len(relative(path))


def relative(path: str) -> str:
    """A path relative to the home it is in; the path itself if it is in none."""
    parts = path.split("/", 4)
    if len(parts) == 5 and parts[:3] == ["", "local", "domain"] and parts[3].isdigit() and len(parts[3]) <= 5:
        return parts[4]
    return path
