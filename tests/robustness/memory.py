"""``python -m robustness.memory BACKEND ROUNDS``: calls of all kinds, failing ones and events among them, repeated.

It prints how many bytes each round has left in use, to the byte: with ``PYTHONMALLOC=malloc`` all of Python's own
memory is the C library's too, with ``MALLOC_ARENA_MAX=1`` that of other threads is counted with it, and with
``GLIBC_TUNABLES=glibc.malloc.tcache_count=0`` no block that was freed counts as one in use.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys

import pytest

import xsffi

CALLS_A_ROUND = 16
PERIOD = 100  # rounds, after which they repeat themselves
WARM_UP = 5 * PERIOD  # rounds, after which most caches are full
WINDOWS = 4  # the rounds are counted in so many parts: what is left once, and not in each of them, is no leak

# struct mallinfo2 of glibc, all of whose fields are of one type; before glibc 2.33, struct mallinfo, with ints
_FIELDS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class Mallinfo2(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_size_t) for name in _FIELDS)


class Mallinfo(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_int) for name in _FIELDS)


def in_use() -> int:
    """The bytes that this process has allocated and not freed."""
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
    """16 calls."""
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
    """How many bytes each round has left; with `leak` it loses one small block."""
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
