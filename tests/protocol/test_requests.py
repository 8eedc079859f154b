"""Every operation as a value: its bytes according to xenstore.txt, how a server parses them, and the replies."""

from __future__ import annotations

import errno
from typing import Any, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsffi.errors import InvalidArgumentError, ProtocolError
from xsffi.permissions import DOMID_MAX, Permission
from xsffi.protocol.requests import (
    REQUESTS,
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
    ResetWatches,
    Resume,
    Rm,
    SetFeatures,
    SetPermissions,
    SetQuota,
    SetTarget,
    TransactionEnd,
    TransactionStart,
    Unwatch,
    Watch,
    Write,
    parse_request,
)
from xsffi.protocol.wire import Feature, MessageType

N0, R5 = Permission(0, "n"), Permission(5, "r")
ALL_BYTES = bytes(range(256))

# Each request, its type, and its payload.
PAYLOADS: list[tuple[Request[Any], int, bytes]] = [
    (Read(b"/a"), 2, b"/a\0"),
    (Read(b"device/vif"), 2, b"device/vif\0"),
    (Write(b"/a", b"value"), 11, b"/a\0value"),
    (Write(b"/a", b""), 11, b"/a\0"),
    (Write(b"/a", b"\0"), 11, b"/a\0\0"),
    (Write(b"/a", b"x\0y\0"), 11, b"/a\0x\0y\0"),
    (Write(b"/a", ALL_BYTES), 11, b"/a\0" + ALL_BYTES),
    (Mkdir(b"/a"), 12, b"/a\0"),
    (Rm(b"/a"), 13, b"/a\0"),
    (Directory(b"/"), 1, b"/\0"),
    (DirectoryPart(b"/a", 0), 22, b"/a\0" b"0\0"),
    (DirectoryPart(b"/a", 4096), 22, b"/a\0" b"4096\0"),
    (GetPermissions(b"/a"), 3, b"/a\0"),
    (SetPermissions(b"/a", [N0]), 14, b"/a\0n0\0"),
    (SetPermissions(b"/a", [N0, R5]), 14, b"/a\0n0\0r5\0"),
    (SetPermissions(b"/a", [Permission(1, "b"), Permission(65535, "w")]), 14, b"/a\0b1\0w65535\0"),
    (Watch(b"/a", b"token", None), 4, b"/a\0token\0"),
    (Watch(b"@releaseDomain", b"", None), 4, b"@releaseDomain\0\0"),
    (Watch(b"/a", b"token", 0), 4, b"/a\0token\0" b"0\0"),
    (Watch(b"/a", b"token", 3), 4, b"/a\0token\0" b"3\0"),
    (Unwatch(b"/a", b"token"), 5, b"/a\0token\0"),
    (ResetWatches(), 21, b"\0"),
    (TransactionStart(), 6, b"\0"),
    (TransactionEnd(commit=True), 7, b"T\0"),
    (TransactionEnd(commit=False), 7, b"F\0"),
    (Introduce(5, 1234, 7), 8, b"5\0" b"1234\0" b"7\0"),
    (Introduce(5, 0xFFFFFFFFFFFFFFFF, 0xFFFFFFFF), 8, b"5\0" b"18446744073709551615\0" b"4294967295\0"),
    (Release(5), 9, b"5\0"),
    (Resume(5), 18, b"5\0"),
    (SetTarget(5, 6), 19, b"5\0" b"6\0"),
    (GetDomainPath(0), 10, b"0\0"),
    (IsDomainIntroduced(65535), 17, b"65535\0"),
    (Control([b"help"]), 0, b"help\0"),
    (Control([b"log", b"on"]), 0, b"log\0on\0"),
    (Control([b"print", b""]), 0, b"print\0\0"),
    (GetFeatures(None), 23, b""),
    (GetFeatures(5), 23, b"5\0"),
    (SetFeatures(5, 3), 24, b"5\0" b"3\0"),
    (GetQuotaNames(), 25, b""),
    (GetQuota(b"nodes", None), 25, b"nodes\0"),
    (GetQuota(b"nodes", 5), 25, b"5\0nodes\0"),
    (SetQuota(b"nodes", 1000, None), 26, b"nodes\0" b"1000\0"),
    (SetQuota(b"nodes", 1000, 5), 26, b"5\0nodes\0" b"1000\0"),
]  # fmt: skip

