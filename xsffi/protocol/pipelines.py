"""What verbs make, queued and carried together, in rounds."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import XenStoreError
from .lookups import Lookups
from .programs import NextEvent
from .queued import QueuedVerbs
from .requests import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from .programs import Effect, Program, Work
    from .safeguards import AnyDomain

__all__ = ["Queue", "together"]


class _Verb:
    """A verb with its arguments, which is done once more where a transaction is tried again."""

    def __init__(self, verb: Callable[..., Work[Any]], arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Raises what is wrong with the arguments."""
        self._verb = verb
        self._arguments = [tuple(each) if isinstance(each, Iterator) else each for each in arguments]
        self._named = named
        self._made: Work[Any] | None = verb(*self._arguments, **named)

    def make(self) -> Work[Any]:
        """What the verb makes."""
        made = self._made if self._made is not None else self._verb(*self._arguments, **self._named)
        if not isinstance(made, Request):
            self._made = None  # a program is for one time
        return made


class Queue(QueuedVerbs):
    """Verbs in the order in which they were queued."""

    def __init__(self, any_domain: AnyDomain) -> None:
        self._any_domain = any_domain
        self._queued: list[_Verb] = []

    def __len__(self) -> int:
        """How many operations are queued."""
        return len(self._queued)

    def take(self) -> Queue:
        """What is queued, and is so no longer."""
        taken = Queue(self._any_domain)
        taken._queued, self._queued = self._queued, []
        return taken

    def program(self) -> Program[list[Any]]:
        """All of them, carried together: a list of what each came to."""
        return together([verb.make() for verb in self._queued])

    def _queue(self, verb: Callable[..., Work[Any]], *arguments: Any, **named: Any) -> None:
        self._queued.append(_Verb(verb, arguments, named))


class _Item:
    """One of them, and where it is."""

    def __init__(self, work: Work[Any]) -> None:
        self._program: Program[Any] | None = None
        self._effect: Effect = []
        self.requests: Sequence[Request[Any]] = ()  # that it waits for
        self.result: Any = None
        if isinstance(work, Request):
            self._expect(work)
        else:
            self._program = work
            self._go_on(None)

    def take(self, outcomes: list[Any]) -> None:
        """Take in what its requests came to."""
        if self._program is None:
            self.requests = ()
            (self.result,) = outcomes
        elif isinstance(self._effect, Request):
            self._go_on(outcomes[0])
        elif isinstance(self._effect, Lookups):
            self._go_on(self._effect.combine(outcomes))
        else:
            self._go_on(outcomes)

    def _go_on(self, outcome: Any) -> None:
        """Advance the program until it wants something."""
        assert self._program is not None
        while True:
            try:
                # An error is an outcome in a list, and thrown where it is that of a single request.
                if isinstance(outcome, XenStoreError):
                    effect = self._program.throw(outcome)
                else:
                    effect = self._program.send(outcome)
            except StopIteration as stop:
                self.requests, self.result = (), stop.value
                return
            except XenStoreError as error:
                self.requests, self.result = (), error
                return
            try:
                self._expect(effect)
                return
            except XenStoreError as error:  # a path of lookups breaks a rule
                outcome = error

    def _expect(self, effect: Effect) -> None:
        self._effect = effect
        assert not isinstance(effect, NextEvent), "no verb waits for events"
        self.requests = [effect] if isinstance(effect, Request) else list(effect)


def together(works: Sequence[Work[Any]]) -> Program[list[Any]]:
    """Carry all of them at once: what each comes to, its result or its error, in their order.

    In each round every one has the requests carried that it wants next, in one list. So what needs a second trip, such
    as a list of children in parts, has it after the first of all others.
    """
    items = [_Item(work) for work in works]
    waiting = [item for item in items if item.requests]
    while waiting:
        outcomes = yield [request for item in waiting for request in item.requests]
        start = 0
        for item in waiting:
            count = len(item.requests)
            item.take(outcomes[start : start + count])
            start += count
        waiting = [item for item in waiting if item.requests]
    return [item.result for item in items]
