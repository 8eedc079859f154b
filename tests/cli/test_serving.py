"""``xsffi serve``."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from harness.commands import environment_for, ran
from harness.servers import started

import xsffi


def serving(*arguments: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """A server that is ready for clients."""
    return started(environment_for("/nowhere"), "xsffi", "serve", *arguments)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_from_a_dump_to_a_dump(tmp_path: Path, number: signal.Signals) -> None:
    begin, end, socket = (str(tmp_path / name) for name in ("begin", "end", "socket"))
    Path(begin).write_text('{"path": "/a", "value": "1"}\n')
    with serving(socket, "--load", begin, "--dump", end) as process:
        with xsffi.Client(socket, "wire") as xs:
            assert xs.read("/a") == b"1"
            xs.write("/a", "2")
        process.send_signal(number)
        assert (*process.communicate(timeout=30), process.returncode) == ("", "", 0)
    assert '{"path": "/a", "value": "2", "permissions": ["n0"]}\n' in Path(end).read_text()


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (["missing/socket"], 1, "xsffi: missing/socket: No such file or directory\n"),
        (["socket", "--load", "missing"], 1, "xsffi: missing: No such file or directory\n"),
        (["socket", "--domain", "x", "y"], 1, "xsffi: x: a domid must be a number from 0 to 65535\n"),
        ([], 2, "xsffi: the following arguments are required: PATH\n"),
    ],
)
def test_what_is_in_the_way(
    tmp_path: Path, arguments: list[str], status: int, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = ran(environment_for("/nowhere"), "serve", *arguments)
    assert (done.status, done.output) == (status, "")
    assert done.errors.startswith(complaint)
    assert os.listdir(tmp_path) == []


def test_it_takes_what_the_module_takes() -> None:
    ours = ran(environment_for("/nowhere"), "serve", "-h")
    environment = environment_for("/nowhere")
    module = subprocess.check_output([sys.executable, "-m", "xsffi.server", "-h"], env=environment, text=True)
    assert ours.status == 0
    assert {"--domain", "--load", "--dump"} <= set(options_in(module))
    assert options_in(ours.output) == options_in(module)


def options_in(help: str) -> list[str]:
    return re.findall(r"^  (-\S+)", help, re.MULTILINE)
