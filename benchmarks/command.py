"""The command on a large tree: whole processes of dump, load, diff and tree, compared with the library's own time for
reading, or writing, that tree; and their memory.

Usage: PYTHONPATH=tests:. python -m benchmarks.command [--rounds N]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from daemons import Daemon

from xsffi import Client, Node, Permission

from .measure import compare, timed
from .peers import measure_alone

__all__ = ["measure", "text"]

NODES = 100_000
TOP = "/command"
OWNER = (Permission(0, "n"),)
READING, WRITING = "Client.dump", "Client.load"

# Runs a command and prints its peak memory in kibibytes: a process inherits the peak of the one that started it, so
# that must be small.
_MEMORY = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
_DUMP = "import sys, xsffi; xsffi.Client(sys.argv[1], 'wire').dump(sys.argv[2])"


def measure(daemon: Daemon, rounds: int) -> list[dict[str, Any]]:
    """For each command, its time as a ratio to the library call's, and its memory as a ratio to that of a process that
    makes a dump and keeps it."""
    with tempfile.TemporaryDirectory() as folder, Client(daemon.socket_path, backend="wire") as xs:
        file = Path(folder) / "dump"
        nodes = [Node(f"{TOP}/{number // 1000}/{number % 1000}", b"value", (), OWNER) for number in range(NODES)]
        xs.load(nodes)
        file.write_text("".join(f"{node.to_json()}\n" for node in xs.dump(TOP)))
        commands = {
            "dump": (READING, ["dump", TOP]),
            "tree": (READING, ["tree", TOP]),
            "diff of a file and the store": (READING, ["diff", str(file), TOP]),
            "load --dry-run": (READING, ["load", str(file), "--dry-run"]),
            "load": (WRITING, ["load", str(file)]),
        }
        contenders: dict[str, Callable[[], float]] = {
            READING: timed(lambda: xs.dump(TOP), 1),
            WRITING: timed(lambda: xs.load(nodes), 1),
        }
        for name, (_, arguments) in commands.items():
            contenders[name] = timed(_process(_command(daemon, arguments)), 1)
        results = compare(contenders, max(3, rounds // 3))
        memory = _memory([sys.executable, "-c", _DUMP, daemon.socket_path, TOP])
        rows = [
            {
                "work": name,
                "against": against,
                "seconds": statistics.median(results[name].seconds),
                "ratio": results[against].ratio_to(results[name]),
                "memory": _memory(_command(daemon, arguments)) / memory,
            }
            for name, (against, arguments) in commands.items()
        ]
        xs.rm(TOP)
    return rows


def text(rows: list[dict[str, Any]]) -> str:
    """The results as lines of text."""
    return "\n".join(
        f"xsffi {row['work']}, {NODES:,} nodes: {row['seconds']:.1f} s, {row['ratio']:.2f} times {row['against']}, "
        f"{row['memory']:.2f} times the memory of a dump"
        for row in rows
    )


def _command(daemon: Daemon, arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "xsffi", "--socket", daemon.socket_path, "--backend", "wire", *arguments]


def _process(command: list[str]) -> Callable[[], object]:
    return lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _memory(command: list[str]) -> int:
    return int(subprocess.check_output([sys.executable, "-c", _MEMORY, *command]))


if __name__ == "__main__":
    measure_alone("python -m benchmarks.command", __doc__, measure, text)
