"""The tree: what is copied, what is kept, and in which order."""

from __future__ import annotations

import ast
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import given

import xsffi.server
from xsffi.permissions import Permission
from xsffi.server.access import NodePermissions
from xsffi.server.children import Children
from xsffi.server.dump import contents
from xsffi.server.tree import Tree

_PERMISSIONS = NodePermissions([Permission(0, "n")])


@given(st.lists(st.tuples(st.sampled_from(["set", "set", "replace", "remove"]), st.integers(0, 200)), max_size=400))
def test_children_are_an_ordered_map_that_never_changes(steps: list[tuple[str, int]]) -> None:
    children: Children[int] = Children.none()
    model: dict[str, int] = {}
    history = []
    for place, (what, number) in enumerate(steps):
        name = f"n{number}"
        if what == "set":
            model.pop(name, None)
            model[name] = place
            children = children.with_child(name, place, place)
        elif name in model and what == "replace":
            model[name] = place
            children = children.replaced(name, place)
        elif name in model:
            del model[name]
            children = children.without(name)
        history.append((children, dict(model)))
    for old, then in history[:: max(1, len(history) // 10)]:
        assert old.names() == list(then)
        assert old.listing() == b"".join(f"{name}\0".encode() for name in then)
        assert (len(old), old.size) == (len(then), len(old.listing()))
        assert {name: (old.get(name) or (0, None))[1] for name in then} == then
        assert old.get("other") is None


def test_many_children() -> None:
    children: Children[int] = Children.none()
    for number in range(50_000):
        children = children.with_child(str(number), number, number)
    fewer = children
    for number in range(0, 50_000, 2):
        fewer = fewer.without(str(number))
    assert children.names() == [str(number) for number in range(50_000)]
    assert fewer.names() == [str(number) for number in range(1, 50_000, 2)]


def test_a_snapshot_is_a_pointer() -> None:
    tree = Tree(_PERMISSIONS)
    tree.create("/a/b", b"1", _PERMISSIONS)
    tree.create("/c/d", b"2", _PERMISSIONS)
    snapshot = tree.root
    before = list(contents("/", snapshot))
    untouched = tree.get("/c")
    tree.update("/a/b", b"3", _PERMISSIONS)
    tree.create("/a/e", b"", _PERMISSIONS)
    tree.remove("/a/b")
    assert list(contents("/", snapshot)) == before
    assert tree.get("/c") is untouched


def test_only_the_loop_and_its_sockets_know_the_outside_world() -> None:
    outside = {
        "_thread",
        "asyncio",
        "fcntl",
        "os",
        "select",
        "selectors",
        "signal",
        "socket",
        "tempfile",
        "threading",
        "time",
    }
    folder = Path(xsffi.server.__file__).parent
    found = {}
    for path in folder.glob("*.py"):
        imported = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                imported.add(node.module.partition(".")[0])
        if imported & outside:
            found[path.stem] = imported & outside
    assert found.keys() == {"loop", "listener", "files", "__main__"}
