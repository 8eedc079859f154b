"""Waiting for descriptors, and ending such a wait from another thread."""

from __future__ import annotations

import errno
import os
import select
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from harness.descriptors import descriptors_left, is_readable, open_descriptors
from harness.threads import Call

from xsffi.backends.wire.polling import Poller, Wakeup, combine, one_wait
from xsffi.errors import NotSupportedError, XenStoreError


@pytest.mark.parametrize(
    ("timeout", "seconds"), [(None, 0.5), (3600, 0.5), (0.5, 0.5), (0.25, 0.25), (0, 0), (-1, 0), (float("inf"), 0.5)]
)
def test_one_wait_is_never_long(timeout: float | None, seconds: float) -> None:
    """So the handler of a signal that arrived just before it is not delayed for long."""
    assert one_wait(timeout) == seconds


@pytest.fixture(params=["eventfd", "pipe"])
def made_of(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each kind of wakeup: a pipe is used if Python has no eventfd."""
    made_of: str = request.param
    if made_of == "pipe":
        monkeypatch.delattr(os, "eventfd", raising=False)
    elif not hasattr(os, "eventfd"):
        pytest.skip("this Python has no eventfd")
    return made_of


@pytest.fixture
def wakeup(made_of: str) -> Iterator[Wakeup]:
    wakeup = Wakeup()
    yield wakeup
    wakeup.close()


def test_a_wakeup(wakeup: Wakeup) -> None:
    for times in (1, 3):
        assert not is_readable(wakeup.fileno())
        for _ in range(times):
            wakeup.set()
        assert is_readable(wakeup.fileno())
        wakeup.clear()
    assert not is_readable(wakeup.fileno())
    wakeup.clear()  # does not block
    assert not is_readable(wakeup.fileno())


def test_a_wakeup_that_is_set_very_often(wakeup: Wakeup) -> None:
    """Setting it does not block, and a single clear resets it."""
    for _ in range(20_000):  # more than fits into a pipe
        wakeup.set()
    wakeup.clear()
    assert not is_readable(wakeup.fileno())


def test_a_wakeup_that_is_closed(made_of: str) -> None:
    before = open_descriptors()
    wakeup = Wakeup()
    assert len(open_descriptors()) == len(before) + (1 if made_of == "eventfd" else 2)
    for _ in range(2):
        wakeup.close()
        assert open_descriptors() == before
    wakeup.set()
    wakeup.clear()
    assert wakeup.fileno() == -1


@pytest.mark.usefixtures("made_of")
def test_a_wakeup_is_for_this_process_alone() -> None:
    wakeup = Wakeup()
    assert not os.get_inheritable(wakeup.fileno())
    wakeup.close()


@pytest.mark.usefixtures("made_of")
def test_no_descriptors_left() -> None:
    with descriptors_left(0), pytest.raises(XenStoreError) as caught:
        Wakeup()
    assert caught.value.errno == errno.EMFILE


@pytest.fixture(params=["poll", "select"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each kind of poller: select is used if monkey patching has removed poll."""
    way: str = request.param
    if way == "select":
        monkeypatch.delattr(select, "poll")
    return way


@pytest.fixture
def wakeups() -> Iterator[tuple[Wakeup, Wakeup]]:
    wakeups = (Wakeup(), Wakeup())
    yield wakeups
    for wakeup in wakeups:
        wakeup.close()


@pytest.mark.usefixtures("way")
def test_what_is_readable_is_told(wakeups: tuple[Wakeup, Wakeup]) -> None:
    first, second = wakeups
    poller = Poller(first.fileno(), second.fileno())
    assert poller.wait(0) == []
    second.set()
    assert poller.wait(3600) == [second.fileno()]
    first.set()
    assert sorted(poller.wait(3600)) == sorted([first.fileno(), second.fileno()])
    second.clear()
    assert poller.wait(3600) == [first.fileno()]


@pytest.mark.usefixtures("way")
def test_a_wait_lasts_as_long_as_it_is_told(wakeups: tuple[Wakeup, Wakeup]) -> None:
    """And never less, not even by a fraction of a millisecond: a caller that repeats it would spin."""
    poller = Poller(wakeups[0].fileno())
    for seconds in (0.0001, 0.0207):
        begin = time.monotonic()
        assert poller.wait(seconds) == []
        assert time.monotonic() - begin >= seconds


@pytest.mark.usefixtures("way")
def test_a_wait_is_ended_by_another_thread(wakeups: tuple[Wakeup, Wakeup]) -> None:
    poller = Poller(*(wakeup.fileno() for wakeup in wakeups))
    call = Call(lambda: poller.wait(3600)).until_asleep()
    assert not call.is_over
    wakeups[1].set()
    assert call.result() == [wakeups[1].fileno()]


@pytest.mark.usefixtures("way")
def test_room_to_write_is_waited_for_where_it_is_asked_for(wakeups: tuple[Wakeup, Wakeup]) -> None:
    with ExitStack() as stack:
        taker, writer = os.pipe()
        for descriptor in (taker, writer):
            os.set_blocking(descriptor, False)
            stack.callback(os.close, descriptor)
        poller = Poller(wakeups[0].fileno(), writer)
        assert poller.wait(3600, writer) == [writer]
        assert poller.wait(0) == []  # only in that wait
        try:
            while True:
                os.write(writer, bytes(4096))
        except BlockingIOError:
            pass
        assert poller.wait(0, writer) == []
        wakeups[0].set()
        assert poller.wait(3600, writer) == [wakeups[0].fileno()]
        while is_readable(taker):
            os.read(taker, 4096)
        assert sorted(poller.wait(3600, writer)) == sorted([wakeups[0].fileno(), writer])


def test_a_descriptor_that_select_does_not_know(
    monkeypatch: pytest.MonkeyPatch, wakeups: tuple[Wakeup, Wakeup]
) -> None:
    monkeypatch.delattr(select, "poll")
    with pytest.raises(XenStoreError, match="out of range") as caught:
        Poller(wakeups[0].fileno(), 5000).wait(0)
    assert caught.value.errno == errno.EMFILE


def test_what_combines_descriptors(wakeups: tuple[Wakeup, Wakeup]) -> None:
    """It is readable while any of them is."""
    with combine(*(wakeup.fileno() for wakeup in wakeups)) as combined:
        assert not is_readable(combined.fileno())
        for wakeup in wakeups:
            wakeup.set()
            assert is_readable(combined.fileno())
        wakeups[0].clear()
        assert is_readable(combined.fileno())
        wakeups[1].clear()
        assert not is_readable(combined.fileno())


def test_no_descriptors_left_to_combine(wakeups: tuple[Wakeup, Wakeup]) -> None:
    with descriptors_left(0), pytest.raises(XenStoreError) as caught:
        combine(wakeups[0].fileno())
    assert caught.value.errno == errno.EMFILE


def test_one_that_cannot_be_combined() -> None:
    """Nothing is leaked."""
    before = open_descriptors()
    with open(__file__) as file, pytest.raises(XenStoreError) as caught:
        combine(file.fileno())
    assert caught.value.errno == errno.EPERM
    assert open_descriptors() == before


def test_nothing_is_combined_without_epoll(monkeypatch: pytest.MonkeyPatch, wakeups: tuple[Wakeup, Wakeup]) -> None:
    monkeypatch.delattr(select, "epoll")
    with pytest.raises(NotSupportedError, match=r"fileno\(\) needs select\.epoll"):
        combine(wakeups[0].fileno())
