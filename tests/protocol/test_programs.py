"""Operations made of several requests: which requests are made, in which order, and what is made of the replies."""

from __future__ import annotations

import errno
import itertools
from typing import Any, Callable

import pytest

from xsffi.errors import (
    InvalidArgumentError,
    NodeNotFoundError,
    ProtocolError,
    TransactionConflictError,
    XenStoreError,
    error_from_wire,
)
from xsffi.permissions import DOMID_ANY, Permission
from xsffi.protocol import programs, trees
from xsffi.protocol.lookups import Lookups
from xsffi.protocol.requests import (
    Directory,
    DirectoryPart,
    GetFeatures,
    GetPermissions,
    GetQuota,
    GetQuotaNames,
    Part,
    Read,
    Release,
    Request,
)
from xsffi.protocol.wire import Feature
from xsffi.records import Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from xsffi.protocol.programs import Program


Step = tuple[Any, Any]  # a request, and its outcome, a reply or an Error; for a list of requests, a list of outcomes


class Error(str):
    """The name of an error, as an outcome."""


ENOENT, EACCES, EINVAL, ENOSYS, EIO, E2BIG, EPERM = map(
    Error, ("ENOENT", "EACCES", "EINVAL", "ENOSYS", "EIO", "E2BIG", "EPERM")
)


def follow(program: Program[Any], script: list[Step]) -> Any:
    """Run a program against a script, which it must follow to the end; returns or raises what the program does."""
    steps = iter(script)

    def call(request: Any) -> Any:
        asked, answer = next(steps, (None, []))
        assert (list(request) if isinstance(request, Lookups) else request) == asked
        if isinstance(answer, Error):
            raise error_from_wire(answer, "/a")
        return request.combine(answer) if isinstance(request, Lookups) else answer

    try:
        return programs.run(program, call)
    finally:
        assert next(steps, None) is None, "not all was asked"


def part(generation: str, *names: str, last: bool = False) -> Part:
    return Part(generation.encode(), list(names), sum(len(name) + 1 for name in names), last)


def ask(offset: int) -> DirectoryPart:
    return DirectoryPart(b"/a", offset)


WHOLE: Step = (Directory(b"/a"), E2BIG)  # the list does not fit into one reply


def read_without_end(answer: Callable[[int], Part]) -> tuple[XenStoreError, int]:
    """Read a list whose parts never end, each computed from its number; returns the error, and how many were
    requested."""
    asked = itertools.count()

    def call(request: Request[Any]) -> Any:
        if isinstance(request, Directory):
            raise error_from_wire("E2BIG", "/a")
        return answer(next(asked))

    with pytest.raises(XenStoreError) as caught:
        programs.run(programs.directory(b"/a"), call)
    return caught.value, next(asked)


