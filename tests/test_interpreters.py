"""Interpreters that lack something, or run beside others in one process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from daemons import load_packages
from harness.children import python_environment
from harness.stores import require_libxenstore

from xsffi.testing import EmbeddedStore

USE = """
import xsffi
with xsffi.Client() as xs:
    xs.write("/a/b", "1")
    assert xs.read_many(["/a/b"] * 3000) == [b"1"] * 3000
    with xs.watch("/a"):
        assert xs.read_watch(5).path == "/a"
        xs.fileno()
    print(xs.backend.description)
"""
USE_AIO = """
import asyncio
from xsffi import aio
async def main():
    async with aio.Client() as xs:
        assert await xs.read("/a/b") == b"1"
asyncio.run(main())
"""


def run(program: str, **variables: str) -> str:
    """The output of a program, run with an embedded store."""
    packages = load_packages()
    if packages is not None:
        variables["LD_LIBRARY_PATH"] = packages.library_path
    with EmbeddedStore() as store:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            env=python_environment(**{**store.environment(), **variables}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_python_without_the_names_that_pypy_lacks() -> None:
    lack = (
        "import os, socket\n"
        "for name in ('eventfd', 'sched_getaffinity'): vars(os).pop(name, None)\n"
        "for name in ('MSG_NOSIGNAL', 'SO_PEERCRED'): vars(socket).pop(name, None)\n"
    )
    assert "in Python" in run(lack + USE + USE_AIO, XSFFI_EXTENSION="no", XSFFI_CONNECTIONS="2")


IN_ANOTHER = """
try:
    import _interpreters
except ImportError:
    import _xxsubinterpreters
    another = _xxsubinterpreters.create(isolated={own_gil})
    _xxsubinterpreters.run_string(another, {program!r})
else:
    another = _interpreters.create("isolated" if {own_gil} else "legacy")
    wrong = _interpreters.exec(another, {program!r})
    assert wrong is None, wrong.errdisplay
"""
has_several = sys.implementation.name == "cpython" and sys.version_info >= (3, 12)


@pytest.mark.skipif(not has_several, reason="interpreters with a GIL of their own came with CPython 3.12")
class TestSubInterpreters:
    def test_one_with_a_gil_of_its_own_has_the_wire_in_python(self) -> None:
        """The C extension supports only one GIL; it says so when imported, and the log shows it."""
        # Python 3.12 itself aborts if asyncio was imported in a subinterpreter.
        program = USE + USE_AIO if sys.version_info >= (3, 13) else USE
        said = run(IN_ANOTHER.format(program=program, own_gil=True))
        assert "the wire" in said
        assert "in Python" in said
        assert "does not support loading in subinterpreters" in said or os.environ.get("XSFFI_EXTENSION") == "no"

    @pytest.mark.parametrize("backend", ["libxenstore", "wire"])
    def test_one_that_shares_the_gil_has_all(self, backend: str) -> None:
        if backend == "libxenstore":
            require_libxenstore()
        program = USE + USE_AIO
        in_both = program + IN_ANOTHER.format(program=program, own_gil=False) + program
        assert len(run(in_both, XSFFI_BACKEND=backend).splitlines()) == 3
