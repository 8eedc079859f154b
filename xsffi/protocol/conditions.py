"""Conditions that can be waited for: plain functions of a :class:`View`, and the program that waits for one.

What a condition reads and is not yet known is fetched, with a watch set before, and the condition runs again; so it
does when anything has changed that it read, a listing or an absence too. It should have no side effects.
"""

from __future__ import annotations

import errno

from ..errors import NodeNotFoundError, TooBigError, WaitTimeoutError, XenStoreError
from ..paths import RELEASE_DOMAIN, encode, validate
from ..static_types import overload
from .programs import NextEvent, directory_in_parts
from .requests import Directory, GetPermissions, Read, Unwatch, Watch
from .trees import NOT_FOR_GUESTS
from .verbs import encode_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, Union

    from ..permissions import Permission
    from ..static_types import T
    from .programs import Program
    from .requests import Request

    Condition = Callable[["View"], T]
    Kind = Callable[[bytes], Request[Any]]  # the class of a request about a node: Read, Directory or GetPermissions
    Question = tuple[Kind, str]  # and a path
    #: A value, or None for no such node, or what tells of a value, or of None, whether it is the one.
    Wanted = Union[bytes, str, None, Callable[["bytes | None"], object]]

__all__ = [
    "TimeIsUp",
    "View",
    "all_of",
    "any_of",
    "judge",
    "no_time_error",
    "node_appears",
    "node_disappears",
    "time_for_a_reply",
    "value_becomes",
    "value_of",
    "wait",
]


_LAST_LOOK = 1.0  # seconds for which a look that was begun in time may go on, so that with no time at all there is one
_UNUSED_MAX = 16  # watches of a wait at paths that its condition looked at before, and does not now


class Unknown(BaseException):
    """What was asked of a view is not known yet. No condition should catch it: so it is no Exception."""


class TimeIsUp(Exception):
    """The time of a wait is up, whose program has no use for that. Whoever drives it raises :func:`no_time_error`."""


def time_for_a_reply(deadline: float | None, now: float) -> float | None:
    """How many seconds a reply to a wait may take (None: any number).

    Raises TimeIsUp where there are none: something has changed again and again, each time it looked.
    """
    if deadline is None:
        return None
    seconds = deadline + _LAST_LOOK - now
    if seconds <= 0:
        raise TimeIsUp
    return seconds


def no_time_error(timeout: float | None) -> WaitTimeoutError:
    """What is raised where a condition did not become true in time."""
    return WaitTimeoutError(errno.ETIMEDOUT, f"the condition did not become true within {timeout} seconds")


class View:
    """What a condition looks at: nodes as they are at one moment. Its methods are those of a client, and raise what
    those do: NodeNotFoundError where there is no such node, AccessDeniedError where it may not be read,
    InvalidArgumentError where that is no path. None of them waits."""

    def __init__(self, look: Callable[[Kind, str], Any]) -> None:
        """To be had as what a condition is called with. `look` is given the class of a request and a path, and gives
        the outcome: a reply, or an error."""
        self._look = look

    def read(self, path: str) -> bytes:
        """The value of a node; raises :class:`~xsffi.errors.NodeNotFoundError` where there is none."""
        value: bytes = self._raised(Read, path)
        return value

    @overload
    def get(self, path: str) -> bytes | None: ...
    @overload
    def get(self, path: str, default: T) -> bytes | T: ...
    def get(self, path: str, default: Any = None) -> Any:
        """The value of a node, or `default` where there is no such node."""
        try:
            return self.read(path)
        except NodeNotFoundError:
            return default

    def ls(self, path: str) -> list[str]:
        """The names of a node's children; raises :class:`~xsffi.errors.NodeNotFoundError` where there is none."""
        return list(self._raised(Directory, path))

    def exists(self, path: str) -> bool:
        """Whether there is such a node."""
        try:
            self.read(path)
        except NodeNotFoundError:
            return False
        return True

    def get_permissions(self, path: str) -> list[Permission]:
        """The permissions of a node; raises :class:`~xsffi.errors.NodeNotFoundError` where there is none."""
        return list(self._raised(GetPermissions, path))

    def __getitem__(self, path: str) -> bytes:
        """As :meth:`read`."""
        return self.read(path)

    def __contains__(self, path: str) -> bool:
        """As :meth:`exists`."""
        return self.exists(path)

    __iter__ = None  # else Python would iterate by __getitem__(0), (1), …

    def _raised(self, kind: Kind, path: str) -> Any:
        outcome = self._look(kind, validate(path))
        if isinstance(outcome, XenStoreError):
            raise outcome
        return outcome


