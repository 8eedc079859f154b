"""What callers receive: watch events, nodes, and the changes that a mirror reports."""

from __future__ import annotations

import errno
from collections import namedtuple

from .errors import InvalidArgumentError, XenStoreError, error_from_errno
from .paths import validate
from .permissions import parse_permissions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from json import JSONDecoder
    from typing import Any, NamedTuple

    from .permissions import Permission

    class _WatchEvent(NamedTuple):
        path: str
        token: Any

    class _Node(NamedTuple):
        path: str
        value: bytes
        children: tuple[str, ...]
        permissions: tuple[Permission, ...]

    class _Change(NamedTuple):
        path: str
        old: Node | None
        new: Node | None
else:
    _WatchEvent = namedtuple("WatchEvent", ["path", "token"])
    _Node = namedtuple("Node", ["path", "value", "children", "permissions"])
    _Change = namedtuple("Change", ["path", "old", "new"])

__all__ = ["OVERFLOW", "Change", "Node", "WatchEvent"]

_FIELDS = {"path", "value", "base64", "permissions", "children"}
_KNOWN_MAX = 256
_decoders: list[JSONDecoder] = []  # at most one: it takes longer to make than to use
# A dump has many nodes, but few distinct lists of permissions.
_known_permissions: dict[tuple[str, ...], tuple[Permission, ...]] = {}
_known_in_json: dict[tuple[Permission, ...], str] = {}


class WatchEvent(_WatchEvent):
    """A watched node, or one below it, changed; or the watch was just set, which also sends one event.

    `path` is the node that changed (relative if the watch was set with a relative path), or the special path watched.
    `token` is the very object that was passed to ``watch``; by default, the watch itself.
    """

    __slots__ = ()


OVERFLOW = WatchEvent("", "")  # takes the place of the events that a limited queue discarded


class Node(_Node):
    """A node of the tree: its path, a str; its value, bytes; the names of its children, a tuple of str; and its
    permissions, a tuple of :class:`~xsffi.Permission`, the owner's first.

    Empty permissions mean that they are not known; loading the node then leaves them unchanged.
    """

    __slots__ = ()

    def to_json(self) -> str:
        """The node as one line of JSON, in ASCII: the format of dump files, which :meth:`from_json` reads.

        An object with "path", the value as text in "value" or, if that is not UTF-8, in "base64", and, unless empty,
        "permissions" and "children", lists of texts.
        """
        from json import dumps

        try:
            value = f'"value": {dumps(self.value.decode("utf-8"))}'
        except UnicodeDecodeError:
            from base64 import b64encode

            value = f'"base64": "{b64encode(self.value).decode("ascii")}"'
        permissions = _permissions_in_json(self.permissions) if self.permissions else ""
        children = f', "children": {dumps(self.children)}' if self.children else ""
        return f'{{"path": {dumps(self.path)}, {value}{permissions}{children}}}'

    @classmethod
    def from_json(cls, line: str) -> Node:
        """The node in a line.

        Raises :class:`~xsffi.errors.InvalidArgumentError`, which says what is wrong, if it is not valid, and TypeError
        if it is no str.
        """
        if not isinstance(line, str):
            raise TypeError(f"a line must be a str, not {type(line).__name__}: {line!r}")
        path = None
        try:
            fields = _fields(line)
            path = _text(fields, "path")
            children = tuple(map(_name, _texts(fields, "children"))) if "children" in fields else ()
            permissions = _permissions(_texts(fields, "permissions")) if "permissions" in fields else ()
            return cls(validate(path), _value(fields), children, permissions)
        except XenStoreError as error:
            raise error_from_errno(errno.EINVAL, path, f"not a node: {error.strerror}") from None


class Change(_Change):
    """What a mirror reports of a node: its path, and its state before and after, `old` and `new`: each a
    :class:`~xsffi.Node`, or None if the node did not exist then."""

    __slots__ = ()


def _fields(line: str) -> dict[str, Any]:
    if not _decoders:
        from json import JSONDecoder

        _decoders.append(JSONDecoder(object_pairs_hook=_object))
    try:
        fields = _decoders[0].decode(line)
    except XenStoreError:
        raise
    except (ValueError, RecursionError) as error:
        raise _wrong(f"it is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise _wrong(f"it is not an object, but {fields!r:.80}")
    unknown = fields.keys() - _FIELDS
    if unknown:
        raise _wrong(f"it has {', '.join(map(repr, sorted(unknown))):.80}, which a node does not have")
    return fields


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise _wrong("it has a duplicate field")
    return fields


def _value(fields: dict[str, Any]) -> bytes:
    if ("value" in fields) == ("base64" in fields):
        raise _wrong('it must have one of "value" and "base64"')
    if "value" in fields:
        try:
            return _text(fields, "value").encode("utf-8")
        except UnicodeEncodeError:
            raise _wrong('"value" has a surrogate, which UTF-8 cannot encode') from None
    from base64 import b64decode, b64encode

    text = _text(fields, "base64")
    try:
        value = b64decode(text, validate=True)
    except ValueError as error:
        raise _wrong(f'"base64" is not base64: {error}: {text!r:.80}') from None
    if b64encode(value).decode("ascii") != text:  # the unused last bits must be zero
        raise _wrong(f'"base64" is not the canonical encoding of {value!r:.80}: {text!r:.80}')
    return value


def _text(fields: dict[str, Any], name: str) -> str:
    text = fields.get(name)
    if not isinstance(text, str):
        raise _wrong(f'"{name}" must be a text, not {text!r:.80}')
    return text


def _texts(fields: dict[str, Any], name: str) -> tuple[str, ...]:
    texts = fields.get(name, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise _wrong(f'"{name}" must be a list of texts, not {texts!r:.80}')
    return tuple(texts)


def _permissions(texts: tuple[str, ...]) -> tuple[Permission, ...]:
    if not texts:
        return ()
    permissions = _known_permissions.get(texts)
    if permissions is None:
        permissions = tuple(parse_permissions(texts))
        if len(_known_permissions) < _KNOWN_MAX:
            _known_permissions[texts] = permissions
    return permissions


def _permissions_in_json(permissions: tuple[Permission, ...]) -> str:
    permissions = tuple(permissions)  # a caller may have passed a list
    text = _known_in_json.get(permissions)
    if text is None:
        from json import dumps

        text = f', "permissions": {dumps([str(permission) for permission in permissions])}'
        if len(_known_in_json) < _KNOWN_MAX:
            _known_in_json[permissions] = text
    return text


def _name(text: str) -> str:
    if not text or "/" in text:
        raise _wrong(f"the name of a child must not be empty or contain a slash: {text!r:.80}")
    validate(f"/{text}")
    return text


def _wrong(text: str) -> InvalidArgumentError:
    return InvalidArgumentError(errno.EINVAL, text)
