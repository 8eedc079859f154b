"""A daemon driven by hand, for programs that read nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xsffi.errors import XenStoreError, error_from_wire
from xsffi.permissions import Permission
from xsffi.protocol.lookups import Lookups
from xsffi.protocol.requests import Directory, Read, Request

__all__ = ["PERMISSIONS", "answers"]

PERMISSIONS = [Permission(0, "n")]


def answers(nodes: Mapping[str, Any], lookups: Lookups) -> list[Any]:
    """The outcomes of lookups if these are the nodes: by path, the names of its children, or the error for reading it.
    Values are empty."""
    return [_answer(nodes, request) for request in lookups]


def _answer(nodes: Mapping[str, Any], request: Request[Any]) -> Any:
    assert request.path is not None
    path = request.path.decode("utf-8", "surrogateescape")
    found = nodes.get(path, error_from_wire("ENOENT", path))
    if isinstance(found, XenStoreError):
        return found
    return b"" if isinstance(request, Read) else found if isinstance(request, Directory) else PERMISSIONS