# Payloads that clients do not send, but a server accepts, as the daemons do.
ACCEPTED: list[tuple[int, bytes, Request[Any]]] = [
    (MessageType.SET_PERMS, b"/a\0n0\0r5", SetPermissions(b"/a", [N0])),  # one without its NUL is dropped
    (MessageType.SET_PERMS, b"/a\0n0\0garbage", SetPermissions(b"/a", [N0])),
    (MessageType.TRANSACTION_START, b"", TransactionStart()),
    (MessageType.RESET_WATCHES, b"", ResetWatches()),
    (MessageType.DIRECTORY_PART, b"/a\0" b"007\0", DirectoryPart(b"/a", 7)),
]  # fmt: skip

# Types whose payload is one path.
ONE_PATH = [MessageType.READ, MessageType.MKDIR, MessageType.RM, MessageType.DIRECTORY, MessageType.GET_PERMS]
ONE_NUMBER = [
    MessageType.RELEASE, MessageType.RESUME, MessageType.GET_DOMAIN_PATH, MessageType.IS_DOMAIN_INTRODUCED
]  # fmt: skip
NUMBERS = [b"", b"x", b"-1", b"+1", b" 1", b"1 ", b"1.0", b"0x1", b"1e3", b"\xb2", b"9" * 21]

REFUSED: list[tuple[int, bytes]] = [
    *[(type, payload) for type in ONE_PATH for payload in (b"", b"/a", b"/a\0b", b"/a\0\0", b"/a\0b\0", b"\0\0")],
    *[(type, payload) for type in ONE_NUMBER for payload in (b"", b"5", b"5\0\0", b"5\0" b"6\0", b"\0", b"/a\0")],
    *[(MessageType.RELEASE, number + b"\0") for number in NUMBERS],
    *[(MessageType.DIRECTORY_PART, b"/a\0" + number + b"\0") for number in NUMBERS],
    *[(MessageType.WATCH, b"/a\0token\0" + number + b"\0") for number in NUMBERS],
    *[(MessageType.SET_FEATURE, b"5\0" + number + b"\0") for number in NUMBERS],
    *[(MessageType.SET_QUOTA, b"nodes\0" + number + b"\0") for number in NUMBERS],
    *[(MessageType.SET_QUOTA, number + b"\0nodes\0" b"1\0") for number in NUMBERS],
    *[(MessageType.GET_QUOTA, number + b"\0nodes\0") for number in NUMBERS],
    *[(MessageType.INTRODUCE, b"1\0" b"2\0" + number + b"\0") for number in NUMBERS],
    (MessageType.WRITE, b""),
    (MessageType.WRITE, b"/a"),
    (MessageType.DIRECTORY_PART, b""),
    (MessageType.DIRECTORY_PART, b"/a\0"),
    (MessageType.DIRECTORY_PART, b"/a\0" b"1\0" b"2\0"),
    (MessageType.DIRECTORY_PART, b"/a\0" b"1"),
    (MessageType.SET_PERMS, b""),
    (MessageType.SET_PERMS, b"/a"),
    (MessageType.SET_PERMS, b"/a\0"),
    (MessageType.SET_PERMS, b"/a\0n0"),
    (MessageType.SET_PERMS, b"/a\0\0"),
    (MessageType.SET_PERMS, b"/a\0x0\0"),
    (MessageType.SET_PERMS, b"/a\0n0\0r65536\0"),
    (MessageType.SET_PERMS, b"/a\0r\xd9\xa5\0"),
    (MessageType.SET_PERMS, b"/a\0r\xff\0"),
    (MessageType.WATCH, b""),
    (MessageType.WATCH, b"/a\0"),
    (MessageType.WATCH, b"/a\0token"),
    (MessageType.WATCH, b"/a\0token\0" b"1\0" b"2\0"),
    (MessageType.UNWATCH, b""),
    (MessageType.UNWATCH, b"/a\0"),
    (MessageType.UNWATCH, b"/a\0token"),
    (MessageType.UNWATCH, b"/a\0token\0" b"1\0"),
    (MessageType.TRANSACTION_END, b""),
    (MessageType.TRANSACTION_END, b"\0"),
    (MessageType.TRANSACTION_END, b"T"),
    (MessageType.TRANSACTION_END, b"X\0"),
    (MessageType.TRANSACTION_END, b"TRUE\0"),
    (MessageType.TRANSACTION_END, b"T\0\0"),
    (MessageType.INTRODUCE, b"1\0" b"2\0"),
    (MessageType.INTRODUCE, b"1\0" b"2\0" b"3\0" b"4\0"),
    (MessageType.SET_TARGET, b"1\0"),
    (MessageType.SET_TARGET, b"1\0" b"2\0" b"3\0"),
    (MessageType.SET_TARGET, b"1\0x\0"),
    (MessageType.CONTROL, b""),
    (MessageType.CONTROL, b"help"),
    (MessageType.GET_FEATURE, b"5"),
    (MessageType.GET_FEATURE, b"\0"),
    (MessageType.GET_FEATURE, b"5\0" b"6\0"),
    (MessageType.SET_FEATURE, b"5\0"),
    (MessageType.SET_FEATURE, b"5\0" b"1\0" b"1\0"),
    (MessageType.GET_QUOTA, b"nodes"),
    (MessageType.GET_QUOTA, b"5\0nodes\0" b"1\0"),
    (MessageType.SET_QUOTA, b""),
    (MessageType.SET_QUOTA, b"nodes\0"),
    (MessageType.SET_QUOTA, b"5\0nodes\0" b"1\0" b"1\0"),
]  # fmt: skip

