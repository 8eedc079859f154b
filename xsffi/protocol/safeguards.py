"""What an ordinary call must not do: kill the daemon, and with it the store of the whole host."""

from __future__ import annotations

import errno

from ..domids import DOMID_ANY
from ..errors import InvalidArgumentError
from ..lazy import lazy_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..permissions import Permission
    from . import programs
    from .programs import Program
    from .requests import SetPermissions
else:
    programs = lazy_module("xsffi.protocol.programs")

__all__ = ["AnyDomain", "any_domain_error", "names_any_domain"]


class AnyDomain:
    """Whether permissions for DOMID_ANY kill a connection's daemon. Determined on first use, and cached.

    xenstored of Xen 4.22, the first to support DOMID_ANY, dies of SET_PERMS with it if that arrives over a socket, but
    not over a domain's ring. Older versions treat it as a domain like any other.
    """

    def __init__(self, over_socket: bool) -> None:
        self._is_deadly = None if over_socket else False

    def is_deadly(self) -> Program[bool]:
        """Whether they do."""
        if self._is_deadly is None:
            self._is_deadly = yield from programs.knows_any_domain()
        return self._is_deadly

    def carry(self, request: SetPermissions) -> Program[None]:
        """Set permissions that name DOMID_ANY; raises InvalidArgumentError if that would kill the daemon."""
        if (yield from self.is_deadly()):
            raise any_domain_error(request)
        yield request


def names_any_domain(permissions: list[Permission]) -> bool:
    """Whether any of these permissions is for DOMID_ANY."""
    return any(domid == DOMID_ANY for domid, _ in permissions)


def any_domain_error(request: SetPermissions) -> InvalidArgumentError:
    """What is raised instead of killing the daemon."""
    return InvalidArgumentError(
        errno.EINVAL,
        f"a permission for every domain (DOMID_ANY, {DOMID_ANY}), set over a socket, kills xenstored of Xen 4.22, "
        "which this may be; if this daemon is known to be fixed, allow_any_domain=True sets it nevertheless",
        request.path.decode("ascii"),
    )
