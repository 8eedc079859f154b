"""The operations of XenStore as values.

A request knows its message type, encodes its payload, decodes the reply to it, and parses itself from the payload that
a server received. It holds bytes as they are sent, so that neither backend encodes anything twice; paths were validated
when they were encoded. The source is xenstore.txt, "Xenstore protocol details".
"""

from __future__ import annotations

import errno
from collections import namedtuple

from ..errors import InvalidArgumentError, ProtocolError
from ..permissions import Permission, encode_permissions
from ..static_types import Generic, T
from .wire import Feature, MessageType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, NamedTuple

    from typing_extensions import Self

    class _Part(NamedTuple):
        generation: bytes
        names: list[str]
        size: int
        last: bool
else:
    _Part = namedtuple("Part", ["generation", "names", "size", "last"])

__all__ = [
    "KNOWN_PERMISSIONS",
    "REQUESTS",
    "Control",
    "Directory",
    "DirectoryPart",
    "GetDomainPath",
    "GetFeatures",
    "GetPermissions",
    "GetQuota",
    "GetQuotaNames",
    "Introduce",
    "IsDomainIntroduced",
    "Mkdir",
    "Part",
    "Read",
    "Release",
    "Request",
    "ResetWatches",
    "Resume",
    "Rm",
    "SetFeatures",
    "SetPermissions",
    "SetQuota",
    "SetTarget",
    "TransactionEnd",
    "TransactionStart",
    "Unwatch",
    "Watch",
    "Write",
    "parse_request",
]

#: Decoded payloads of GET_PERMS: a store has many nodes, but few distinct lists of permissions.
KNOWN_PERMISSIONS: dict[bytes, tuple[Permission, ...]] = {}
_KNOWN_MAX = 256
_DIGITS_MAX = 20  # enough for 64 bits; the time of int() is quadratic in the length


class Request(Generic[T]):
    """One operation; `T` is the type of its decoded reply. Requests that ask the same are equal."""

    __slots__ = ()
    __match_args__: tuple[str, ...] = ()  # its fields
    type: ClassVar[MessageType]
    path: bytes | None = None  # the node that it is about, if any; named in errors

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__match_args__)

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        held = ", ".join([f"{name}={getattr(self, name)!r}" for name in self.__match_args__])
        return f"{self.__class__.__name__}({held})"

    def payload(self) -> bytes:
        """The payload of the request."""
        raise NotImplementedError

    def decode(self, payload: bytes) -> T:
        """The decoded payload of the reply; raises ProtocolError if it is malformed."""
        raise NotImplementedError

    @classmethod
    def parse(cls, payload: bytes) -> Request[T]:
        """The request that a server received; raises InvalidArgumentError if the payload is malformed."""
        raise NotImplementedError


class _Acknowledged(Request[None]):
    """A request whose reply is just an acknowledgement."""

    __slots__ = ()

    def decode(self, payload: bytes) -> None:
        return None


class _OfNode(Request[T]):
    """A request that consists of a node's path."""

    __slots__ = __match_args__ = ("path",)
    path: bytes

    def __init__(self, path: bytes) -> None:
        self.path = path

    def payload(self) -> bytes:
        return self.path + b"\0"

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        return cls(_one_string(payload))


class _OfDomain(Request[T]):
    """A request that consists of a domid."""

    __slots__ = __match_args__ = ("domid",)

    def __init__(self, domid: int) -> None:
        self.domid = domid

    def payload(self) -> bytes:
        return b"%d\0" % self.domid

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        return cls(_number(_one_string(payload)))


class Read(_OfNode[bytes]):
    """READ: the value of a node."""

    __slots__ = ()
    type = MessageType.READ

    def decode(self, payload: bytes) -> bytes:
        return payload


