"""The binding's own: the functions of libraries newer than the one at hand, and none at all.

A process has one libxenstore, so each case has a process of its own.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from xsffi.backends.libxenstore.extension import lib

pytestmark = pytest.mark.skipif(lib is None, reason="the extension is not built")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in for the libxenstore of Xen 4.22, compiled."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    source = Path(__file__).with_name("libxenstore_4_22.c")
    made = tmp_path_factory.mktemp("library") / "libxenstore.so.4"
    subprocess.run([compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", made, source], check=True)
    return made


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A socket, for a client to find something there."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        yield str(tmp_path / "socket")


def run(program: str, address: str, **environment: str) -> str:
    """What a program prints in a process of its own, where `xs` is a client over libxenstore."""
    prelude = f"import xsffi; xs = xsffi.Client({address!r}, backend='libxenstore')\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", prelude + program + "\nxs.close()"],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "XENSTORED_PATH": address,
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_features(library: Path, address: str) -> None:
    program = """
print(xs.get_features(), xs.get_features(9))
xs.set_features(5, 3)
try:
    xs.set_features(6, 3)
except xsffi.XenStoreError as error:
    print(error.errno)
"""
    assert run(program, address, XSFFI_LIBXENSTORE=str(library)).split() == ["7", "9", "16"]


def test_quotas(library: Path, address: str) -> None:
    program = """
print(*xs.quota_names(), xs.get_quota("nodes"), xs.get_quota("nodes", domid=9))
xs.set_quota("nodes", 2000)
xs.set_quota("nodes", 0, domid=5)
try:
    xs.get_quota("unknown")
except ValueError as error:
    print(error.errno)
"""
    printed = run(program, address, XSFFI_LIBXENSTORE=str(library)).split()
    assert printed == ["nodes", "watches", "1000", "9", "22"]


def test_features_of_a_guest(library: Path, address: str) -> None:
    assert run("print(xs.get_features())", address, XSFFI_LIBXENSTORE=str(library), FAKE_GUEST="1") == "2\n"


DEPTH = """
from xsffi.protocol.requests import Watch
for path in b"/a", b"/invalid":
    try:
        print(xs.backend.call(Watch(path, b"1", 1)))
    except xsffi.XenStoreError as error:
        print(type(error).__name__, error.filename)
"""


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ["None", "InvalidArgumentError /invalid"]),
        ({"FAKE_WITHOUT_DEPTH": "1"}, ["NotSupportedError None"] * 2),
        ({"FAKE_GUEST": "1"}, ["NotSupportedError None"] * 2),
    ],
    ids=["it is the path", "the daemon has none", "a guest has none"],
)
def test_depth(library: Path, address: str, environment: dict[str, str], expected: list[str]) -> None:
    assert run(DEPTH, address, XSFFI_LIBXENSTORE=str(library), **environment).splitlines() == expected


def test_a_function_that_the_library_lacks(library: Path, address: str) -> None:
    program = """
try:
    xs.read("/a")
except xsffi.NotSupportedError as error:
    print(error.errno)
"""
    assert run(program, address, XSFFI_LIBXENSTORE=str(library)) == "38\n"


def test_no_libxenstore(address: str) -> None:
    program = f"""
import xsffi
try:
    xsffi.Client({address!r}, backend="libxenstore")
except xsffi.BackendUnavailableError as error:
    print(error)
    print(error.attempts[0][0])
with xsffi.Client({address!r}) as xs:
    print(xs.backend.name)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "XSFFI_LIBXENSTORE": "libxenstore.so.none",
        },
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    error, tried, chosen = done.stdout.splitlines()
    assert "libxenstore.so.none" in error
    assert (tried, chosen) == ("libxenstore", "wire")
