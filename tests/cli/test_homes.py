"""``--domain``, for each kind of argument."""

from __future__ import annotations

from typing import Any

import pytest
from harness.commands import typed

import xsffi
from xsffi.cli import COMMANDS
from xsffi.cli.command import DOMAIN, OPTIONAL_PATH, PATH, PATHS, PATHS_AND_VALUES, command_of
from xsffi.cli.homes import resolve
from xsffi.testing import EmbeddedStore

HOME = "/local/domain/5"


@pytest.mark.parametrize(
    ("kind", "given", "with_domain", "without"),
    [
        (PATH, "a", f"{HOME}/a", "a"),
        (PATH, "/a", "/a", "/a"),
        (PATH, None, HOME, "/"),
        (PATHS, ["a", "/b", "@c"], [f"{HOME}/a", "/b", "@c"], ["a", "/b", "@c"]),
        (PATHS, [], [HOME], ["/"]),
        (PATHS_AND_VALUES, ["a", "b", "/c", "d"], [f"{HOME}/a", "b", "/c", "d"], ["a", "b", "/c", "d"]),
        (PATHS_AND_VALUES, ["a"], [f"{HOME}/a"], ["a"]),
        (OPTIONAL_PATH, "a", f"{HOME}/a", "a"),
        (OPTIONAL_PATH, None, HOME, None),
        (DOMAIN, "net", "net", "net"),
        (DOMAIN, None, "web", None),
    ],
)
def test_each_kind_of_argument(xs: xsffi.Client, kind: str, given: Any, with_domain: Any, without: Any) -> None:
    arguments = {"it": given, "other": "a"}
    assert resolve(xs, arguments, {"it": kind}, "web") == {"it": with_domain, "other": "a"}
    assert resolve(xs, arguments, {"it": kind}, None) == {"it": without, "other": "a"}


def test_devices_of_that_domain(store: EmbeddedStore) -> None:
    net = typed(store.path, "devices", "net")
    assert typed(store.path, "--domain", "net", "devices") == net
    assert typed(store.path, "--domain", "3", "devices") == net
    assert typed(store.path, "--domain", "web", "devices", "net") == net
    assert typed(store.path, "devices") != net
    assert typed(store.path, "--domain", "9", "devices").status == 2


def test_devices_of_a_guest_which_may_not_list_domains(store: EmbeddedStore) -> None:
    guest = store.socket_path(5)
    found = typed(guest, "--domain", "web", "devices")
    assert (found.status, found.errors) == (0, "")
    assert found == typed(guest, "devices")


def test_a_command_without_paths_refuses_it(store: EmbeddedStore) -> None:
    without = [name for name in COMMANDS if not command_of(name).kinds]
    assert without == ["control", "domains", "serve", "completion", "manual"]
    lines = {"control": ["check"], "serve": [f"{store.path}-2"], "completion": ["bash"]}
    for name in without:
        expected = (2, "", f"xsffi: --domain does not apply to {name}\nsee xsffi {name} -h\n")
        assert typed(store.path, "--domain", "5", name, *lines.get(name, [])) == expected
