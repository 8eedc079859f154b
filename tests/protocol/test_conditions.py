"""Conditions, and the program that waits for one, driven by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from xsffi import WatchEvent, conditions
from xsffi.conditions import View, all_of, any_of, node_appears, node_disappears, value_becomes
from xsffi.errors import (
    AccessDeniedError,
    InvalidArgumentError,
    NodeNotFoundError,
    QuotaExceededError,
    TooBigError,
    WaitTimeoutError,
    error_from_wire,
)
from xsffi.paths import RELEASE_DOMAIN
from xsffi.permissions import parse_permissions
from xsffi.protocol.conditions import judge, value_of, wait
from xsffi.protocol.programs import NextEvent
from xsffi.protocol.requests import Directory, DirectoryPart, GetPermissions, Read, Watch

MISSING = error_from_wire("ENOENT", "/a")
Nodes = dict[str, bytes]


def view_of(nodes: Nodes) -> View:
    """A view of known nodes."""

    def look(kind: Any, path: str) -> Any:
        if path not in nodes:
            return error_from_wire("ENOENT", path)
        if kind is Directory:
            return [name.rpartition("/")[2] for name in nodes if name.rpartition("/")[0] == path]
        return nodes[path] if kind is Read else parse_permissions(["n0"])

    return View(look)


class TestViews:
    def test_what_is_there(self) -> None:
        view = view_of({"/a": b"1", "/a/b": b"2"})
        assert view.read("/a") == view["/a"] == view.get("/a") == b"1"
        assert view.exists("/a")
        assert "/a" in view
        assert view.ls("/a") == ["b"]
        assert [str(each) for each in view.get_permissions("/a")] == ["n0"]

    def test_what_is_not(self) -> None:
        view = view_of({})
        for look in (view.read, view.ls, view.get_permissions, view.__getitem__):
            with pytest.raises(NodeNotFoundError) as caught:
                look("/a")
            assert caught.value.filename == "/a"
        assert view.get("/a") is None
        assert view.get("/a", b"none") == b"none"
        assert not view.exists("/a")
        assert "/a" not in view

    def test_bad_paths(self) -> None:
        with pytest.raises(InvalidArgumentError):
            view_of({}).get("a b")
        with pytest.raises(TypeError):
            view_of({}).get(5)  # type: ignore[call-overload]
        with pytest.raises(TypeError):
            iter(view_of({}))  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("condition", "nodes", "result"),
    [
        (value_becomes("/a", "1"), {"/a": b"1"}, True),
        (value_becomes("/a", b"1"), {"/a": b"2"}, False),
        (value_becomes("/a", b""), {}, False),
        (node_appears("/a"), {"/a": b""}, True),
        (node_appears("/a"), {}, False),
        (node_disappears("/a"), {}, True),
        (node_disappears("/a"), {"/a": b""}, False),
        (any_of(node_appears("/a"), lambda view: view.get("/b")), {"/b": b"2"}, b"2"),
        (any_of(node_appears("/a"), node_appears("/b")), {}, None),
        (all_of(node_appears("/a"), lambda view: view.get("/b")), {"/a": b"", "/b": b"2"}, (True, b"2")),
        (all_of(node_appears("/a"), node_appears("/b")), {"/b": b""}, None),
        (value_of("/a", "1"), {"/a": b"1"}, (b"1",)),
        (value_of("/a", b""), {"/a": b""}, (b"",)),
        (value_of("/a", b""), {}, None),
        (value_of("/a", None), {}, (None,)),
        (value_of("/a", None), {"/a": b""}, None),
        (value_of("/a", lambda value: value in (b"5", b"6")), {"/a": b"6"}, (b"6",)),
        (value_of("/a", lambda value: value is None), {}, (None,)),
    ],
)
def test_the_commonest(condition: Callable[[View], Any], nodes: Nodes, result: Any) -> None:
    assert condition(view_of(nodes)) == result


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: value_becomes("/a", 5), TypeError),  # type: ignore[arg-type]
        (lambda: value_becomes("a b", ""), InvalidArgumentError),
        (lambda: node_appears("/a/"), InvalidArgumentError),
        (lambda: node_disappears(""), InvalidArgumentError),
        (lambda: value_of("/a", 5), TypeError),  # type: ignore[arg-type]
        (lambda: any_of(), ValueError),
        (lambda: all_of("/a"), TypeError),  # type: ignore[arg-type]
    ],
)
def test_bad_input(make: Callable[[], object], error: type[Exception]) -> None:
    with pytest.raises(error):
        make()


def event(path: str) -> WatchEvent:
    return WatchEvent(path, path)


class Driver:
    """Drives the program of a wait through the effects that a test expects."""

    def __init__(self, condition: Callable[[View], Any]) -> None:
        self.program = wait(condition)
        self.effect: Any = next(self.program)
        self.result: list[Any] = []

    def expects(self, effect: Any, outcome: Any) -> None:
        """The program yields this effect, and is resumed with this outcome."""
        assert self.effect == effect
        try:
            if isinstance(outcome, BaseException):
                self.effect = self.program.throw(outcome)
            else:
                self.effect = self.program.send(outcome)
        except StopIteration as stop:
            self.result.append(stop.value)

    def begins(self, *paths: str) -> None:
        """It first sets its watches."""
        for path in (RELEASE_DOMAIN, *paths):
            self.expects(Watch(path.encode(), path.encode(), None), None)

    def sees(self, *events: str) -> None:
        """It takes the events that have arrived."""
        for path in events:
            self.expects(NextEvent(wait=False), event(path))
        self.expects(NextEvent(wait=False), None)


class TestTheProgram:
    def test_what_is_so_at_once(self) -> None:
        driver = Driver(value_becomes("/a", "1"))
        driver.begins("/a")
        driver.expects([Read(b"/a")], [b"1"])
        driver.sees()
        assert driver.result == [True]

    def test_the_first_event_of_a_watch(self) -> None:
        """It carries no information: what was read may have been read before it."""
        driver = Driver(value_becomes("/a", "1"))
        driver.begins("/a")
        driver.expects([Read(b"/a")], [b"1"])
        driver.sees("/a")
        driver.expects([Read(b"/a")], [b"1"])
        driver.sees()
        assert driver.result == [True]

    def test_what_becomes_so(self) -> None:
        driver = Driver(value_becomes("/a", "1"))
        driver.begins("/a")
        driver.expects([Read(b"/a")], [MISSING])
        driver.sees()
        driver.expects(NextEvent(wait=True), event("/a"))
        driver.sees("/a")
        driver.expects([Read(b"/a")], [b"1"])
        driver.sees()
        assert driver.result == [True]

    def test_an_event_of_nothing_that_is_known(self) -> None:
        driver = Driver(node_appears("/a"))
        driver.begins("/a")
        driver.expects([Read(b"/a")], [MISSING])
        driver.sees()
        driver.expects(NextEvent(wait=True), event("/elsewhere"))
        driver.sees()
        driver.expects(NextEvent(wait=True), event("/a"))
        driver.sees()
        driver.expects([Read(b"/a")], [b""])
        driver.sees()
        assert driver.result == [True]

    def test_all_that_several_look_at_is_fetched_together(self) -> None:
        driver = Driver(all_of(node_appears("/a"), any_of(node_appears("/b"), lambda view: view.ls("/c"))))
        driver.begins("/a", "/b", "/c")
        driver.expects([Read(b"/a"), Read(b"/b"), Directory(b"/c")], [b"", MISSING, ["d"]])
        driver.sees()
        assert driver.result == [(True, ["d"])]

    def test_one_look_after_the_other(self) -> None:
        """One may depend on what another has found; only what has changed is read again."""

        def condition(view: View) -> bool:
            backend = view.get("/frontend/backend")
            return backend is not None and view.get(f"{backend.decode()}/state") == b"4"

        driver = Driver(condition)
        driver.begins("/frontend/backend")
        driver.expects([Read(b"/frontend/backend")], [b"/backend/1"])
        driver.sees()
        driver.expects(Watch(b"/backend/1/state", b"/backend/1/state", None), None)
        driver.expects([Read(b"/backend/1/state")], [b"2"])
        driver.sees()
        driver.expects(NextEvent(wait=True), event("/backend/1/state"))
        driver.sees()
        driver.expects([Read(b"/backend/1/state")], [b"4"])
        driver.sees()
        assert driver.result == [True]

    def test_it_is_judged_where_nothing_is_pending(self) -> None:
        """Otherwise it would see a state that never existed at any one moment, and might raise because of it."""

        def condition(view: View) -> bool:
            if view.exists("/a"):
                view.read("/b")  # raises if there is none: the two come and go together
                return True
            return False

        driver = Driver(condition)
        driver.begins("/a")
        driver.expects([Read(b"/a")], [b""])
        driver.sees()
        driver.expects(Watch(b"/b", b"/b", None), None)
        driver.expects([Read(b"/b")], [MISSING])  # both have been removed meanwhile
        driver.sees("/a", "/b")
        driver.expects([Read(b"/a")], [MISSING])
        driver.sees()
        driver.expects(NextEvent(wait=True), event("/a"))
        driver.sees()
        driver.expects([Read(b"/a")], [b""])
        driver.sees()
        driver.expects([Read(b"/b")], [b""])
        driver.sees()
        assert driver.result == [True]

    def test_the_release_of_a_domain(self) -> None:
        """Anything may have changed: oxenstored sends no other event for it."""
        driver = Driver(all_of(node_disappears("/a"), lambda view: view.get_permissions("/b")))
        driver.begins("/a", "/b")
        driver.expects([Read(b"/a"), GetPermissions(b"/b")], [b"", ["n0"]])
        driver.sees()
        driver.expects(NextEvent(wait=True), event(RELEASE_DOMAIN))
        driver.sees()
        driver.expects([Read(b"/a"), GetPermissions(b"/b")], [MISSING, ["n0"]])
        driver.sees()
        assert driver.result == [(True, ["n0"])]

    def test_a_guest_is_told_of_no_release(self) -> None:
        driver = Driver(node_appears("/a"))
        driver.expects(Watch(b"@releaseDomain", b"@releaseDomain", None), AccessDeniedError(13, "no"))
        driver.expects(Watch(b"/a", b"/a", None), None)
        driver.expects([Read(b"/a")], [b""])
        driver.sees()
        assert driver.result == [True]

    def test_a_watch_that_cannot_be_set(self) -> None:
        driver = Driver(node_appears("/a"))
        driver.begins()
        with pytest.raises(QuotaExceededError):
            driver.expects(Watch(b"/a", b"/a", None), QuotaExceededError(28, "too many"))

    def test_a_node_that_may_not_be_read(self) -> None:
        driver = Driver(node_appears("/a"))
        driver.begins("/a")
        driver.expects([Read(b"/a")], [AccessDeniedError(13, "no", "/a")])
        with pytest.raises(AccessDeniedError):
            driver.sees()

    def test_a_long_list_of_children(self) -> None:
        driver = Driver(lambda view: len(view.ls("/a")) > 2)
        driver.begins("/a")
        driver.expects([Directory(b"/a")], [TooBigError(7, "long")])
        driver.expects(DirectoryPart(b"/a", 0), NodeNotFoundError(2, "gone", "/a"))
        with pytest.raises(NodeNotFoundError):
            driver.sees()

    def test_what_the_condition_raises(self) -> None:
        driver = Driver(lambda view: 1 / len(view.read("/a")))
        driver.begins("/a")
        driver.expects([Read(b"/a")], [b""])
        with pytest.raises(ZeroDivisionError):
            driver.sees()

    def test_one_that_looks_at_nothing(self) -> None:
        with pytest.raises(ValueError, match="looks at no node"):
            Driver(lambda view: False)

    def test_one_that_is_true_without_a_look(self) -> None:
        program = wait(lambda view: 5)
        with pytest.raises(StopIteration) as stop:
            next(program)
        assert stop.value.value == 5

    def test_except_exception_in_a_condition(self) -> None:
        """It does not catch the exception for what is not known yet."""

        def condition(view: View) -> bool:
            try:
                return view.read("/a") == b"1"
            except Exception:
                return False

        driver = Driver(condition)
        driver.begins("/a")
        driver.expects([Read(b"/a")], [MISSING])
        driver.sees()
        assert driver.effect == NextEvent(wait=True)

    @pytest.mark.parametrize("instead", [lambda: False, lambda: 1 // 0])
    def test_whatever_it_makes_of_what_is_not_known(self, instead: Callable[[], object]) -> None:
        """It is called again once that is known."""

        def condition(view: View) -> object:
            try:
                return view.read("/a") == b"1"
            except BaseException:
                return instead()

        driver = Driver(condition)
        driver.begins("/a")
        driver.expects([Read(b"/a")], [b"1"])
        driver.sees()
        assert driver.result == [True]

    def test_an_error_of_a_watch_that_guests_are_not_told(self) -> None:
        driver = Driver(node_appears("/a"))
        with pytest.raises(WaitTimeoutError):
            driver.expects(Watch(b"@releaseDomain", b"@releaseDomain", None), WaitTimeoutError(110, "late"))

    def test_async_functions(self) -> None:
        async def condition(view: View) -> bool:
            return True

        for wrong in (condition, any_of(condition), all_of(node_appears("/a"), condition)):
            with pytest.raises(TypeError, match="plain function, not an async one"):
                judge(wrong, View(lambda kind, path: b""))

    def test_stop_iteration(self) -> None:
        condition = all_of(lambda view: next(iter([])))
        with pytest.raises(RuntimeError, match="the condition raised StopIteration") as caught:
            judge(condition, View(lambda kind, path: b""))
        assert isinstance(caught.value.__cause__, StopIteration)


def test_the_names() -> None:
    assert set(conditions.__all__) == {
        "View",
        "all_of",
        "any_of",
        "node_appears",
        "node_disappears",
        "value_becomes",
    }
