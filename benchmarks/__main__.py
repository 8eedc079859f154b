"""Runs every benchmark: tables of ratios, results.json, and plots. Usage: python -m benchmarks [--rounds N] [--output
DIR]"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

from daemons import DAEMON_KINDS, start_daemon
from rich.console import Console
from rich.table import Table

from . import growth, ratios, several, starts
from .peers import build_ceiling, packages_or_exit, prepare


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="how often each contender takes its turn, at least 7")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), help="where results and plots go")
    parser.add_argument("--no-growth", action="store_true", help="the tables alone")
    options = parser.parse_args()
    packages = packages_or_exit(parser)
    prepare(packages)
    options.output.mkdir(parents=True, exist_ok=True)
    console = Console(width=110)
    found: dict[str, Any] = {"machine": _machine(), "ratios": {}}
    with tempfile.TemporaryDirectory() as directory:
        ceiling = build_ceiling(Path(directory))
        for kind in DAEMON_KINDS:
            with start_daemon(kind) as daemon:
                os.environ["XENSTORED_PATH"] = daemon.socket_path
                rows = ratios.all_rows(daemon, packages, ceiling, options.rounds)
            console.print(_table(kind, rows))
            found["ratios"][kind] = [row._asdict() for row in rows]
        found["several"] = several.measure(packages, ceiling, max(3, options.rounds // 2))
        console.print(several.text(found["several"]), highlight=False)
    if not options.no_growth:
        with start_daemon("xenstored") as daemon:
            os.environ["XENSTORED_PATH"] = daemon.socket_path
            found["growth"] = growth.measure(daemon, options.rounds)
            size, nodes = growth.dump_memory(daemon, 100_000)
        found["dump_memory"] = {"bytes": size, "nodes": nodes}
        growth.plot(found["growth"], options.output)
        console.print(_growth_table(found["growth"]))
        console.print(f"peak memory of a dump of {nodes:,} nodes, with its result: {size / 2**20:.0f} MiB")
    with start_daemon("xenstored") as daemon:
        found["starts"] = starts.measure(daemon, packages, options.rounds)
    console.print(starts.text(found["starts"]), highlight=False)
    (options.output / "results.json").write_text(json.dumps(found, indent=2) + "\n")
    console.print(f"written: {options.output}")


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
