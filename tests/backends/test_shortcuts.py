"""What the extension does without a step of Python: the same as the Python that it stands for."""

from __future__ import annotations

import gc
import struct
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from xsffi.backends.extension import shortcuts
from xsffi.protocol.wire import Packet, encode_packet, take_events, take_replies

pytestmark = pytest.mark.skipif(shortcuts is None, reason="the extension was not built")

PACKETS = st.builds(
    Packet,
    type=st.sampled_from([2, 11, 15, 16, 0xFFFFFFFF]),
    req_id=st.integers(0, 12) | st.sampled_from([0xFFFFFFFF]),
    tx_id=st.sampled_from([0, 7]),
    payload=st.binary(max_size=20) | st.sampled_from([b"/a\0token\0", b"/\xff\0\xc3\xa4\0depth", b"/a", b"\0"]),
)
STREAMS = st.lists(PACKETS, max_size=8).map(lambda packets: b"".join(encode_packet(*packet) for packet in packets))


@given(
    data=STREAMS, cut=st.integers(0, 40), skipped=st.integers(0, 40), first=st.integers(1, 9), count=st.integers(0, 6)
)
@example(data=struct.pack("=IIII", 2, 1, 0, 0xFFFFFFFF) + b"short", cut=0, skipped=0, first=1, count=1)
@example(data=encode_packet(2, 1, 0, b"v"), cut=0, skipped=17, first=1, count=1)
@example(data=encode_packet(2, 1, 0, b"v"), cut=0, skipped=40, first=1, count=1)
def test_replies(data: bytes, cut: int, skipped: int, first: int, count: int) -> None:
    data = data[: max(0, len(data) - cut)]
    here: list[Any] = [None] * count
    there: list[Any] = [None] * count
    assert shortcuts.take_replies(data, skipped, first, here) == take_replies(data, skipped, first, there)
    assert here == there


@given(data=STREAMS, cut=st.integers(0, 40), skipped=st.integers(0, 40))
@example(data=encode_packet(15, 0, 0, b"/a\0t\0") * 3, cut=0, skipped=0)
@example(data=encode_packet(15, 0, 0, b"/a\0t\0"), cut=1, skipped=0)
def test_events(data: bytes, cut: int, skipped: int) -> None:
    data = data[: max(0, len(data) - cut)]
    assert shortcuts.take_events(data, skipped) == take_events(data, skipped)


def test_wrong_arguments() -> None:
    for of_events in ((), (b"",), ("", 0), (b"", "0")):
        with pytest.raises(TypeError):
            shortcuts.take_events(*of_events)
    replies: list[tuple[Any, ...]] = [(b"", 0, 1), (b"", 0, 1, ()), (bytearray(), 0, 1, [])]
    for of_replies in replies:
        with pytest.raises(TypeError):
            shortcuts.take_replies(*of_replies)
    with pytest.raises(TypeError):
        shortcuts.NativeTurns()
    with pytest.raises(TypeError):
        shortcuts.Reader("address", None)


def test_what_is_taken_is_let_go() -> None:
    """No object is left over, however often."""

    def work() -> None:
        data = encode_packet(2, 1, 0, b"value") + encode_packet(15, 0, 0, b"/a\0token\0")
        replies: list[Any] = [None]
        offset = shortcuts.take_replies(data, 0, 1, replies)
        shortcuts.take_events(data, offset)

    work()
    before = _blocks()
    for _ in range(1000):
        work()
    assert _blocks() - before < 100


def _blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()
