"""``xsffi wait``."""

from __future__ import annotations

import time

import pytest
from daemons import Daemon
from harness.commands import environment_for, ran, running, typed
from harness.stores import nobody_is_accepted

import xsffi
from xsffi.testing import EmbeddedStore


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["/tool/name"], 0),
        (["/tool/name", "example"], 0),
        (["/tool/none", "--gone"], 0),
        (["/tool/name", "other"], 1),
        (["/tool/none"], 1),
        (["/tool/name", "--gone"], 1),
    ],
)
def test_what_is_so_or_is_not(store: EmbeddedStore, arguments: list[str], status: int) -> None:
    assert typed(store.path, "wait", *arguments, "--timeout", "0") == (status, "", "")


def test_a_path_of_a_domain(store: EmbeddedStore) -> None:
    assert typed(store.path, "--domain", "web", "wait", "name", "web", "--timeout", "0").status == 0


def test_what_becomes_so(store: EmbeddedStore, xs: xsffi.Client) -> None:
    with running(environment_for(store.path), "wait", "/tool/state", "4", "--timeout", "60") as command:
        time.sleep(0.2)
        xs.write("/tool/state", "3")
        assert command.process.poll() is None
        xs.write("/tool/state", "4")
        assert command.process.wait(60) == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["/a b"], "/a b: a path may contain only letters"),
        (["/a", "1", "--gone"], "a node that is gone has no value"),
        (["/a", "--timeout", "-1"], "seconds must be a number of at least 0"),
    ],
)
def test_what_is_wrong(store: EmbeddedStore, arguments: list[str], text: str) -> None:
    status, output, errors = typed(store.path, "wait", *arguments)
    assert (status, output) == (2, "")
    assert text in errors


def test_no_daemon(tmp_path: object) -> None:
    assert typed(f"{tmp_path}/none", "wait", "/a").status == 2


def test_a_daemon_that_stands_still(own_daemon: Daemon) -> None:
    own_daemon.pause()
    begin = time.monotonic()
    assert ran(environment_for(own_daemon.socket_path), "wait", "/a", "--timeout", "0.1") == (1, "", "")
    assert time.monotonic() - begin < 60
    own_daemon.resume()


def test_a_daemon_that_accepts_nobody(own_daemon: Daemon) -> None:
    with nobody_is_accepted(own_daemon):
        assert ran(environment_for(own_daemon.socket_path), "wait", "/a", "--timeout", "0.1") == (1, "", "")