# Replies, and what their payloads are decoded to.
REPLIES: list[tuple[Request[Any], bytes, Any]] = [
    (Read(b"/a"), b"", b""),
    (Read(b"/a"), b"value", b"value"),
    (Read(b"/a"), b"value\0", b"value\0"),  # a NUL in a value is part of it
    (Read(b"/a"), ALL_BYTES, ALL_BYTES),
    (Directory(b"/a"), b"", []),
    (Directory(b"/a"), b"one\0", ["one"]),
    (Directory(b"/a"), b"one\0two\0", ["one", "two"]),
    (Directory(b"/a"), b"@introduceDomain\0", ["@introduceDomain"]),
    (Directory(b"/a"), b"\xff\0b\0", ["\udcff", "b"]),
    (DirectoryPart(b"/a", 0), b"17\0one\0two\0", Part(b"17", ["one", "two"], 8, last=False)),
    (DirectoryPart(b"/a", 0), b"17\0one\0two\0\0", Part(b"17", ["one", "two"], 8, last=True)),
    (DirectoryPart(b"/a", 8), b"17\0three\0\0", Part(b"17", ["three"], 6, last=True)),
    (DirectoryPart(b"/a", 14), b"17\0\0", Part(b"17", [], 0, last=True)),
    (GetPermissions(b"/a"), b"n0\0", [N0]),
    (GetPermissions(b"/a"), b"n0\0r5\0", [N0, R5]),
    (TransactionStart(), b"1\0", 1),
    (TransactionStart(), b"4294967295\0", 0xFFFFFFFF),
    (GetDomainPath(5), b"/local/domain/5\0", "/local/domain/5"),
    (IsDomainIntroduced(5), b"T\0", True),
    (IsDomainIntroduced(5), b"F\0", False),
    (Control([b"help"]), b"", ""),
    (Control([b"help"]), b"OK\0", "OK"),
    (Control([b"help"]), b"a\nb\n\0", "a\nb\n"),
    (Control([b"help"]), b"\xff\0", "\udcff"),
    (GetFeatures(None), b"3\0", Feature.RECONNECTION | Feature.ERROR),
    (GetFeatures(5), b"0\0", Feature(0)),
    (GetQuotaNames(), b"nodes watches\0", ["nodes", "watches"]),
    (GetQuotaNames(), b"\0", []),
    (GetQuota(b"nodes", None), b"1000\0", 1000),
]

