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
    """A verb that makes a program, which is for one time: it is made once more where a transaction is tried again."""

    def __init__(self, verb: Callable[..., Work[Any]], arguments: Sequence[Any], named: dict[str, Any]) -> None:
        self._verb = verb
        self._arguments = arguments
        self._named = named

    def make(self) -> Work[Any]:
        """The program."""
        return self._verb(*self._arguments, **self._named)


class Queue(QueuedVerbs):
    """Verbs in the order in which they were queued."""

    def __init__(self, any_domain: AnyDomain) -> None:
        self._any_domain = any_domain
        self._queued: list[Request[Any] | _Verb] = []

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
        return together([each if isinstance(each, Request) else each.make() for each in self._queued])

    def _queue(self, verb: Callable[..., Work[Any]], *arguments: Any, **named: Any) -> None:
        made = verb(*arguments, **named)
        if isinstance(made, Request):
            self._queued.append(made)
            return
        made.close()
        # What is used up as it is looked at is needed each time.
        kept = [tuple(each) if isinstance(each, Iterator) else each for each in arguments]
        self._queued.append(_Verb(verb, kept, named))


class _Running:
    """A program, and where it is."""

    def __init__(self, program: Program[Any]) -> None:
        self.requests: Sequence[Request[Any]] = ()  # that it waits for; none: it has its result
        self.result: Any = None
        self._program = program
        self._effect: Effect = ()
        self._go_on(None)

    def take(self, outcomes: list[Any]) -> None:
        """Take in what its requests came to."""
        if isinstance(self._effect, Request):
            self._go_on(outcomes[0])
        elif isinstance(self._effect, Lookups):
            self._go_on(self._effect.combine(outcomes))
        else:
            self._go_on(outcomes)

    def _go_on(self, outcome: Any) -> None:
        """Advance the program until it wants something."""
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
            assert not isinstance(effect, NextEvent), "no verb waits for events"
            try:
                self.requests = [effect] if isinstance(effect, Request) else list(effect)
                self._effect = effect
                return
            except XenStoreError as error:  # a path of lookups breaks a rule
                outcome = error


def together(works: Sequence[Work[Any]]) -> Program[list[Any]]:
    """Carry all of them at once: what each comes to, its result or its error, in their order.

    In each round every one has the requests carried that it wants next, in one list. So what needs a second trip, such
    as a list of children in parts, has it after the first of all others.
    """
    items: list[Any] = [work if isinstance(work, Request) else _Running(work) for work in works]
    waiting = list(enumerate(items))
    while waiting:
        requests: list[Request[Any]] = []
        for _, item in waiting:
            if isinstance(item, Request):
                requests.append(item)
            else:
                requests += item.requests
        outcomes = (yield requests) if requests else []
        start = 0
        for place, item in waiting:
            if isinstance(item, Request):
                items[place] = outcomes[start]
                start += 1
            else:
                end = start + len(item.requests)
                if end > start:
                    item.take(outcomes[start:end])
                start = end
        waiting = [(place, item) for place, item in waiting if isinstance(item, _Running) and item.requests]
    return [item.result if isinstance(item, _Running) else item for item in items]
