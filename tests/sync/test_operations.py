"""The client's operations: which requests they make, and what is refused before anything is sent."""

from __future__ import annotations

import errno
import inspect
from collections.abc import Iterator
from typing import Any, Callable, Union

import pytest
from harness.fakes import FakeBackend, make_client

import xsffi.sync.client
from xsffi import Client, Pipeline, Transaction, Watch
from xsffi.errors import (
    AccessDeniedError,
    ClientClosedError,
    ConnectionLostError,
    InvalidArgumentError,
    NodeNotFoundError,
    TooBigError,
    XenStoreError,
    error_from_wire,
)
from xsffi.permissions import Permission
from xsffi.protocol.requests import (
    Control,
    Directory,
    DirectoryPart,
    GetDomainPath,
    GetFeatures,
    GetPermissions,
    GetQuota,
    GetQuotaNames,
    Introduce,
    IsDomainIntroduced,
    Mkdir,
    Part,
    Read,
    Release,
    Request,
    Resume,
    Rm,
    SetFeatures,
    SetPermissions,
    SetQuota,
    SetTarget,
    Write,
)
from xsffi.testing import EmbeddedStore

Nodes = Union[Client, Transaction]
Verb = Callable[[Any], object]  # of a client, or also of a transaction; Any, since tests pass arguments of wrong types


@pytest.fixture(params=["client", "transaction"])
def nodes(request: pytest.FixtureRequest, client: Client, fake: FakeBackend) -> Iterator[Nodes]:
    """A client, and a transaction: both have the operations on nodes."""
    if request.param == "client":
        yield client
        return
    transaction = client.transaction()
    fake.calls.clear()
    yield transaction
    transaction.abort()


def refused(fake: FakeBackend, verb: Callable[[], object], error: type[Exception], *said: str) -> None:
    """The call raises this error, whose text contains all of `said`, and nothing has reached the backend."""
    with pytest.raises(error) as caught:
        verb()
    for words in said:
        assert words in str(caught.value)
    assert fake.calls == []


# The request of each operation, the reply, and what it returns.
NODE_VERBS: list[tuple[str, Verb, Request[Any], Any, Any]] = [
    ("read", lambda xs: xs.read("/a"), Read(b"/a"), b"value", b"value"),
    ("read", lambda xs: xs.read("relative/path"), Read(b"relative/path"), b"", b""),
    ("[]", lambda xs: xs["/a"], Read(b"/a"), b"value", b"value"),
    ("get", lambda xs: xs.get("/a"), Read(b"/a"), b"value", b"value"),
    ("get", lambda xs: xs.get("/a", 5), Read(b"/a"), b"value", b"value"),
    ("read_text", lambda xs: xs.read_text("/a"), Read(b"/a"), b"v\xc3\xa4", "v\u00e4"),
    ("read_text", lambda xs: xs.read_text("/a", "latin-1"), Read(b"/a"), b"v\xe4", "v\u00e4"),
    ("read_text", lambda xs: xs.read_text("/a", errors="replace"), Read(b"/a"), b"v\xe4", "v\ufffd"),
    ("write", lambda xs: xs.write("/a", b"value"), Write(b"/a", b"value"), None, None),
    ("write", lambda xs: xs.write("/a", b""), Write(b"/a", b""), None, None),
    ("write", lambda xs: xs.write("/a", b"\0\xff"), Write(b"/a", b"\0\xff"), None, None),
    ("write", lambda xs: xs.write("/a", "v\u00e4"), Write(b"/a", b"v\xc3\xa4"), None, None),
    ("write", lambda xs: xs.write("/a", "\0"), Write(b"/a", b"\0"), None, None),
    ("[]=", lambda xs: xs.__setitem__("/a", b"value"), Write(b"/a", b"value"), None, None),
    ("mkdir", lambda xs: xs.mkdir("/a"), Mkdir(b"/a"), None, None),
    ("rm", lambda xs: xs.rm("/a"), Rm(b"/a"), None, None),
    ("del", lambda xs: xs.__delitem__("/a"), Rm(b"/a"), None, None),
    ("ls", lambda xs: xs.ls("/a"), Directory(b"/a"), ["b", "c"], ["b", "c"]),
    ("exists", lambda xs: xs.exists("/a"), Read(b"/a"), b"value", True),
    ("in", lambda xs: "/a" in xs, Read(b"/a"), b"", True),
    (
        "get_permissions",
        lambda xs: xs.get_permissions("/a"),
        GetPermissions(b"/a"),
        [Permission(0, "n")],
        [Permission(0, "n")],
    ),
    (
        "set_permissions",
        lambda xs: xs.set_permissions("/a", ["n0", Permission(5, "r")]),
        SetPermissions(b"/a", [Permission(0, "n"), Permission(5, "r")]),
        None,
        None,
    ),
]