# Replies of the right type with an invalid payload.
BAD_REPLIES: list[tuple[Request[Any], bytes]] = [
    *[
        (request, payload)
        for request in (TransactionStart(), GetFeatures(None), GetQuota(b"nodes", None))
        for payload in (b"", b"\0", b"x\0", b"-1\0", b"1 \0", b"1\0" b"2\0", b"OK\0", b"\xb2\0", b"9" * 21 + b"\0")
    ],
    (TransactionStart(), b"0\0"),  # not a transaction: operations in it would take effect immediately
    (TransactionStart(), b"4294967296\0"),  # does not fit into a header
    *[(DirectoryPart(b"/a", 0), payload) for payload in (b"", b"17", b"17\0", b"17\0one", b"17\0one\0two")],
    *[(Directory(b"/a"), payload) for payload in (b"\0", b"b\0\0c\0", b"\0b\0", b"b/c\0", b"/\0")],
    *[(DirectoryPart(b"/a", 0), b"17\0" + names) for names in (b"\0b\0", b"b\0\0c\0", b"b/c\0", b"\0\0\0")],
    *[(IsDomainIntroduced(5), payload) for payload in (b"", b"\0", b"X\0", b"TRUE\0", b"T\0T\0", b"t\0")],
    *[(GetPermissions(b"/a"), payload) for payload in (b"\0", b"x0\0", b"n\0", b"n0\0\0", b"r65536\0", b"r\xd9\xa5\0")],
]  # fmt: skip


def name(value: object) -> str:
    """The id of a parameter."""
    return value.name if isinstance(value, MessageType) else ascii(value)[:60]


@pytest.mark.parametrize(("request_", "type", "payload"), PAYLOADS, ids=name)
class TestPayload:
    def test_the_exact_bytes(self, request_: Request[Any], type: int, payload: bytes) -> None:
        assert request_.type == type
        assert request_.payload() == payload

    def test_a_server_reads_the_same_value(self, request_: Request[Any], type: int, payload: bytes) -> None:
        assert request_.parse(payload) == request_
        assert parse_request(type, payload) == request_

    def test_the_path_concerned(self, request_: Request[Any], type: int, payload: bytes) -> None:
        has_path = MessageType(type) in (*ONE_PATH, 11, 14, 22, 4, 5)
        assert request_.path == (payload.partition(b"\0")[0] if has_path else None)


def test_every_operation_is_in_the_table() -> None:
    assert {type(request) for request, _, _ in PAYLOADS} == {*REQUESTS.values(), GetQuotaNames}


def test_every_type_of_message_is_a_request_but_two() -> None:
    assert set(REQUESTS) == set(MessageType) - {MessageType.WATCH_EVENT, MessageType.ERROR}


@pytest.mark.parametrize("type", [MessageType.WATCH_EVENT, MessageType.ERROR, 20, 27, 128, 0xFFFFFFFF])
@pytest.mark.parametrize("payload", [b"", b"/a\0"])
def test_an_unknown_type(type: int, payload: bytes) -> None:
    assert parse_request(type, payload) is None


@pytest.mark.parametrize(("type", "payload", "request_"), ACCEPTED, ids=name)
def test_what_a_server_accepts_too(type: int, payload: bytes, request_: Request[Any]) -> None:
    assert parse_request(type, payload) == request_


@pytest.mark.parametrize(("type", "payload"), REFUSED, ids=name)
def test_a_malformed_request(type: int, payload: bytes) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse_request(type, payload)
    assert caught.value.errno == errno.EINVAL


def test_a_request_for_names_of_quotas_that_names_one() -> None:
    with pytest.raises(InvalidArgumentError):
        GetQuotaNames.parse(b"nodes\0")


@pytest.mark.parametrize(("request_", "payload", "result"), REPLIES, ids=name)
def test_a_reply(request_: Request[Any], payload: bytes, result: Any) -> None:
    decoded = request_.decode(payload)
    assert decoded == result
    assert type(decoded) is type(result)