class Write(_Acknowledged):
    """WRITE: set the value of a node; it and the nodes above it are created if missing."""

    __slots__ = __match_args__ = ("path", "value")
    type = MessageType.WRITE
    path: bytes

    def __init__(self, path: bytes, value: bytes) -> None:
        self.path = path
        self.value = value

    def payload(self) -> bytes:
        return self.path + b"\0" + self.value

    @classmethod
    def parse(cls, payload: bytes) -> Write:
        path, nul, value = payload.partition(b"\0")
        if not nul:
            raise _malformed(payload)
        return cls(path, value)


class Mkdir(_Acknowledged, _OfNode[None]):
    """MKDIR: create a node with an empty value, and missing nodes above it; an existing node stays as it is."""

    __slots__ = ()
    type = MessageType.MKDIR


class Rm(_Acknowledged, _OfNode[None]):
    """RM: remove a node and everything below it."""

    __slots__ = ()
    type = MessageType.RM


class Directory(_OfNode["list[str]"]):
    """DIRECTORY: the names of a node's children."""

    __slots__ = ()
    type = MessageType.DIRECTORY

    def decode(self, payload: bytes) -> list[str]:
        return _children(payload)


class Part(_Part):
    """A part of a long list of children: its names, and by how many bytes it advances the offset. If `generation`
    differs from the previous part's, the list has changed, and all parts must be fetched again."""

    __slots__ = ()


class DirectoryPart(Request[Part]):
    """DIRECTORY_PART: the names of a node's children from an offset, in bytes, into the whole list."""

    __slots__ = __match_args__ = ("path", "offset")
    type = MessageType.DIRECTORY_PART
    path: bytes

    def __init__(self, path: bytes, offset: int) -> None:
        self.path = path
        self.offset = offset

    def payload(self) -> bytes:
        return b"%s\0%d\0" % (self.path, self.offset)

    def decode(self, payload: bytes) -> Part:
        generation, nul, names = payload.partition(b"\0")
        if not nul or not names.endswith(b"\0"):
            raise ProtocolError(errno.EPROTO, f"malformed part of a directory: {payload[:64]!r}")
        # An empty name ends the last part; it comes alone if the offset is at the end of the list.
        last = names == b"\0" or names.endswith(b"\0\0")
        listed = names[:-1] if last else names
        return Part(generation, _children(listed), len(listed), last)

    @classmethod
    def parse(cls, payload: bytes) -> DirectoryPart:
        path, offset = _strings(payload, 2, 2)
        return cls(path, _number(offset))


class GetPermissions(_OfNode["list[Permission]"]):
    """GET_PERMS: the permissions of a node, its owner first."""

    __slots__ = ()
    type = MessageType.GET_PERMS

    def decode(self, payload: bytes) -> list[Permission]:
        return list(_permissions(payload))


class SetPermissions(_Acknowledged):
    """SET_PERMS: set the permissions of a node, its owner first."""

    __slots__ = __match_args__ = ("path", "permissions")
    type = MessageType.SET_PERMS
    path: bytes

    def __init__(self, path: bytes, permissions: list[Permission]) -> None:
        self.path = path
        self.permissions = permissions

    def payload(self) -> bytes:
        return self.path + b"\0" + encode_permissions(self.permissions)

    @classmethod
    def parse(cls, payload: bytes) -> SetPermissions:
        # As xenstored does, ignore what follows the last NUL.
        path, *texts = payload.split(b"\0")[:-1] or [b""]
        if not texts:
            raise _malformed(payload)
        return cls(path, [Permission.parse(text.decode("ascii", "replace")) for text in texts])


class Watch(_Acknowledged):
    """WATCH: an event for every change of the node and of those below it, down to a depth if one is given."""

    __slots__ = __match_args__ = ("path", "token", "depth")
    type = MessageType.WATCH
    path: bytes

    def __init__(self, path: bytes, token: bytes, depth: int | None) -> None:
        self.path = path
        self.token = token
        self.depth = depth  # levels below the node; None: all. Since Xen 4.22.

    def payload(self) -> bytes:
        depth = b"" if self.depth is None else b"%d\0" % self.depth
        return b"%s\0%s\0%s" % (self.path, self.token, depth)

    @classmethod
    def parse(cls, payload: bytes) -> Watch:
        path, token, *depth = _strings(payload, 2, 3)
        return cls(path, token, _number(depth[0]) if depth else None)