DOMAIN_VERBS: list[tuple[str, Verb, Request[Any], Any, Any]] = [
    ("path", lambda xs: xs.get_domain_path(5), GetDomainPath(5), "/local/domain/5", "/local/domain/5"),
    ("introduced", lambda xs: xs.is_domain_introduced(0), IsDomainIntroduced(0), True, True),
    ("introduce", lambda xs: xs.introduce_domain(5, 1234, 7), Introduce(5, 1234, 7), None, None),
    ("introduce", lambda xs: xs.introduce_domain(5, 2**64 - 1, 0), Introduce(5, 2**64 - 1, 0), None, None),
    ("resume", lambda xs: xs.resume_domain(65535), Resume(65535), None, None),
    ("target", lambda xs: xs.set_target(5, 6), SetTarget(5, 6), None, None),
    ("control", lambda xs: xs.control("help"), Control([b"help"]), "OK", "OK"),
    ("control", lambda xs: xs.control("log", "on", b"\xff", ""), Control([b"log", b"on", b"\xff", b""]), "", ""),
    ("features", lambda xs: xs.get_features(5), GetFeatures(5), 3, 3),
    ("features", lambda xs: xs.get_features(0), GetFeatures(0), 3, 3),
    ("features", lambda xs: xs.set_features(5, 3), SetFeatures(5, 3), None, None),
    ("quota", lambda xs: xs.get_quota("nodes"), GetQuota(b"nodes", None), 1000, 1000),
    ("quota", lambda xs: xs.get_quota("nodes", 0), GetQuota(b"nodes", 0), 1000, 1000),
    ("quota", lambda xs: xs.set_quota("nodes", 0), SetQuota(b"nodes", 0, None), None, None),
    ("quota", lambda xs: xs.set_quota("nodes", 10, 5), SetQuota(b"nodes", 10, 5), None, None),
]  # fmt: skip


def names(rows: list[tuple[str, Verb, Request[Any], Any, Any]]) -> list[str]:
    return [row[0] for row in rows]


@pytest.mark.parametrize(("name", "verb", "request_", "reply", "result"), NODE_VERBS, ids=names(NODE_VERBS))
def test_verbs_of_nodes(
    nodes: Nodes, fake: FakeBackend, name: str, verb: Verb, request_: Request[Any], reply: Any, result: Any
) -> None:
    fake.answer = lambda request, tx_id: reply
    assert verb(nodes) == result
    assert fake.calls == [(request_, nodes.id if isinstance(nodes, Transaction) else 0)]


@pytest.mark.parametrize(("name", "verb", "request_", "reply", "result"), DOMAIN_VERBS, ids=names(DOMAIN_VERBS))
def test_verbs_of_domains(
    client: Client, fake: FakeBackend, name: str, verb: Verb, request_: Request[Any], reply: Any, result: Any
) -> None:
    fake.answer = lambda request, tx_id: reply
    assert verb(client) == result
    assert fake.calls == [(request_, 0)]


@pytest.mark.parametrize(
    ("verb", "replies", "asked", "result"),
    [
        (
            lambda xs: xs.ls("/a"),
            [error_from_wire("E2BIG"), Part(b"1", ["b"], 2, False), Part(b"1", ["c"], 2, True)],
            [Directory(b"/a"), DirectoryPart(b"/a", 0), DirectoryPart(b"/a", 2)],
            ["b", "c"],
        ),
        (
            lambda xs: xs.get_features(),
            [error_from_wire("EACCES"), 3],
            [GetFeatures(0), GetFeatures(None)],
            3,
        ),
        (
            lambda xs: xs.quota_names(),
            [1000, ["nodes"]],
            [GetQuota(b"nodes", None), GetQuotaNames()],
            ["nodes"],
        ),
        (
            lambda xs: xs.release_domain(5),
            [[Permission(0, "n"), Permission(5, "r")], error_from_wire("EINVAL"), None],
            [GetPermissions(b"@introduceDomain"), GetPermissions(b"@releaseDomain"), Release(5)],
            None,
        ),
    ],
    ids=["ls", "get_features", "quota_names", "release_domain"],
)
def test_verbs_of_several_requests(
    client: Client, fake: FakeBackend, verb: Verb, replies: list[Any], asked: list[Request[Any]], result: Any
) -> None:
    fake.answer = lambda request, tx_id: replies.pop(0)
    assert verb(client) == result
    assert fake.requests == asked


