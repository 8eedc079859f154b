"""The domains that the daemon knows: who is introduced, who acts for whom, and what each one uses."""

from __future__ import annotations

import errno

from ..errors import error_from_errno
from ..protocol.wire import Feature
from .quota import Quotas

__all__ = ["DOMID_SELF", "FEATURES", "Domain", "Domains"]

DOMID_SELF = 0x7FF0  # the first id that names no domain but a role
FEATURES = Feature.ERROR | Feature.WATCH_DEPTH


class Domain:
    """A domain, from when the daemon first hears of it until it is released."""

    __slots__ = (
        "domid",
        "features",
        "home",
        "introduced",
        "nodes",
        "privileged",
        "quotas",
        "since",
        "target",
        "transactions",
        "watches",
    )

    def __init__(self, domid: int, since: int, quotas: Quotas) -> None:
        """`since`: the generation of the tree from which on permissions for this id mean this domain."""
        self.domid = domid
        self.since = since
        self.quotas = quotas
        self.privileged = domid == 0
        self.home = f"/local/domain/{domid}"  # what its relative paths are relative to
        self.introduced = domid == 0
        self.target: Domain | None = None  # the domain on whose behalf it may act
        self.features = FEATURES
        self.nodes = 0  # how many it owns
        self.watches = 0
        self.transactions = 0


class Domains:
    """All domains. Any id that Xen could give exists, introduced or not."""

    def __init__(self) -> None:
        self.quotas = Quotas()  # what a domain gets that is new
        self._domains = {0: Domain(0, 0, self.quotas.copy())}

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
            domain = self._domains[domid] = Domain(domid, generation + 1, self.quotas.copy())
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
        domain = self._domains.get(domid)
        return domain is not None and domain.since <= generation

    def set_quota(self, name: str, value: int) -> None:
        """Set a quota of all domains, known and new; raises InvalidArgumentError where there is none of this name."""
        self.quotas[name] = value
        for domain in self._domains.values():
            domain.quotas[name] = value

    def count_nodes(self, domid: int, change: int) -> None:
        """A domain owns so many nodes more."""
        domain = self._domains.get(domid)
        if domain is not None:
            domain.nodes += change