class TestDirectory:
    @pytest.mark.parametrize(
        ("script", "names"),
        [
            ([(Directory(b"/a"), [])], []),
            ([(Directory(b"/a"), ["one", "two"])], ["one", "two"]),
            ([WHOLE, (ask(0), part("1", "one", "two", last=True))], ["one", "two"]),
            ([WHOLE, (ask(0), part("1", last=True))], []),
            (
                [WHOLE, (ask(0), part("1", "one", "two")), (ask(8), part("1", "three", last=True))],
                ["one", "two", "three"],
            ),
            (
                [
                    WHOLE,
                    (ask(0), part("1", "one")),
                    (ask(4), part("1", "two")),
                    (ask(8), part("1", "three")),
                    (ask(14), part("1", last=True)),
                ],
                ["one", "two", "three"],
            ),
            # The list changes, and is fetched again: nothing old remains.
            (
                [
                    WHOLE,
                    (ask(0), part("1", "one", "two")),
                    (ask(8), part("2", "three", last=True)),
                    (ask(0), part("2", "uno", "three")),
                    (ask(10), part("2", "four", last=True)),
                ],
                ["uno", "three", "four"],
            ),
            # It changes twice, once back to an earlier generation.
            (
                [
                    WHOLE,
                    (ask(0), part("1", "one")),
                    (ask(4), part("2", "two")),
                    (ask(0), part("2", "one")),
                    (ask(4), part("1", "two")),
                    (ask(0), part("1", "three")),
                    (ask(6), part("1", "four", last=True)),
                ],
                ["three", "four"],
            ),
            # It changes between the restart and the first part.
            (
                [
                    WHOLE,
                    (ask(0), part("1", "one")),
                    (ask(4), part("2", last=True)),
                    (ask(0), part("3", "two", last=True)),
                ],
                ["two"],
            ),
        ],
    )
    def test_lists(self, script: list[Step], names: list[str]) -> None:
        assert follow(programs.directory(b"/a"), script) == names

    @pytest.mark.parametrize(
        "script",
        [
            [(Directory(b"/a"), ENOENT)],
            [WHOLE, (ask(0), ENOENT)],
            [WHOLE, (ask(0), part("1", "one")), (ask(4), ENOENT)],
        ],
    )
    def test_a_node_that_is_not_there_or_no_longer(self, script: list[Step]) -> None:
        with pytest.raises(NodeNotFoundError) as caught:
            follow(programs.directory(b"/a"), script)
        assert caught.value.filename == "/a"

    def test_a_list_that_changes_each_time(self) -> None:
        error, parts = read_without_end(lambda number: part(str(number), "one"))
        assert isinstance(error, TransactionConflictError)
        assert "changed 100 times" in str(error)
        assert (error.errno, error.filename) == (errno.EAGAIN, "/a")
        assert parts < 299

    @pytest.mark.parametrize(
        ("names", "said"), [(["one"], "after 16384 parts"), (["n" * 99_999] * 10, "after 17000000 bytes")]
    )
    def test_parts_that_do_not_end(self, names: list[str], said: str) -> None:
        error, parts = read_without_end(lambda number: part("1", *names))
        assert isinstance(error, ProtocolError)
        assert f"does not end {said}" in str(error)
        assert error.filename == "/a"
        assert parts <= 16384

    def test_a_long_list_that_changes_late(self) -> None:
        """If each attempt takes very many parts, fewer attempts are made."""
        error, parts = read_without_end(lambda number: part(str(number // 1000), "one"))
        assert isinstance(error, TransactionConflictError)
        assert "changed 16 times" in str(error)
        assert parts < 20_000

    def test_a_daemon_that_has_no_parts(self) -> None:
        with pytest.raises(NotImplementedError):
            follow(programs.directory(b"/a"), [WHOLE, (ask(0), ENOSYS)])


NOBODY = [Permission(0, "n")]
ANY = [Permission(0, "n"), Permission(DOMID_ANY, "r"), Permission(5, "r")]
OWNED = [Permission(5, "n"), Permission(0, "r")]
RELEASE: Step = (Release(5), None)
NO_NODE: Step = (Read(b"@releaseDomain"), EINVAL)

# By program: the requests and their outcomes, and its own outcome: a value, or an error's name.
SCRIPTS: dict[str, list[tuple[list[Step], Any]]] = {
    "exists": [
        ([(Read(b"/a"), b"value")], True),
        ([(Read(b"/a"), b"")], True),
        ([(Read(b"/a"), ENOENT)], False),
        ([(Read(b"/a"), EACCES)], EACCES),
        ([(Read(b"/a"), EIO)], EIO),
    ],
    "features": [
        ([(GetFeatures(0), 3)], 3),
        ([(GetFeatures(0), EACCES), (GetFeatures(None), 3)], 3),
        ([(GetFeatures(0), EPERM), (GetFeatures(None), 3)], 3),
        ([(GetFeatures(0), EACCES), (GetFeatures(None), EIO)], EIO),
        # The request without a payload is never sent to a daemon that does not know the operation.
        ([(GetFeatures(0), ENOSYS)], ENOSYS),
        ([(GetFeatures(0), EINVAL)], EINVAL),
        ([(GetFeatures(0), EIO)], EIO),
    ],
    "quota_names": [
        ([(GetQuota(b"nodes", None), 1000), (GetQuotaNames(), ["nodes"])], ["nodes"]),
        ([(GetQuota(b"nodes", None), EINVAL), (GetQuotaNames(), ["watches"])], ["watches"]),
        ([(GetQuota(b"nodes", None), 1000), (GetQuotaNames(), [])], []),
        ([(GetQuota(b"nodes", None), ENOSYS)], ENOSYS),
        ([(GetQuota(b"nodes", None), EIO)], EIO),
    ],
    "transaction_is_gone": [
        ([(Read(b"//"), EINVAL)], False),
        ([(Read(b"//"), ENOENT)], True),
        ([(Read(b"//"), b"")], False),
    ],
    "knows_any_domain": [
        ([([GetFeatures(0)], [Feature.DOMID_ANY | Feature.ERROR])], True),
        ([([GetFeatures(0)], [14])], True),
        ([([GetFeatures(0)], [Feature.ERROR | Feature.WATCH_DEPTH])], False),
        ([([GetFeatures(0)], [0])], False),
        # The daemon is older, or the client is a guest, whose own SET_PERMS is harmless.
        ([([GetFeatures(0)], [error_from_wire(ENOSYS)])], False),
        ([([GetFeatures(0)], [error_from_wire(EINVAL)])], False),
        ([([GetFeatures(0)], [error_from_wire(EACCES)])], False),
        ([([GetFeatures(0)], [error_from_wire(EIO)])], EIO),
    ],
    "release_domain": [
        ([(GetPermissions(b"@introduceDomain"), NOBODY), (GetPermissions(b"@releaseDomain"), NOBODY), RELEASE], None),
        ([(GetPermissions(b"@introduceDomain"), NOBODY), (GetPermissions(b"@releaseDomain"), ANY), RELEASE], None),
        ([(GetPermissions(b"@introduceDomain"), EINVAL), (GetPermissions(b"@releaseDomain"), EINVAL), RELEASE], None),
        ([(GetPermissions(b"@introduceDomain"), ENOENT), (GetPermissions(b"@releaseDomain"), EACCES), RELEASE], None),
        ([(GetPermissions(b"@introduceDomain"), []), (GetPermissions(b"@releaseDomain"), []), RELEASE], None),
        # oxenstored, to which the special paths are nodes, is not affected.
        (
            [
                (GetPermissions(b"@introduceDomain"), OWNED),
                (Read(b"@releaseDomain"), b""),
                (GetPermissions(b"@releaseDomain"), NOBODY),
                RELEASE,
            ],
            None,
        ),
        ([(GetPermissions(b"@introduceDomain"), EIO)], EIO),
    ],
}
PROGRAMS = {
    "exists": lambda: programs.exists(b"/a"),
    "features": programs.features,
    "knows_any_domain": programs.knows_any_domain,
    "release_domain": lambda: programs.release_domain(5),
    "quota_names": programs.quota_names,
    "transaction_is_gone": programs.transaction_is_gone,
}


@pytest.mark.parametrize(
    ("name", "script", "outcome"), [(name, *row) for name, rows in SCRIPTS.items() for row in rows]
)
def test_scripts(name: str, script: list[Step], outcome: Any) -> None:
    program: Program[Any] = PROGRAMS[name]()
    if isinstance(outcome, Error):
        with pytest.raises(XenStoreError) as caught:
            follow(program, script)
        assert caught.value.wire_name == outcome
    else:
        assert follow(program, script) == outcome


@pytest.mark.parametrize(
    "script",
    [
        [(GetPermissions(b"@introduceDomain"), OWNED), NO_NODE],
        [(GetPermissions(b"@introduceDomain"), EINVAL), (GetPermissions(b"@releaseDomain"), OWNED), NO_NODE],
    ],
)
def test_the_owner_of_a_special_path_is_not_released(script: list[Step]) -> None:
    with pytest.raises(InvalidArgumentError, match="domain 5 owns @") as caught:
        follow(programs.release_domain(5), script)
    assert caught.value.filename == script[-2][0].path.decode()


def nodes_at(path: bytes) -> list[Request[Any]]:
    return [Read(path), Directory(path), GetPermissions(path)]


def node(path: str, *children: str) -> Node:
    return Node(path, b"v", children, tuple(NOBODY))


TOO_BIG, MISSING = error_from_wire("E2BIG", "/a"), error_from_wire("ENOENT", "/a")
SPECIAL = [Read(b"/@introduceDomain"), Read(b"@introduceDomain"), Read(b"/@releaseDomain"), Read(b"@releaseDomain")]


@pytest.mark.parametrize(
    ("path", "script", "found"),
    [
        ("/a", [(nodes_at(b"/a"), [b"v", ["b"], NOBODY])], node("/a", "b")),
        ("/", [(nodes_at(b"/"), [b"v", ["a"], NOBODY])], node("/", "a")),
        ("/a", [(nodes_at(b"/a"), [b"v", MISSING, NOBODY])], MISSING),
        ("/a", [(nodes_at(b"/a"), [b"v", ["b", "c", "b"], NOBODY])], node("/a", "b", "c")),
        # A list that does not fit into one message is requested in parts.
        (
            "/a",
            [
                (nodes_at(b"/a"), [b"v", TOO_BIG, NOBODY]),
                ([ask(0)], [part("1", "b")]),
                ([ask(2)], [part("1", "c", last=True)]),
            ],
            node("/a", "b", "c"),
        ),
        ("/a", [(nodes_at(b"/a"), [b"v", TOO_BIG, NOBODY]), ([ask(0)], [MISSING])], MISSING),
        # The special paths listed by oxenstored are left out; nodes of the same names, on xenstored, are not.
        (
            "/",
            [
                (nodes_at(b"/"), [b"v", ["@introduceDomain", "@other", "@releaseDomain", "a"], NOBODY]),
                (SPECIAL, [b"", b"", MISSING, MISSING]),
            ],
            node("/", "@other", "a"),
        ),
        (
            "/",
            [
                (nodes_at(b"/"), [b"v", ["a", "@releaseDomain"], NOBODY]),
                (SPECIAL[2:], [b"", error_from_wire("EINVAL")]),
            ],
            node("/", "a", "@releaseDomain"),
        ),
        ("/a", [(nodes_at(b"/a"), [b"v", ["@releaseDomain"], NOBODY])], node("/a", "@releaseDomain")),
    ],
)
def test_read_nodes(path: str, script: list[Step], found: Any) -> None:
    assert follow(trees.read_nodes([path]), script) == [found]


class TestRun:
    def test_what_is_no_answer_of_the_store_is_not_given_to_the_program(self) -> None:
        asked = []

        def call(request: Request[Any]) -> Any:
            asked.append(request)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            programs.run(programs.exists(b"/a"), call)
        assert asked == [Read(b"/a")]

    def test_a_program_that_asks_nothing(self) -> None:
        def program() -> Program[int]:
            return 5
            yield Read(b"/a")

        assert programs.run(program(), lambda request: pytest.fail("nothing is asked")) == 5

    def test_the_error_is_the_one_that_was_raised(self) -> None:
        error = XenStoreError(errno.EIO, "text")

        def call(request: Request[Any]) -> Any:
            raise error

        with pytest.raises(XenStoreError) as caught:
            programs.run(programs.exists(b"/a"), call)
        assert caught.value is error
