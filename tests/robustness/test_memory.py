"""Half a million calls of all kinds, failing ones and events among them, and the process has not grown."""

from __future__ import annotations

import gc
import resource

import pytest
from daemons import Daemon
from stores import client_of

import xsffi
from xsffi import Client

CALLS = 500_000
GROWTH = 3 << 20  # bytes: a leak of one small block in each round of 16 calls would be at least that
CALLS_A_ROUND = 16


def resident() -> int:
    """The memory of this process, in bytes."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def one_round(xs: Client, number: int) -> None:
    """16 calls."""
    path = f"/memory/{number % 50}"
    xs.write(path, b"v" * (number % 2000))
    xs.read(path)
    for failing in (
        lambda: xs.read("/memory/missing"),
        lambda: xs.ls("/memory/missing"),
        lambda: xs.get_permissions("/memory/missing"),
        lambda: xs.read("//"),
        lambda: xs.write(path, b"v" * 5000),
    ):
        with pytest.raises(xsffi.XenStoreError):
            failing()
    xs.ls("/memory")
    xs.get_permissions(path)
    xs.set_permissions(path, ["n0", "r5"])
    xs.get_domain_path(number % 100)
    with xs.transaction() as t:
        t.write(path, "")
        t.read(path)
    watch = xs.watch(path, token=[number])
    xs.read_watch(5)
    watch.close()


def test_memory(xenstored: Daemon, backend: str) -> None:
    with client_of(xenstored, backend) as xs:
        for number in range(2000):
            one_round(xs, number)
        gc.collect()
        before = resident()
        for number in range(CALLS // CALLS_A_ROUND):
            one_round(xs, number)
        gc.collect()
        assert resident() - before < GROWTH
        xs.rm("/memory")
