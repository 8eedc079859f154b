"""The options before the command: which store, over which backend, and what is reported."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import pytest
from daemons import Daemon, start_daemon
from harness.commands import environment_for, ran
from harness.stores import BACKENDS, require_libxenstore

import xsffi
from xsffi.testing import EmbeddedStore


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment that leads to no store."""
    return environment_for(str(tmp_path / "nothing"))


def test_the_socket(store: EmbeddedStore, environment: dict[str, str]) -> None:
    assert ran(environment, "--socket", store.path, "read", "/tool/name") == (0, "example\n", "")
    assert ran(environment, f"--socket={store.socket_path(5)}", "read", "name").output == "web\n"
    lost = ran(environment, "read", "/tool/name")
    assert (lost.status, lost.output) == (1, "")
    assert environment["XENSTORED_PATH"] in lost.errors


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_backend_and_the_trace(xenstored: Daemon, backend: str) -> None:
    if backend == "libxenstore":
        require_libxenstore()
    environment = environment_for(xenstored.socket_path, LD_LIBRARY_PATH=xenstored.packages.library_path)
    status, output, errors = ran(environment, "--trace", "--backend", backend, "exists", "/no/such")
    assert (status, output) == (1, "")
    first, *requests = errors.splitlines()
    assert re.match(f"xsffi: the backend is (the )?{backend} at {re.escape(xenstored.socket_path)}", first), first
    assert any(re.match("xsffi: (READ|DIRECTORY|GET_PERMS) /no/such: ENOENT, [0-9]+ µs", line) for line in requests)


def test_the_timeout() -> None:
    with start_daemon("xenstored") as daemon:
        daemon.pause()
        late = ran(environment_for(daemon.socket_path), "--timeout", "0.2", "read", "/tool")
        daemon.resume()
    assert (late.status, late.output) == (1, "")
    assert "0.2 s" in late.errors


@pytest.mark.parametrize("option", ["--backend=other", "--timeout=soon", "--timeout=-1", "--other", "--socket"])
def test_what_is_wrong(store: EmbeddedStore, option: str) -> None:
    status, output, errors = ran(environment_for(store.path), option)
    assert (status, output) == (2, "")
    assert errors.startswith("xsffi: ")
    assert option.split("=")[-1] in errors


def test_the_versions(xenstored: Daemon, environment: dict[str, str]) -> None:
    require_libxenstore()
    libraries = xenstored.packages.library_path
    python = f"xsffi {xsffi.__version__}, {platform.python_implementation()} {platform.python_version()}"

    found = ran({**environment_for(xenstored.socket_path), "LD_LIBRARY_PATH": libraries}, "--version")
    assert (found.status, found.errors) == (0, "")
    first, library, *_ = found.output.splitlines()
    assert first == python
    assert re.fullmatch(r"libxenstore: .*/libxenstore\.so\.\S+", library), library
    assert re.search(f"^store: .*libxenstore at {re.escape(xenstored.socket_path)}$", found.output, re.MULTILINE)

    nothing = ran({**environment, "XSFFI_EXTENSION": "no"}, "--version")
    assert (nothing.status, nothing.errors) == (0, "")
    first, library, wire, store = nothing.output.splitlines()
    assert first == python
    assert "XSFFI_EXTENSION=no" in library
    assert wire == "wire: in Python, as the environment requests"
    assert environment["XENSTORED_PATH"] in store


@pytest.mark.parametrize("variable", ["XSFFI_CONNECTION", "XSFFI_BACKEND", "XSFFI_CONNECTIONS"])
def test_the_versions_with_a_wrong_environment(environment: dict[str, str], variable: str) -> None:
    found = ran({**environment, variable: "bogus"}, "--version")
    assert (found.status, found.errors) == (0, "")
    assert found.output.startswith(f"xsffi {xsffi.__version__}")
    assert f"{variable} must be" in found.output
