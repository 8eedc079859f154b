"""A daemon that sends almost valid replies, and garbage. Each connection is different, determined by its seed.

``python -m harness.hostile BACKEND PATH COUNT`` is a client that opens so many connections.
"""

from __future__ import annotations

import faulthandler
import random
import sys

import xsffi

from .peer import REPLY_MAX, Link, MessageType, Packet, event, header, reply_to

__all__ = ["NOBODYS", "hostile", "is_mutated"]

M = MessageType
NOBODYS = b"nobody's"  # the payload of replies that match no request
_TYPES = [*(type for type in M if type != M.WATCH_EVENT), 20, 27, 99, 0x80000000, 0xFFFFFFFF]
_IDS = [0, 1, 2, 7, 0x0FFFFFFF, 0xFFFFFFFF]  # ids that the wire client does not use
_PATHS = [b"", b"/", b"/a", b"/\xff\xfe", b"@releaseDomain", b"x" * 3000, b"/%s%n"]
_TOKENS = [b"", b"0", b"1", b"2", b"a:1", b"a:2", b":", b"\xff", b"1" * 30, b"%n%n"]


def is_mutated(seed: int) -> bool:
    """Whether this connection sends arbitrary messages. If not, any message with the id of a request is its true reply,
    sent once or twice, with anything in between."""
    return random.Random(seed).random() < 0.5


def _noise(chance: random.Random, mutated: bool, whole_events: bool) -> bytes:
    kind = chance.randrange(5)
    if kind == 0:
        return event(chance.choice(_PATHS), chance.choice(_TOKENS))
    if kind == 1:
        return Packet(chance.choice(_TYPES), chance.choice(_IDS), chance.randrange(3), NOBODYS).encode()
    if kind == 2 and not whole_events:
        payload = chance.choice([b"", b"\0", b"/a", b"\0\0\0", chance.randbytes(chance.randrange(60))])
        return Packet(M.WATCH_EVENT, chance.randrange(1 << 32), 0, payload).encode()
    if kind == 3 and mutated:
        return header(chance.choice(_TYPES), chance.choice(_IDS), chance.choice([5, REPLY_MAX, REPLY_MAX + 1, 1 << 31]))
    return b""


def _mutate(chance: random.Random, data: bytes) -> bytes:
    found = bytearray(data)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(found) + 1)
        kind = chance.randrange(4)
        if kind == 0 and at < len(found):
            found[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del found[at : at + chance.randrange(20)]
        elif kind == 2:
            found[at:at] = chance.randbytes(chance.randrange(20))
        else:
            found[at:at] = found[: chance.randrange(40)]
    return bytes(found)


def hostile(seed: int, link: Link, whole_events: bool = False) -> None:
    """Serve one connection. It ends, perhaps in the middle of a packet; for one seed in ten it goes silent instead, so
    the client needs a timeout. `whole_events`: every event has a path and a token, since libxenstore aborts the process
    otherwise."""
    mutated = is_mutated(seed)
    chance = random.Random(-seed - 1)
    for _ in range(chance.randrange(1, 8)):
        request = link.request()
        if mutated and request.type == M.READ and chance.random() < 0.1:
            reply = Packet(
                chance.choice(_TYPES), request.request_id, 0, chance.randbytes(chance.randrange(50))
            ).encode()
        else:
            reply = reply_to(request)
        parts = [_noise(chance, mutated, whole_events) for _ in range(chance.randrange(4))]
        parts.insert(chance.randrange(len(parts) + 1), reply * chance.choice([1, 1, 1, 2]))
        data = b"".join(parts)
        if mutated and not whole_events and chance.random() < 0.5:
            data = _mutate(chance, data)
        link.send(data, chance.choice([None, None, max(1, len(data) // 7), max(1, len(data) // 2 + 1)]))
    if seed % 10 == 0:
        return
    if chance.random() < 0.3:
        data = reply_to(link.request())
        link.send(data[: chance.randrange(len(data))])
    link.hang_up()


def _use(xs: xsffi.Client) -> None:
    for _ in range(4):
        assert isinstance(xs.read("/a"), bytes)
        xs.watch("/c")
        xs.check_watch()
        for call in (xs.ls, xs.get_permissions):
            try:
                call("/b")
            except xsffi.ProtocolError:
                pass  # the reply is not a valid list
        with xs.transaction() as t:
            t.write("/e", "")


def main() -> None:
    backend, path = sys.argv[1:3]
    for seed in range(int(sys.argv[3])):
        faulthandler.dump_traceback_later(60, exit=True)
        with xsffi.Client(path, backend=backend) as xs:
            try:
                _use(xs)
                outcome = "went well"
            except xsffi.XenStoreError as error:
                outcome = type(error).__name__
        print(seed, outcome, flush=True)


if __name__ == "__main__":
    main()