# The commonest conditions. Each gives a function, to be waited for, or given to any_of() and all_of().


def value_becomes(path: str, value: bytes | str) -> Condition[bool]:
    """That a node has this value: bytes as they are, a str as UTF-8. Raises InvalidArgumentError, or TypeError, at once
    where `path` or `value` can be none."""
    validate(path)
    wanted = encode_value(value)
    return lambda view: view.get(path) == wanted


def node_appears(path: str) -> Condition[bool]:
    """That there is such a node. Raises as :func:`value_becomes` does for the path."""
    validate(path)
    return lambda view: view.exists(path)


def node_disappears(path: str) -> Condition[bool]:
    """That there is no such node. Raises as :func:`value_becomes` does for the path."""
    validate(path)
    return lambda view: not view.exists(path)


def any_of(*conditions: Condition[Any]) -> Condition[Any]:
    """The first true result of these conditions, in their order."""
    _check_all(conditions)

    def condition(view: View) -> Any:
        for result in _results(conditions, view):
            if result:
                return result
        return None

    return condition


def all_of(*conditions: Condition[Any]) -> Condition[Any]:
    """The results of these conditions, a tuple, once all are true at the same moment."""
    _check_all(conditions)

    def condition(view: View) -> Any:
        results = []
        for result in _results(conditions, view):
            if not result:
                return None
            results.append(result)
        return tuple(results)

    return condition


def _results(conditions: Sequence[Condition[Any]], view: View) -> Iterator[Any]:
    """What each comes to, in order; where one cannot be told, the others are asked too, so that all that they look at
    is fetched together."""
    for place, condition in enumerate(conditions):
        try:
            result = judge(condition, view)
        except Unknown:
            for other in conditions[place + 1 :]:
                try:
                    other(view)
                except (Unknown, Exception):
                    pass  # it is asked again
            raise
        yield result


def value_of(path: str, wanted: Wanted) -> Condition[tuple[bytes | None]]:
    """That a node's value is the wanted one: what ``wait_for`` waits for. The result is a tuple of the value, or of
    None, so that it is true."""
    validate(path)
    if wanted is not None and not callable(wanted):
        wanted = encode_value(wanted)

    def condition(view: View) -> Any:
        value = view.get(path)
        is_it = wanted(value) if callable(wanted) else value == wanted
        return (value,) if is_it else None

    return condition


def _check_all(conditions: Sequence[object]) -> None:
    if not conditions:
        raise ValueError("at least one condition is to be given")
    for condition in conditions:
        check(condition)


def check(condition: object) -> None:
    """Raises TypeError where it can be no condition."""
    if not callable(condition):
        raise TypeError(f"a condition is a function of a view, not {type(condition).__name__}: {condition!r}")


def judge(condition: Condition[T], view: View) -> T:
    """What a condition says of a view.

    Raises TypeError for an async function: on both faces a condition is a plain one. StopIteration, as of a `next()`
    that finds nothing, is a RuntimeError, as in a generator, since a program would take it for its own end.
    """
    try:
        result = condition(view)
    except StopIteration as error:
        raise RuntimeError(f"the condition raised StopIteration: {condition!r}") from error
    if hasattr(result, "__await__"):
        if hasattr(result, "close"):
            result.close()  # else it is told of that nobody awaits it
        raise TypeError(f"a condition is a plain function, not an async one: {condition!r}")
    return result


