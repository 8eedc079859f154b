"""What xsffi is compared with, and xsffi in its forms."""

from __future__ import annotations

import argparse
import ctypes
import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from daemons import Daemon, Packages, load_packages, start_xenstored

import xsffi
from xsffi.backends.wire import native

__all__ = [
    "build_ceiling",
    "clients",
    "lowlevel",
    "measure_alone",
    "packages_or_exit",
    "prepare",
    "processor_time",
    "pyxs_client",
]


def prepare(packages: Packages) -> None:
    """Make this process find libxenstore and its dependencies: the loader only reads LD_LIBRARY_PATH when a process
    starts."""
    for place in packages.library_path.split(":"):
        for name in ("libxentoolcore.so.1", "libxenstore.so.4"):
            if os.path.exists(os.path.join(place, name)):
                ctypes.CDLL(os.path.join(place, name))
    os.environ["XSFFI_LIBXENSTORE"] = str(packages.libxenstore)


def packages_or_exit(parser: argparse.ArgumentParser) -> Packages:
    """Xen's packages; without them, the program of `parser` exits with a hint."""
    packages = load_packages()
    if packages is None:
        parser.error("Xen's store daemons are not unpacked: run ci/fetch-xen")
    return packages


def measure_alone(
    program: str,
    description: str | None,
    measure: Callable[[Daemon, int], list[dict[str, Any]]],
    text: Callable[[list[dict[str, Any]]], str],
) -> None:
    """Runs a part of the benchmarks that only needs a daemon as a program."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("--rounds", type=int, default=9, help="how many turns each takes")
    options = parser.parse_args()
    packages_or_exit(parser)
    with start_xenstored() as daemon:
        print(text(measure(daemon, options.rounds)))


def lowlevel(packages: Packages) -> Any:
    """A new handle of the real xen.lowlevel.xs at $XENSTORED_PATH, or None if this Python cannot load it."""
    sys.path.append(str(packages.lowlevel_python))
    try:
        return importlib.import_module("xen.lowlevel.xs").xs()
    except ImportError:
        return None
    finally:
        sys.path.remove(str(packages.lowlevel_python))


def pyxs_client(daemon: Daemon) -> Any:
    """A connected client of pyxs, or None if it is not installed."""
    try:
        pyxs = importlib.import_module("pyxs")
    except ImportError:
        return None
    client = pyxs.Client(unix_socket_path=daemon.socket_path)
    client.connect()
    return client


@contextmanager
def clients(daemon: Daemon) -> Iterator[dict[str, xsffi.Client]]:
    """xsffi in its forms: "libxenstore", "wire" with the extension, and "wire, pure Python"."""
    opened = {
        "libxenstore": xsffi.Client(daemon.socket_path, backend="libxenstore"),
        "wire": xsffi.Client(daemon.socket_path, backend="wire"),
        "wire, pure Python": pure_python_client(daemon),
    }
    try:
        yield opened
    finally:
        for client in opened.values():
            client.close()


def pure_python_client(daemon: Daemon) -> xsffi.Client:
    """A client opened as if the extension were not built."""
    in_c, native.open_in_c = native.open_in_c, None
    try:
        return xsffi.Client(daemon.socket_path, backend="wire")
    finally:
        native.open_in_c = in_c


def processor_time(daemon: Daemon) -> float:
    """How many seconds of processor time the daemon has used."""
    return int(Path(f"/proc/{daemon.pid}/schedstat").read_text().split()[0]) / 1e9


def build_ceiling(directory: Path) -> Path:
    """Compile ceiling.c; returns the program."""
    program = directory / "ceiling"
    source = Path(__file__).with_name("ceiling.c")
    subprocess.run([os.environ.get("CC", "gcc"), "-O2", "-Wall", "-o", program, source, "-ldl"], check=True)
    return program
