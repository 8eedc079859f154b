"""Relative paths of the command line: below the home of the domain that is given."""

from __future__ import annotations

from .command import DOMAIN, OPTIONAL_PATH, PATH, PATHS, PATHS_AND_VALUES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ..sync.client import Client

__all__ = ["absolute", "home_of", "resolve"]


def home_of(xs: Client, domain: str | None) -> str | None:
    """The home of a domain given by number or name; None for None."""
    if domain is None:
        return None
    from .places import domain_names, find_domain, home

    return home(find_domain(domain, lambda: domain_names(xs)))


def absolute(path: str | None, home: str | None) -> str:
    """A path, below `home` if it is relative; for None, `home` or ``/``."""
    if path is None:
        return home or "/"
    return path if home is None or path.startswith(("/", "@")) else f"{home}/{path}"


def resolve(xs: Client, arguments: Mapping[str, Any], kinds: Mapping[str, str], domain: str | None) -> dict[str, Any]:
    """The arguments of a command with what they leave to ``--domain``, None if that is not given."""
    home = home_of(xs, domain) if any(kind != DOMAIN for kind in kinds.values()) else None
    resolved = dict(arguments)
    for name, kind in kinds.items():
        value = resolved[name]
        if kind == PATHS:
            value = [absolute(path, home) for path in value or [None]]
        elif kind == PATHS_AND_VALUES:
            value = [absolute(text, home) if place % 2 == 0 else text for place, text in enumerate(value)]
        elif kind == PATH or (kind == OPTIONAL_PATH and (value, home) != (None, None)):
            value = absolute(value, home)
        elif kind == DOMAIN and value is None:
            value = domain
        resolved[name] = value
    return resolved