class _Facts:
    """What is known, by the class of a request and a path."""

    def __init__(self) -> None:
        self._known: dict[Question, Any] = {}
        self.looked_at: set[str] = set()  # the paths that were, in the last run of the condition
        self.wanted: list[Question] = []  # what was looked for in it, and is not known

    def begin(self) -> None:
        """The condition is run."""
        self.looked_at.clear()
        self.wanted.clear()

    def look(self, kind: Kind, path: str) -> Any:
        """See :class:`View`; raises Unknown, and notes what is wanted."""
        self.looked_at.add(path)
        try:
            return self._known[kind, path]
        except KeyError:
            self.wanted.append((kind, path))
            raise Unknown from None

    def add(self, outcomes: list[Any]) -> None:
        """What was wanted is known."""
        self._known.update(zip(self.wanted, outcomes))

    def forget(self, path: str) -> bool:
        """Something has changed at a watched path or below it, or, with the special path, anywhere: whether anything
        was known of that."""
        changed = [key for key in self._known if path in (key[1], RELEASE_DOMAIN)]
        for key in changed:
            del self._known[key]
        return bool(changed)


def wait(condition: Condition[T | None]) -> Program[T]:
    """The first true result of a condition.

    The program sets a watch at each path that the condition looks at, takes away those of paths that it looked at once
    where they become many, and one of the release of domains, since
    oxenstored removes the nodes of one without an event for each. Their tokens are the paths. Whoever drives it gives
    it their events and no others, and takes them away in the end; other waits may share them, if each is given those
    events.

    The condition is judged where no event is waiting: all that it looks at was so at the moment of the last reply. An
    error about a node is what the condition gets; one about a watch ends the wait, and so does what the condition
    raises. One that looks at nothing can never become true: ValueError is raised then.
    """
    facts = _Facts()
    watched: set[str] = set()
    while True:
        facts.begin()
        result: T | None = None
        try:
            result = judge(condition, View(facts.look))
        except Unknown:
            pass
        except Exception:
            if not facts.wanted:
                raise
        if facts.wanted:  # whatever the condition made of what it could not know
            yield from _watch(facts.wanted, watched)
            facts.add((yield from _fetch(facts.wanted)))
            yield from _take_events(facts, wait=False)
            continue
        if result:
            return result
        if not watched:
            raise ValueError(f"the condition looks at no node, so it can never become true: {condition!r}")
        unused = watched - facts.looked_at
        if len(unused) > _UNUSED_MAX:
            for path in unused:
                yield Unwatch(encode(path), encode(path))
                watched.remove(path)
                facts.forget(path)
        while not (yield from _take_events(facts, wait=True)):
            pass


def _watch(wanted: list[Question], watched: set[str]) -> Program[None]:
    """Set the watches that are missing."""
    if not watched:
        try:
            yield _watch_of(RELEASE_DOMAIN)
        except NOT_FOR_GUESTS:
            pass
    for _, path in wanted:
        if path not in watched:
            yield _watch_of(path)
            watched.add(path)


def _watch_of(path: str) -> Watch:
    encoded = encode(path)
    return Watch(encoded, encoded, None)


def _fetch(wanted: list[Question]) -> Program[list[Any]]:
    outcomes: list[Any] = yield [kind(encode(path)) for kind, path in wanted]
    for place, (_, path) in enumerate(wanted):
        if isinstance(outcomes[place], TooBigError):
            try:
                outcomes[place] = yield from directory_in_parts(encode(path))
            except XenStoreError as error:
                outcomes[place] = error
    return outcomes


def _take_events(facts: _Facts, wait: bool) -> Program[bool]:
    """Take all events that have come, of which there is to be one with `wait`; whether they change what is known."""
    changed = False
    event = yield NextEvent(wait)
    while event is not None:
        changed = facts.forget(event.token) or changed
        event = yield NextEvent(wait=False)
    return changed
