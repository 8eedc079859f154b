"""What an ordinary call must not do: end the daemon, and with it the store of the whole host."""

from __future__ import annotations

import errno

from ..addresses import Kind
from ..domids import DOMID_ANY
from ..errors import InvalidArgumentError
from ..lazy import lazy_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..backends.base import Backend
    from ..permissions import Permission
    from ..protocol import programs
else:
    programs = lazy_module("xsffi.protocol.programs")

__all__ = ["AnyDomain", "any_domain_error", "names_any_domain"]


class AnyDomain:
    """Whether permissions for DOMID_ANY end the daemon of a connection. It is asked when first wanted, and remembered.

    xenstored of Xen 4.22, the first to know DOMID_ANY, dies of SET_PERMS with it where that comes from a socket, and
    not from a domain's ring. Older ones take it for a domain like any other.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._is_deadly = None if backend.kind == Kind.SOCKET else False

    def is_deadly(self) -> bool:
        """Whether it is so."""
        if self._is_deadly is None:
            # Over the wire, which asks the daemon whatever the age of libxenstore.
            self._is_deadly = programs.run(programs.knows_any_domain(), self._backend.bulk().call)
        return self._is_deadly

    def check(self, path: str, permissions: list[Permission]) -> None:
        """Raise InvalidArgumentError where to set these permissions would end the daemon."""
        if names_any_domain(permissions) and self.is_deadly():
            raise any_domain_error(path)


def names_any_domain(permissions: list[Permission]) -> bool:
    """Whether one of these permissions is for DOMID_ANY."""
    return any(domid == DOMID_ANY for domid, _ in permissions)


def any_domain_error(path: str) -> InvalidArgumentError:
    """What is raised in place of ending the daemon."""
    return InvalidArgumentError(
        errno.EINVAL,
        f"a permission for every domain (DOMID_ANY, {DOMID_ANY}), set over a socket, ends xenstored of Xen 4.22, which "
        "this may be; where the daemon is known to be mended, allow_any_domain=True sets it nevertheless",
        path,
    )
