"""Domain ids."""

from __future__ import annotations

import errno

from .errors import InvalidArgumentError

__all__ = ["DOMID_ANY", "DOMID_MAX", "validate_domid"]

DOMID_MAX = 65535  # 16 bits; from 0x7ff0 on they stand for no domain but for roles ("self", "idle", …)
DOMID_ANY = 0x7FF5  #: in a permission: every domain, since Xen 4.22 (xen.h); earlier, a domain like any other


def validate_domid(domid: int) -> int:
    """`domid` as a plain int; raises TypeError if it is no int, InvalidArgumentError if it is not from 0 to 65535."""
    if not isinstance(domid, int) or isinstance(domid, bool):
        raise TypeError(f"a domid must be an int, not {type(domid).__name__}: {domid!r}")
    if not 0 <= domid <= DOMID_MAX:
        raise InvalidArgumentError(errno.EINVAL, f"a domid must be from 0 to {DOMID_MAX}, not {domid}")
    return int(domid)