@pytest.mark.parametrize(
    ("verb", "result"),
    [
        (lambda xs: xs.get("/a"), None),
        (lambda xs: xs.get("/a", 5), 5),
        (lambda xs: xs.get("/a", default=b""), b""),
        (lambda xs: xs.exists("/a"), False),
        (lambda xs: "/a" in xs, False),
    ],
    ids=["get", "get default", "get default=", "exists", "in"],
)
def test_where_there_is_no_node(client: Client, fake: FakeBackend, verb: Verb, result: Any) -> None:
    fake.answer = lambda request, tx_id: error_from_wire("ENOENT", "/a")
    assert verb(client) == result


@pytest.mark.parametrize(("name", "verb", "request_", "reply", "result"), NODE_VERBS, ids=names(NODE_VERBS))
@pytest.mark.parametrize("error", [AccessDeniedError, ConnectionLostError, XenStoreError])
def test_an_error_of_the_backend_goes_out_as_it_is(
    nodes: Nodes,
    fake: FakeBackend,
    name: str,
    verb: Verb,
    request_: Request[Any],
    reply: Any,
    result: Any,
    error: type[XenStoreError],
) -> None:
    raised = error(errno.EBUSY, "text", "/a")
    fake.answer = lambda request, tx_id: raised
    with pytest.raises(XenStoreError) as caught:
        verb(nodes)
    assert caught.value is raised
    assert len(fake.calls) == 1
    fake.answer = None


def test_a_missing_node_is_a_missing_file(client: Client, fake: FakeBackend) -> None:
    fake.answer = lambda request, tx_id: error_from_wire("ENOENT", "/a")
    with pytest.raises(FileNotFoundError) as caught:
        client.read("/a")
    assert isinstance(caught.value, NodeNotFoundError)
    assert caught.value.filename == "/a"


def test_a_value_that_is_no_text(client: Client, fake: FakeBackend) -> None:
    fake.answer = lambda request, tx_id: b"\xff"
    with pytest.raises(UnicodeDecodeError):
        client.read_text("/a")


def test_nodes_are_not_iterated_over_by_accident(nodes: Nodes) -> None:
    anything: Any = nodes
    with pytest.raises(TypeError, match="not iterable"):
        iter(anything)


# Refused arguments

PATH_VERBS: dict[str, Callable[[Any, Any], object]] = {
    "read": lambda xs, path: xs.read(path),
    "read_text": lambda xs, path: xs.read_text(path),
    "get": lambda xs, path: xs.get(path),
    "get default": lambda xs, path: xs.get(path, 5),
    "write": lambda xs, path: xs.write(path, b"value"),
    "mkdir": lambda xs, path: xs.mkdir(path),
    "rm": lambda xs, path: xs.rm(path),
    "ls": lambda xs, path: xs.ls(path),
    "exists": lambda xs, path: xs.exists(path),
    "get_permissions": lambda xs, path: xs.get_permissions(path),
    "set_permissions": lambda xs, path: xs.set_permissions(path, ["n0"]),
    "[]": lambda xs, path: xs[path],
    "[]=": lambda xs, path: xs.__setitem__(path, b"value"),
    "del": lambda xs, path: xs.__delitem__(path),
    "in": lambda xs, path: path in xs,
}

