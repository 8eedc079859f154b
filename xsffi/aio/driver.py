"""The awaiting driver of programs; :func:`xsffi.protocol.programs.run` is the blocking one."""

from __future__ import annotations

from ..errors import XenStoreError
from ..records import Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
    from typing import Any

    from ..protocol.trees import Walk
    from ..static_types import T

__all__ = ["iterate", "run"]


async def run(program: Generator[Any, Any, T], carry: Callable[[Any], Awaitable[Any]]) -> T:
    """Drive a program with a function that carries out an effect, and returns its outcome or raises its error."""
    try:
        effect = next(program)
        while True:
            try:
                reply = await carry(effect)
            except XenStoreError as error:
                effect = program.throw(error)
            else:
                effect = program.send(reply)
    except StopIteration as stop:
        result: T = stop.value
        return result


async def iterate(walk: Walk, carry: Callable[[Any], Awaitable[Any]]) -> AsyncGenerator[Node | XenStoreError, None]:
    """Drive a walk; yields its nodes and errors."""
    try:
        step = next(walk)
        while True:
            if isinstance(step, (Node, XenStoreError)):
                yield step
                step = next(walk)
            else:
                step = walk.send(await carry(step))
    except StopIteration:
        return
