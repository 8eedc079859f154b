"""``python -m xsffi.server``."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import xsffi


@contextmanager
def server(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A server that clients can connect to, killed in the end if it still runs."""
    read_end, write_end = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "xsffi.server", *arguments, "--ready-fd", str(write_end)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        pass_fds=[write_end],
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write_end)
    with process:
        try:
            os.read(read_end, 1)
            yield process
        finally:
            os.close(read_end)
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_clean_end(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "socket"
    with server(str(path)) as process, xsffi.Client(str(path), "wire") as xs:
        xs.write("/a", "b")
        assert path.stat().st_mode & 0o777 == 0o600
        process.send_signal(number)
        _, errors = process.communicate(timeout=10)
        assert (process.returncode, errors) == (0, "")
        assert not path.exists()
        with pytest.raises(xsffi.ConnectionLostError):
            xs.read("/a")


def test_a_dump_outlives_it(tmp_path: Path) -> None:
    path, dump = str(tmp_path / "socket"), tmp_path / "dump"
    with server(path, "--dump", str(dump)) as process, xsffi.Client(path, "wire") as xs:
        xs.write("/a/b", "text")
        xs.write("/a/c", b"\xff\0")
        xs.set_permissions("/a/c", ["n5", "r6"])
        process.terminate()
        assert process.wait(timeout=10) == 0
    lines = [json.loads(line) for line in dump.read_text().splitlines()]
    assert {"path": "/a/b", "permissions": ["n0"], "value": "text"} in lines
    assert os.listdir(tmp_path) == ["dump"]
    with server(path, "--load", str(dump)), xsffi.Client(path, "wire") as xs:
        assert xs.read("/a/b") == b"text"
        assert xs.read("/a/c") == b"\xff\0"
        assert xs.get_permissions("/a/c") == [xsffi.Permission(5, "n"), xsffi.Permission(6, "r")]
        assert xs.ls("/") == ["tool", "a"]


def test_a_live_one_is_left_alone_and_a_dead_one_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with server(path) as first, xsffi.Client(path, "wire") as xs:
        with server(path) as second:
            _, errors = second.communicate(timeout=10)
            assert second.returncode == 1
            assert errors == f"xsffi.server: {path}: somebody listens there already\n"
        assert xs.ls("/") == ["tool"]
        first.kill()
        first.wait()
    with server(path), xsffi.Client(path, "wire") as xs:
        assert xs.ls("/") == ["tool"]


def test_sockets_of_domains(tmp_path: Path) -> None:
    path, guest_path = str(tmp_path / "socket"), str(tmp_path / "guest")
    with server(path, "--domain", "5", guest_path) as process:
        with xsffi.Client(path, "wire") as xs, xsffi.Client(guest_path, "wire") as guest:
            guest.write("data", "1")
            assert xs.read("/local/domain/5/data") == b"1"
            with pytest.raises(xsffi.AccessDeniedError):
                guest.write("/x", "")
        process.terminate()
        assert process.wait(timeout=10) == 0
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("domid", ["x", "-1", "65536", "32752"])
def test_a_domain_that_cannot_be(tmp_path: Path, domid: str) -> None:
    with server(str(tmp_path / "socket"), "--domain", domid, str(tmp_path / "guest")) as process:
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 1
    assert "Traceback" not in errors
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("text", ["nonsense\n", "[]\n", '{"path": "/a"}\n', '{"path": "a", "value": ""}\n'])
def test_a_dump_that_is_none(tmp_path: Path, text: str) -> None:
    dump = tmp_path / "dump"
    dump.write_text(text)
    with server(str(tmp_path / "socket"), "--load", str(dump)) as process:
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 1
    assert errors.startswith("xsffi.server: ")
    assert "Traceback" not in errors
    assert os.listdir(tmp_path) == ["dump"]


def test_violations_are_logged(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with server(path) as process:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            connection.sendall(b"\xff" * 16)
            assert connection.recv(1) == b""
        process.terminate()
        _, errors = process.communicate(timeout=10)
    assert "a connection of domain 0 is given up: a message of type 4294967295 claims 4294967295 bytes" in errors
