"""The run time of a script that reads one node and exits, and of the equivalent command: whole processes, compared in
turns, as ratios, and what they import.

Usage: PYTHONPATH=tests:. python -m benchmarks.starts [--rounds N]
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from daemons import Daemon, Packages, start_xenstored

from .measure import COMMAND, INTERPRETER, OLD, PYXS, compare
from .peers import packages_or_exit

__all__ = ["RATIOS", "measure", "text"]

DROP_IN = "xsffi.lowlevel.xs"
CLIENT = "xsffi.Client"
XENSTORE_READ = "xenstore-read"
READ = "read('', '/tool')"
# Each starts with what the site module imports anyway, to exclude that: its hooks, for example of an editable
# installation, may import half of the standard library.
PROGRAMS = {
    INTERPRETER: "import os",
    OLD: f"import os; from xen.lowlevel import xs; xs.xs().{READ}",
    PYXS: "import os, pyxs; c = pyxs.Client(os.environ['XENSTORED_PATH']); c.connect(); c.read(b'/tool')",
    DROP_IN: f"import os; from xsffi.lowlevel import xs; xs.xs().{READ}",
    CLIENT: "import os, xsffi; c = xsffi.Client(); c.read('/tool'); c.close()",
}
# The script that pip generates from [project.scripts].
SCRIPT = """\
import sys
from xsffi.cli.start import main
if __name__ == '__main__':
    sys.argv[0] = sys.argv[0].removesuffix('.exe')
    sys.exit(main())
"""
# The time of the first as a multiple of the second's, and the maximum allowed, if any.
RATIOS: tuple[tuple[str, str, float | None], ...] = (
    (DROP_IN, OLD, 2.0),
    (CLIENT, PYXS, 0.8),
    (COMMAND, INTERPRETER, 3.5),
    (COMMAND, XENSTORE_READ, None),
)
DEAREST = 5
IMPORT_ROUNDS = 9


def measure(daemon: Daemon, packages: Packages, rounds: int) -> dict[str, Any]:
    """The median seconds of each program, the ratios with their maxima, and our most expensive imports, each with its
    own seconds."""
    with tempfile.TemporaryDirectory() as folder:
        environment = _environment(daemon, packages, folder)
        commands = _commands(Path(folder))
        contenders = {
            name: _process([sys.executable, "-S", *command], environment)
            for name, command in commands.items()
            if name != OLD or packages.lowlevel_interpreter == sys.executable
        }
        contenders[XENSTORE_READ] = _process([str(packages.tool("xenstore-read")), "/tool"], environment)
        results = compare(contenders, rounds)
        return {
            "seconds": {name: statistics.median(result.seconds) for name, result in results.items()},
            "ratios": [
                {"work": ours, "against": theirs, "ratio": results[theirs].ratio_to(results[ours]), "most": most}
                for ours, theirs, most in RATIOS
                if theirs in results
            ],
            "imports": {name: _dearest(name, commands, environment) for name in (DROP_IN, CLIENT, COMMAND)},
        }


def text(found: dict[str, Any]) -> str:
    """The results as lines of text."""
    lines = [f"{name}: {seconds * 1000:.1f} ms" for name, seconds in found["seconds"].items()]
    for row in found["ratios"]:
        most = "" if row["most"] is None else f" (at most {row['most']})"
        lines.append(f"{row['work']} takes {row['ratio']:.2f} times as long as {row['against']}{most}")
    for name, imports in found["imports"].items():
        dearest = ", ".join(f"{module} {seconds * 1000:.2f}" for module, seconds in imports)
        lines.append(f"{name}, its dearest imports in ms: {dearest}")
    return "\n".join(lines)


def _environment(daemon: Daemon, packages: Packages, compiled: str) -> dict[str, str]:
    places = [str(Path(__file__).resolve().parents[1]), str(packages.lowlevel_python)]
    for name in ("_cffi_backend", "pyxs"):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise SystemExit(f"{name} is not installed: see [project.optional-dependencies] in pyproject.toml")
        places.append(str(Path(spec.origin).parents[0 if name == "_cffi_backend" else 1]))
    environment = {name: value for name, value in daemon.environment().items() if not name.startswith("PYTHON")}
    environment["PYTHONPATH"] = os.pathsep.join(places)
    environment["PYTHONPYCACHEPREFIX"] = compiled
    environment["XSFFI_LIBXENSTORE"] = str(packages.libxenstore)
    return environment


def _commands(folder: Path) -> dict[str, list[str]]:
    """The arguments to the interpreter for each program."""
    script = folder / "xsffi"
    script.write_text(SCRIPT)
    return {**{name: ["-c", program] for name, program in PROGRAMS.items()}, COMMAND: [str(script), "read", "/tool"]}


def _process(command: list[str], environment: dict[str, str]) -> Callable[[], float]:
    def contender() -> float:
        begin = time.perf_counter()
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - begin

    return contender


def _dearest(name: str, commands: dict[str, list[str]], environment: dict[str, str]) -> list[tuple[str, float]]:
    alone = _imports(commands[INTERPRETER], environment)
    rounds = [_imports(commands[name], environment) for _ in range(IMPORT_ROUNDS)]
    medians = {
        module: statistics.median([imports.get(module, 0.0) for imports in rounds])
        for module in rounds[0].keys() - alone
    }
    return sorted(medians.items(), key=lambda item: -item[1])[:DEAREST]


def _imports(command: list[str], environment: dict[str, str]) -> dict[str, float]:
    """How many seconds each import takes, without nested imports."""
    timed = [sys.executable, "-S", "-X", "importtime", *command]
    told = subprocess.run(
        timed, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ).stderr
    lines = [line.removeprefix("import time:").split("|") for line in told.splitlines()[1:]]
    return {module.strip(): int(microseconds) / 1e6 for microseconds, _, module in lines}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.starts", description=__doc__)
    parser.add_argument("--rounds", type=int, default=25, help="how many times each program runs")
    options = parser.parse_args()
    packages = packages_or_exit(parser)
    with start_xenstored() as daemon:
        print(text(measure(daemon, packages, options.rounds)))


if __name__ == "__main__":
    main()
