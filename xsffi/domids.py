"""The numbers of domains."""

from __future__ import annotations

import errno

from .errors import InvalidArgumentError

__all__ = ["DOMID_ANY", "DOMID_MAX", "validate_domid"]

DOMID_MAX = 65535  # a domid is 16 bits wide; those from 0x7ff0 on name no domain but roles ("self", "idle", …)
DOMID_ANY = 0x7FF5  #: in a permission: every domain. Since Xen 4.22 (xen.h); before, a domain like any other


def validate_domid(domid: int) -> int:
    """`domid`, as an int and no subclass of it, if it is one from 0 to 65535; raises TypeError or InvalidArgumentError
    else."""
    if not isinstance(domid, int) or isinstance(domid, bool):
        raise TypeError(f"a domid is an int, not {type(domid).__name__}: {domid!r}")
    if not 0 <= domid <= DOMID_MAX:
        raise InvalidArgumentError(errno.EINVAL, f"a domid is from 0 to {DOMID_MAX}, not {domid}")
    return int(domid)
