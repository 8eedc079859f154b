"""What an ordinary call must not do: end the daemon, and with it the store of the whole host."""

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
    """Whether permissions for DOMID_ANY end the daemon of a connection. It is asked when first wanted, and remembered.

    xenstored of Xen 4.22, the first to know DOMID_ANY, dies of SET_PERMS with it where that comes from a socket, and
    not from a domain's ring. Older ones take it for a domain like any other.
    """

    def __init__(self, over_socket: bool) -> None:
        self._is_deadly = None if over_socket else False

    def is_deadly(self) -> Program[bool]:
        """Whether it is so."""
        if self._is_deadly is None:
            self._is_deadly = yield from programs.knows_any_domain()
        return self._is_deadly

    def carry(self, request: SetPermissions) -> Program[None]:
        """Set permissions that name DOMID_ANY; raises InvalidArgumentError where they would end the daemon."""
        if (yield from self.is_deadly()):
            raise any_domain_error(request)
        yield request


def names_any_domain(permissions: list[Permission]) -> bool:
    """Whether one of these permissions is for DOMID_ANY."""
    return any(domid == DOMID_ANY for domid, _ in permissions)


def any_domain_error(request: SetPermissions) -> InvalidArgumentError:
    """What is raised in place of ending the daemon."""
    return InvalidArgumentError(
        errno.EINVAL,
        f"a permission for every domain (DOMID_ANY, {DOMID_ANY}), set over a socket, ends xenstored of Xen 4.22, which "
        "this may be; where the daemon is known to be mended, allow_any_domain=True sets it nevertheless",
        request.path.decode("ascii"),
    )