BAD_PATHS: list[tuple[str, Any, type[Exception], str]] = [
    ("empty", "", InvalidArgumentError, "must not be empty"),
    ("trailing slash", "/a/", InvalidArgumentError, "must not end in a slash"),
    ("double slash", "/a//b", InvalidArgumentError, "must not contain a double slash"),
    ("two slashes", "//", InvalidArgumentError, "must not contain a double slash"),
    ("blank", "/a b", InvalidArgumentError, "not ' '"),
    ("dot", "/a.b", InvalidArgumentError, "not '.'"),
    ("newline", "/a\n", InvalidArgumentError, "not '\\n'"),
    ("NUL", "/a\0b", InvalidArgumentError, "not '\\x00'"),
    ("beyond ASCII", "/\u00e4", InvalidArgumentError, "not '\u00e4'"),
    ("too long", "/" + "a" * 3072, TooBigError, "at most 3072 bytes"),
    ("too long and relative", "a" * 2049, TooBigError, "at most 2048 bytes"),
    ("bytes", b"/a", TypeError, "a path must be a str, not bytes"),
    ("None", None, TypeError, "a path must be a str, not NoneType"),
    ("int", 5, TypeError, "a path must be a str, not int"),
    ("list", ["/a"], TypeError, "a path must be a str, not list"),
]


@pytest.mark.parametrize("verb", PATH_VERBS.values(), ids=PATH_VERBS)
@pytest.mark.parametrize(("name", "path", "error", "rule"), BAD_PATHS, ids=[row[0] for row in BAD_PATHS])
def test_bad_paths(
    nodes: Nodes,
    fake: FakeBackend,
    verb: Callable[[Any, Any], object],
    name: str,
    path: Any,
    error: type[Exception],
    rule: str,
) -> None:
    refused(fake, lambda: verb(nodes, path), error, rule, repr(path))


@pytest.mark.parametrize("verb", [PATH_VERBS["rm"], PATH_VERBS["del"]], ids=["rm", "del"])
def test_the_root_is_not_removed(nodes: Nodes, fake: FakeBackend, verb: Callable[[Any, Any], object]) -> None:
    refused(fake, lambda: verb(nodes, "/"), InvalidArgumentError, "the root cannot be removed", "'/'")


@pytest.mark.parametrize("verb", [lambda xs, v: xs.write("/a", v), lambda xs, v: xs.__setitem__("/a", v)])
@pytest.mark.parametrize(
    "value", [None, 5, 1.5, True, ["v"], bytearray(b"v"), memoryview(b"v")], ids=lambda v: type(v).__name__
)
def test_values_that_are_neither_bytes_nor_str(
    nodes: Nodes, fake: FakeBackend, verb: Callable[[Any, Any], object], value: Any
) -> None:
    said = f"a value must be bytes or str, not {type(value).__name__}"
    refused(fake, lambda: verb(nodes, value), TypeError, said, repr(value))


def test_a_value_that_has_no_utf8(nodes: Nodes, fake: FakeBackend) -> None:
    refused(fake, lambda: nodes.write("/a", "v\udcff"), ValueError, "surrogates not allowed", "\\udcff")


@pytest.mark.parametrize(
    ("permissions", "error", "said"),
    [
        ([], InvalidArgumentError, "at least one permission"),
        (["x5"], InvalidArgumentError, "'x5'"),
        (["n0", ""], InvalidArgumentError, "not ''"),
        (["n0", "r5\0"], InvalidArgumentError, "'r5\\x00'"),
        (["n0", "r65536"], InvalidArgumentError, "65536"),
        (["n-1"], InvalidArgumentError, "'n-1'"),
        ([Permission(-1, "n")], InvalidArgumentError, "'n-1'"),
        ([Permission(0, "x")], InvalidArgumentError, "'x0'"),
        ([b"n0"], TypeError, "b'n0'"),
        ([(0, "n")], TypeError, "(0, 'n')"),
        ([None], TypeError, "None"),
        ("n0", TypeError, "permissions must be a list"),
        (b"n0", TypeError, "permissions must be a list"),
        (Permission(0, "n"), TypeError, "permissions must be a list"),
        (None, TypeError, "permissions must be a list"),
        (5, TypeError, "permissions must be a list"),
    ],
    ids=repr,
)
def test_bad_permissions(nodes: Nodes, fake: FakeBackend, permissions: Any, error: type[Exception], said: str) -> None:
    refused(fake, lambda: nodes.set_permissions("/a", permissions), error, said)


