"""``python -m xsffi.server``."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from harness.servers import started

import xsffi


def server(*arguments: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """A server that accepts clients."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return started(environment, "xsffi.server", *arguments)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
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


def test_nohup(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # which the server inherits
    try:
        with server(path) as process, xsffi.Client(path, "wire") as xs:
            process.send_signal(signal.SIGHUP)
            xs.write("/a", "b")
            process.terminate()
            assert process.wait(timeout=10) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


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


def test_a_dump_is_written_whatever_lies_there(tmp_path: Path) -> None:
    """Even if an earlier process had the same id, as 1 in every container; and through a symbolic link."""
    path, dump, link = str(tmp_path / "socket"), tmp_path / "dump", tmp_path / "link"
    dump.write_text("old")
    dump.chmod(0o644)
    link.symlink_to(dump)
    with server(path, "--dump", str(link)) as process:
        left = [tmp_path / f"{name}.{process.pid}.part" for name in ("dump", "link")]
        for file in left:
            file.write_text("half")
        process.terminate()
        assert process.wait(timeout=10) == 0
    assert link.is_symlink()
    assert '"/tool/xenstored"' in dump.read_text()
    assert dump.stat().st_mode & 0o777 == 0o644
    assert sorted(os.listdir(tmp_path)) == sorted(["dump", "link", *(file.name for file in left)])


def test_a_new_dump_is_for_the_user_alone(tmp_path: Path) -> None:
    with server(str(tmp_path / "socket"), "--dump", str(tmp_path / "dump")) as process:
        process.terminate()
        assert process.wait(timeout=10) == 0
    assert (tmp_path / "dump").stat().st_mode & 0o777 == 0o600


def test_a_dump_that_fails_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    path, dump = str(tmp_path / "socket"), tmp_path / "dump"
    dump.write_text("old")
    with server(path, "--dump", str(dump)) as process:
        with xsffi.Client(path, "wire") as xs:
            xs.write("/long", "v" * 4000)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1000, 1000))
        process.terminate()
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 1
    assert errors == f"xsffi.server: {dump}: {os.strerror(errno.EFBIG)}\n"
    assert dump.read_text() == "old"
    assert os.listdir(tmp_path) == ["dump"]


@pytest.mark.parametrize("place", ["folder/dump", "", "/dev/null", "file/dump"])
def test_a_dump_that_could_not_be_written_is_told_at_the_start(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with server(str(tmp_path / "socket"), "--dump", str(tmp_path / place)) as process:
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 1
    assert errors.startswith(f"xsffi.server: {tmp_path / place}: ")
    assert len(errors.splitlines()) == 1
    assert os.listdir(tmp_path) == ["file"]


def test_a_live_one_is_left_alone_and_a_dead_one_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with server(path) as first, xsffi.Client(path, "wire") as xs:
        with server(path) as second:
            _, errors = second.communicate(timeout=10)
            assert second.returncode == 1
            assert errors == f"xsffi.server: {path}: another server already listens there\n"
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


def test_two_sockets_of_one_domain(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("first", "second", "third")]
    domains = [argument for path in paths for argument in ("--domain", "5", path)]
    with server(str(tmp_path / "socket"), *domains, "--domain", "0", str(tmp_path / "dom0")) as process:
        for path in paths:
            with xsffi.Client(path, "wire") as guest:
                guest.write("data", path)
        with xsffi.Client(str(tmp_path / "dom0"), "wire") as xs:
            assert xs.read("/local/domain/5/data") == paths[-1].encode()
            xs.release_domain(5)
            xs.ls("/")
        assert sorted(os.listdir(tmp_path)) == ["dom0", "socket"]
        process.terminate()
        assert process.wait(timeout=10) == 0
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("domid", ["x", "-1", "65536", "32752", "\u0665", "5" * 5000, ""])
def test_a_domain_that_cannot_be(tmp_path: Path, domid: str) -> None:
    with server(str(tmp_path / "socket"), "--domain", domid, str(tmp_path / "guest")) as process:
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 1
    assert len(errors.splitlines()) == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "features"), [([], 14), (["--release", "4.22"], 14), (["--release", "4.20"], None)]
)
def test_the_release(tmp_path: Path, options: list[str], features: int | None) -> None:
    path = str(tmp_path / "socket")
    with server(path, *options) as process, xsffi.Client(path, "wire") as xs:
        if features is None:
            with pytest.raises(xsffi.NotSupportedError):
                xs.get_features()
        else:
            assert xs.get_features() == features
        process.terminate()
        assert process.wait(timeout=10) == 0


def test_a_release_that_it_does_not_know(tmp_path: Path) -> None:
    with server(str(tmp_path / "socket"), "--release", "4.99") as process:
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 2
    assert "argument --release: invalid choice: '4.99'" in errors
    assert os.listdir(tmp_path) == []


