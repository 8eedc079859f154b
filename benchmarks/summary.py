"""What the README says of speed, from benchmarks/results/results.json. Usage: python -m benchmarks.summary"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["markdown"]

RESULTS = Path(__file__).with_name("results") / "results.json"
OLD = "xen.lowlevel.xs"
LS = "xenstore-ls -fp"
SINGLE = "C, one at a time"
PIPELINED = "C, pipelined"

# Each line: the work, against whom, and the C program that shows how far anybody can come.
LINES = (
    ("read, libxenstore", (OLD, "pyxs"), "libxenstore from C"),
    ("read, wire", (OLD, "pyxs"), SINGLE),
    ("read, wire, pure Python", (OLD, "pyxs"), SINGLE),
    ("read_many of 10,000, wire", (OLD,), PIPELINED),
    ("read_many of 10,000, wire, pure Python", (OLD,), PIPELINED),
    ("100 writes with permissions in a transaction, wire", (OLD,), PIPELINED),
    ("dump of 20,000 nodes, wire", (LS,), PIPELINED),
    ("events to a callback, libxenstore", (OLD,), None),
    ("events to a callback, wire", (OLD,), None),
    ("events to a callback, wire, pure Python", (OLD,), None),
    ("events with 10,000 watches set, wire", ("with one watch",), None),
)


def markdown(found: dict[str, Any]) -> str:
    """A table, of what was measured on xenstored, and a sentence."""
    rows = {(row["work"], row["against"]): row for row in found["ratios"]["xenstored"]}
    lines = ["| work | against | ratio | a C program's ratio |", "|---|---|---|---|"]
    for work, against, limit in LINES:
        ratios = "; ".join(f"{rows[work, other]['ratio']:.2f}" for other in against)
        most = ""
        if limit is not None:
            most = "; ".join(
                f"{rows[work, limit]['their_rate'] / rows[work, other]['their_rate']:.2f}" for other in against
            )
        lines.append(f"| {work} | {'; '.join(against)} | {ratios} | {most} |")
    nodes, mebibytes = found["dump_memory"]["nodes"], found["dump_memory"]["bytes"] / 2**20
    alone, with_client = (seconds * 1000 for seconds in found["import_seconds"].values())
    lines += [
        "",
        f"A dump of {nodes:,} nodes raises the memory of its process by {mebibytes:.0f} MiB, its result included. "
        f"`import xsffi` takes {alone:.0f} ms, with the client {with_client:.0f}.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown(json.loads(RESULTS.read_text())))
