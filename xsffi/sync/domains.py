"""The verbs for domains and for the daemon itself, which a transaction has no part in."""

from __future__ import annotations

import errno

from ..domids import validate_domid
from ..errors import InvalidArgumentError
from ..lazy import lazy_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..protocol import programs
    from ..protocol import requests as r
    from ..protocol.wire import Feature
    from ..static_types import T
else:
    programs = lazy_module("xsffi.protocol.programs")
    r = lazy_module("xsffi.protocol.requests")

__all__ = ["DomainOperations"]

_UINT_MAX = 0xFFFFFFFF  # the C API's unsigned int
_ULONG_MAX = 0xFFFFFFFFFFFFFFFF  # and its unsigned long


class DomainOperations:
    """What can be done with domains and with the daemon; nearly all of it is for dom0 alone (AccessDeniedError else).

    A domid is an int from 0 to 65535; another is refused before anything is sent. The errors that every verb has are
    told at :class:`~xsffi.sync.operations.NodeOperations`. Features and quotas can be asked for since Xen 4.21 and
    4.22; what is older, the daemon or libxenstore, raises :class:`~xsffi.errors.NotSupportedError`.
    """

    def _call(self, request: r.Request[T]) -> T:
        raise NotImplementedError

    def get_domain_path(self, domid: int) -> str:
        """Where the nodes of a domain are: ``/local/domain/N``, whether there is such a domain or not."""
        return self._call(r.GetDomainPath(validate_domid(domid)))

    def is_domain_introduced(self, domid: int) -> bool:
        """Whether the daemon serves this domain."""
        return self._call(r.IsDomainIntroduced(validate_domid(domid)))

    def introduce_domain(self, domid: int, gfn: int, port: int) -> None:
        """Tell the daemon of a domain: the guest frame number of its store page, and its event channel's port."""
        _check(gfn, "a frame number", _ULONG_MAX)
        _check(port, "an event channel's port", _UINT_MAX)
        self._call(r.Introduce(validate_domid(domid), gfn, port))

    def release_domain(self, domid: int) -> None:
        """Tell the daemon that a domain is gone. Domain 0 is refused: some daemons would wipe nodes.

        A domain that owns ``@introduceDomain`` or ``@releaseDomain`` is refused, with InvalidArgumentError, where the
        daemon tells of it: xenstored of Xen 4.18 to 4.23 would end. An unknown domain raises NodeNotFoundError with
        xenstored, InvalidArgumentError with oxenstored; so does :meth:`resume_domain`.
        """
        domid = validate_domid(domid)
        if domid == 0:
            raise InvalidArgumentError(errno.EINVAL, "domain 0 is not to be released")
        programs.run(programs.release_domain(domid), self._call)

    def resume_domain(self, domid: int) -> None:
        """Tell the daemon that a domain runs again after a suspend, so that its next shutdown is seen."""
        self._call(r.Resume(validate_domid(domid)))

    def set_target(self, domid: int, target: int) -> None:
        """Let `domid`, a device model's domain, act on the nodes of `target`, its guest."""
        self._call(r.SetTarget(validate_domid(domid), validate_domid(target)))

    def control(self, command: str, *arguments: str | bytes) -> str:
        """Give the daemon a command, such as ``help``, and return its answer (xenstore.txt, "CONTROL")."""
        parts = [_control_text(part) for part in (command, *arguments)]
        if not parts[0]:
            raise InvalidArgumentError(errno.EINVAL, "a command of CONTROL is not empty")
        return self._call(r.Control(parts))

    def get_features(self, domid: int | None = None) -> Feature:
        """The features that the daemon has, or that a domain may use. Since Xen 4.21."""
        if domid is None:
            return programs.run(programs.features(), self._call)
        return self._call(r.GetFeatures(validate_domid(domid)))

    def set_features(self, domid: int, bits: int) -> None:
        """Set the features that a domain, which is not yet introduced, may use: those of :class:`xsffi.Feature`,
        or-ed. Since Xen 4.21."""
        _check(bits, "feature bits", _UINT_MAX)
        self._call(r.SetFeatures(validate_domid(domid), bits))

    def quota_names(self) -> list[str]:
        """The names of the quotas that the daemon has. Since Xen 4.22."""
        return programs.run(programs.quota_names(), self._call)

    def get_quota(self, name: str, domid: int | None = None) -> int:
        """A quota of a domain, or the one that new domains get. 0 means none. Since Xen 4.22."""
        return self._call(r.GetQuota(_quota_name(name), None if domid is None else validate_domid(domid)))

    def set_quota(self, name: str, value: int, domid: int | None = None) -> None:
        """Set a quota of a domain, or the one that new domains get. 0 means none. Since Xen 4.22."""
        _check(value, "a quota", _UINT_MAX)
        self._call(r.SetQuota(_quota_name(name), value, None if domid is None else validate_domid(domid)))


def _check(number: int, what: str, most: int) -> None:
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"{what} is an int, not {type(number).__name__}: {number!r}")
    if not 0 <= number <= most:
        raise InvalidArgumentError(errno.EINVAL, f"{what} is from 0 to {most}, not {number}")


def _control_text(text: str | bytes) -> bytes:
    if not isinstance(text, (str, bytes)):
        raise TypeError(f"an argument of CONTROL is a str or bytes, not {type(text).__name__}: {text!r}")
    encoded = text.encode("utf-8") if isinstance(text, str) else text
    if b"\0" in encoded:
        raise InvalidArgumentError(errno.EINVAL, f"an argument of CONTROL has no NUL: {text!r}")
    return encoded


def _quota_name(name: str) -> bytes:
    if not isinstance(name, str):
        raise TypeError(f"a quota's name is a str, not {type(name).__name__}: {name!r}")
    if not name or not name.isascii() or not name.isprintable() or " " in name:
        raise InvalidArgumentError(errno.EINVAL, f"a quota's name is printable ASCII without blanks, not {name!r}")
    return name.encode("ascii")