def start(*arguments: str) -> subprocess.Popen[str]:
    """A server, returned without waiting until it is ready."""
    command = [sys.executable, "-m", "xsffi.server", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def test_a_descriptor_that_is_not_there(tmp_path: Path) -> None:
    with start(str(tmp_path / "socket"), "--ready-fd", "77") as process:
        _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (1, f"xsffi.server: {os.strerror(errno.EBADF)}\n")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_an_end_while_it_still_loads(tmp_path: Path, number: signal.Signals) -> None:
    fifo = tmp_path / "dump"
    os.mkfifo(fifo)
    with start(str(tmp_path / "socket"), "--load", str(fifo)) as process, fifo.open("w"):  # it is waiting for a line
        process.send_signal(number)
        _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (-number, "")
    assert os.listdir(tmp_path) == ["dump"]


def test_a_socket_that_cannot_be_removed_keeps_nothing_else_from_its_end(tmp_path: Path) -> None:
    folder, dump = tmp_path / "folder", tmp_path / "dump"
    folder.mkdir()
    arguments = [str(folder / "socket"), "--domain", "5", str(tmp_path / "guest"), "--dump", str(dump)]
    with server(*arguments, "--domain", "6", str(folder / "other")) as process:
        with xsffi.Client(str(folder / "socket"), "wire") as xs:
            folder.rename(tmp_path / "elsewhere")
            folder.write_text("")
            xs.release_domain(6)
            xs.write("/precious", "1")
        process.terminate()
        process.communicate(timeout=10)
    assert process.returncode == 0
    assert "/precious" in dump.read_text()
    assert sorted(os.listdir(tmp_path)) == ["dump", "elsewhere", "folder"]


def test_what_it_dumps_it_loads(tmp_path: Path) -> None:
    """Including a value that only fits into a message with a relative path, and a path longer than clients may
    write."""
    path, dump = str(tmp_path / "socket"), str(tmp_path / "dump")
    with server(path, "--dump", dump) as process, xsffi.Client(path, "wire") as xs:
        xs.write("d", b"v" * 4094)
        xs.control("quota", "set", "path-max", "3000")
        xs.write("/" + "p" * 2900, "long")
        before = xs.dump("/")
        process.terminate()
        assert process.wait(timeout=10) == 0
    with server(path, "--load", dump, "--dump", dump) as process, xsffi.Client(path, "wire") as xs:
        xs.control("quota", "set", "path-max", "3000")
        assert sorted(xs.dump("/")) == sorted(before)
        process.terminate()
        assert process.wait(timeout=10) == 0


def test_a_dump_on_which_a_file_is_mounted_is_told_at_the_start(tmp_path: Path) -> None:
    """As containers do with single files: it cannot be replaced."""
    (tmp_path / "outside").write_text("old")
    (tmp_path / "a dump").write_text("")
    if subprocess.run(
        ["mount", "--bind", tmp_path / "outside", tmp_path / "a dump"], stderr=subprocess.DEVNULL
    ).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        with server(str(tmp_path / "socket"), "--dump", str(tmp_path / "a dump")) as process:
            _, errors = process.communicate(timeout=10)
    finally:
        subprocess.run(["umount", tmp_path / "a dump"], check=True)
    assert process.returncode == 1
    assert "it is a mount point, and cannot be replaced" in errors
    assert (tmp_path / "outside").read_text() == "old"


GOOD = b'{"path": "/good", "value": "x", "permissions": ["n0"]}\n\n'  # followed by an empty line, which is counted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"nonsense\n", "line 3: not a node: it is not JSON"),
        (b"[]\n", "line 3: not a node: it is not an object"),
        (b"\xff\xfe{}\n", "line 3 is not UTF-8"),
        (b'{"path": "/a"}\n', 'line 3: /a: not a node: it must have one of "value" and "base64"'),
        (b'{"path": 5, "value": "x"}\n', 'line 3: not a node: "path" must be a text, not 5'),
        (b'{"path": "/a//b", "value": "x"}\n', "line 3: /a//b: not a node: a path must not contain a double slash"),
        (b'{"path": "/a", "base64": "!!!"}\n', 'line 3: /a: not a node: "base64" is not base64'),
        (b'{"path": "/a", "value": "x", "permissions": ["n40000"]}\n', "line 3: /a: domain 40000 cannot exist"),
        (b'{"path": "/a", "value": "x", "permissions": ["x0"]}\n', "line 3: /a: not a node: a permission must be"),
        (b'{"path": "@releaseDomain", "value": "x"}\n', "line 3: @releaseDomain: a special path"),
        (b'{"path": "/a", "value": "%s"}\n' % (b"x" * 5000), "line 3: /a: a request may have at most 4096 bytes"),
        (b'{"path": "/a\\n\\u001b[31m", "value": "x"}\n', "line 3: /a\\n\\x1b[31m: not a node"),
        pytest.param(b'["%s"]\n' % (b"x" * 1_000_000), "line 3: not a node", id="a long line"),
    ],
)
def test_a_dump_that_is_none(tmp_path: Path, text: bytes, said: str) -> None:
    dump = tmp_path / "dump"
    dump.write_bytes(GOOD + text)
    with server(str(tmp_path / "socket"), "--load", str(dump)) as process:
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 1
    assert errors.startswith(f"xsffi.server: {dump}: {said}")
    assert len(errors.splitlines()) == 1
    assert len(errors) < 1000
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
    assert "dropping a connection of domain 0: a message of type 4294967295 claims to have 4294967295 bytes" in errors