DOMID_VERBS: dict[str, Callable[[Any, Any], object]] = {
    "get_domain_path": lambda xs, domid: xs.get_domain_path(domid),
    "is_domain_introduced": lambda xs, domid: xs.is_domain_introduced(domid),
    "introduce_domain": lambda xs, domid: xs.introduce_domain(domid, 1, 1),
    "release_domain": lambda xs, domid: xs.release_domain(domid),
    "resume_domain": lambda xs, domid: xs.resume_domain(domid),
    "set_target": lambda xs, domid: xs.set_target(domid, 1),
    "set_target's target": lambda xs, domid: xs.set_target(1, domid),
    "get_features": lambda xs, domid: xs.get_features(domid),
    "set_features": lambda xs, domid: xs.set_features(domid, 1),
    "get_quota": lambda xs, domid: xs.get_quota("nodes", domid),
    "set_quota": lambda xs, domid: xs.set_quota("nodes", 1, domid),
}


@pytest.mark.parametrize("verb", DOMID_VERBS.values(), ids=DOMID_VERBS)
@pytest.mark.parametrize(
    ("domid", "error"),
    [
        (-1, InvalidArgumentError),
        (65536, InvalidArgumentError),
        (1 << 64, InvalidArgumentError),
        ("5", TypeError),
        (5.0, TypeError),
        (True, TypeError),
        (b"5", TypeError),
    ],
    ids=repr,
)
def test_bad_domids(
    client: Client, fake: FakeBackend, verb: Callable[[Any, Any], object], domid: Any, error: type[Exception]
) -> None:
    refused(fake, lambda: verb(client, domid), error, "a domid must be", str(domid))


@pytest.mark.parametrize(
    "verb", [v for name, v in DOMID_VERBS.items() if "quota" not in name and name != "get_features"]
)
def test_a_domid_that_is_not_given(client: Client, fake: FakeBackend, verb: Callable[[Any, Any], object]) -> None:
    refused(fake, lambda: verb(client, None), TypeError, "a domid must be an int, not NoneType")


def test_domain_0_is_not_released(client: Client, fake: FakeBackend) -> None:
    refused(fake, lambda: client.release_domain(0), InvalidArgumentError, "domain 0 cannot be released")


NUMBER_VERBS: list[tuple[str, Callable[[Any, Any], object], str, int]] = [
    ("frame", lambda xs, number: xs.introduce_domain(5, number, 1), "a frame number", 2**64 - 1),
    ("port", lambda xs, number: xs.introduce_domain(5, 1, number), "an event channel's port", 2**32 - 1),
    ("features", lambda xs, number: xs.set_features(5, number), "feature bits", 2**32 - 1),
    ("quota", lambda xs, number: xs.set_quota("nodes", number), "a quota", 2**32 - 1),
]


@pytest.mark.parametrize(("name", "verb", "what", "most"), NUMBER_VERBS, ids=[row[0] for row in NUMBER_VERBS])
class TestNumbers:
    @pytest.mark.parametrize("number", [-1, 2**64, 2**80])
    def test_out_of_range(
        self, client: Client, fake: FakeBackend, name: str, verb: Any, what: str, most: int, number: int
    ) -> None:
        said = f"{what} must be from 0 to {most}, not {number}"
        refused(fake, lambda: verb(client, number), InvalidArgumentError, said)

    @pytest.mark.parametrize("number", [None, "1", 1.0, True])
    def test_no_number(
        self, client: Client, fake: FakeBackend, name: str, verb: Any, what: str, most: int, number: Any
    ) -> None:
        said = f"{what} must be an int, not {type(number).__name__}"
        refused(fake, lambda: verb(client, number), TypeError, said, repr(number))

    def test_the_ends_of_the_range(
        self, client: Client, fake: FakeBackend, name: str, verb: Any, what: str, most: int
    ) -> None:
        verb(client, 0)
        verb(client, most)
        assert len(fake.calls) == 2
        fake.calls.clear()
        refused(fake, lambda: verb(client, most + 1), InvalidArgumentError, str(most))


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ([""], InvalidArgumentError, "a command of CONTROL must not be empty"),
        ([b""], InvalidArgumentError, "a command of CONTROL must not be empty"),
        (["help\0"], InvalidArgumentError, "'help\\x00'"),
        (["log", "on\0"], InvalidArgumentError, "'on\\x00'"),
        (["log", b"\0"], InvalidArgumentError, "b'\\x00'"),
        ([None], TypeError, "not NoneType: None"),
        ([5], TypeError, "not int: 5"),
        (["log", 5], TypeError, "not int: 5"),
        (["log", ["on"]], TypeError, "not list: ['on']"),
    ],
    ids=repr,
)
def test_bad_commands(
    client: Client, fake: FakeBackend, arguments: list[Any], error: type[Exception], said: str
) -> None:
    refused(fake, lambda: client.control(*arguments), error, said)


