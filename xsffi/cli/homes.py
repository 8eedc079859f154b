"""Relative paths of the command line: below the home of the domain that is given."""

from __future__ import annotations

from .command import OPTIONAL

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
