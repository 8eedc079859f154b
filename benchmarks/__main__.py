"""Runs every benchmark, or one part of them: tables of ratios, results.json, and plots.

Usage: python -m benchmarks [--rounds N] [--output DIR] [--part PART]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from daemons import DAEMON_KINDS, Packages, start_daemon
from rich.console import Console
from rich.table import Table

from . import aio, command, growth, mirrors, ratios, several, starts, waiting
from .peers import build_ceiling, packages_or_exit, prepare


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="how many turns each contender takes, at least 7")
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks/results"), help="where to write results and plots"
    )
    parser.add_argument("--no-growth", action="store_true", help="only the tables")
    parser.add_argument(
        "--part", choices=PARTS, help="only this part; earlier results of the others are kept in results.json"
    )
    options = parser.parse_args()
    packages = packages_or_exit(parser)
    prepare(packages)
    options.output.mkdir(parents=True, exist_ok=True)
    results = options.output / "results.json"
    found: dict[str, Any] = {"machine": _machine()}
    parts = [part for part in PARTS if part != "growth" or not options.no_growth]
    if options.part is not None:
        found = json.loads(results.read_text())
        parts = [options.part]
    run = Run(packages, options.rounds, options.output, Console(width=110), found)
    for part in parts:
        PARTS[part](run)
    results.write_text(json.dumps(found, indent=2) + "\n")
    run.console.print(f"written: {options.output}")


class Run(NamedTuple):
    """What each part needs, and where it stores its results."""

    packages: Packages
    rounds: int
    output: Path
    console: Console
    found: dict[str, Any]


def _ratios(run: Run) -> None:
    run.found["ratios"] = {}
    with _ceiling() as ceiling:
        for kind in DAEMON_KINDS:
            with start_daemon(kind) as daemon:
                os.environ["XENSTORED_PATH"] = daemon.socket_path
                rows = ratios.all_rows(daemon, run.packages, ceiling, run.rounds)
            run.console.print(_table(kind, rows))
            run.found["ratios"][kind] = [row._asdict() for row in rows]


def _several(run: Run) -> None:
    with _ceiling() as ceiling:
        run.found["several"] = several.measure(run.packages, ceiling, max(3, run.rounds // 2))
    run.console.print(several.text(run.found["several"]), highlight=False)


def _of_module(module: Any) -> Callable[[Run], None]:
    """The part measured by a module on a xenstored of its own; named after the module."""
    name = module.__name__.rpartition(".")[2]

    def part(run: Run) -> None:
        with start_daemon("xenstored") as daemon:
            run.found[name] = module.measure(daemon, run.rounds)
        run.console.print(module.text(run.found[name]), highlight=False)

    return part


def _growth(run: Run) -> None:
    with start_daemon("xenstored") as daemon:
        os.environ["XENSTORED_PATH"] = daemon.socket_path
        run.found["growth"] = growth.measure(daemon, run.rounds)
        size, nodes = growth.dump_memory(daemon, 100_000)
    run.found["dump_memory"] = {"bytes": size, "nodes": nodes}
    growth.plot(run.found["growth"], run.output)
    run.console.print(_growth_table(run.found["growth"]))
    run.console.print(f"peak memory of a dump of {nodes:,} nodes, with its result: {size / 2**20:.0f} MiB")


def _starts(run: Run) -> None:
    with start_daemon("xenstored") as daemon:
        run.found["starts"] = starts.measure(daemon, run.packages, run.rounds)
    run.console.print(starts.text(run.found["starts"]), highlight=False)


PARTS = {
    "ratios": _ratios,
    "several": _several,
    "aio": _of_module(aio),
    "mirrors": _of_module(mirrors),
    "waiting": _of_module(waiting),
    "command": _of_module(command),
    "growth": _growth,
    "starts": _starts,
}


@contextmanager
def _ceiling() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield build_ceiling(Path(directory))


def _machine() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "processors": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
    }


def _table(kind: str, rows: list[ratios.Row]) -> Table:
    table = Table(title=kind)
    for heading in ("work", "against", "a second", "a second, they", "ratio", "CPU µs", "daemon's"):
        table.add_column(heading, justify="left" if heading in ("work", "against") else "right")
    for row in rows:
        times = [f"{seconds * 1e6:.1f}" for seconds in (row.cpu, row.daemon)]
        table.add_row(row.work, row.against, f"{row.rate:,.0f}", f"{row.their_rate:,.0f}", f"{row.ratio:.2f}", *times)
    return table


def _growth_table(found: dict[str, Any]) -> Table:
    table = Table(title="how cost grows (xenstored)")
    for heading in ("what", "of", "microseconds each"):
        table.add_column(heading)
    for what, series in found.items():
        for name, points in series.items():
            text = "  ".join(f"{x:g}: {seconds * 1e6:.1f}" for x, seconds in points)
            table.add_row(what, name, text)
    return table


if __name__ == "__main__":
    main()
