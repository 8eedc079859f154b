"""The verbs of a pipeline; written by ci/faces from xsffi/protocol/verbs.py."""

from __future__ import annotations

from ..errors import RAISE
from ..lazy import lazy_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from ..permissions import PermissionLike
    from . import verbs
    from .programs import Work
    from .safeguards import AnyDomain
else:
    verbs = lazy_module("xsffi.protocol.verbs")

__all__ = ["QueuedVerbs"]


class QueuedVerbs:
    """The verbs of a transaction, queued."""

    _any_domain: AnyDomain

    def _queue(self, verb: Callable[..., Work[Any]], *arguments: Any, **named: Any) -> None:
        raise NotImplementedError

    def read(self, path: str) -> None:
        """Queue :meth:`xsffi.Client.read`."""
        self._queue(verbs.read, path)

    def read_text(self, path: str, encoding: str = "utf-8", errors: str = "strict") -> None:
        """Queue :meth:`xsffi.Client.read_text`."""
        self._queue(verbs.read_text, path, encoding, errors)

    def get(self, path: str, default: Any = None) -> None:
        """Queue :meth:`xsffi.Client.get`."""
        self._queue(verbs.get, path, default)

    def write(self, path: str, value: bytes | str) -> None:
        """Queue :meth:`xsffi.Client.write`."""
        self._queue(verbs.write, path, value)

    def mkdir(self, path: str) -> None:
        """Queue :meth:`xsffi.Client.mkdir`."""
        self._queue(verbs.mkdir, path)

    def rm(self, path: str) -> None:
        """Queue :meth:`xsffi.Client.rm`."""
        self._queue(verbs.rm, path)

    def ls(self, path: str) -> None:
        """Queue :meth:`xsffi.Client.ls`."""
        self._queue(verbs.ls, path)

    def exists(self, path: str) -> None:
        """Queue :meth:`xsffi.Client.exists`."""
        self._queue(verbs.exists, path)

    def get_permissions(self, path: str) -> None:
        """Queue :meth:`xsffi.Client.get_permissions`."""
        self._queue(verbs.get_permissions, path)

    def set_permissions(
        self, path: str, permissions: Iterable[PermissionLike], *, allow_any_domain: bool = False
    ) -> None:
        """Queue :meth:`xsffi.Client.set_permissions`."""
        self._queue(verbs.set_permissions, self._any_domain, path, permissions, allow_any_domain=allow_any_domain)

    def read_many(self, paths: Iterable[str], default: Any = RAISE) -> None:
        """Queue :meth:`xsffi.Client.read_many`."""
        self._queue(verbs.read_many, paths, default)

    def exists_many(self, paths: Iterable[str]) -> None:
        """Queue :meth:`xsffi.Client.exists_many`."""
        self._queue(verbs.exists_many, paths)
