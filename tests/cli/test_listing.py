"""``xsffi ls``, beyond what xenstore-ls does (see test_differential.py)."""

from __future__ import annotations

import pytest
from harness.commands import called, environment_for, on_terminal, typed

import xsffi
from xsffi.cli.listing import ls
from xsffi.testing import EmbeddedStore

ESCAPE = "\x1b"
LISTED = 'a = "1"\n b = "2"\nc = "3"\n'


@pytest.fixture(autouse=True)
def tree(xs: xsffi.Client) -> None:
    """The nodes of LISTED."""
    for path, value in {"/t/a": "1", "/t/a/b": "2", "/t/c": "3"}.items():
        xs.write(path, value)


def test_as_json(xs: xsffi.Client) -> None:
    """All nodes below, parents first, as in a dump."""
    lines = called(ls, xs, ["/local/domain"], json=True).output.splitlines()
    nodes = [xsffi.Node.from_json(line) for line in lines]
    assert sorted(nodes) == sorted(xs.dump("/local/domain")[1:])
    places = {node.path: place for place, node in enumerate(nodes)}
    for node in nodes:
        assert all(places[f"{node.path}/{name}"] > places[node.path] for name in node.children)


def test_one_moment(xs: xsffi.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The output is that of the snapshot, though the tree has changed since."""
    dump = xs.dump

    def dump_and_change(top: str) -> list[xsffi.Node]:
        nodes = dump(top)
        xs.write("/t/later", "")
        xs.rm("/t/a")
        return nodes

    monkeypatch.setattr(xs, "dump", dump_and_change)
    assert called(ls, xs, ["/t"]).output == LISTED


@pytest.mark.parametrize("error", [xsffi.QuotaExceededError, xsffi.TransactionConflictError])
def test_without_a_snapshot(
    xs: xsffi.Client, monkeypatch: pytest.MonkeyPatch, error: type[xsffi.XenStoreError]
) -> None:
    """If a guest has no watches left, or the tree keeps changing, the nodes are read one by one."""

    def fail(top: str) -> list[xsffi.Node]:
        raise error(1, "no snapshot", top)

    monkeypatch.setattr(xs, "dump", fail)
    assert called(ls, xs, ["/t"]) == (0, LISTED, "")


def test_a_node_that_goes_while_they_are_read_one_by_one(xs: xsffi.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [node for node in xs.dump("/t") if node.path != "/t/a/b"]

    def fail(top: str) -> list[xsffi.Node]:
        raise xsffi.TransactionConflictError(1, "no snapshot", top)

    monkeypatch.setattr(xs, "dump", fail)
    monkeypatch.setattr(xs, "walk", lambda top, onerror: iter(nodes))
    assert called(ls, xs, ["/t"]) == (0, 'a = "1"\nc = "3"\n', "")


def test_what_is_wrong_is_told(store: EmbeddedStore) -> None:
    assert typed(store.path, "ls", "/t", "/nothing", "/t") == (
        1,
        LISTED,
        "xsffi: /nothing: No such file or directory\n",
    )


def test_the_home_of_a_domain(store: EmbeddedStore) -> None:
    home = typed(store.path, "ls", "/local/domain/5").output
    assert typed(store.path, "--domain", "web", "ls").output == home
    assert typed(store.path, "--domain", "web", "ls", "-f", "device/vbd") == typed(
        store.path, "ls", "-f", "/local/domain/5/device/vbd"
    )


def test_a_name_that_no_store_has(xs: xsffi.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken daemon may send such a name; it must not reach the terminal unescaped."""
    name = f"{ESCAPE}[31m\n"
    nodes = [xsffi.Node("/tool", b"", (name,), ()), xsffi.Node(f"/tool/{name}", b"", (), ())]
    monkeypatch.setattr(xs, "dump", lambda top: nodes)
    assert called(ls, xs, ["/tool"]).output == '\\x1b[31m\\n = ""\n'
    assert called(ls, xs, ["/tool"], flat=True).output == '/tool/\\x1b[31m\\n = ""\n'


def test_as_a_process_on_a_terminal(store: EmbeddedStore, xs: xsffi.Client) -> None:
    xs.write("/v/wide", "w" * 40 + ESCAPE)
    ended = on_terminal(environment_for(store.path), "ls", "-p", "/v", columns=30)
    assert ended.output == f'wide = "{"w" * 16}\\..."  (n0)\n'


def test_a_deep_tree(xs: xsffi.Client) -> None:
    """As deep as a path can be."""
    xs.write("/d" + "/x" * 1000, "")
    lines = called(ls, xs, ["/d"], flat=True).output.splitlines()
    assert len(lines) == 1000
    assert lines[-1] == "/d" + "/x" * 1000 + ' = ""'
