"""``xsffi tree``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from harness.commands import called, environment_for, on_terminal, ran

import xsffi
from xsffi.cli.tree import tree
from xsffi.cli.widths import columns_of
from xsffi.testing import EmbeddedStore

ESCAPE = "\x1b"


def drawn(xs: xsffi.Client, path: str, **options: Any) -> str:
    status, output, errors = called(tree, xs, path, **options)
    assert (status, errors) == (0, "")
    return output


def test_a_device(xs: xsffi.Client) -> None:
    assert drawn(xs, "/local/domain/5/device/vbd") == (
        "/local/domain/5/device/vbd\n"
        "├── 51712\n"
        "│   ├── backend = /local/domain/0/backend/qdisk/5/51712\n"
        "│   ├── backend-id = 0 (Domain-0)\n"
        "│   ├── device-type = disk\n"
        "│   ├── state = 4 connected\n"
        "│   └── virtual-device = 51712\n"
        "└── 51728\n"
        "    ├── backend = /local/domain/0/backend/qdisk/5/51728\n"
        "    ├── backend-id = 0 (Domain-0)\n"
        "    ├── device-type = cdrom\n"
        "    ├── state = 5 closing\n"
        "    └── virtual-device = 51728\n"
    )


def test_numbers_of_domains_have_their_names(xs: xsffi.Client) -> None:
    xs.write("/libxl/5", "")
    xs.write("/local/domain/0/device-model/5/state", "running")
    xs.write("/local/domain/5/data/5", "no domain")
    assert drawn(xs, "/local/domain", level=1).splitlines()[1:] == ["├── 0 (Domain-0)", "├── 3 (net)", "└── 5 (web)"]
    assert drawn(xs, "/local/domain/5", level=0).splitlines() == ["/local/domain/5 (web)"]
    assert drawn(xs, "/libxl").splitlines()[1:] == ["└── 5 (web)"]
    assert drawn(xs, "/local/domain/0/backend/vif", level=1).splitlines()[1:] == ["├── 5 (web)", "└── 7"]
    assert drawn(xs, "/local/domain/0/device-model").splitlines()[1:] == ["└── 5 (web)", "    └── state = running"]
    assert drawn(xs, "/local/domain/5/data").splitlines()[1:] == ["└── 5 = no domain"]
    assert "frontend-id = 7\n" in drawn(xs, "/local/domain/0/backend/vif/7")  # domain 7 does not exist


@pytest.mark.parametrize(
    ("value", "line"), [("4", "state = 4 connected"), ("9", "state = 9"), ("", "state"), ("on", "state = on")]
)
def test_states(xs: xsffi.Client, value: str, line: str) -> None:
    xs.write("/local/domain/5/device/vif/0/state", value)
    xs.write("/local/domain/5/state", "4")
    assert drawn(xs, "/local/domain/5/device/vif/0").endswith(f"── {line}\n")
    assert drawn(xs, "/local/domain/5").endswith("── state = 4\n")


def test_the_root(xs: xsffi.Client) -> None:
    assert drawn(xs, "/", level=1) == "/\n├── tool\n└── local\n"


def test_permissions_and_sizes(xs: xsffi.Client) -> None:
    xs.set_permissions("/tool/name", ["n0", "r5", "b7"])
    assert "\n└── [n0,r5,b7]  name = example\n" in drawn(xs, "/tool", permissions=True)
    assert "\n└── [7]  name = example\n" in drawn(xs, "/tool", sizes=True)
    assert drawn(xs, "/tool", permissions=True, sizes=True).startswith("[n0 0]  /tool\n├── [n0 0]  xenstored\n")


@pytest.mark.parametrize("level", [None, 1, 2])
def test_json(xs: xsffi.Client, level: int | None) -> None:
    nodes = map(xsffi.Node.from_json, drawn(xs, "/local/domain/5", level=level, json=True).splitlines())
    deepest = 9 if level is None else level
    assert list(nodes) == [node for node in xs.dump("/local/domain/5") if node.path.count("/") - 3 <= deepest]


def test_json_of_the_root(xs: xsffi.Client) -> None:
    nodes = map(xsffi.Node.from_json, drawn(xs, "/", level=1, json=True).splitlines())
    assert [node.path for node in nodes] == ["/", "/tool", "/local"]


def test_values_that_cannot_be_shown(xs: xsffi.Client) -> None:
    xs.write("/v/binary", b"\xff\0")
    xs.write("/v/red", f"{ESCAPE}[31mred\n")
    xs.write("/v/text", "café")
    assert drawn(xs, "/v") == "/v\n├── binary = \\xff\\000\n├── red = \\x1b[31mred\\n\n└── text = café\n"
    assert called(tree, xs, "/v", unicode=False).output == (
        "/v\n|-- binary = \\xff\\000\n|-- red = \\x1b[31mred\\n\n`-- text = caf\\xc3\\xa9\n"
    )


def test_a_name_that_no_store_has(xs: xsffi.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken daemon may send such a name; it must not reach the terminal unescaped."""
    nodes = [xsffi.Node("/a", b"", (f"{ESCAPE}[2J",), ()), xsffi.Node(f"/a/{ESCAPE}[2J", b"1", (), ())]
    monkeypatch.setattr("xsffi.cli.tree.read_tree", lambda xs, top, levels: (nodes, {}))
    assert drawn(xs, "/a") == "/a\n└── \\x1b[2J = 1\n"


