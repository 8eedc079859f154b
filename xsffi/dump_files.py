"""Dump files: one line of :meth:`~xsffi.records.Node.to_json` per node."""

from __future__ import annotations

import errno
from codecs import BOM_UTF8

from .errors import InvalidArgumentError, XenStoreError
from .records import Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

__all__ = ["line_error", "numbered_nodes"]

_LINE_MAX = 1 << 26  # bytes: more than any value and list of children that a daemon could send


def numbered_nodes(file: BinaryIO, name: str) -> Iterator[tuple[int, Node]]:
    """The nodes in the lines of a file, each with its line number, counted from 1; empty lines are skipped.

    Raises InvalidArgumentError, which names the file and the line, at the first line that is not a node.
    """
    for number, line in enumerate(iter(lambda: file.readline(_LINE_MAX), b""), 1):
        if len(line) == _LINE_MAX:
            raise InvalidArgumentError(errno.EINVAL, f"line {number} is too long for a node", name)
        if number == 1:
            line = line[len(BOM_UTF8) :] if line.startswith(BOM_UTF8) else line
        if not line or line.isspace():
            continue
        try:
            yield number, Node.from_json(line.decode("utf-8"))
        except UnicodeDecodeError:
            raise InvalidArgumentError(errno.EINVAL, f"line {number} is not UTF-8", name) from None
        except XenStoreError as error:
            raise line_error(name, number, error) from None


def line_error(name: str, number: int, error: XenStoreError) -> InvalidArgumentError:
    """The error about the node of a line, with the file and line number added."""
    node = "" if error.filename is None else f"{error.filename}: "
    return InvalidArgumentError(errno.EINVAL, f"line {number}: {node}{error.strerror}", name)
