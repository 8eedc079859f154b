"""Parses arguments as the C module does: it refuses the same ones, in the same order and the same words.

The words are those of CPython's PyArg_ParseTuple and PyArg_ParseTupleAndKeywords, without the names of function and
parameters: programs show and log them, so they are the same here.
"""

from __future__ import annotations

from _operator import index  # what operator exports, faster to import

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    Converter = Callable[[int, object], Any]  # takes an argument's position, counted from 1, and its value

__all__ = [
    "Converter",
    "Parameter",
    "Signature",
    "anything",
    "data",
    "integer",
    "long_integer",
    "parse_keywords",
    "text",
    "transaction",
]

_INT_MAX = 2**31 - 1
_LONG_MAX = 2**63 - 1
_ULONG_MAX = 2**64 - 1
_HEXADECIMAL = "0123456789abcdefABCDEF"


class Signature:
    """A method that takes positional arguments only."""

    def __init__(self, name: str, converters: Sequence[Converter]) -> None:
        self.name = name
        self.converters = converters

    def check_call(self, args: Sequence[object], keywords: Mapping[str, object]) -> None:
        """Raise what the interpreter raises before it calls the method."""
        if keywords:
            raise TypeError(f"xs.{self.name}() takes no keyword arguments")
        if args and not self.converters:
            raise TypeError(f"xs.{self.name}() takes no arguments ({len(args)} given)")

    def parse(self, args: Sequence[object]) -> list[Any]:
        """The arguments, converted."""
        count = len(self.converters)
        if len(args) != count:
            raise TypeError(f"function takes exactly {count} argument{_s(count)} ({len(args)} given)")
        return [convert(i, value) for i, (convert, value) in enumerate(zip(self.converters, args), 1)]


class Parameter:
    """A parameter that may be passed by keyword."""

    def __init__(self, name: str, converter: Converter, default: Any = None, required: bool = False) -> None:
        self.name = name
        self.converter = converter
        self.default = default
        self.required = required


def parse_keywords(
    parameters: Sequence[Parameter], args: Sequence[object], keywords: Mapping[Any, object]
) -> list[Any]:
    """The converted arguments of a function whose parameters may be passed by keyword; defaults for those not given."""
    given = len(args) + len(keywords)
    if given > len(parameters):
        kind = "" if args else "keyword "
        raise TypeError(f"function takes at most {len(parameters)} {kind}argument{_s(len(parameters))} ({given} given)")
    values = []
    for i, parameter in enumerate(parameters):
        if i < len(args):
            values.append(parameter.converter(i + 1, args[i]))
        elif parameter.name in keywords:
            values.append(parameter.converter(i + 1, keywords[parameter.name]))
        elif parameter.required:
            raise TypeError(f"function missing required argument '{parameter.name}' (pos {i + 1})")
        else:
            values.append(parameter.default)
    for i, parameter in enumerate(parameters[: len(args)]):
        if parameter.name in keywords:
            raise TypeError(f"argument for function given by name ('{parameter.name}') and position ({i + 1})")
    names = {parameter.name for parameter in parameters}
    for key in keywords:
        if not isinstance(key, str):
            raise TypeError("keywords must be strings")
        if key not in names:
            raise TypeError(f"'{key}' is an invalid keyword argument for this function")
    return values


# The converters.


def text(position: int, value: object) -> bytes:
    """A str without NULs, as UTF-8."""
    if not isinstance(value, str):
        raise TypeError(f"argument {position} must be str, not {_type_name(value)}")
    encoded = value.encode("utf-8")
    if b"\0" in encoded:
        raise ValueError("embedded null character")
    return encoded


def transaction(position: int, value: object) -> int:
    """The id of a transaction, from its digits; 0, which means none, if there are no digits."""
    text(position, value)
    # As strtoul(text, NULL, 16): the number ends at the first character that is no digit.
    rest = str(value).lstrip(" \t\n\v\f\r")
    sign, rest = (rest[0], rest[1:]) if rest[:1] in ("+", "-") else ("", rest)
    if rest[:2] in ("0x", "0X") and rest[2:3] and rest[2] in _HEXADECIMAL:
        rest = rest[2:]
    digits = rest[: len(rest) - len(rest.lstrip(_HEXADECIMAL))]
    number = int(digits or "0", 16) if len(digits) < 64 else _ULONG_MAX + 1
    if number > _ULONG_MAX:
        number = _ULONG_MAX
    elif sign == "-":
        number = -number
    return number & 0xFFFFFFFF


def data(position: int, value: object) -> bytes:
    """The value of a node: bytes as they are, a str as UTF-8."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8")
    try:
        memoryview(value)  # type: ignore[arg-type]  # the test itself
    except TypeError:
        raise TypeError(f"a bytes-like object is required, not '{type(value).__name__}'") from None
    raise TypeError(f"argument {position} must be read-only bytes-like object, not {_type_name(value)}")


def integer(position: int, value: object) -> int:
    """A C int."""
    number = long_integer(position, value)
    if number > _INT_MAX:
        raise OverflowError("signed integer is greater than maximum")
    if number < -_INT_MAX - 1:
        raise OverflowError("signed integer is less than minimum")
    return number


def long_integer(position: int, value: object) -> int:
    """A C long."""
    number = index(value)  # type: ignore[arg-type]  # raises the right error for a non-integer
    if not -_LONG_MAX - 1 <= number <= _LONG_MAX:
        raise OverflowError("Python int too large to convert to C long")
    return number


def anything(position: int, value: object) -> object:
    """The object itself."""
    return value


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _type_name(value: object) -> str:
    return "None" if value is None else type(value).__name__