class Unwatch(_Acknowledged):
    """UNWATCH: remove a watch."""

    __slots__ = __match_args__ = ("path", "token")
    type = MessageType.UNWATCH
    path: bytes

    def __init__(self, path: bytes, token: bytes) -> None:
        self.path = path
        self.token = token

    def payload(self) -> bytes:
        return b"%s\0%s\0" % (self.path, self.token)

    @classmethod
    def parse(cls, payload: bytes) -> Unwatch:
        path, token = _strings(payload, 2, 2)
        return cls(path, token)


class ResetWatches(_Acknowledged):
    """RESET_WATCHES: remove all watches and abort all transactions of this connection."""

    __slots__ = ()
    type = MessageType.RESET_WATCHES

    def payload(self) -> bytes:
        return b"\0"

    @classmethod
    def parse(cls, payload: bytes) -> ResetWatches:
        return cls()


class TransactionStart(Request[int]):
    """TRANSACTION_START: start a transaction; the reply is its id."""

    __slots__ = ()
    type = MessageType.TRANSACTION_START

    def payload(self) -> bytes:
        return b"\0"

    def decode(self, payload: bytes) -> int:
        tx_id = _reply_number(payload)
        if not 0 < tx_id <= 0xFFFFFFFF:  # 0 means no transaction
            raise ProtocolError(errno.EPROTO, f"expected the id of a transaction, not {tx_id}")
        return tx_id

    @classmethod
    def parse(cls, payload: bytes) -> TransactionStart:
        return cls()


class TransactionEnd(_Acknowledged):
    """TRANSACTION_END: commit or abort."""

    __slots__ = __match_args__ = ("commit",)
    type = MessageType.TRANSACTION_END

    def __init__(self, commit: bool) -> None:
        self.commit = commit

    def payload(self) -> bytes:
        return b"T\0" if self.commit else b"F\0"

    @classmethod
    def parse(cls, payload: bytes) -> TransactionEnd:
        answer = _one_string(payload)
        if answer not in (b"T", b"F"):
            raise _malformed(payload)
        return cls(answer == b"T")


class Introduce(_Acknowledged):
    """INTRODUCE: introduce a domain with its store page's frame number and its event channel."""

    __slots__ = __match_args__ = ("domid", "gfn", "port")
    type = MessageType.INTRODUCE

    def __init__(self, domid: int, gfn: int, port: int) -> None:
        self.domid = domid
        self.gfn = gfn
        self.port = port

    def payload(self) -> bytes:
        return b"%d\0%d\0%d\0" % (self.domid, self.gfn, self.port)

    @classmethod
    def parse(cls, payload: bytes) -> Introduce:
        domid, gfn, port = _strings(payload, 3, 3)
        return cls(_number(domid), _number(gfn), _number(port))


class Release(_Acknowledged, _OfDomain[None]):
    """RELEASE: tell the daemon that a domain is gone."""

    __slots__ = ()
    type = MessageType.RELEASE


class Resume(_Acknowledged, _OfDomain[None]):
    """RESUME: tell the daemon that a domain runs again after a suspend, so that it may shut down again."""

    __slots__ = ()
    type = MessageType.RESUME


class SetTarget(_Acknowledged):
    """SET_TARGET: let a domain act for another, as a device model does for its guest."""

    __slots__ = __match_args__ = ("domid", "target")
    type = MessageType.SET_TARGET

    def __init__(self, domid: int, target: int) -> None:
        self.domid = domid
        self.target = target

    def payload(self) -> bytes:
        return b"%d\0%d\0" % (self.domid, self.target)

    @classmethod
    def parse(cls, payload: bytes) -> SetTarget:
        domid, target = _strings(payload, 2, 2)
        return cls(_number(domid), _number(target))


class GetDomainPath(_OfDomain[str]):
    """GET_DOMAIN_PATH: the path of a domain's nodes, ``/local/domain/N``."""

    __slots__ = ()
    type = MessageType.GET_DOMAIN_PATH

    def decode(self, payload: bytes) -> str:
        return _text(payload)


