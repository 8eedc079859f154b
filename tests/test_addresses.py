"""The places where the store is looked for, and what is found there."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from xsffi import Client
from xsffi.addresses import DEVICES, Kind, candidates, default_socket, kind_of
from xsffi.testing import EmbeddedStore

USUAL = "/var/run/xenstored/socket"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XENSTORED_PATH", "XENSTORED_RUNDIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("environment", "places"),
    [
        ({}, [USUAL, *DEVICES]),
        ({"XENSTORED_RUNDIR": "/r"}, ["/r/socket", *DEVICES]),
        ({"XENSTORED_RUNDIR": "/r/"}, ["/r/socket", *DEVICES]),
        ({"XENSTORED_PATH": "/p"}, ["/p"]),
        ({"XENSTORED_PATH": "/p", "XENSTORED_RUNDIR": "/r"}, ["/p"]),
        ({"XENSTORED_PATH": "", "XENSTORED_RUNDIR": "/r"}, ["/r/socket", *DEVICES]),
        # Never the current directory, where anyone could have put a socket.
        ({"XENSTORED_RUNDIR": ""}, [USUAL, *DEVICES]),
    ],
)
def test_candidates(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], places: list[str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert candidates() == places
    assert candidates("/given") == ["/given"]


def test_a_relative_place_is_where_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert candidates("s") == [f"{tmp_path}/s"]
    monkeypatch.setenv("XENSTORED_RUNDIR", "run")
    assert candidates()[0] == f"{tmp_path}/run/socket"
    monkeypatch.setenv("XENSTORED_PATH", "../s")
    assert candidates() == [f"{tmp_path}/../s"]  # not normalised: the directory may be a symbolic link
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert candidates("s") == ["s"]


def test_a_relative_place_whose_name_would_be_too_long_for_a_socket(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.chdir(deep)
    assert candidates("s") == ["s"]
    with EmbeddedStore(path="s") as store, Client("s") as xs:
        assert store.path == "s"
        assert xs.ls("/") == ["tool"]


def test_the_devices_newer_first() -> None:
    assert DEVICES == ("/dev/xen/xenbus", "/proc/xen/xenbus")


def test_the_default_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_socket() == USUAL
    monkeypatch.setenv("XENSTORED_RUNDIR", "/r")
    assert default_socket() == "/r/socket"
    monkeypatch.setenv("XENSTORED_PATH", "/p")
    assert default_socket() == "/r/socket"


def test_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is limited to 107 bytes
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        assert kind_of(str(tmp_path / "socket")) is Kind.SOCKET
        os.symlink("socket", "link")
        assert kind_of("link") is Kind.SOCKET


def test_a_device() -> None:
    assert kind_of("/dev/null") is Kind.DEVICE


def test_neither(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for path in (str(tmp_path), str(file)):
        with pytest.raises(OSError, match="neither a unix socket nor a character device") as caught:
            kind_of(path)
        assert (caught.value.errno, caught.value.filename) == (errno.EINVAL, path)


def test_nothing_there(tmp_path: Path) -> None:
    path = str(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError) as caught:
        kind_of(path)
    assert caught.value.filename == path
