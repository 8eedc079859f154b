"""``python -m robustness.memory BACKEND ROUNDS``: repeats calls of all kinds, including failing ones and events.

It prints how many bytes each round has left allocated. For an exact number, set ``PYTHONMALLOC=malloc``, so that
Python's own memory comes from the C library, ``MALLOC_ARENA_MAX=1``, so that memory of other threads is included, and
``GLIBC_TUNABLES=glibc.malloc.tcache_count=0``, so that freed blocks do not count as in use.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys

import pytest

import xsffi

CALLS_A_ROUND = 16
PERIOD = 100  # rounds after which the calls repeat
WARM_UP = 5 * PERIOD  # rounds after which most caches are full
WINDOWS = 4  # the rounds are measured in this many parts: a leak must appear in each of them

# glibc's struct mallinfo2, whose fields all have the same type; before glibc 2.33, struct mallinfo, with ints
_FIELDS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class Mallinfo2(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_size_t) for name in _FIELDS)


class Mallinfo(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_int) for name in _FIELDS)


def in_use() -> int:
    """The number of bytes that this process has allocated and not freed."""
    gc.collect()
    c_library = ctypes.CDLL(None)
    try:
        function = c_library.mallinfo2
        function.restype = Mallinfo2
    except AttributeError:
        function = c_library.mallinfo
        function.restype = Mallinfo
    found = function()
    return int(found.uordblks + found.hblkhd)


def one_round(xs: xsffi.Client, number: int) -> None:
    """Make 16 calls."""
    number %= PERIOD
    path = f"/memory/{number}"
    xs.write(path, b"v" * (20 * number))
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
    xs.get_domain_path(number)
    with xs.transaction() as t:
        t.write(path, "")
        t.read(path)
    watch = xs.watch(path, token=[number])
    xs.read_watch(5)
    watch.close()


def left_by_each(backend: str, rounds: int, leak: bool) -> float:
    """How many bytes each round leaves allocated; with `leak`, each deliberately leaks a small block."""
    lost = []
    with xsffi.Client(backend=backend) as xs:
        for number in range(WARM_UP):
            one_round(xs, number)
        left = []
        for _ in range(WINDOWS):
            before = in_use()
            for number in range(rounds // WINDOWS):
                one_round(xs, number)
                if leak:
                    lost.append(bytes(1))
            left.append((in_use() - before) / (rounds // WINDOWS))
        xs.rm("/memory")
    return min(left)


if __name__ == "__main__":
    assert os.environ["PYTHONMALLOC"] == "malloc", "else Python's own blocks are not counted"
    assert os.environ["MALLOC_ARENA_MAX"] == "1", "else those of other threads are not counted"
    assert "tcache_count=0" in os.environ["GLIBC_TUNABLES"], "else what is freed counts as in use while it is cached"
    print(left_by_each(sys.argv[1], int(sys.argv[2]), "leak" in sys.argv[3:]))
