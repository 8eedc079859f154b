"""Who may do what with a node: ``n0``, ``r5``, ``w5``, ``b5``.

A node has a list of them (xenstore.txt, "Permissions are described by a list"): the first names the owner, who may do
everything, and what all domains may do that the list does not name; each other one is for the domain it names.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from typing import NamedTuple, Union

from .errors import InvalidArgumentError

__all__ = [
    "DOMID_ANY",
    "DOMID_MAX",
    "Permission",
    "PermissionLike",
    "encode_permissions",
    "parse_permissions",
    "validate_domid",
]

DOMID_MAX = 65535  # a domid is 16 bits wide; those from 0x7ff0 on name no domain but roles ("self", "idle", …)
DOMID_ANY = 0x7FF5  #: in a permission: every domain. Since Xen 4.22 (xen.h); before, a domain like any other

_ACCESSES = ("n", "r", "w", "b")
_PATTERN = re.compile(r"([nrwb])([0-9]{1,5})", re.ASCII).fullmatch


class Permission(NamedTuple):
    """What one domain may do: `access` is ``"n"`` (nothing), ``"r"`` (read), ``"w"`` (write) or ``"b"`` (both)."""

    domid: int
    access: str

    @classmethod
    def parse(cls, text: str) -> Permission:
        """The permission that a text such as ``"r5"`` stands for.

        Raises :class:`~xsffi.errors.InvalidArgumentError`, naming the text, where it is none, and :class:`TypeError`
        where it is no str.
        """
        if not isinstance(text, str):
            raise TypeError(f"a permission is a Permission or a str such as 'r5', not {type(text).__name__}: {text!r}")
        match = _PATTERN(text)
        if match is None:
            raise InvalidArgumentError(errno.EINVAL, f"a permission is n, r, w or b and a domid, not {text!r}")
        return cls(validate_domid(int(match[2])), match[1])

    def __str__(self) -> str:
        """As it goes over the wire: ``r5``."""
        return f"{self.access}{int(self.domid)}"

    @property
    def readable(self) -> bool:
        """Whether this lets the domain read."""
        return self.access in ("r", "b")

    @property
    def writable(self) -> bool:
        """Whether this lets the domain write."""
        return self.access in ("w", "b")


PermissionLike = Union[Permission, str]


def parse_permissions(permissions: Iterable[PermissionLike]) -> list[Permission]:
    """A node's list from what a caller gave: permissions, texts, or both; each is checked.

    Raises as :meth:`Permission.parse` does, and where there is none at all, since the first one names the owner.
    """
    if isinstance(permissions, (str, bytes, Permission)) or not isinstance(permissions, Iterable):
        raise TypeError(f"permissions are a list, such as ['n0', 'r5'], not {permissions!r}")
    parsed = [_checked(item) for item in permissions]
    if not parsed:
        raise InvalidArgumentError(errno.EINVAL, "a node has at least one permission: the first names its owner")
    return parsed


def encode_permissions(permissions: Iterable[Permission]) -> bytes:
    """A list as a message carries it: each as its text, and a NUL."""
    return "".join([f"{access}{domid}\0" for domid, access in permissions]).encode("ascii")


def _checked(item: PermissionLike) -> Permission:
    if not isinstance(item, Permission):
        return Permission.parse(item)
    # Not each was made by parse(), so what it holds may be anything.
    domid, access = item
    if type(domid) is int and 0 <= domid <= DOMID_MAX and type(access) is str and access in _ACCESSES:
        return item
    return Permission.parse(str(item))


def validate_domid(domid: int) -> int:
    """`domid`, as an int and no subclass of it, if it is one from 0 to 65535; raises TypeError or InvalidArgumentError
    else."""
    if not isinstance(domid, int) or isinstance(domid, bool):
        raise TypeError(f"a domid is an int, not {type(domid).__name__}: {domid!r}")
    if not 0 <= domid <= DOMID_MAX:
        raise InvalidArgumentError(errno.EINVAL, f"a domid is from 0 to {DOMID_MAX}, not {domid}")
    return int(domid)