def test_children_that_went_meanwhile(xs: xsffi.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [xsffi.Node("/a", b"", ("b", "c"), ()), xsffi.Node("/a/b", b"", (), ())]
    monkeypatch.setattr("xsffi.cli.tree.read_tree", lambda xs, top, levels: (nodes, {}))
    assert drawn(xs, "/a") == "/a\n└── b\n"


def test_what_is_below_the_levels_is_not_read(xs: xsffi.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        xs.write(f"/deep/{number}/a/b", "")
    asked: list[Any] = []
    call_many = xs.backend.call_many

    def noted(requests: Any, tx_id: int = 0) -> Any:
        asked.extend(getattr(requests, "paths", []))
        return call_many(requests, tx_id)

    monkeypatch.setattr(xs.backend, "call_many", noted)
    assert drawn(xs, "/deep", level=1) == "/deep\n├── 0\n├── 1\n└── 2\n"
    assert not [path for path in asked if path.endswith("/b")]


def test_what_a_guest_may_not_read(store: EmbeddedStore, xs: xsffi.Client) -> None:
    xs.set_permissions("/local/domain/5/control", ["n0"])
    with store.connect(5) as guest:
        status, output, errors = called(tree, guest, "/local/domain/5", level=1)
        assert (status, errors) == (1, "")
        assert "\n├── control (may not be read)\n" in output
        assert "\n└── name = web\n" in output
        status, output, errors = called(tree, guest, "/local/domain/5", level=1, json=True)
        assert (status, errors) == (1, "xsffi: /local/domain/5/control: Permission denied\n")
        assert '"/local/domain/5/name"' in output
        with pytest.raises(xsffi.AccessDeniedError):
            called(tree, guest, "/local/domain/5/control")


def test_a_missing_top(xs: xsffi.Client) -> None:
    with pytest.raises(xsffi.NodeNotFoundError, match="/missing"):
        called(tree, xs, "/missing")


def test_a_thousand_levels(xs: xsffi.Client) -> None:
    xs.write("/a" * 1000, "deep")
    lines = drawn(xs, "/a").splitlines()
    assert len(lines) == 1000
    assert lines[-1] == f"{' ' * 4 * 998}└── a = deep"


class TestAsAProcess:
    def test_in_a_pipe(self, store: EmbeddedStore, xs: xsffi.Client) -> None:
        xs.write("/wide", "x" * 2000)
        status, output, errors = ran(environment_for(store.path), "tree", "-L", "1")
        assert (status, errors) == (0, "")
        assert output == f"/\n├── tool\n├── local\n└── wide = {'x' * 2000}\n"

    def test_where_more_than_ascii_is_not_shown(self, store: EmbeddedStore) -> None:
        environment = environment_for(store.path, PYTHONIOENCODING="latin-1")
        assert ran(environment, "tree", "/tool").output.splitlines()[-1].startswith("`-- ")

    def test_relative_to_a_domain(self, store: EmbeddedStore) -> None:
        environment = environment_for(store.path)
        whole = ran(environment, "--domain", "web", "tree", "-L1")
        assert whole.output.startswith("/local/domain/5 (web)\n")
        assert ran(environment, "--domain", "5", "tree", "memory").output == (
            "/local/domain/5/memory\n└── target = 1048576\n"
        )

    @pytest.mark.parametrize("level", ["0", "-1", "x", "1.5"])
    def test_a_wrong_level(self, store: EmbeddedStore, level: str) -> None:
        status, output, errors = ran(environment_for(store.path), "tree", f"-L={level}")
        assert (status, output) == (2, "")
        assert "a level must be a whole number, at least 1, not " in errors.splitlines()[0]

    def test_on_a_terminal(self, store: EmbeddedStore, xs: xsffi.Client) -> None:
        xs.write("/local/domain/5/device/vif/0/wide", "語" * 100)
        xs.write("/local/domain/5/device/vif/0/long", f"{ESCAPE}[31m" * 50)
        status, output, _ = on_terminal(environment_for(store.path), "tree", "/local/domain/5/device", columns=40)
        assert status == 0
        assert f"{ESCAPE}[32m connected{ESCAPE}[0m\n" in output
        plain = re.sub(rf"{ESCAPE}\[[0-9;]*m", "", output)
        assert ESCAPE not in plain
        lines = plain.splitlines()
        assert "│   │   ├── backend = /local/domain/0/b…" in lines
        assert f"    │   ├── wide = {'語' * 10}…" in lines
        assert all(columns_of(line) <= 40 for line in lines)

    @pytest.mark.parametrize("variable", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
    def test_without_colours(self, store: EmbeddedStore, variable: dict[str, str]) -> None:
        self._check_plain(environment_for(store.path, **variable))

    def test_without_rich(self, store: EmbeddedStore, tmp_path: Path) -> None:
        (tmp_path / "rich.py").write_text("raise ImportError")
        environment = environment_for(store.path)
        environment["PYTHONPATH"] = f"{tmp_path}:{environment['PYTHONPATH']}"
        self._check_plain(environment)

    def _check_plain(self, environment: dict[str, str]) -> None:
        _, output, _ = on_terminal(environment, "tree", "/local/domain/5/device/vbd/51712", columns=40)
        assert output == (
            "/local/domain/5/device/vbd/51712\n"
            "├── backend = /local/domain/0/backend/q…\n"
            "├── backend-id = 0 (Domain-0)\n"
            "├── device-type = disk\n"
            "├── state = 4 connected\n"
            "└── virtual-device = 51712\n"
        )