@pytest.mark.parametrize("verb", [lambda xs, name: xs.get_quota(name), lambda xs, name: xs.set_quota(name, 1)])
@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("", InvalidArgumentError),
        ("no des", InvalidArgumentError),
        ("nodes\0", InvalidArgumentError),
        ("nodes\n", InvalidArgumentError),
        ("n\u00f6des", InvalidArgumentError),
        (None, TypeError),
        (5, TypeError),
        (b"nodes", TypeError),
    ],
    ids=repr,
)
def test_bad_names_of_quotas(
    client: Client, fake: FakeBackend, verb: Callable[[Any, Any], object], name: Any, error: type[Exception]
) -> None:
    refused(fake, lambda: verb(client, name), error, "a quota's name must be", repr(name))


@pytest.mark.parametrize(
    ("timeout", "error", "said"),
    [
        (-1, ValueError, "must not be negative: -1"),
        (-0.001, ValueError, "-0.001"),
        (float("-inf"), ValueError, "-inf"),
        (float("nan"), ValueError, "nan"),
        ("1", TypeError, "not str: '1'"),
        (True, TypeError, "not bool: True"),
        ([], TypeError, "not list: []"),
    ],
)
def test_a_client_with_a_bad_timeout_opens_nothing(
    monkeypatch: pytest.MonkeyPatch, timeout: Any, error: type[Exception], said: str
) -> None:
    monkeypatch.setattr(xsffi.sync.client, "open_backend", lambda *arguments: pytest.fail("it was opened"))
    with pytest.raises(error) as caught:
        Client(timeout=timeout)
    assert said in str(caught.value)


@pytest.mark.parametrize("attempts", [0, -1, True, None, "3", 1.0])
@pytest.mark.parametrize(
    "verb",
    [
        lambda xs, attempts: xs.dump("/", attempts=attempts),
        lambda xs, attempts: xs.transact(lambda t: None, attempts=attempts),
        lambda xs, attempts: xs.pipeline(transaction=True, attempts=attempts),
    ],
    ids=["dump", "transact", "pipeline"],
)
def test_bad_attempts(client: Client, fake: FakeBackend, verb: Callable[[Any, Any], object], attempts: Any) -> None:
    refused(fake, lambda: verb(client, attempts), ValueError, "attempts must be an int of at least 1", repr(attempts))


@pytest.mark.parametrize("public", [Client, Transaction, Pipeline, Watch, EmbeddedStore])
def test_no_signature_shows_an_address(public: type) -> None:
    for name, member in inspect.getmembers(public, callable):
        if not name.startswith("__"):
            assert " at 0x" not in str(inspect.signature(member)), name


class TestTheClient:
    def test_it_tells_its_state(self, client: Client) -> None:
        assert not client.closed
        assert repr(client) == "<xsffi.Client fake>"
        client.close()
        assert client.closed
        assert repr(client) == "<xsffi.Client fake closed>"

    def test_closing_again_does_nothing(self, client: Client, fake: FakeBackend) -> None:
        client.close()
        client.close()
        assert fake.closed

    def test_a_block_closes_it(self, client: Client, fake: FakeBackend) -> None:
        with client as entered:
            assert entered is client
        assert fake.closed

    def test_a_closed_one_is_not_entered_again(self, client: Client) -> None:
        client.close()
        with pytest.raises(ClientClosedError), client:
            pytest.fail("it was entered")

    def test_an_exception_in_a_block_goes_out(self, client: Client, fake: FakeBackend) -> None:
        with pytest.raises(ZeroDivisionError), client:
            raise ZeroDivisionError
        assert fake.closed

    def test_one_that_is_dropped_closes_itself_and_says_so(self, fake: FakeBackend) -> None:
        client = make_client(fake)
        with pytest.warns(ResourceWarning, match="<xsffi.Client fake> was not closed"):
            del client
        assert fake.closed

    @pytest.mark.parametrize("verb", [row[1] for row in (*NODE_VERBS, *DOMAIN_VERBS)])
    def test_every_verb_of_a_closed_one_says_so(self, client: Client, fake: FakeBackend, verb: Verb) -> None:
        client.close()
        with pytest.raises(ClientClosedError):
            verb(client)
        assert fake.calls == []