@pytest.mark.parametrize(("request_", "payload"), BAD_REPLIES, ids=name)
def test_a_malformed_reply(request_: Request[Any], payload: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        request_.decode(payload)
    assert caught.value.errno == errno.EPROTO


@pytest.mark.parametrize(
    "request_",
    [request for request, _, _ in PAYLOADS if not any(type(request) is type(other) for other, _, _ in REPLIES)],
    ids=name,
)
@pytest.mark.parametrize("payload", [b"OK\0", b"OK", b""])
def test_an_acknowledgement_says_nothing_more(request_: Request[Any], payload: bytes) -> None:
    decoded: object = request_.decode(payload)
    assert decoded is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Read(b"/a"), Mkdir(b"/a")),
        (Read(b"/a"), Read(b"/b")),
        (TransactionStart(), ResetWatches()),
        (GetQuotaNames(), GetFeatures(None)),
    ],
)
def test_requests_that_differ(one: Request[Any], other: Request[Any]) -> None:
    assert one != other


@pytest.mark.parametrize("abstract", [lambda: Request[None]().payload(), lambda: Request.parse(b"")])
def test_an_operation_must_say_how_it_goes(abstract: Callable[[], object]) -> None:
    with pytest.raises(NotImplementedError):
        abstract()


strings: st.SearchStrategy[bytes] = st.binary(max_size=20).filter(lambda string: b"\0" not in string)
numbers = st.integers(0, 0xFFFFFFFFFFFFFFFF)
domids = st.integers(0, DOMID_MAX)
permissions = st.builds(Permission, domids, st.sampled_from("nrwb"))

any_request: st.SearchStrategy[Request[Any]] = st.one_of(
    *[st.builds(operation, strings) for operation in (Read, Mkdir, Rm, Directory, GetPermissions)],
    *[st.builds(operation, domids) for operation in (Release, Resume, GetDomainPath, IsDomainIntroduced)],
    st.builds(Write, strings, st.binary(max_size=40)),
    st.builds(DirectoryPart, strings, numbers),
    st.builds(SetPermissions, strings, st.lists(permissions, min_size=1, max_size=6)),
    st.builds(Watch, strings, strings, st.none() | numbers),
    st.builds(Unwatch, strings, strings),
    st.builds(TransactionEnd, st.booleans()),
    st.builds(Introduce, domids, numbers, numbers),
    st.builds(SetTarget, domids, domids),
    st.builds(Control, st.lists(strings, min_size=1, max_size=4)),
    st.builds(GetFeatures, st.none() | domids),
    st.builds(SetFeatures, domids, numbers),
    st.builds(GetQuota, strings, st.none() | domids),
    st.builds(SetQuota, strings, numbers, st.none() | domids),
)


@given(any_request)
def test_every_request_survives_the_wire(request_: Request[Any]) -> None:
    assert parse_request(request_.type, request_.payload()) == request_


@given(st.sampled_from(sorted(REQUESTS)), st.binary(max_size=30) | st.text("/a0nT\0", max_size=12).map(str.encode))
def test_a_server_refuses_or_reads_every_payload(type: int, payload: bytes) -> None:
    try:
        request = parse_request(type, payload)
    except InvalidArgumentError:
        return
    assert request is not None
    assert parse_request(type, request.payload()) == request


@given(any_request, st.binary(max_size=30) | st.text("a0nrTF\0", max_size=12).map(str.encode))
def test_a_client_refuses_or_reads_every_reply(request_: Request[Any], payload: bytes) -> None:
    try:
        request_.decode(payload)
    except ProtocolError:
        pass


@given(st.lists(st.text("abc", min_size=1, max_size=6), max_size=10))
def test_every_list_of_names_survives_the_wire(names: list[str]) -> None:
    assert Directory(b"/").decode("".join([f"{name}\0" for name in names]).encode()) == names


@given(st.lists(permissions, min_size=1, max_size=10))
def test_every_list_of_permissions_survives_the_wire(listed: list[Permission]) -> None:
    _, _, texts = SetPermissions(b"/a", listed).payload().partition(b"\0")
    assert GetPermissions(b"/a").decode(texts) == listed
