"""Queues verbs and carries them out together, in rounds."""

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
    """A verb that makes a program. A program runs only once, so a new one is made for each attempt of a transaction."""

    def __init__(self, verb: Callable[..., Work[Any]], arguments: Sequence[Any], named: dict[str, Any]) -> None:
        self._verb = verb
        self._arguments = arguments
        self._named = named

    def make(self) -> Work[Any]:
        """The program."""
        return self._verb(*self._arguments, **self._named)


class Queue(QueuedVerbs):
    """Queued verbs, in order."""

    def __init__(self, any_domain: AnyDomain) -> None:
        self._any_domain = any_domain
        self._queued: list[Request[Any] | _Verb] = []

    def __len__(self) -> int:
        """How many operations are queued."""
        return len(self._queued)

    def take(self) -> Queue:
        """Remove and return everything that is queued."""
        taken = Queue(self._any_domain)
        taken._queued, self._queued = self._queued, []
        return taken

    def program(self) -> Program[list[Any]]:
        """A program that carries them all out together; its result is the list of their outcomes."""
        return together([each if isinstance(each, Request) else each.make() for each in self._queued])

    def _queue(self, verb: Callable[..., Work[Any]], *arguments: Any, **named: Any) -> None:
        made = verb(*arguments, **named)
        if isinstance(made, Request):
            self._queued.append(made)
            return
        made.close()
        # An iterator would be used up after the first attempt.
        kept = [tuple(each) if isinstance(each, Iterator) else each for each in arguments]
        self._queued.append(_Verb(verb, kept, named))


class _Running:
    """A running program and its state."""

    def __init__(self, program: Program[Any]) -> None:
        self.requests: Sequence[Request[Any]] = ()  # the requests that it waits for; empty: it has finished
        self.result: Any = None
        self._program = program
        self._effect: Effect = ()
        self._go_on(None)

    def take(self, outcomes: list[Any]) -> None:
        """Pass on the outcomes of its requests."""
        if isinstance(self._effect, Request):
            self._go_on(outcomes[0])
        elif isinstance(self._effect, Lookups):
            self._go_on(self._effect.combine(outcomes))
        else:
            self._go_on(outcomes)

    def _go_on(self, outcome: Any) -> None:
        """Advance the program until it yields requests."""
        while True:
            try:
                # In a list an error is an outcome; that of a single request is thrown.
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
    """Run all of them at once; the result is the list of their outcomes, results or errors, in order.

    In each round the next requests of every program are sent as one list. So a second round trip, for example for a
    list of children in parts, starts after the first of all others.
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
