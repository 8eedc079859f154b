"""Values as a shell shows them, and takes them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from re import Match

__all__ = ["escaped", "shown", "shown_name", "shown_text", "unescaped"]

_NAMED = {0x09: "\\t", 0x0A: "\\n", 0x0D: "\\r", 0x5C: "\\\\"}
#: For each byte, how xenstore-read and xenstore-ls show it.
_ESCAPES = [
    _NAMED.get(byte) or (chr(byte) if 0x20 <= byte <= 0x7E else f"\\{byte:03o}" if byte < 8 else f"\\x{byte:02x}")
    for byte in range(256)
]
# After \\x whatever C's sscanf takes for "%2x": blanks before it, a sign and a digit, 0x alone.
_ESCAPED = (
    rb"(?s)\\(?:x[ \t\n\v\f\r]*(0[xX]|[0-9a-fA-F]{2}|[+-]?[0-9a-fA-F])"
    rb"|([0-7]{1,3})"
    rb"|(.?))"
)
_PLAIN = bytes(byte for byte in range(0x20, 0x7F) if byte != 0x5C)


def escaped(value: bytes) -> str:
    r"""As xenstore-read and xenstore-ls show it: ASCII that can be printed, all else as ``\n``, ``\\``, ``\x80``."""
    if not value.translate(None, _PLAIN):
        return value.decode("ascii")
    return "".join([_ESCAPES[byte] for byte in value])


def shown(value: bytes) -> str:
    """For the eyes: UTF-8 that can be printed and has no backslash as it is, all else :func:`escaped`.

    So two values never look alike, and a terminal is sent no control bytes, nor what turns the direction of writing.
    """
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return escaped(value)
    return text if text.isprintable() and "\\" not in text else escaped(value)


def shown_name(name: str) -> str:
    """For the eyes: the name of a node, or a path. Those of both daemons can be printed as they are."""
    return name if name.isprintable() else shown(name.encode("utf-8", "surrogateescape"))


def shown_text(text: str) -> str:
    """For the eyes: the daemon's own text, with newlines and tabs as they are."""
    return "".join([letter if letter.isprintable() or letter in "\n\t" else shown_name(letter) for letter in text])


def unescaped(text: bytes) -> bytes:
    r"""What xenstore-write makes of a value: the reverse of :func:`escaped`, one or two digits after ``\x``, up to
    three octal ones; a backslash before anything else is left out, and one at the end is a NUL."""
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
