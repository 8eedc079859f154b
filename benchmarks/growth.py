"""How cost grows with the number of nodes, watches and threads, and the length of values."""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from daemons import Daemon

import xsffi
from xsffi import Client, Node, Permission

from .measure import compare, timed
from .peers import clients

__all__ = ["dump_memory", "measure", "plot"]

OWNER = (Permission(0, "n"),)
Series = dict[str, list[tuple[float, float]]]  # by name: (how many, seconds for one)


def measure(daemon: Daemon, rounds: int) -> dict[str, Series]:
    """Every series, on one daemon."""
    with clients(daemon) as forms:
        return {
            "nodes in a dump": _nodes(forms),
            "watches set, for an event": _watches(forms, daemon, rounds),
            "threads on one client, for a read": _threads(forms, rounds),
            "bytes in a value, for a read": _values(forms, rounds),
        }


# Prints by how many bytes a dump raised the peak memory of its process, and how many nodes there were. Not ru_maxrss,
# which a process inherits from the one that started it.
_DUMP = """
import sys
from xsffi import Client
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024
with Client(sys.argv[1], backend="wire") as xs:
    before = peak()
    nodes = xs.dump(sys.argv[2])
print(peak() - before, len(nodes))
"""


def dump_memory(daemon: Daemon, count: int) -> tuple[int, int]:
    """The memory in bytes that a dump of about `count` nodes takes, including its result, and the exact number of
    nodes."""
    with Client(daemon.socket_path, backend="wire") as xs:
        xs.load(Node(f"/growth/{n // 100}/{n % 100}", b"value", (), OWNER) for n in range(count))
        said = subprocess.check_output([sys.executable, "-c", _DUMP, daemon.socket_path, "/growth"])
        xs.rm("/growth")
    size, nodes = map(int, said.split())
    return size, nodes


def plot(found: dict[str, Series], directory: Path) -> None:
    """Plot each series."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(11, 7))
    for ax, (title, series) in zip(axes.flat, found.items()):
        for name, points in series.items():
            ax.plot([x for x, _ in points], [seconds * 1e6 for _, seconds in points], marker="o", label=name)
        ax.set_xscale("log")
        ax.set_ylim(bottom=0)
        ax.set_xlabel(title.partition(",")[0])
        ax.set_ylabel("µs each")
        ax.set_title(title)
        ax.grid(alpha=0.3)
        ax.legend()
    figure.tight_layout()
    figure.savefig(directory / "growth.png", dpi=110)
    pyplot.close(figure)


def _each(forms: dict[str, Client], work: Callable[[Client], object], operations: int, rounds: int) -> dict[str, float]:
    contenders = {
        name: timed(lambda client=client: work(client), operations)  # type: ignore[misc]
        for name, client in forms.items()
    }
    return {name: statistics.median(result.seconds) for name, result in compare(contenders, rounds).items()}


def _add(series: Series, x: float, found: dict[str, float]) -> None:
    for name, seconds in found.items():
        series.setdefault(name, []).append((x, seconds))


def _nodes(forms: dict[str, Client]) -> Series:
    series: Series = {}
    for count in (100, 1000, 10_000, 100_000):
        forms["wire"].load(Node(f"/growth/{n // 100}/{n % 100}", b"value", (), OWNER) for n in range(count))
        wires = {name: client for name, client in forms.items() if name.startswith("wire")}
        _add(series, count, _each(wires, lambda client: client.dump("/growth"), count, 3 if count > 10_000 else 9))
    forms["wire"].rm("/growth")
    return series


def _watches(forms: dict[str, Client], daemon: Daemon, rounds: int) -> Series:
    series: Series = {}
    events = 500
    for name, client in forms.items():
        with (
            xsffi.Client(daemon.socket_path, backend=client.backend.name) as watcher,
            xsffi.Client(daemon.socket_path, backend="wire") as writer,
        ):
            have = 0
            for count in (1, 10, 100, 1000, 10_000):
                for number in range(have, count - 1):
                    watcher.watch(f"/elsewhere/{number}")
                    list(watcher.events(timeout=0))
                have = max(have, count - 1)
                list(watcher.events(timeout=0.05))
                seconds = []
                for _ in range(rounds):
                    with watcher.watch("/growth", token="mine"):
                        watcher.read_watch()
                        with writer.pipeline() as p:
                            for number in range(events):
                                p.write(f"/growth/{number}", "")
                        begin = time.perf_counter()
                        for _ in range(events):
                            watcher.read_watch()
                        seconds.append((time.perf_counter() - begin) / events)
                _add(series, count, {name: statistics.median(seconds)})
            writer.rm("/growth")
    return series


def _threads(forms: dict[str, Client], rounds: int) -> Series:
    series: Series = {}
    reads = 300

    def work(client: Client, count: int) -> None:
        def read() -> None:
            for _ in range(reads):
                client.read("/")

        threads: list[Any] = [threading.Thread(target=read) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    for count in (1, 2, 4, 8, 16):
        found = _each(forms, lambda client, count=count: work(client, count), reads * count, rounds)  # type: ignore[misc]
        _add(series, count, found)
    return series


def _values(forms: dict[str, Client], rounds: int) -> Series:
    series: Series = {}
    for length in (1, 10, 100, 1000, 4000):
        forms["wire"].write("/growth", b"v" * length)

        def work(client: Client) -> None:
            for _ in range(300):
                client.read("/growth")

        _add(series, length, _each(forms, work, 300, rounds))
    forms["wire"].rm("/growth")
    return series