class IsDomainIntroduced(_OfDomain[bool]):
    """IS_DOMAIN_INTRODUCED: whether the daemon serves a domain."""

    __slots__ = ()
    type = MessageType.IS_DOMAIN_INTRODUCED

    def decode(self, payload: bytes) -> bool:
        text = _text(payload)
        if text not in ("T", "F"):
            raise ProtocolError(errno.EPROTO, f"expected T or F, not {text[:64]!r}")
        return text == "T"


class Control(Request[str]):
    """CONTROL: a command with arguments for the daemon itself; the reply is text."""

    __slots__ = __match_args__ = ("arguments",)
    type = MessageType.CONTROL

    def __init__(self, arguments: list[bytes]) -> None:
        self.arguments = arguments  # the command first

    def payload(self) -> bytes:
        return b"".join([argument + b"\0" for argument in self.arguments])

    def decode(self, payload: bytes) -> str:
        return _text(payload)

    @classmethod
    def parse(cls, payload: bytes) -> Control:
        return cls(_strings(payload, 1, None))


class GetFeatures(Request[Feature]):
    """GET_FEATURE: the features of the daemon, or those that a domain may use. Since Xen 4.21."""

    __slots__ = __match_args__ = ("domid",)
    type = MessageType.GET_FEATURE

    def __init__(self, domid: int | None) -> None:
        self.domid = domid

    def payload(self) -> bytes:
        # An empty payload asks for the daemon's own: a lone NUL would be the domain "".
        return b"" if self.domid is None else b"%d\0" % self.domid

    def decode(self, payload: bytes) -> Feature:
        return Feature(_reply_number(payload))

    @classmethod
    def parse(cls, payload: bytes) -> GetFeatures:
        domid = _strings(payload, 0, 1)
        return cls(_number(domid[0]) if domid else None)


class SetFeatures(_Acknowledged):
    """SET_FEATURE: set the features that a domain, not yet introduced, may use. Since Xen 4.21."""

    __slots__ = __match_args__ = ("domid", "bits")
    type = MessageType.SET_FEATURE

    def __init__(self, domid: int, bits: int) -> None:
        self.domid = domid
        self.bits = bits

    def payload(self) -> bytes:
        return b"%d\0%d\0" % (self.domid, self.bits)

    @classmethod
    def parse(cls, payload: bytes) -> SetFeatures:
        domid, bits = _strings(payload, 2, 2)
        return cls(_number(domid), _number(bits))


class GetQuotaNames(Request["list[str]"]):
    """GET_QUOTA without arguments: the names of the quotas that the daemon knows. Since Xen 4.22."""

    __slots__ = ()
    type = MessageType.GET_QUOTA

    def payload(self) -> bytes:
        return b""  # a lone NUL would be the quota ""

    def decode(self, payload: bytes) -> list[str]:
        return _text(payload).split()

    @classmethod
    def parse(cls, payload: bytes) -> GetQuotaNames:
        _strings(payload, 0, 0)
        return cls()


class GetQuota(Request[int]):
    """GET_QUOTA: a quota of one domain, or the default for new domains. Since Xen 4.22."""

    __slots__ = __match_args__ = ("name", "domid")
    type = MessageType.GET_QUOTA

    def __init__(self, name: bytes, domid: int | None) -> None:
        self.name = name
        self.domid = domid

    def payload(self) -> bytes:
        return b"%s%s\0" % (_prefix(self.domid), self.name)

    def decode(self, payload: bytes) -> int:
        return _reply_number(payload)

    @classmethod
    def parse(cls, payload: bytes) -> GetQuota:
        *domid, name = _strings(payload, 1, 2)
        return cls(name, _number(domid[0]) if domid else None)


