"""What the README says of speed, from benchmarks/results/results.json. Usage: python -m benchmarks.summary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .measure import (
    C_LIBRARY,
    C_PIPELINED,
    C_SINGLE,
    COMMAND,
    INTERPRETER,
    OLD,
    ONE_WATCH,
    PYXS,
    XENSTORE_LS,
)

__all__ = ["markdown"]

RESULTS = Path(__file__).with_name("results") / "results.json"

# Each line: the work, against whom, and the C program that shows how far anybody can come.
LINES = (
    ("read, libxenstore", (OLD, PYXS), f"read, {C_LIBRARY}"),
    ("read, wire", (OLD, PYXS), f"read, {C_SINGLE}"),
    ("read, wire, pure Python", (OLD, PYXS), f"read, {C_SINGLE}"),
    ("read_many of 10,000, wire", (OLD,), f"read_many of 10,000, {C_PIPELINED}"),
    ("read_many of 10,000, wire, pure Python", (OLD,), f"read_many of 10,000, {C_PIPELINED}"),
    (
        "100 writes with permissions in a transaction, wire",
        (OLD,),
        f"100 writes with permissions in a transaction, {C_PIPELINED}",
    ),
    ("dump of 20,000 nodes, wire", (XENSTORE_LS,), f"dump of 20,000 nodes, {C_PIPELINED}"),
    ("events to a callback, libxenstore", (OLD,), None),
    ("events to a callback, wire", (OLD,), None),
    ("events to a callback, wire, pure Python", (OLD,), None),
    ("events with 10,000 watches set, wire", (ONE_WATCH,), None),
)


def markdown(found: dict[str, Any]) -> str:
    """A table, of what was measured on xenstored, and a sentence."""
    rows = {(row["work"], row["against"]): row for row in found["ratios"]["xenstored"]}
    lines = ["| work | against | ratio | a C program's ratio |", "|---|---|---|---|"]
    for work, against, limit in LINES:
        ratios, most = (
            "; ".join(f"{rows[what, other]['ratio']:.2f}" for other in against) if what is not None else ""
            for what in (work, limit)
        )
        lines.append(f"| {work} | {'; '.join(against)} | {ratios} | {most} |")
    lines += [f"| {row['work']} | {row['against']} | {row['ratio']:.2f} |  |" for row in found["aio"]]
    dump = found["dump_memory"]
    starts = [
        f"{row['ratio']:.2f} times as long with `{row['work']}` as with {row['against']}"
        for row in found["starts"]["ratios"]
        if row["work"] != COMMAND
    ]
    command = [
        f" The whole process of `{row['work']}` takes {row['ratio']:.2f} times as long as {row['against']}."
        for row in found["starts"]["ratios"]
        if (row["work"], row["against"]) == (COMMAND, INTERPRETER)
    ]
    lines += [
        "",
        f"That was on {found['machine']['processors']} processors. A dump of {dump['nodes']:,} nodes raises the "
        f"memory of its process by {dump['bytes'] / 2**20:.0f} MiB, its result included. A script that reads one node "
        f"and ends takes {' and '.join(starts)}.{''.join(command)}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown(json.loads(RESULTS.read_text())))
