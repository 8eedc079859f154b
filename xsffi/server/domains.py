"""The domains that the daemon knows: which are introduced, who acts for whom, and what each uses."""

from __future__ import annotations

import errno

from ..domids import DOMID_ANY
from ..errors import error_from_errno
from ..protocol.wire import Feature
from .quota import Quotas
from .releases import Release

__all__ = ["DOMID_SELF", "Domain", "Domains"]

DOMID_SELF = 0x7FF0  # the first id that stands for no domain but for a role


class Domain:
    """A domain, from when the daemon first hears of it until it is released."""

    __slots__ = (
        "domid",
        "features",
        "home",
        "introduced",
        "most",
        "privileged",
        "quotas",
        "seen",
        "since",
        "target",
        "used",
    )

    def __init__(self, domid: int, since: int, quotas: Quotas, features: Feature, seen: dict[str, int]) -> None:
        """`since`: the generation of the tree from which permissions for this id mean this domain; `seen`: where to
        record the maximum that any guest uses."""
        self.domid = domid
        self.since = since
        self.quotas = quotas
        self.features = features
        self.privileged = domid == 0
        self.home = f"/local/domain/{domid}"  # the base of its relative paths
        self.introduced = domid == 0
        self.target: Domain | None = None  # the domain it may act for
        self.used = {"nodes": 0, "watches": 0, "transactions": 0}  # its resources in use, by quota key
        self.most: dict[str, int] = {}  # the maximum of each, by quota key
        self.seen = seen

    @property
    def nodes(self) -> int:
        """How many nodes it owns."""
        return self.used["nodes"]

    @property
    def watches(self) -> int:
        """How many watches it has set, over all its connections."""
        return self.used["watches"]

    @property
    def transactions(self) -> int:
        """How many transactions it has open."""
        return self.used["transactions"]

    def allows(self, key: str, amount: int) -> bool:
        """Whether it may use this much; quotas apply to guests only."""
        if self.privileged:
            return True
        if not self.quotas.allows(key, amount):
            return False
        self._note(key, amount)
        return True

    def count(self, key: str, change: int) -> None:
        """Add to what it uses."""
        self.used[key] = amount = self.used[key] + change
        self._note(key, amount)

    def _note(self, key: str, amount: int) -> None:
        if amount > self.most.get(key, 0):
            self.most[key] = amount
            if not self.privileged and amount > self.seen.get(key, 0):
                self.seen[key] = amount


class Domains:
    """All domains. Any id that Xen could give exists, introduced or not."""

    def __init__(self, release: Release) -> None:
        self._release = release
        self.quotas = Quotas(release.quotas)  # the defaults for new domains
        self.seen: dict[str, int] = {}  # the maximum that any guest used of each quota
        self._domains = {0: self._new(0, 0)}

    def exists(self, domid: int) -> bool:
        """Whether Xen could assign such an id to a domain."""
        return 0 <= domid < DOMID_SELF

    def find(self, domid: int) -> Domain | None:
        """A known domain; None if unknown."""
        return self._domains.get(domid)

    def know(self, domid: int, generation: int) -> Domain:
        """A domain, which becomes known if it was not; raises NodeNotFoundError if it cannot exist."""
        domain = self._domains.get(domid)
        if domain is None:
            if not self.exists(domid):
                raise error_from_errno(errno.ENOENT, message=f"domain {domid} cannot exist")
            domain = self._domains[domid] = self._new(domid, generation + 1)
        return domain

    def introduced(self, domid: int) -> Domain:
        """An introduced domain; raises NodeNotFoundError if it is not."""
        domain = self._domains.get(domid)
        if domain is None or not domain.introduced:
            raise error_from_errno(errno.ENOENT)
        return domain

    def forget(self, domain: Domain) -> None:
        """The domain is gone: the next one with its id is a different one."""
        domain.introduced = False
        del self._domains[domain.domid]
        for other in self._domains.values():
            if other.target is domain:
                other.target = None

    def is_same(self, domid: int, generation: int) -> bool:
        """Whether the domain with this id is the one that existed when the tree had this generation."""
        if domid == DOMID_ANY:
            return True  # an entry for every domain; where that is unsupported, it never counted
        domain = self._domains.get(domid)
        return domain is not None and domain.since <= generation

    def set_quota(self, name: str, value: int) -> None:
        """Set a quota for new domains and, depending on the release, known ones; raises InvalidArgumentError for an
        unknown name."""
        self.quotas[name] = value
        if self._release.control_sets_known:
            for domain in self._domains.values():
                domain.quotas[name] = value

    def count_nodes(self, domid: int, change: int) -> None:
        """Add to the number of nodes that a domain owns."""
        domain = self._domains.get(domid)
        if domain is not None:
            domain.count("nodes", change)

    def reset_maxima(self) -> None:
        """Reset the maxima to what is in use now."""
        self.seen.clear()
        for domain in self._domains.values():
            domain.most = dict(domain.used)

    def _new(self, domid: int, since: int) -> Domain:
        return Domain(domid, since, self.quotas.copy(), self._release.features, self.seen)
