"""What a script that reads one node imports: most of its time is spent on that, and dom0 runs many such scripts."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemons import load_packages
from harness.stores import require_libxenstore

from xsffi.testing import EmbeddedStore

ROOT = Path(__file__).resolve().parents[1]
DROP_IN = "from xsffi.lowlevel import xs; assert xs.xs().read('', '/name') == b'value'"
CLIENT = "import xsffi; xs = xsffi.Client(); assert xs.read('/name') == b'value'; xs.close()"
# Modules that reading a node never needs.
NEVER = {"ast", "asyncio", "dataclasses", "importlib.util", "inspect", "json", "logging", "random", "re", "typing"}
# Modules needed only for other verbs or for the wire.
NOT_OVER_LIBXENSTORE = {
    "collections", "contextlib", "enum", "functools", "importlib", "queue", "select", "selectors", "socket", "struct",
    "threading", "types", "weakref",
    "xsffi.backends.libxenstore.calls", "xsffi.backends.libxenstore.events", "xsffi.backends.wire", "xsffi.permissions",
    "xsffi.sync.pipeline", "xsffi.protocol.programs", "xsffi.protocol.requests", "xsffi.records", "xsffi.sync.trees",
}  # fmt: skip


@pytest.fixture(scope="module")
def store() -> Iterator[EmbeddedStore]:
    with EmbeddedStore({"/name": b"value"}) as store:
        yield store


def imported_by(script: str, store: EmbeddedStore, **variables: str) -> set[str]:
    """The modules that a new process imports to run the script, besides those that Python itself imports."""
    # Without the site module: its hooks may import anything, which would be counted as Python's own.
    command = [
        sys.executable,
        "-S",
        "-c",
        f"import sys; before = {{*sys.modules}}; {script}; print(*{{*sys.modules}} - before)",
    ]
    path = [str(ROOT)]
    cffi = importlib.util.find_spec("_cffi_backend")
    if cffi is not None and cffi.origin not in (None, "built-in"):
        path.append(os.path.dirname(str(cffi.origin)))
    packages = load_packages()
    if packages is not None:
        variables["LD_LIBRARY_PATH"] = packages.library_path
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "XENSTORED_PATH": store.path, **variables}
    return set(subprocess.check_output(command, env=environment, text=True).split())


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="another Python's own modules import others")
@pytest.mark.parametrize("script", [DROP_IN, CLIENT], ids=["drop-in", "client"])
class TestARead:
    def test_over_libxenstore(self, store: EmbeddedStore, script: str) -> None:
        require_libxenstore()
        imported = imported_by(script, store, XSFFI_BACKEND="libxenstore")
        assert "xsffi.backends.libxenstore.backend" in imported
        assert imported & (NEVER | NOT_OVER_LIBXENSTORE) == set()

    @pytest.mark.parametrize("extension", ["", "no"], ids=["in C", "in Python"])
    def test_over_the_wire(self, store: EmbeddedStore, script: str, extension: str) -> None:
        imported = imported_by(script, store, XSFFI_BACKEND="wire", XSFFI_EXTENSION=extension)
        assert "xsffi.backends.wire.backend" in imported
        assert imported & NEVER == set()


COMMAND = """
import sys
sys.argv = ["xsffi", "read", "/name"]
from xsffi.cli.start import main
assert main() == 0
"""
COMMANDS_MODULES = {
    "xsffi.cli", "xsffi.cli.command", "xsffi.cli.homes", "xsffi.cli.interrupts", "xsffi.cli.main",
    "xsffi.cli.opening", "xsffi.cli.output", "xsffi.cli.parsers", "xsffi.cli.reading", "xsffi.cli.start",
    "xsffi.cli.tools", "xsffi.cli.values",
}  # fmt: skip


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="another Python's own modules import others")
class TestTheCommand:
    """What it imports besides argparse and its imports, which are the larger part."""

    def imported(self, store: EmbeddedStore, **variables: str) -> set[str]:
        said = imported_by(f"exec({COMMAND!r})", store, **variables)
        assert "value" in said  # the value that it read
        return said - {"value"} - imported_by("import argparse", store)

    def test_over_libxenstore(self, store: EmbeddedStore) -> None:
        require_libxenstore()
        imported = self.imported(store, XSFFI_BACKEND="libxenstore")
        assert imported & (NEVER | NOT_OVER_LIBXENSTORE) == set()
        assert {name for name in imported if name.startswith("xsffi.cli")} == COMMANDS_MODULES
        assert not [name for name in imported if name.startswith(("rich", "shtab"))]

    def test_over_the_wire(self, store: EmbeddedStore) -> None:
        assert self.imported(store, XSFFI_BACKEND="wire") & NEVER == set()


VERBS = """
with xsffi.Client() as xs:
    xs.write("/a/b", "1")
    xs.set_permissions("/a/b", ["n0", "r5"])
    with xs.watch("/a"), xs.transaction() as transaction:
        transaction.ls("/a")
        xs.read_watch()
    with xs.pipeline() as pipeline:
        pipeline.read("/a/b")
    xs.dump("/a")
"""


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="another Python's own modules import others")
def test_what_else_there_is_to_do(store: EmbeddedStore) -> None:
    imported = imported_by(f"import xsffi; exec({VERBS!r})", store)
    assert imported & (NEVER - {"random"}) == set()


def test_where_there_may_be_threads(store: EmbeddedStore) -> None:
    """Everything is imported with the client: if a thread forks while another imports, the child may deadlock."""
    with_client = "import threading, xsffi; xsffi.Client"
    imported = imported_by(f"{with_client}; exec({VERBS!r})", store)
    assert {name for name in imported - imported_by(with_client, store) if name.startswith("xsffi")} == set()
