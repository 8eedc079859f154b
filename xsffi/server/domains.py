"""The domains that the daemon knows: who is introduced, who acts for whom, and what each one uses."""

from __future__ import annotations

import errno

from ..domids import DOMID_ANY
from ..errors import error_from_errno
from ..protocol.wire import Feature
from .quota import Quotas
from .releases import Release

__all__ = ["DOMID_SELF", "Domain", "Domains"]

DOMID_SELF = 0x7FF0  # the first id that names no domain but a role


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
        """`since`: the generation of the tree from which on permissions for this id mean this domain; `seen`: where the
        most that any guest uses is kept."""
        self.domid = domid
        self.since = since
        self.quotas = quotas
        self.features = features
        self.privileged = domid == 0
        self.home = f"/local/domain/{domid}"  # what its relative paths are relative to
        self.introduced = domid == 0
        self.target: Domain | None = None  # the domain on whose behalf it may act
        self.used = {"nodes": 0, "watches": 0, "transactions": 0}  # how much of what it keeps, by the quota's key
        self.most: dict[str, int] = {}  # the most there was of each, by the quota's key
        self.seen = seen

    @property
    def nodes(self) -> int:
        """How many it owns."""
        return self.used["nodes"]

    @property
    def watches(self) -> int:
        """How many it has set, over all its connections."""
        return self.used["watches"]

    @property
    def transactions(self) -> int:
        """How many it has begun and not ended."""
        return self.used["transactions"]

    def allows(self, key: str, amount: int) -> bool:
        """Whether it may use so much; quotas bind guests only."""
        if self.privileged:
            return True
        if not self.quotas.allows(key, amount):
            return False
        self._note(key, amount)
        return True

    def count(self, key: str, change: int) -> None:
        """It uses so much more."""
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
        self.quotas = Quotas(release.quotas)  # what a domain gets that is new
        self.seen: dict[str, int] = {}  # the most that any guest used of each quota
        self._domains = {0: self._new(0, 0)}

    def exists(self, domid: int) -> bool:
        """Whether Xen could give such an id to a domain."""
        return 0 <= domid < DOMID_SELF

    def find(self, domid: int) -> Domain | None:
        """A domain that is known."""
        return self._domains.get(domid)

    def know(self, domid: int, generation: int) -> Domain:
        """A domain, from now on known if it was not; raises NodeNotFoundError where it cannot exist."""
        domain = self._domains.get(domid)
        if domain is None:
            if not self.exists(domid):
                raise error_from_errno(errno.ENOENT, message=f"there can be no domain {domid}")
            domain = self._domains[domid] = self._new(domid, generation + 1)
        return domain

    def introduced(self, domid: int) -> Domain:
        """A domain that is introduced; raises NodeNotFoundError where it is not."""
        domain = self._domains.get(domid)
        if domain is None or not domain.introduced:
            raise error_from_errno(errno.ENOENT)
        return domain

    def forget(self, domain: Domain) -> None:
        """The domain is gone: whoever comes with its id is another."""
        domain.introduced = False
        del self._domains[domain.domid]
        for other in self._domains.values():
            if other.target is domain:
                other.target = None

    def is_same(self, domid: int, generation: int) -> bool:
        """Whether the domain of this id is the one that was meant when the tree had this generation."""
        if domid == DOMID_ANY:
            return True  # an entry for every domain; where that means nothing, none ever counted
        domain = self._domains.get(domid)
        return domain is not None and domain.since <= generation

    def set_quota(self, name: str, value: int) -> None:
        """Set a quota of the domains to come, and where the release has it so of those that are known; raises
        InvalidArgumentError where there is none of this name."""
        self.quotas[name] = value
        if self._release.control_sets_known:
            for domain in self._domains.values():
                domain.quotas[name] = value

    def count_nodes(self, domid: int, change: int) -> None:
        """A domain owns so many nodes more."""
        domain = self._domains.get(domid)
        if domain is not None:
            domain.count("nodes", change)

    def reset_maxima(self) -> None:
        """Forget the most that was used, but for what is used now."""
        self.seen.clear()
        for domain in self._domains.values():
            domain.most = dict(domain.used)

    def _new(self, domid: int, since: int) -> Domain:
        return Domain(domid, since, self.quotas.copy(), self._release.features, self.seen)
