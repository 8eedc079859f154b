"""Domains by number or name, and the paths of their homes."""

from __future__ import annotations

import errno

from ..domids import validate_domid
from ..errors import NodeNotFoundError, error_from_errno
from .command import OPTIONAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from ..sync.client import Client

__all__ = ["DOMAINS", "absolute", "below_home", "domain_names", "find_domain", "home_of", "resolve"]

DOMAINS = "/local/domain"


def domain_names(xs: Client) -> dict[int, bytes]:
    """The names of all domains that have one, by domid, in order."""
    try:
        listed = xs.ls(DOMAINS)
    except NodeNotFoundError:
        return {}
    domids = sorted(int(name) for name in listed if name.isdigit())
    names = xs.read_many([f"{DOMAINS}/{domid}/name" for domid in domids], default=None)
    return {domid: name for domid, name in zip(domids, names) if name is not None}


def find_domain(text: str, names: Callable[[], Mapping[int, bytes]]) -> int:
    """The domid for a number or a name. Raises NodeNotFoundError if no domain has that name, InvalidArgumentError if
    several have."""
    if not text:
        raise error_from_errno(errno.EINVAL, None, "a domain must be a number or a name, not an empty text")
    if text.isascii() and text.isdigit() and len(text) <= 5:
        return validate_domid(int(text))
    found = [domid for domid, name in names().items() if name == text.encode("utf-8", "surrogateescape")]
    if not found:
        raise error_from_errno(errno.ENOENT, None, f"no domain has the name {text!r}")
    if len(found) > 1:
        numbers = ", ".join(map(str, found))
        raise error_from_errno(errno.EINVAL, None, f"several domains have the name {text!r}: {numbers}")
    return found[0]


def home_of(xs: Client, domain: str | None) -> str | None:
    """The home of a domain given by number or name; None for None."""
    return None if domain is None else xs.get_domain_path(find_domain(domain, lambda: domain_names(xs)))


def below_home(path: str) -> list[str]:
    """The names in a path below the home of a domain; all of them if it is not in a home, or relative to one."""
    names = path.split("/")
    return names[4:] if names[:3] == ["", "local", "domain"] else names


def absolute(path: str | None, home: str | None) -> str:
    """A path, below `home` if it is relative; for None, `home` or ``/``."""
    if path is None:
        return home or "/"
    return path if home is None or path.startswith(("/", "@")) else f"{home}/{path}"


def resolve(arguments: Mapping[str, Any], paths: Mapping[str, slice | None], home: str | None) -> dict[str, Any]:
    """The arguments of a command, with relative paths resolved below `home`; a missing path, or empty list of paths,
    becomes `home`, or ``/``."""
    resolved = dict(arguments)
    for name, places in paths.items():
        if isinstance(resolved[name], list):
            resolved[name] = [*resolved[name]] or [None]
            resolved[name][places] = [absolute(path, home) for path in resolved[name][places]]
        elif places is not OPTIONAL or resolved[name] is not None or home is not None:
            resolved[name] = absolute(resolved[name], home)
    return resolved
