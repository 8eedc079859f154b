"""The wire backend: requests, and lookups of many nodes."""

from __future__ import annotations

import pytest
from daemons import Daemon, PtyBridge
from harness.peer import Link, MessageType, Packet, Peer, answer, reply_to, value_of

import xsffi
from xsffi.addresses import Kind
from xsffi.backends.wire.backend import open_wire
from xsffi.protocol import requests as r
from xsffi.protocol.lookups import Values

from .asking import PATHS, VALUES, Counting, client_at

M = MessageType


@pytest.fixture(autouse=True)
def _both(implementation: str) -> None:
    """Runs every test here with connections in C and in Python."""


class Text(str):
    """A subclass of str."""


def test_requests(daemon: Daemon, top: str) -> None:
    node = f"{top}/a".encode()
    backend = open_wire(daemon.socket_path, 60)
    assert backend.call(r.Write(node, b"\0value")) is None
    assert backend.read(f"{top}/a") == backend.call(r.Read(node)) == b"\0value"
    assert backend.read(Text(f"{top}/a")) == b"\0value"  # not the type that the C code expects, but valid
    tx_id = backend.call(r.TransactionStart())
    backend.call(r.Write(node, b"2"), tx_id)
    assert (backend.read(f"{top}/a"), backend.call(r.Read(node), tx_id)) == (b"\0value", b"2")
    assert backend.call_many(Values([f"{top}/a"] * 2), tx_id) == [b"2", b"2"]
    assert backend.call_many([r.Read(node), r.Directory(top.encode())], tx_id) == [b"2", ["a"]]
    backend.call(r.TransactionEnd(commit=False), tx_id)
    with pytest.raises(xsffi.NodeNotFoundError) as caught:
        backend.read(f"{top}/missing")
    assert caught.value.filename == f"{top}/missing"
    outcomes = backend.call_many([r.Read(node), r.Read(b"/missing"), r.Rm(node), r.Write(node, bytes(5000))])
    assert (outcomes[0], outcomes[2]) == (b"\0value", None)
    assert [type(outcomes[place]) for place in (1, 3)] == [xsffi.NodeNotFoundError, xsffi.TooBigError]
    for wrong in ("", "//", "/a b", "/\0", "/ä"):
        with pytest.raises(xsffi.InvalidArgumentError):
            backend.read(wrong)
    with pytest.raises(xsffi.TooBigError, match="at most 4096 bytes") as too_big:
        backend.call(r.Write(node, bytes(5000)))
    assert too_big.value.filename == f"{top}/a"
    assert backend.call(r.Directory(top.encode())) == []
    backend.close()


def test_over_a_device(xenstored: Daemon) -> None:
    """Over a device there is one connection, in Python, with shorter requests."""
    with PtyBridge(xenstored.socket_path) as bridge:
        backend = open_wire(bridge.device_path, 60, connections=4)
        assert backend.description == f"the wire at {bridge.device_path}, a device, in Python"
        assert backend.kind == Kind.DEVICE
        assert backend.call_many(Values(["/"] * 3000)) == [b""] * 3000
        with pytest.raises(xsffi.TooBigError, match="at most 4080 bytes"):
            backend.call(r.Write(b"/a", bytes(4080)))
        [refused] = backend.call_many([r.Write(b"/a", bytes(4080))])
        assert isinstance(refused, xsffi.TooBigError)
        backend.close()


def test_what_is_posted_is_not_waited_for() -> None:
    came: list[Packet] = []

    def serve(link: Link) -> None:
        came.append(link.request())  # never answered
        answer(link)

    with Peer(serve) as peer:
        backend = open_wire(peer.path, 60)
        backend.post(r.TransactionEnd(commit=False), 7)
        assert backend.read("/a") == value_of(b"/a")
        assert [(packet.type, packet.payload, packet.tx_id) for packet in came] == [(M.TRANSACTION_END, b"F\0", 7)]
        backend.close()
        backend.post(r.Rm(b"/a"))  # does nothing
        assert len(came) == 1


def test_what_it_is_for_people(implementation: str, xenstored: Daemon) -> None:
    backend = open_wire(xenstored.socket_path)
    assert (backend.name, backend.kind, backend.path) == ("wire", Kind.SOCKET, xenstored.socket_path)
    assert backend.description.startswith(f"the wire at {xenstored.socket_path}, in {implementation}")
    assert backend.bulk() is backend
    backend.close()


