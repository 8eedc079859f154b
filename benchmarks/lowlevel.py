"""Reads through the drop-in and through the C module, in turns in one process, as ratios.

Run it with the interpreter that xen.lowlevel.xs was compiled for, with both modules importable and a daemon running::

    PYTHONPATH=/usr/lib/xen-4.17/lib/python:. python3.11 benchmarks/lowlevel.py

``--daemon`` starts a daemon from what ci/fetch-xen unpacked, and sets up all of that.

Each round measures every contender once, in random order, so that other load affects all alike. The result is the ratio
of the medians over the rounds.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PATH = "/xsffi-benchmark"
EVENTS = 200  # pending events to take in a round


def seconds_per_call(call: Callable[[], object], count: int) -> float:
    before = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - before) / count


def reads(theirs: Any, ours: Any, rounds: int, count: int) -> None:
    """A node of ten bytes, and a missing one.

    Each round has new connections, also opened in random order: xenstored serves its connections one after another, the
    first faster than the next.
    """
    connects: dict[str, Callable[[], Any]] = {
        "xen.lowlevel.xs": theirs.xs,
        "xen.lowlevel.xs, again": theirs.xs,  # the difference between these two is noise
        "ours, libxenstore": lambda: _connect(ours, "libxenstore"),
        "ours, wire": lambda: _connect(ours, "wire"),
    }
    writer = theirs.xs()
    writer.write("", PATH, "0123456789")
    writer.close()
    for what, path in (("a read", PATH), ("a read of a missing node", f"{PATH}/missing")):
        times: dict[str, list[float]] = {name: [] for name in connects}
        order = list(connects)
        first = order[0]
        for _ in range(rounds):
            random.shuffle(order)
            handles = {name: connects[name]() for name in order}
            random.shuffle(order)
            for name in order:
                times[name].append(seconds_per_call(_reader(handles[name], path), count))
            for handle in handles.values():
                handle.close()
        print(what)
        for name, measured in times.items():
            ratio = statistics.median(a / b for a, b in zip(times[first], measured))
            overall = statistics.median(times[first]) / statistics.median(measured)
            print(
                f"  {name:24} {statistics.median(measured) * 1e6:6.2f} µs"
                f"   rate {overall:5.3f} of the first, {ratio:5.3f} within a round"
            )


def _connect(module: Any, backend: str) -> Any:
    os.environ["XSFFI_BACKEND"] = backend
    return module.xs()


def _reader(handle: Any, path: str) -> Callable[[], object]:
    read = handle.read

    def call() -> object:
        return read("", path)

    return call


def events(theirs: Any, ours: Any, rounds: int) -> None:
    """Taking pending events, with one watch and with ten thousand; without the daemon's part."""
    os.environ["XSFFI_BACKEND"] = "libxenstore"
    writer = theirs.xs()
    writer.rm("", PATH)
    for name, module in (("xen.lowlevel.xs", theirs), ("ours, libxenstore", ours)):
        few, many = module.xs(), module.xs()
        for handle, watches in ((few, 1), (many, 10_000)):
            for number in range(watches):
                # The last watch is the one that fires.
                handle.watch(f"{PATH}/{watches}/{number}", [number])
                handle.read_watch()
        times: dict[int, list[float]] = {1: [], 10_000: []}
        for _ in range(rounds):
            for handle, watches in ((few, 1), (many, 10_000)):
                for event in range(EVENTS):
                    writer.write("", f"{PATH}/{watches}/{watches - 1}/{event}", "")
                time.sleep(0.05)  # all have arrived, and the daemon is idle
                times[watches].append(seconds_per_call(handle.read_watch, EVENTS))
        medians = {watches: statistics.median(measured) * 1e6 for watches, measured in times.items()}
        ratio = medians[10_000] / medians[1]
        print(
            f"{name}: one watch {medians[1]:.2f} µs an event, 10 000 watches {medians[10_000]:.2f} µs, {ratio:.2f} fold"
        )
        few.close()
        many.close()


def start_with_daemon(arguments: list[str]) -> int:
    """Run this again, with the right interpreter and a daemon."""
    sys.path.insert(0, str(ROOT / "tests"))
    daemons = importlib.import_module("daemons")
    packages = daemons.load_packages()
    if packages is None or packages.lowlevel_interpreter is None:
        print("the daemons (see ci/fetch-xen) or the interpreter of xen.lowlevel.xs is missing", file=sys.stderr)
        return 1
    # That may be another interpreter of the same version: it needs this one's packages.
    path = [str(packages.lowlevel_python), str(ROOT), *(place for place in sys.path if "site-packages" in place)]
    with daemons.start_daemon("xenstored") as daemon:
        environment = {**daemon.environment(), "PYTHONPATH": os.pathsep.join(path)}
        command = [packages.lowlevel_interpreter, __file__, *arguments]
        return subprocess.run(command, env=environment, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--daemon", action="store_true", help="start a daemon")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--count", type=int, default=1000, help="calls per round")
    parser.add_argument("--only", choices=("reads", "events"))
    options = parser.parse_args()
    if options.daemon:
        return start_with_daemon([argument for argument in sys.argv[1:] if argument != "--daemon"])
    theirs = importlib.import_module("xen.lowlevel.xs")
    ours = importlib.import_module("xsffi.lowlevel.xs")
    if options.only != "events":
        reads(theirs, ours, options.rounds, options.count)
    if options.only != "reads":
        events(theirs, ours, max(options.rounds // 4, 1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
