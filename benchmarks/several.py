"""Bulk work over several connections: compared with a C program over as many, its processor time per request, and how
long another client waits meanwhile. A fresh daemon for each turn, since an old one is slower.

Usage: PYTHONPATH=tests:. python -m benchmarks.several [--rounds N]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from daemons import Daemon, Packages, start_daemon

import xsffi
from xsffi import Client, Node, Permission
from xsffi.backends.wire.several import CONNECTIONS_DEFAULT
from xsffi.protocol.lookups import Lookups, Nodes, Values
from xsffi.protocol.wire import encode_packet

from .measure import OLD, XENSTORE_LS
from .peers import build_ceiling, lowlevel, packages_or_exit, prepare

__all__ = ["FLOORS", "measure", "text"]

T = TypeVar("T")

READ = "/local/domain/5/name"
MANY = 10_000
CONNECTIONS = (1, 2, 4, 8)
WINDOW = 64  # requests in flight over each connection of the C program
REPEAT = 8  # times in a turn
SINGLES = 500
OTHERS = 2000  # reads of another client
OWNER = (Permission(0, "n"),)
# The required ratios of speed: the work and what it is compared with, with the default number of connections.
FLOORS = {
    ("read_many of 10,000", "C"): 0.85,
    ("read_many of 10,000", OLD): 4.0,
    ("dump of 20,000 nodes", "C"): 0.7,
    ("dump of 20,000 nodes", XENSTORE_LS): 5.0,
}


class Turn(NamedTuple):
    """The seconds per request or node in one turn."""

    wall: float
    user: float
    system: float


def _best(turns: Sequence[Turn]) -> Turn:
    """The shortest wall time, and the mean processor times: the kernel splits user and system time by ticks."""
    walls, users, systems = zip(*turns)
    return Turn(min(walls), statistics.mean(users), statistics.mean(systems))


def measure(packages: Packages, ceiling: Path, rounds: int) -> dict[str, Any]:
    """Medians over the rounds: microseconds of each contender by connections, ratios, and the waits of others."""
    turns: dict[str, list[Turn]] = {}
    waits: dict[str, list[float]] = {}
    paths = [node.path for node in _tree()]
    for _ in range(rounds):
        for number in CONNECTIONS:
            _take(turns, f"read_many {number}", _reading, lambda d, n=number: _timed_client(d, n, _read_many))
            _take(
                turns,
                f"C {number}",
                _reading,
                lambda d, n=number: _c_program(ceiling, d, n, Values([READ] * MANY)),
            )
            _wait(waits, str(number), lambda d, n=number: _another(ceiling, packages, d, n))
        _wait(waits, "idle", lambda d: _another(ceiling, packages, d, 0))
        _take(turns, OLD, _reading, lambda d: _old(packages))
        for number in (1, CONNECTIONS_DEFAULT):
            _take(turns, f"dump {number}", _loaded, lambda d, n=number: _timed_client(d, n, _dump))
            _take(
                turns,
                f"C dump {number}",
                _loaded,
                lambda d, n=number: _c_program(ceiling, d, n, Nodes(paths)),
            )
        _take(turns, XENSTORE_LS, _loaded, _xenstore_ls)
    against = {
        ("read_many of 10,000", "C"): (f"read_many {CONNECTIONS_DEFAULT}", f"C {CONNECTIONS_DEFAULT}"),
        ("read_many of 10,000", OLD): (f"read_many {CONNECTIONS_DEFAULT}", OLD),
        ("dump of 20,000 nodes", "C"): (f"dump {CONNECTIONS_DEFAULT}", f"C dump {CONNECTIONS_DEFAULT}"),
        ("dump of 20,000 nodes", XENSTORE_LS): (f"dump {CONNECTIONS_DEFAULT}", XENSTORE_LS),
    }
    return {
        "microseconds": {
            name: [statistics.median(values) * 1e6 for values in zip(*turn)] for name, turn in turns.items() if turn
        },
        "ratios": [
            {"work": work, "against": whom, "ratio": _ratio(turns[ours], turns[theirs]), "least": FLOORS[work, whom]}
            for (work, whom), (ours, theirs) in against.items()
            if turns.get(theirs)
        ],
        "another_waits": {name: statistics.median(values) * 1e6 for name, values in waits.items()},
    }


def text(found: dict[str, Any]) -> str:
    """The results as lines of text."""
    lines = ["µs a request, or a node: wall, user, system"]
    for name, (wall, user, system) in found["microseconds"].items():
        lines.append(f"  {name:16} {wall:7.2f} {user:7.2f} {system:7.2f}")
    for row in found["ratios"]:
        work = f"{row['work']} over {CONNECTIONS_DEFAULT}"
        lines.append(f"{work} against {row['against']}: {row['ratio']:.2f} (at least {row['least']})")
    waits = ", ".join(f"{name}: {microseconds:.0f}" for name, microseconds in found["another_waits"].items())
    lines.append(f"µs that another's read takes while read_many goes over so many connections: {waits}")
    return "\n".join(lines)


def _ratio(ours: Sequence[Turn], theirs: Sequence[Turn]) -> float:
    return statistics.median(their.wall / our.wall for our, their in zip(ours, theirs))


def _reading(daemon: Daemon) -> None:
    with Client(daemon.socket_path, backend="wire") as xs:
        xs.write(READ, "0123456789")


def _tree() -> list[Node]:
    """20 000 nodes, as wide and deep as those of many domains."""
    tops = [f"/local/domain/{number}" for number in range(20)]
    middles = [f"{top}/device/{number}" for top in tops for number in range(20)]
    below = [f"{middle}/key-{number}" for middle in middles for number in range(49)]
    return [Node(path, b"0123456789", (), OWNER) for path in (*tops, *middles, *below)]


def _loaded(daemon: Daemon) -> None:
    with Client(daemon.socket_path, backend="wire") as xs:
        xs.load(_tree())


def _fresh(prepare: Callable[[Daemon], None], turn: Callable[[Daemon], T]) -> T:
    """A turn on a fresh daemon."""
    with start_daemon("xenstored") as daemon:
        os.environ["XENSTORED_PATH"] = daemon.socket_path
        prepare(daemon)
        return turn(daemon)


def _take(
    turns: dict[str, list[Turn]], name: str, prepare: Callable[[Daemon], None], turn: Callable[[Daemon], Turn | None]
) -> None:
    took = _fresh(prepare, turn)
    turns.setdefault(name, []).extend([] if took is None else [took])


def _wait(waits: dict[str, list[float]], name: str, turn: Callable[[Daemon], float]) -> None:
    waits.setdefault(name, []).append(_fresh(_reading, turn))


def _timed_client(daemon: Daemon, connections: int, work: Callable[[Client], int]) -> Turn:
    """A few times, with the further connections already open."""
    with Client(daemon.socket_path, backend="wire", connections=connections) as xs:
        work(xs)
        turns = []
        for _ in range(REPEAT):
            before, begin = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
            count = work(xs)
            wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF)
            turns.append(
                Turn(
                    wall / count,
                    (after.ru_utime - before.ru_utime) / count,
                    (after.ru_stime - before.ru_stime) / count,
                )
            )
        return _best(turns)


def _read_many(xs: Client) -> int:
    return len(xs.read_many([READ] * MANY))


def _dump(xs: Client) -> int:
    return len(xs.dump("/local"))


def _c_program(ceiling: Path, daemon: Daemon, connections: int, lookups: Lookups) -> Turn:
    count = len(lookups.paths)
    messages = daemon.directory / "messages"
    messages.write_bytes(
        b"".join([encode_packet(each.type, number, 0, each.payload()) for number, each in enumerate(lookups, 1)])
    )
    command = [ceiling, "several", daemon.socket_path, messages, WINDOW, connections]
    turns = []
    for _ in range(REPEAT):
        wall, user, system = map(float, subprocess.check_output([str(each) for each in command]).split())
        turns.append(Turn(wall / count, user / count, system / count))
    return _best(turns)


def _xenstore_ls(daemon: Daemon) -> Turn:
    turns = []
    for _ in range(2):
        begin = time.perf_counter()
        lines = daemon.tool("xenstore-ls", "-fp", "/local", timeout=60).stdout.count("\n")
        turns.append(Turn((time.perf_counter() - begin) / lines, 0.0, 0.0))
    return _best(turns)


def _old(packages: Packages) -> Turn | None:
    old = lowlevel(packages)
    if old is None:
        return None
    turns = []
    for _ in range(4):
        begin = time.perf_counter()
        for _ in range(SINGLES):
            old.read("", READ)
        turns.append(Turn((time.perf_counter() - begin) / SINGLES, 0.0, 0.0))
    return _best(turns)


def _another(ceiling: Path, packages: Packages, daemon: Daemon, connections: int) -> float:
    """Seconds that a read over libxenstore takes while read_many runs here over this many connections; 0: it does not
    run."""
    environment = {**os.environ, "LD_LIBRARY_PATH": packages.library_path, "XENSTORED_PATH": daemon.socket_path}
    command = [str(ceiling), "libxenstore", str(packages.libxenstore), READ, str(OTHERS)]
    with xsffi.Client(daemon.socket_path, backend="wire", connections=connections or 1) as xs:
        if connections:
            _read_many(xs)
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as another:
            while connections and another.poll() is None:
                _read_many(xs)
            told, _ = another.communicate()
    return float(told) / OTHERS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.several", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how many turns each contender takes")
    options = parser.parse_args()
    packages = packages_or_exit(parser)
    prepare(packages)
    with tempfile.TemporaryDirectory() as directory:
        print(text(measure(packages, build_ceiling(Path(directory)), options.rounds)))


if __name__ == "__main__":
    main()
