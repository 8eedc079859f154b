"""Conditions to wait for: plain functions of a :class:`View`, and the program that waits for one.

What a condition reads and is not yet known is fetched, after a watch is set, and the condition runs again. It also runs
again whenever something that it read has changed, including a listing or the absence of a node. It should have no side
effects.
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
    Question = tuple[Kind, str]  # the request's class and path
    #: A value, or None for no such node, or a function that says whether a value, or None, is the wanted one.
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


_LAST_LOOK = 1.0  # seconds that a check begun in time may still take, so that even with a timeout of 0 there is one
_UNUSED_MAX = 16  # watches kept at paths that the condition no longer looks at


class Unknown(BaseException):
    """The condition asked for something not known yet. A BaseException, since no condition should catch it."""


class TimeIsUp(Exception):
    """The time limit of a wait has passed. Internal: the driver raises :func:`no_time_error` instead."""


def time_for_a_reply(deadline: float | None, now: float) -> float | None:
    """How many seconds a reply to a wait may take (None: no limit).

    Raises TimeIsUp if none are left: something changed again and again, at each look.
    """
    if deadline is None:
        return None
    seconds = deadline + _LAST_LOOK - now
    if seconds <= 0:
        raise TimeIsUp
    return seconds


def no_time_error(timeout: float | None) -> WaitTimeoutError:
    """What is raised if a condition did not become true in time."""
    return WaitTimeoutError(errno.ETIMEDOUT, f"the condition did not become true within {timeout} seconds")


class View:
    """What a condition looks at: nodes as they are at one moment. The methods are those of a client, and raise the same
    errors: NodeNotFoundError if there is no such node, AccessDeniedError if it may not be read, InvalidArgumentError if
    the path is invalid. None of them waits."""

    def __init__(self, look: Callable[[Kind, str], Any]) -> None:
        """Created by whoever runs a condition. `look` takes the class of a request and a path, and returns the outcome:
        a reply, or an error."""
        self._look = look

    def read(self, path: str) -> bytes:
        """The value of a node; raises :class:`~xsffi.errors.NodeNotFoundError` if there is none."""
        value: bytes = self._raised(Read, path)
        return value

    @overload
    def get(self, path: str) -> bytes | None: ...
    @overload
    def get(self, path: str, default: T) -> bytes | T: ...
    def get(self, path: str, default: Any = None) -> Any:
        """The value of a node, or `default` if there is no such node."""
        try:
            return self.read(path)
        except NodeNotFoundError:
            return default

    def ls(self, path: str) -> list[str]:
        """The names of a node's children; raises :class:`~xsffi.errors.NodeNotFoundError` if there is no such node."""
        return list(self._raised(Directory, path))

    def exists(self, path: str) -> bool:
        """Whether there is such a node."""
        try:
            self.read(path)
        except NodeNotFoundError:
            return False
        return True

    def get_permissions(self, path: str) -> list[Permission]:
        """The permissions of a node; raises :class:`~xsffi.errors.NodeNotFoundError` if there is no such node."""
        return list(self._raised(GetPermissions, path))

    def __getitem__(self, path: str) -> bytes:
        """As :meth:`read`."""
        return self.read(path)

    def __contains__(self, path: str) -> bool:
        """As :meth:`exists`."""
        return self.exists(path)

    __iter__ = None  # otherwise Python would iterate with __getitem__(0), (1), …

    def _raised(self, kind: Kind, path: str) -> Any:
        outcome = self._look(kind, validate(path))
        if isinstance(outcome, XenStoreError):
            raise outcome
        return outcome


# The common conditions. Each returns a function to wait for, or to pass to any_of() and all_of().


def value_becomes(path: str, value: bytes | str) -> Condition[bool]:
    """True once a node has this value: bytes as they are, a str as UTF-8. Raises InvalidArgumentError, or TypeError,
    immediately if `path` or `value` is invalid."""
    validate(path)
    wanted = encode_value(value)
    return lambda view: view.get(path) == wanted


def node_appears(path: str) -> Condition[bool]:
    """True once there is such a node. Raises as :func:`value_becomes` does for the path."""
    validate(path)
    return lambda view: view.exists(path)


