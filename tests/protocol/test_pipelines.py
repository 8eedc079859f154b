"""Operations that are queued and carried out together: the program, driven by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from xsffi.errors import InvalidArgumentError, NodeNotFoundError, TooBigError, XenStoreError, error_from_wire
from xsffi.protocol.pipelines import Queue
from xsffi.protocol.requests import Directory, DirectoryPart, GetPermissions, Part, Read, Request, Rm, Write
from xsffi.protocol.safeguards import AnyDomain


class Store:
    """Answers from a table, and keeps the requests of each round."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.rounds: list[list[Request[Any]]] = []

    def carry(self, queue: Queue) -> list[Any]:
        program = queue.program()
        try:
            effect: Any = next(program)
            while True:
                self.rounds.append(list(effect))
                effect = program.send([self.answer(request) for request in effect])
        except StopIteration as stop:
            found: list[Any] = stop.value
            return found

    def answer(self, request: Request[Any]) -> Any:
        if isinstance(request, Read):
            return self.answers.get(request.path.decode()[1:], error_from_wire("ENOENT", request.path.decode()))
        if isinstance(request, Directory):
            return error_from_wire("E2BIG", "/a")
        if isinstance(request, DirectoryPart):
            return Part(b"1", [f"c{request.offset}"], 3, request.offset == 6)
        return None


@pytest.fixture
def queue() -> Queue:
    return Queue(AnyDomain(over_socket=True))


def test_all_of_them_are_one_round(queue: Queue) -> None:
    queue.write("/a", "1")
    queue.read("/a")
    queue.get("/b", b"none")
    queue.exists("/b")
    queue.read_text("/a")
    queue.rm("/c")
    queue.read_many(["/a", "/b"], None)
    queue.exists_many(["/a", "/b"])
    store = Store(a=b"1")
    assert store.carry(queue) == [None, b"1", b"none", False, "1", None, [b"1", None], [True, False]]
    (asked,) = store.rounds
    assert asked == [
        *(Write(b"/a", b"1"), Read(b"/a"), Read(b"/b"), Read(b"/b"), Read(b"/a"), Rm(b"/c")),
        *(Read(b"/a"), Read(b"/b"), Read(b"/a"), Read(b"/b")),
    ]


def test_nothing_is_no_round(queue: Queue) -> None:
    store = Store()
    assert store.carry(queue) == []
    queue.read_many([])
    assert store.carry(queue) == [[]]
    assert store.rounds == []


def test_what_needs_more_goes_on_in_the_next_rounds(queue: Queue) -> None:
    queue.ls("/a")
    queue.read("/x")
    queue.get_permissions("/a")
    store = Store(x=b"y")
    assert store.carry(queue) == [["c0", "c3", "c6"], b"y", None]
    assert store.rounds == [
        [Directory(b"/a"), Read(b"/x"), GetPermissions(b"/a")],
        *([DirectoryPart(b"/a", offset)] for offset in (0, 3, 6)),
    ]


def test_an_error_stands_in_its_place(queue: Queue) -> None:
    queue.read("/a")
    queue.read_many(["/b", "/a"])
    queue.read_many(["/b", "/b//"])
    queue.exists_many(["/b"])
    first, second, third, fourth = Store(b=b"1").carry(queue)
    assert isinstance(first, NodeNotFoundError)
    assert isinstance(second, NodeNotFoundError)
    assert second.filename == "/a"
    assert isinstance(third, InvalidArgumentError)
    assert fourth == [True]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda queue: queue.read("/a//b"), InvalidArgumentError),
        (lambda queue: queue.write("/a", 5), TypeError),
        (lambda queue: queue.rm("/"), InvalidArgumentError),
        (lambda queue: queue.ls("/" + "a" * 4000), TooBigError),
        (lambda queue: queue.set_permissions("/a", ["x"]), InvalidArgumentError),
    ],
)
def test_what_breaks_a_rule_is_not_queued(queue: Queue, call: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        call(queue)
    assert len(queue) == 0


def test_it_can_be_carried_again(queue: Queue) -> None:
    """As for a transaction in conflict; including arguments given as iterators."""

    def paths() -> Iterator[str]:
        yield "/a"
        yield "/b"

    queue.get("/b", 5)
    queue.read_many(paths(), None)
    queue.set_permissions("/a", iter(["n0", "r5"]))
    for value in (b"1", b"2"):
        assert Store(a=value).carry(queue) == [5, [value, None], None]


def test_it_can_be_taken(queue: Queue) -> None:
    queue.read("/a")
    taken = queue.take()
    assert (len(queue), len(taken)) == (0, 1)
    assert isinstance(Store().carry(taken)[0], XenStoreError)