def test_a_bad_path_is_refused_before_anything_is_sent() -> None:
    counting = Counting()
    with Peer(counting) as peer, client_at(peer) as xs:
        xs.read("/a")
        for bad, error in (
            ("/a//b", xsffi.InvalidArgumentError),
            (b"/a", TypeError),
            ("/ä", xsffi.InvalidArgumentError),
        ):
            with pytest.raises(error, match="path"):
                xs.read_many([*PATHS, bad])  # type: ignore[list-item]
        assert counting.asked == {b"/a\0", b"/\0"}  # the root, to check that the daemon is still the same
        assert xs.read("/a") == value_of(b"/a")


def test_strange_paths_among_plain_ones() -> None:
    long = "/" + "a" * 3071
    with Peer(answer) as peer, client_at(peer) as xs:
        paths = ["relative", "/", long, "@releaseDomain", *PATHS[:50]] * 50
        assert xs.read_many(paths) == [value_of(path.encode()) for path in paths]


def test_a_name_that_makes_a_path_too_long() -> None:
    """No daemon lists such a name. It is refused in its place, like any path that is too long."""

    def script(link: Link) -> None:
        while True:
            request = link.request()
            if request.type == M.DIRECTORY:
                link.reply(request, b"b\0" + b"a" * 5000 + b"\0" if request.payload == b"/\0" else b"")
            else:
                link.reply(request, b"n0\0" if request.type == M.GET_PERMS else b"v")

    with Peer(script) as peer, client_at(peer) as xs:
        errors: list[xsffi.XenStoreError] = []
        assert [node.path for node in xs.walk("/", errors.append)] == ["/", "/b"]
        assert [type(error) for error in errors] == [xsffi.TooBigError]


STRANGE = {
    "a type of its own": (M.DIRECTORY, b"x\0"),
    "an error without a name": (M.ERROR, b""),
}


@pytest.mark.parametrize(("type", "payload"), STRANGE.values(), ids=STRANGE)
def test_a_reply_that_is_none(type: int, payload: bytes) -> None:
    """It is an error in its place; the other results are correct."""

    def script(link: Link) -> None:
        while True:
            request = link.request()
            if request.payload == b"/5\0":
                link.send(reply_to(request._replace(type=MessageType(type)), payload))
            else:
                link.reply(request)

    with Peer(script) as peer, client_at(peer) as xs:
        with pytest.raises(xsffi.XenStoreError):
            xs.read_many(PATHS)
        assert xs.read_many(PATHS[6:]) == VALUES[6:]


LISTS = {
    b"": [],
    b"a\0": ["a"],
    b"a\0bc\0": ["a", "bc"],
    b"a\0bc": ["a", "bc"],
    "ä\0".encode(): ["ä"],
    b"\xff\0": ["\udcff"],
    b"a/b\0": None,
    b"\0": None,
    b"a\0\0": None,
    b"a\0\0b\0": None,
}


@pytest.mark.parametrize(("payload", "names"), LISTS.items())
def test_lists_of_children(payload: bytes, names: list[str] | None) -> None:
    def script(link: Link) -> None:
        while True:
            request = link.request()
            if request.type == M.DIRECTORY:
                link.reply(request, payload if request.payload == b"/a\0" else b"")
            else:
                link.reply(request, b"n0\0" if request.type == M.GET_PERMS else b"v")

    with Peer(script) as peer, client_at(peer) as xs:
        if names is None:
            with pytest.raises(xsffi.ProtocolError, match="invalid name"):
                next(xs.walk("/a"))
        else:
            assert next(xs.walk("/a")) == xsffi.Node("/a", b"v", tuple(names), (xsffi.Permission(0, "n"),))


def test_more_lists_of_permissions_than_are_remembered() -> None:
    def script(link: Link) -> None:
        while True:
            request = link.request()
            if request.type == M.GET_PERMS:
                number = int(request.payload[1:-1] or b"0")
                link.reply(request, b"n0\0r%d\0" % (number % 700))
            elif request.type == M.DIRECTORY:
                link.reply(request, b"".join(b"%d\0" % n for n in range(1, 500)) if request.payload == b"/\0" else b"")
            else:
                link.reply(request, b"")

    with Peer(script) as peer, client_at(peer) as xs:
        for _ in range(3):
            nodes = list(xs.walk("/"))
            assert len(nodes) == 500
            for node in nodes:
                assert node.permissions == (xsffi.Permission(0, "n"), xsffi.Permission(int(node.path[1:] or 0), "r"))


def test_memory_is_bounded() -> None:
    """Besides the values, memory is needed for only a few thousand requests, however many there are."""
    import tracemalloc

    with Peer(answer) as peer, client_at(peer) as xs:
        xs.read_many(PATHS)
        tracemalloc.start()
        try:
            values = xs.exists_many(f"/{number}" for number in range(100_000))
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert values == [True] * 100_000
    assert most < 8 << 20
