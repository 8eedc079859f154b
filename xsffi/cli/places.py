"""Where domains and their devices are in the store (xenstore-paths.pandoc).

The home of a domain is ``/local/domain/DOMID``. The frontend of a device is at ``device/CLASS/ID`` in the home of the
domain that uses it, its backend at ``backend/CLASS/DOMID/ID``, with the domid of the former, in that of the domain that
provides it.
"""

from __future__ import annotations

import errno

from ..domids import DOMID_MAX, validate_domid
from ..errors import NodeNotFoundError, error_from_errno
from .values import encoded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..sync.client import Client

__all__ = [
    "DOMAINS",
    "domain_names",
    "domid_of",
    "find_domain",
    "home",
    "in_backend",
    "in_frontend",
    "lists_domains",
    "split",
]

DOMAINS = "/local/domain"


def home(domid: int) -> str:
    """The home of a domain."""
    return f"{DOMAINS}/{domid}"


def domid_of(text: str | bytes | None) -> int | None:
    """The domid in a name or value; None if it is none. Nodes are found by name, so that ``05`` is not domain 5."""
    if isinstance(text, bytes):
        text = text.decode("ascii", "replace")
    return int(text) if text is not None and _is_number(text) and int(text) <= DOMID_MAX else None


def split(path: str) -> tuple[int | None, list[str]]:
    """The domain whose home a path is in, and the names below that; None and all names if it is in none."""
    names = path.split("/")
    domid = domid_of(names[3]) if names[:3] == ["", "local", "domain"] and len(names) > 3 else None
    return (None, names) if domid is None else (domid, names[4:])


def in_frontend(names: Sequence[str]) -> bool:
    """Whether these names below a home are the place of a frontend, or of something in it."""
    return names[:1] == ["device"] and len(names) >= 3


def in_backend(names: Sequence[str]) -> bool:
    """Whether these names below a home are the place of a backend, or of something in it."""
    return names[:1] == ["backend"] and len(names) >= 4 and domid_of(names[2]) is not None


def lists_domains(path: str) -> bool:
    """Whether the children of a node are named by domids. libxl has a node for each domain, too."""
    _, names = split(path)
    return path in (DOMAINS, "/libxl") or names == ["device-model"] or (names[:1] == ["backend"] and len(names) == 2)


def domain_names(xs: Client) -> dict[int, bytes]:
    """The names of all domains that have one, by domid, in order."""
    try:
        listed = xs.ls(DOMAINS)
    except NodeNotFoundError:
        return {}
    domids = sorted(domid for name in listed if (domid := domid_of(name)) is not None)
    names = xs.read_many([f"{home(domid)}/name" for domid in domids], default=None)
    return {domid: name for domid, name in zip(domids, names) if name is not None}


def find_domain(text: str, names: Callable[[], Mapping[int, bytes]]) -> int:
    """The domid for a number or a name. Raises NodeNotFoundError if no domain has that name, InvalidArgumentError if
    several have, or the number is not a domid."""
    if not text:
        raise error_from_errno(errno.EINVAL, None, "a domain must be a number or a name, not an empty text")
    if _is_number(text):
        return validate_domid(int(text))
    wanted = encoded(text)
    found = [domid for domid, name in names().items() if name == wanted]
    if not found:
        raise error_from_errno(errno.ENOENT, None, f"no domain has the name {text!r}")
    if len(found) > 1:
        numbers = ", ".join(map(str, found))
        raise error_from_errno(errno.EINVAL, None, f"several domains have the name {text!r}: {numbers}")
    return found[0]


def _is_number(text: str) -> bool:
    """Whether this is how a domid is written: in decimal, without leading zeros."""
    return text.isascii() and text.isdigit() and len(text) <= 5 and (text == "0" or text[0] != "0")