def node_disappears(path: str) -> Condition[bool]:
    """True once there is no such node. Raises as :func:`value_becomes` does for the path."""
    validate(path)
    return lambda view: not view.exists(path)


def any_of(*conditions: Condition[Any]) -> Condition[Any]:
    """The first true result of these conditions, in the order given."""
    _check_all(conditions)

    def condition(view: View) -> Any:
        for result in _results(conditions, view):
            if result:
                return result
        return None

    return condition


def all_of(*conditions: Condition[Any]) -> Condition[Any]:
    """The results of these conditions, as a tuple, once all are true at the same moment."""
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
    """The results of the conditions in order. If one is not known yet, the others are still run, so that everything
    they look at is fetched together."""
    for place, condition in enumerate(conditions):
        try:
            result = judge(condition, view)
        except Unknown:
            for other in conditions[place + 1 :]:
                try:
                    other(view)
                except (Unknown, Exception):
                    pass  # it will run again
            raise
        yield result


def value_of(path: str, wanted: Wanted) -> Condition[tuple[bytes | None]]:
    """True once a node has the wanted value: what ``wait_for`` waits for. The result is a tuple of the value, or of
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
        raise ValueError("at least one condition is required")
    for condition in conditions:
        check(condition)


def check(condition: object) -> None:
    """Raises TypeError if it cannot be a condition."""
    if not callable(condition):
        raise TypeError(f"a condition must be a function of a view, not {type(condition).__name__}: {condition!r}")


def judge(condition: Condition[T], view: View) -> T:
    """The result of a condition for a view.

    Raises TypeError for an async function: both APIs take plain ones. StopIteration, as from a `next()` that finds
    nothing, becomes RuntimeError, as in a generator: in a program it would look like the end.
    """
    try:
        result = condition(view)
    except StopIteration as error:
        raise RuntimeError(f"the condition raised StopIteration: {condition!r}") from error
    if hasattr(result, "__await__"):
        if hasattr(result, "close"):
            result.close()  # otherwise Python warns that it was never awaited
        raise TypeError(f"a condition must be a plain function, not an async one: {condition!r}")
    return result


class _Facts:
    """What is known, by request class and path."""

    def __init__(self) -> None:
        self._known: dict[Question, Any] = {}
        self.looked_at: set[str] = set()  # the paths used in the last run of the condition
        self.wanted: list[Question] = []  # what that run asked for and is not known

    def begin(self) -> None:
        """Call before the condition runs."""
        self.looked_at.clear()
        self.wanted.clear()

    def look(self, kind: Kind, path: str) -> Any:
        """See :class:`View`; raises Unknown, and records what is wanted."""
        self.looked_at.add(path)
        try:
            return self._known[kind, path]
        except KeyError:
            self.wanted.append((kind, path))
            raise Unknown from None

    def add(self, outcomes: list[Any]) -> None:
        """Store the outcomes of what was wanted."""
        self._known.update(zip(self.wanted, outcomes))

    def forget(self, path: str) -> bool:
        """Forget a path at or below which something changed or, for the special path, everything; whether anything was
        known about it."""
        changed = [key for key in self._known if path in (key[1], RELEASE_DOMAIN)]
        for key in changed:
            del self._known[key]
        return bool(changed)


def wait(condition: Condition[T | None]) -> Program[T]:
    """The first true result of a condition.

    The program sets a watch at each path that the condition looks at, removes those no longer needed once there are
    many, and sets one for the release of domains, since oxenstored removes the nodes of a domain without an event for
    each. The tokens are the paths. The driver delivers the events of these watches and no others, and removes the
    watches in the end; other waits may share them if each is given the events.

    The condition is evaluated only when no event is pending, so all that it looks at was so at the moment of the last
    reply. An error about a node is passed to the condition; one about a watch ends the wait, and so does an exception
    from the condition. A condition that looks at nothing can never become true: ValueError is raised.
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
        if facts.wanted:  # whatever the condition returned without knowing
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
    """Set the missing watches."""
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
    """Process all pending events, waiting for the first if `wait`; whether they change what is known."""
    changed = False
    event = yield NextEvent(wait)
    while event is not None:
        changed = facts.forget(event.token) or changed
        event = yield NextEvent(wait=False)
    return changed
