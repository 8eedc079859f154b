"""Importing the extension, and loading libxenstore.

A process can load only one libxenstore, so tests of another one run in their own processes.
"""

from __future__ import annotations

import os

import pytest
from daemons import Daemon, require_packages
from harness.children import output_of
from harness.peer import Peer, answer
from harness.stores import require_libxenstore

from xsffi.backends.libxenstore import extension
from xsffi.backends.libxenstore.extension import lib, load_libxenstore

needs_extension = pytest.mark.skipif(lib is None, reason="the extension is not built")


@needs_extension
def test_no_libxenstore() -> None:
    program = """
import sys, xsffi
try:
    xsffi.Client(sys.argv[1], backend="libxenstore")
except xsffi.BackendUnavailableError as error:
    print(error)
    print(error.attempts[0][0])
with xsffi.Client(sys.argv[1]) as xs:
    print(xs.backend.name)
"""
    with Peer(answer) as peer:
        error, tried, chosen = output_of(program, peer.path, XSFFI_LIBXENSTORE="libxenstore.so.none").splitlines()
    assert "libxenstore.so.none: cannot open" in error
    assert (tried, chosen) == ("libxenstore", "wire")


@needs_extension
def test_each_library_that_cannot_be_loaded_is_told() -> None:
    program = """
from xsffi.backends.libxenstore import extension
extension.LIBRARIES = ("libxenstore.so.none", "libc.so.6")
print(extension.load_libxenstore())
"""
    assert output_of(program, XSFFI_LIBXENSTORE="").split("; ") == [
        "libxenstore.so.none: cannot open shared object file: No such file or directory",
        "libc.so.6 is not libxenstore: it has no xs_open\n",
    ]


def test_what_was_loaded_stays() -> None:
    """Even if the environment changes later: a handle of one library must not be passed to another."""
    require_libxenstore()
    program = """
import os
from xsffi.backends.libxenstore.extension import ffi, lib, load_libxenstore
for name in os.environ["XSFFI_LIBXENSTORE"], "libxenstore.so.none":
    os.environ["XSFFI_LIBXENSTORE"] = name
    print(load_libxenstore(), ffi.string(lib.xsffi_library()).decode())
"""
    assert load_libxenstore() is None
    printed = output_of(program, LD_LIBRARY_PATH=require_packages().library_path)
    assert printed.splitlines() == [f"None {os.environ['XSFFI_LIBXENSTORE']}"] * 2


def test_one_that_comes_later_is_loaded() -> None:
    require_libxenstore()
    program = """
import os, sys
from xsffi.backends.libxenstore.extension import load_libxenstore
print("such.so: cannot open" in load_libxenstore())
os.environ["XSFFI_LIBXENSTORE"] = sys.argv[1]
print(load_libxenstore())
"""
    variables = {"XSFFI_LIBXENSTORE": "/no/such.so", "LD_LIBRARY_PATH": require_packages().library_path}
    assert output_of(program, os.environ["XSFFI_LIBXENSTORE"], **variables).split() == ["True", "None"]


def test_it_is_left_alone_where_the_environment_says_so() -> None:
    program = """
import sys
from xsffi.backends.libxenstore import extension
assert (extension.ffi, extension.lib, extension.shortcuts, extension.missed_library()) == (None,) * 4
assert not {"xsffi._xenstore", "xsffi._shortcuts", "ctypes"} & set(sys.modules)
print(extension.load_libxenstore())
"""
    assert output_of(program, XSFFI_EXTENSION="no").endswith("_xenstore is disabled by XSFFI_EXTENSION=no\n")


@pytest.mark.parametrize(
    ("library", "missed"), [("libc.so.6", "libc.so.6"), ("libxenstore.so.none", None)], ids=["here", "not here"]
)
def test_a_library_that_is_missed(monkeypatch: pytest.MonkeyPatch, library: str, missed: str | None) -> None:
    """The library exists on this host, but there is no extension."""
    monkeypatch.setattr(extension, "lib", None)
    monkeypatch.delenv("XSFFI_EXTENSION", raising=False)
    monkeypatch.setenv("XSFFI_LIBXENSTORE", library)
    assert extension.missed_library() == missed


@needs_extension
def test_none_is_missed_where_the_extension_is_there() -> None:
    assert extension.missed_library() is None


def test_children_that_are_forked_while_another_thread_opens(xenstored: Daemon) -> None:
    """They do not inherit a lock held by the other thread."""
    require_libxenstore()
    program = """
import os, signal, sys, threading, warnings
warnings.simplefilter("ignore")  # Python warns of a fork where there are threads
from xsffi import Client  # an import that another thread is about would be no part of the child
from xsffi.backends.libxenstore import extension
over = threading.Event()

def open_it():
    while not over.is_set():
        with extension._loading:  # as it is in the first opening of all
            Client(backend="libxenstore").close()

thread = threading.Thread(target=open_it)
thread.start()
for _ in range(40):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            with Client(backend="libxenstore") as xs:
                xs.read("/")
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    if status:
        print("a child ended with", status)
over.set()
thread.join()
"""
    assert output_of(program, **xenstored.environment()) == ""
