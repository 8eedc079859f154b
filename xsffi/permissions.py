"""Who may do what with a node: ``n0``, ``r5``, ``w5``, ``b5``.

A node has a list of them (xenstore.txt, "Permissions are described by a list"): the first names the owner, who may do
everything, and says what domains not in the list may do; each other one is for the domain it names.
"""

from __future__ import annotations

import errno
from collections import namedtuple
from collections.abc import Iterable

from .domids import DOMID_ANY, DOMID_MAX, validate_domid
from .errors import InvalidArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    from typing_extensions import TypeAlias

    class _Permission(NamedTuple):
        domid: int
        access: str
else:
    _Permission = namedtuple("Permission", ["domid", "access"])

__all__ = [
    "DOMID_ANY",
    "DOMID_MAX",
    "Permission",
    "PermissionLike",
    "encode_permissions",
    "parse_permissions",
    "validate_domid",
]

_ACCESSES = ("n", "r", "w", "b")
_DIGITS_MAX = 5  # of a domid


class Permission(_Permission):
    """What one domain may do: `domid` is its number, an int from 0 to 65535, and `access` is ``"n"`` (nothing), ``"r"``
    (read), ``"w"`` (write) or ``"b"`` (both)."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Permission:
        """The permission in a text such as ``"r5"``.

        Raises :class:`~xsffi.errors.InvalidArgumentError`, naming the text, if it is not valid, and :class:`TypeError`
        if it is no str.
        """
        if not isinstance(text, str):
            raise TypeError(
                f"a permission must be a Permission or a str such as 'r5', not {type(text).__name__}: {text!r}"
            )
        access, digits = text[:1], text[1:]
        if access not in _ACCESSES or not (digits.isascii() and digits.isdigit()) or len(digits) > _DIGITS_MAX:
            raise InvalidArgumentError(
                errno.EINVAL, f"a permission must be n, r, w or b followed by a domid, not {text!r}"
            )
        return cls(validate_domid(int(digits)), access)

    def __str__(self) -> str:
        """The text that is sent: ``r5``."""
        return f"{self.access}{int(self.domid)}"

    @property
    def readable(self) -> bool:
        """Whether this lets the domain read."""
        return self.access in ("r", "b")

    @property
    def writable(self) -> bool:
        """Whether this lets the domain write."""
        return self.access in ("w", "b")


PermissionLike: TypeAlias = "Permission | str"


def parse_permissions(permissions: Iterable[PermissionLike]) -> list[Permission]:
    """A node's permissions from what a caller passed: permissions, texts, or both; each is validated.

    Raises as :meth:`Permission.parse` does, and if the list is empty, since the first entry names the owner.
    """
    if isinstance(permissions, (str, bytes, Permission)) or not isinstance(permissions, Iterable):
        raise TypeError(f"permissions must be a list such as ['n0', 'r5'], not {permissions!r}")
    parsed = [_checked(item) for item in permissions]
    if not parsed:
        raise InvalidArgumentError(errno.EINVAL, "a node needs at least one permission: the first names its owner")
    return parsed


def encode_permissions(permissions: Iterable[Permission]) -> bytes:
    """A list as it is sent: the text of each, terminated by a NUL."""
    return "".join([f"{access}{domid}\0" for domid, access in permissions]).encode("ascii")


def _checked(item: PermissionLike) -> Permission:
    if not isinstance(item, Permission):
        return Permission.parse(item)
    # A Permission need not come from parse(), so its fields may be anything.
    domid, access = item
    if type(domid) is int and 0 <= domid <= DOMID_MAX and type(access) is str and access in _ACCESSES:
        return item
    return Permission.parse(str(item))
