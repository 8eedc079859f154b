"""Fault injection, for tests of error handling."""

from __future__ import annotations

from dataclasses import dataclass

from ..protocol.wire import MessageType

__all__ = ["Cut", "Faults", "Refusal"]


@dataclass
class Refusal:
    """Requests that are answered with an error, and not carried out."""

    error: str  # its wire name
    operation: MessageType | None = None  # None: any but CONTROL, which is needed to undo this
    path: str | None = None  # absolute; None: any
    times: int | None = 1  # how many more; None: all

    def applies(self, operation: int, path: str | None) -> bool:
        """Whether this applies to a request."""
        return (
            (self.operation == operation if self.operation is not None else operation != MessageType.CONTROL)
            and (self.path is None or self.path == path)
            and self.times != 0
        )


@dataclass
class Cut:
    """A connection that ends instead of sending its next answer, or in the middle of it. The request is carried out."""

    middle: bool
    domid: int | None = None  # whose connection; None: the one to get the next answer


class Faults:
    """The faults to inject; initially none."""

    def __init__(self) -> None:
        self.conflicts = 0  # how many of the next commits fail with a conflict
        self.refusals: list[Refusal] = []
        self.cuts: list[Cut] = []
        self.delay = 0.0  # delay in seconds of everything sent; implemented by the loop
        self.holding_events = False  # events are held until this ends

    def clear(self) -> None:
        """Remove all faults. Held events stay held until released."""
        self.conflicts = 0
        self.refusals.clear()
        self.cuts.clear()
        self.delay = 0.0

    def take_conflict(self) -> bool:
        """Whether the current commit must fail with a conflict."""
        if self.conflicts == 0:
            return False
        self.conflicts -= 1
        return True

    def take_refusal(self, operation: int, path: str | None) -> str | None:
        """The name of the error for the current request; None if it is not refused."""
        for refusal in self.refusals:
            if refusal.applies(operation, path):
                if refusal.times is not None:
                    refusal.times -= 1
                    if refusal.times == 0:
                        self.refusals.remove(refusal)
                return refusal.error
        return None

    def take_cut(self, domid: int) -> Cut | None:
        """How to cut the connection that is about to answer; None if not."""
        for cut in self.cuts:
            if cut.domid is None or cut.domid == domid:
                self.cuts.remove(cut)
                return cut
        return None
