"""The command, called by the names of xenstore-utils."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from harness.commands import Ran, environment_for, program

from xsffi.testing import EmbeddedStore


@pytest.fixture
def links(tmp_path: Path) -> Path:
    """A directory with symbolic links to the command, as a user would create them."""
    command = tmp_path / "xsffi"
    command.write_text(f"#!{sys.executable}\nimport sys\nfrom xsffi.cli.start import main\nsys.exit(main())\n")
    command.chmod(0o755)
    for name in ("xenstore-read", "xenstore-ls", "xenstore-control", "xenstore-nix", "xenstore"):
        (tmp_path / name).symlink_to("xsffi")
    return tmp_path


def linked(links: Path, store: EmbeddedStore, name: str, *arguments: str) -> Ran:
    return program(environment_for(store.path), links / name, *arguments)


def test_a_tool(links: Path, store: EmbeddedStore) -> None:
    assert linked(links, store, "xenstore-read", "-p", "/tool/name") == (0, "/tool/name: example\n", "")
    assert linked(links, store, "xenstore-ls", "/local").output.startswith('domain = ""\n 0 = ""\n')


def test_complaints_bear_its_name(links: Path, store: EmbeddedStore) -> None:
    expected = (1, "", "xenstore-read: /nothing: No such file or directory\n")
    assert linked(links, store, "xenstore-read", "/nothing") == expected
    status, _, errors = linked(links, store, "xenstore-read", "--nothing")
    assert status == 1
    lines = errors.splitlines()
    assert lines[0].startswith("xenstore-read: unknown option --nothing;")
    assert lines[1].startswith("usage: xenstore-read [-h]")
    status, _, errors = linked(links, store, "xenstore-control")
    assert status == 2
    assert errors.splitlines()[1] == "usage: xenstore-control [-h] COMMAND [ARGUMENT ...]"


def test_help(links: Path, store: EmbeddedStore) -> None:
    status, output, errors = linked(links, store, "xenstore-read", "-h")
    assert (status, errors) == (0, "")
    assert output.startswith("usage: xenstore-read [-h]")


def test_all_of_them(links: Path, store: EmbeddedStore) -> None:
    assert linked(links, store, "xenstore", "read", "/tool/name") == (0, "example\n", "")
    assert linked(links, store, "xenstore", "ls", "-x").errors.splitlines()[1].startswith("usage: xenstore ls [-h]")
    status, _, errors = linked(links, store, "xenstore", "exits")
    assert (status, errors) == (2, "xenstore: unknown command 'exits'\ndid you mean exists?\n")
    status, output, _ = linked(links, store, "xenstore", "-h")
    assert (status, output.splitlines()[0]) == (0, "usage: xenstore [OPTIONS] COMMAND …")


def test_a_tool_that_there_is_not(links: Path, store: EmbeddedStore) -> None:
    status, _, errors = linked(links, store, "xenstore-nix")
    assert status == 2
    assert errors.startswith("xenstore-nix: unknown command 'nix'\n")
