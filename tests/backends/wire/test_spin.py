"""Whether to spin before sleeping, and for how long."""

from __future__ import annotations

import os
import re

import pytest

from xsffi.backends.wire import spin
from xsffi.backends.wire.spin import Spin, spin_limit
from xsffi.errors import InvalidArgumentError


@pytest.fixture(autouse=True)
def processors(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of processors, initially two, which the test may change."""
    processors = [2]
    monkeypatch.setattr(spin, "_processors", lambda: processors[0])
    monkeypatch.delenv("XSFFI_SPIN", raising=False)
    return processors


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock, which the test may change."""
    clock = [100.0]
    monkeypatch.setattr(spin, "monotonic", lambda: clock[0])
    return clock


@pytest.mark.parametrize(
    ("text", "microseconds"), [(None, 50), ("", 50), ("0", 0), ("1", 1), ("007", 7), ("1000", 1000)]
)
def test_the_limit(monkeypatch: pytest.MonkeyPatch, text: str | None, microseconds: int) -> None:
    if text is not None:
        monkeypatch.setenv("XSFFI_SPIN", text)
    assert spin_limit() == pytest.approx(microseconds / 1e6)


@pytest.mark.parametrize("text", ["1001", "-1", "50us", "5.0", " 5", "²", "1" * 40])
def test_what_is_no_limit(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("XSFFI_SPIN", text)
    complaint = f"XSFFI_SPIN must be a number of microseconds from 0 to 1000, not {text!r}"
    with pytest.raises(InvalidArgumentError, match=re.escape(complaint)):
        spin_limit()


@pytest.mark.parametrize("text", [None, "1000"])
def test_one_processor_is_left_to_the_daemon(
    monkeypatch: pytest.MonkeyPatch, processors: list[int], text: str | None
) -> None:
    if text is not None:
        monkeypatch.setenv("XSFFI_SPIN", text)
    processors[0] = 1
    assert spin_limit() == 0
    assert [Spin().time() for _ in range(200)] == [0] * 200


def test_processors_are_those_that_this_process_may_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    if hasattr(os, "sched_getaffinity"):
        assert spin._processors() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert spin._processors() == 3
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert spin._processors() == 1


def wait(of: Spin, clock: list[float], spun: float, slept: float) -> bool:
    """Wait for an answer that takes `spun` microseconds with spinning, and `slept` without; return whether it spun."""
    spins = of.time() > 0
    begin = clock[0]
    clock[0] += (spun if spins else slept) / 1e6
    of.learn(spins, begin)
    return spins


@pytest.mark.parametrize(("spun", "slept", "better"), [(10, 30, True), (40, 20, False)])
def test_the_faster_way_is_learnt(clock: list[float], spun: float, slept: float, better: bool) -> None:
    """And the other one is tried now and then."""
    of = Spin()
    ways = [wait(of, clock, spun, slept) for _ in range(640)]
    others = [place for place, way in enumerate(ways, 1) if way is not better]
    assert others[-8:] == [192, 256, 320, 384, 448, 512, 576, 640]


def test_it_is_learnt_anew(clock: list[float]) -> None:
    """When the daemon's processor becomes busy, and when it is idle again."""
    of = Spin()
    for spun, slept, better in ((10, 30, True), (190, 30, False), (10, 30, True)):
        ways = [wait(of, clock, spun, slept) for _ in range(1920)]
        assert sum(way is better for way in ways[-640:]) == 630


def test_one_very_long_answer_changes_little(clock: list[float]) -> None:
    """It shows that the daemon was busy, and says nothing about either way."""
    of = Spin()
    for _ in range(300):
        wait(of, clock, 10, 100)
    wait(of, clock, 10_000_000, 10_000_000)
    assert wait(of, clock, 10, 100)
