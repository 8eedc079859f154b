"""Paths of nodes: what is allowed, and how to split and join them.

The rules are those of xenstore.txt ("Pathnames") and xs_wire.h; see :func:`validate`.
"""

from __future__ import annotations

import errno

from .errors import InvalidArgumentError, TooBigError

__all__ = [
    "ABSOLUTE_MAX",
    "INTRODUCE_DOMAIN",
    "RELATIVE_MAX",
    "RELEASE_DOMAIN",
    "child_path",
    "encode",
    "is_subpath",
    "join",
    "level",
    "parent",
    "parent_path",
    "validate",
]

ABSOLUTE_MAX = 3072  # XENSTORE_ABS_PATH_MAX, in bytes
RELATIVE_MAX = 2048  # XENSTORE_REL_PATH_MAX, in bytes

INTRODUCE_DOMAIN = "@introduceDomain"  # the special watch path that fires when a domain is introduced
RELEASE_DOMAIN = "@releaseDomain"  # the one that fires when a domain is released

_CHARACTERS = b"-/0123456789@ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"


def validate(path: str) -> str:
    """Return `path` if XenStore allows it.

    A path consists of letters, digits and ``-/_@``; it is absolute, or relative to the caller's own
    ``/local/domain/N``; it has no double slash and does not end in a slash; it has at most 3072 bytes if absolute, 2048
    if relative.

    Raises :class:`TypeError` if it is no str, :class:`~xsffi.errors.TooBigError` if it is too long and
    :class:`~xsffi.errors.InvalidArgumentError`, naming the path and the rule, otherwise.
    """
    encode(path)
    return path


def encode(path: str) -> bytes:
    """`path`, validated, as the bytes that are sent (without the terminating NUL)."""
    if not isinstance(path, str):
        raise TypeError(f"a path must be a str, not {type(path).__name__}: {path!r}")
    encoded = path.encode("ascii", "replace")
    # Each character beyond ASCII has become a "?", which is not allowed either.
    if encoded.translate(None, _CHARACTERS) or not path or "//" in path or (path[-1] == "/" and path != "/"):
        raise InvalidArgumentError(errno.EINVAL, _broken_rule(path), path)
    limit = ABSOLUTE_MAX if path[0] == "/" else RELATIVE_MAX
    if len(path) > limit:
        kind = "an absolute" if path[0] == "/" else "a relative"
        raise TooBigError(errno.E2BIG, f"{kind} path may have at most {limit} bytes, this one has {len(path)}", path)
    return encoded


def join(base: str, *parts: str) -> str:
    """Join parts of a path: ``join("/local/domain", "5", "name")``; an absolute part discards those before it, as in
    :mod:`posixpath`."""
    path = base
    for part in parts:
        if not isinstance(part, str):
            raise TypeError(f"a path must be a str, not {type(part).__name__}: {part!r}")
        if part.startswith("/") or not path:
            path = part
        elif part:
            path = f"{path}{part}" if path.endswith("/") else f"{path}/{part}"
    return validate(path)


def parent(path: str) -> str:
    """The path one level up; the parent of ``/`` is ``/``; a relative path of one name has none (ValueError)."""
    if "/" not in validate(path):
        raise InvalidArgumentError(errno.EINVAL, "a relative path of one name has no parent", path)
    return parent_path(path)


def parent_path(path: str) -> str:
    """As :func:`parent`, for a path that is known to be valid and to have a parent."""
    return path.rpartition("/")[0] or "/"


def child_path(path: str, name: str) -> str:
    """The path of a child, for a path and name that are known to be valid."""
    return f"{path}/{name}" if path != "/" else f"/{name}"


def level(path: str) -> int:
    """How many names a valid path consists of: 0 for ``/``."""
    return 0 if path == "/" else path.count("/") + (path[0] != "/")


def is_subpath(path: str, top: str) -> bool:
    """Whether `path` is `top` or below it, compared name by name: ``/ab`` is not below ``/a``."""
    return path == top or (top == "/" and path.startswith("/")) or path.startswith(f"{top}/")


def _broken_rule(path: str) -> str:
    if not path:
        return "a path must not be empty"
    for character in path:
        if character.encode("utf-8", "surrogatepass") not in _CHARACTERS:
            return f"a path may contain only letters, digits and -/_@, not {character!r}"
    if "//" in path:
        return "a path must not contain a double slash"
    return "a path must not end in a slash"
