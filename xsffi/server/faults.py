"""Faults on request, for those who test what their own code does then."""

from __future__ import annotations

from dataclasses import dataclass

from ..protocol.wire import MessageType

__all__ = ["Cut", "Faults", "Refusal"]


@dataclass
class Refusal:
    """Requests that get an error instead of an answer; nothing of them is done."""

    error: str  # its name, as it goes over the wire
    operation: MessageType | None = None  # None: any but CONTROL, by which this can be undone
    path: str | None = None  # absolute; None: any
    times: int | None = 1  # how many more; None: all

    def applies(self, operation: int, path: str | None) -> bool:
        """Whether a request is such a one."""
        return (
            (self.operation == operation if self.operation is not None else operation != MessageType.CONTROL)
            and (self.path is None or self.path == path)
            and self.times != 0
        )


@dataclass
class Cut:
    """A connection that ends instead of giving its next answer, or in the middle of it. The request is carried out."""

    middle: bool
    domid: int | None = None  # whose connection; None: whoever gets the next answer


class Faults:
    """What is to go wrong. There is nothing at the start."""

    def __init__(self) -> None:
        self.conflicts = 0  # so many of the next commits are in conflict
        self.refusals: list[Refusal] = []
        self.cuts: list[Cut] = []
        self.delay = 0.0  # how many seconds everything that is sent waits; the loop's affair
        self.holding_events = False  # events wait until this ends

    def clear(self) -> None:
        """Nothing is to go wrong any more. Events that are held stay so until they are released."""
        self.conflicts = 0
        self.refusals.clear()
        self.cuts.clear()
        self.delay = 0.0

    def take_conflict(self) -> bool:
        """Whether the commit at hand is to be in conflict."""
        if self.conflicts == 0:
            return False
        self.conflicts -= 1
        return True

    def take_refusal(self, operation: int, path: str | None) -> str | None:
        """The name of the error that the request at hand is to get."""
        for refusal in self.refusals:
            if refusal.applies(operation, path):
                if refusal.times is not None:
                    refusal.times -= 1
                    if refusal.times == 0:
                        self.refusals.remove(refusal)
                return refusal.error
        return None

    def take_cut(self, domid: int) -> Cut | None:
        """How the connection is to be cut that is about to answer."""
        for cut in self.cuts:
            if cut.domid is None or cut.domid == domid:
                self.cuts.remove(cut)
                return cut
        return None