class SetQuota(_Acknowledged):
    """SET_QUOTA: set a quota of one domain, or the default for new domains. Since Xen 4.22."""

    __slots__ = __match_args__ = ("name", "value", "domid")
    type = MessageType.SET_QUOTA

    def __init__(self, name: bytes, value: int, domid: int | None) -> None:
        self.name = name
        self.value = value
        self.domid = domid

    def payload(self) -> bytes:
        return b"%s%s\0%d\0" % (_prefix(self.domid), self.name, self.value)

    @classmethod
    def parse(cls, payload: bytes) -> SetQuota:
        *domid, name, value = _strings(payload, 2, 3)
        return cls(name, _number(value), _number(domid[0]) if domid else None)


REQUESTS: dict[int, type[Request[Any]]] = {
    request.type: request
    for request in (
        Read, Write, Mkdir, Rm, Directory, DirectoryPart, GetPermissions, SetPermissions,
        Watch, Unwatch, ResetWatches, TransactionStart, TransactionEnd,
        Introduce, Release, Resume, SetTarget, GetDomainPath, IsDomainIntroduced,
        Control, GetFeatures, SetFeatures, GetQuota, SetQuota,
    )
}  # fmt: skip


def parse_request(type: int, payload: bytes) -> Request[Any] | None:
    """The request in a message that a server received; None if the type is unknown.

    Raises :class:`~xsffi.errors.InvalidArgumentError` if the payload is malformed.
    """
    if type == MessageType.GET_QUOTA and not payload:
        return GetQuotaNames()
    request = REQUESTS.get(type)
    return request.parse(payload) if request is not None else None


# Encoding payloads: strings, each terminated by a NUL.


def _prefix(domid: int | None) -> bytes:
    return b"" if domid is None else b"%d\0" % domid


# Decoding replies.


def _names(payload: bytes) -> list[str]:
    if not payload:
        return []
    # The daemon validated the names when it stored them; one beyond ASCII is kept, not lost.
    text = payload.decode("utf-8", "surrogateescape")
    return text[:-1].split("\0") if text[-1] == "\0" else text.split("\0")


def _children(payload: bytes) -> list[str]:
    # A name that is empty or contains a slash would lead to another node: a walk might never end.
    if b"/" in payload or b"\0\0" in payload or payload.startswith(b"\0"):
        raise ProtocolError(errno.EPROTO, f"a list of children has an invalid name: {payload[:64]!r}")
    return _names(payload)


def _permissions(payload: bytes) -> tuple[Permission, ...]:
    known = KNOWN_PERMISSIONS.get(payload)
    if known is None:
        try:
            known = tuple(map(Permission.parse, _names(payload)))
        except InvalidArgumentError as error:
            raise ProtocolError(errno.EPROTO, f"malformed permissions: {payload[:64]!r}") from error
        if len(KNOWN_PERMISSIONS) >= _KNOWN_MAX:
            KNOWN_PERMISSIONS.clear()
        KNOWN_PERMISSIONS[payload] = known
    return known


def _text(payload: bytes) -> str:
    return (payload[:-1] if payload.endswith(b"\0") else payload).decode("utf-8", "surrogateescape")


def _reply_number(payload: bytes) -> int:
    digits = payload[:-1] if payload.endswith(b"\0") else payload
    if not digits.isdigit() or len(digits) > _DIGITS_MAX:
        raise ProtocolError(errno.EPROTO, f"expected a number, not {payload[:64]!r}")
    return int(digits)


# Parsing requests in a server.


def _malformed(payload: bytes) -> InvalidArgumentError:
    return InvalidArgumentError(errno.EINVAL, f"malformed request: {payload[:64]!r}")


def _one_string(payload: bytes) -> bytes:
    return _strings(payload, 1, 1)[0]


def _strings(payload: bytes, least: int, most: int | None) -> list[bytes]:
    strings = payload.split(b"\0")
    if strings.pop() or len(strings) < least or (most is not None and len(strings) > most):
        raise _malformed(payload)
    return strings


def _number(text: bytes) -> int:
    if not text.isdigit() or len(text) > _DIGITS_MAX:
        raise InvalidArgumentError(errno.EINVAL, f"not a decimal number: {text[:32]!r}")
    return int(text)
