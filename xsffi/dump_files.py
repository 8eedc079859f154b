"""Files of dumps: a line of :meth:`~xsffi.records.Node.to_json` for each node."""

from __future__ import annotations

import errno

from .errors import InvalidArgumentError, XenStoreError
from .records import Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["line_error", "numbered_nodes"]


def numbered_nodes(lines: Iterable[bytes], name: str) -> Iterator[tuple[int, Node]]:
    """The nodes that the lines of a file stand for, each with the number of its line, from 1 on; empty lines are left
    out.

    Raises InvalidArgumentError, which names the file and the line, for the first that is no node.
    """
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        try:
            yield number, Node.from_json(line.decode("utf-8"))
        except UnicodeDecodeError:
            raise InvalidArgumentError(errno.EINVAL, f"line {number} is not UTF-8", name) from None
        except XenStoreError as error:
            raise line_error(name, number, error) from None


def line_error(name: str, number: int, error: XenStoreError) -> InvalidArgumentError:
    """What is wrong with the node of a line, as an error that names the file and the line."""
    node = "" if error.filename is None else f"{error.filename}: "
    return InvalidArgumentError(errno.EINVAL, f"line {number}: {node}{error.strerror}", name)
