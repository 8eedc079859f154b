"""The asyncio client: thousands of tasks that read at once, and many reads in one call, each side in a process of its
own.

Usage: PYTHONPATH=tests:. python -m benchmarks.aio [--rounds N]
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from daemons import Daemon

import xsffi

from .measure import PURE_PYTHON, PYXS, compare
from .peers import measure_alone

__all__ = ["RATIOS", "measure", "text"]

NODE = "/local/domain/5/name"
VALUE = b"0123456789"
MANY = 10_000
TASKS = f"{MANY:,} tasks that read, asyncio"
READ_MANY = f"read_many of {MANY:,}, asyncio"
UVLOOP = " with uvloop"
# The rate of the first as a multiple of the second's, and the required minimum; None: for information.
RATIOS = (
    (TASKS, PYXS, 2.0),
    (TASKS + UVLOOP, PYXS, None),
    (READ_MANY, PURE_PYTHON, 0.5),
    (READ_MANY + UVLOOP, PURE_PYTHON, None),
)

# Each program does its work once per line of input, and prints how many seconds that took.
_BEGINNING = f"""
import asyncio, sys, time
NODE = {NODE!r}
MANY = {MANY}
def take_turns(work):
    for _ in sys.stdin:
        begin = time.perf_counter()
        result = work()
        taken = time.perf_counter() - begin
        assert result == [{VALUE!r}] * MANY
        print(taken, flush=True)
"""
_PYXS = """
import pyxs
client = pyxs.Client(unix_socket_path=sys.argv[1])
client.connect()
path = NODE.encode()
take_turns(lambda: [client.read(path) for _ in range(MANY)])
client.close()
"""
_SYNC = """
import xsffi
paths = [NODE] * MANY
with xsffi.Client(sys.argv[1], backend="wire") as xs:
    take_turns(lambda: xs.read_many(paths))
"""
_ASYNCIO = """
from xsffi import aio
{imports}
async def read_in_tasks():
    return await asyncio.gather(*(xs.read(NODE) for _ in range(MANY)))
async def read_many(paths=[NODE] * MANY):
    return await xs.read_many(paths)
loop = {module}.new_event_loop()
xs = loop.run_until_complete(aio.connect(sys.argv[1]))
take_turns(lambda: loop.run_until_complete({work}()))
loop.run_until_complete(xs.close())
loop.close()
"""


def measure(daemon: Daemon, rounds: int) -> list[dict[str, Any]]:
    """The rates and ratios of :data:`RATIOS`; without uvloop if that is not installed."""
    with ExitStack() as stack:

        def contender(program: str, **environment: str) -> Callable[[], float]:
            return stack.enter_context(_process(program, {**daemon.environment(), **environment}))

        contenders = {PYXS: contender(_PYXS), PURE_PYTHON: contender(_SYNC, XSFFI_EXTENSION="no")}
        for module, suffix in (("asyncio", ""), ("uvloop", UVLOOP)):
            if importlib.util.find_spec(module) is not None:
                for work, name in ((TASKS, "read_in_tasks"), (READ_MANY, "read_many")):
                    program = _ASYNCIO.format(imports=f"import {module}", module=module, work=name)
                    contenders[work + suffix] = contender(program)
        with xsffi.Client(daemon.socket_path, backend="wire") as xs:
            xs.write(NODE, VALUE)
        results = compare(contenders, rounds)
    return [
        {
            "work": ours,
            "against": theirs,
            "rate": results[ours].rate,
            "their_rate": results[theirs].rate,
            "ratio": results[ours].ratio_to(results[theirs]),
            "least": least,
        }
        for ours, theirs, least in RATIOS
        if ours in results
    ]


def text(rows: list[dict[str, Any]]) -> str:
    """The results as lines of text."""
    lines = []
    for row in rows:
        least = "" if row["least"] is None else f" (at least {row['least']})"
        rates = f"{row['rate']:,.0f} and {row['their_rate']:,.0f} a second"
        lines.append(f"{row['work']} against {row['against']}: {row['ratio']:.2f}{least}, {rates}")
    return "\n".join(lines)


@contextmanager
def _process(program: str, environment: dict[str, str]) -> Iterator[Callable[[], float]]:
    """A contender that does the work in a process of its own, and returns the seconds for one of MANY."""
    command = [sys.executable, "-c", _BEGINNING + program, environment["XENSTORED_PATH"]]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        commands, answers = process.stdin, process.stdout

        def contender() -> float:
            commands.write("\n")
            commands.flush()
            return float(answers.readline()) / MANY

        yield contender  # it exits at the end of its input


if __name__ == "__main__":
    measure_alone("python -m benchmarks.aio", __doc__, measure, text)
