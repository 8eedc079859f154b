"""How a shell shows and reads values."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from re import Match

__all__ = ["decoded", "encoded", "escaped", "shown", "shown_name", "shown_text", "unescaped"]

_NAMED = {0x09: "\\t", 0x0A: "\\n", 0x0D: "\\r", 0x5C: "\\\\"}
#: How xenstore-read and xenstore-ls show each byte.
_ESCAPES = [
    _NAMED.get(byte) or (chr(byte) if 0x20 <= byte <= 0x7E else f"\\{byte:03o}" if byte < 8 else f"\\x{byte:02x}")
    for byte in range(256)
]
# After \\x, whatever C's sscanf accepts for "%2x": leading blanks, a sign and a digit, 0x alone.
_ESCAPED = (
    rb"(?s)\\(?:x[ \t\n\v\f\r]*(0[xX]|[0-9a-fA-F]{2}|[+-]?[0-9a-fA-F])"
    rb"|([0-7]{1,3})"
    rb"|(.?))"
)
_PLAIN = bytes(byte for byte in range(0x20, 0x7F) if byte != 0x5C)


def encoded(text: str) -> bytes:
    """The bytes of a text; the reverse of :func:`decoded`."""
    return text.encode("utf-8", "surrogateescape")


def decoded(value: bytes) -> str:
    """The text in UTF-8; surrogates stand for bytes that are not, as in ``sys.argv``."""
    return value.decode("utf-8", "surrogateescape")


def escaped(value: bytes) -> str:
    r"""As xenstore-read and xenstore-ls show it: printable ASCII, everything else as ``\n``, ``\\``, ``\x80``."""
    if not value.translate(None, _PLAIN):
        return value.decode("ascii")
    return "".join([_ESCAPES[byte] for byte in value])


def shown(value: bytes) -> str:
    """For people: printable UTF-8 without a backslash as it is, everything else :func:`escaped`.

    So two values never look alike, and a terminal gets neither control characters nor changes of the text direction.
    """
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return escaped(value)
    return text if text.isprintable() and "\\" not in text else escaped(value)


def shown_name(name: str) -> str:
    """For people: the name of a node, or a path. Valid ones are printable as they are."""
    return name if name.isprintable() else shown(encoded(name))


def shown_text(text: str) -> str:
    """For people: text from the daemon, with newlines and tabs as they are."""
    return "".join([letter if letter.isprintable() or letter in "\n\t" else shown_name(letter) for letter in text])


def unescaped(text: bytes) -> bytes:
    r"""Parse a value as xenstore-write does, the reverse of :func:`escaped`: one or two digits after ``\x``, up to
    three octal ones; a backslash before anything else is dropped, and one at the end is a NUL."""
    if b"\\" not in text:
        return text
    from re import sub

    return sub(_ESCAPED, _byte, text)


def _byte(match: Match[bytes]) -> bytes:
    hexadecimal, octal, character = match.groups()
    if hexadecimal is not None:
        return bytes([0 if hexadecimal in (b"0x", b"0X") else int(hexadecimal, 16) & 0xFF])
    if octal is not None:
        return bytes([int(octal, 8) & 0xFF])
    return {b"t": b"\t", b"n": b"\n", b"r": b"\r", b"": b"\0"}.get(character, character)
