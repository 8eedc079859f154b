"""Modules that are imported on first use."""

from __future__ import annotations

import errno
import itertools
import sys
from pathlib import Path
from typing import Any

import pytest

from xsffi import InvalidArgumentError, XenStoreError
from xsffi.lazy import LazyModule, lazy_module

_numbers = itertools.count()


@pytest.fixture
def name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that does not exist yet."""
    monkeypatch.syspath_prepend(tmp_path)
    return f"lazily_imported_{next(_numbers)}"


def test_it_is_imported_when_something_of_it_is_used(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text("here = 1")
    module: Any = LazyModule(name)
    assert name not in sys.modules
    assert module.here == 1
    sys.modules[name].here = 2  # type: ignore[attr-defined]
    assert module.here == 2


def test_where_there_may_be_threads(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{name}.py").write_text("")
    monkeypatch.delitem(sys.modules, "threading")
    assert isinstance(lazy_module(name), LazyModule)
    assert name not in sys.modules
    monkeypatch.undo()
    monkeypatch.syspath_prepend(tmp_path)
    assert lazy_module(name) is sys.modules[name]


def test_what_it_has_not(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text("")
    module: Any = LazyModule(name)
    for _ in range(2):
        with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'elsewhere'"):
            module.elsewhere  # noqa: B018


@pytest.mark.parametrize(
    ("text", "number"),
    [(None, errno.EIO), ("import nowhere_at_all", errno.EIO), ("raise OSError(24, 'no descriptors')", errno.EMFILE)],
)
def test_what_cannot_be_imported(name: str, tmp_path: Path, text: str | None, number: int) -> None:
    """A later attempt succeeds once the module can be imported."""
    file = tmp_path / f"{name}.py"
    if text is not None:
        file.write_text(text)
    module: Any = LazyModule(name)
    for _ in range(2):
        with pytest.raises(XenStoreError, match=f"{name} cannot be imported: ") as caught:
            module.here  # noqa: B018
        assert caught.value.errno == number
    file.write_text("here = 'at last, and longer'")
    sys.path_importer_cache.clear()
    assert module.here == "at last, and longer"


def test_what_it_refuses_itself(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text("import xsffi; raise xsffi.InvalidArgumentError(22, 'it is c or python')")
    module: Any = LazyModule(name)
    with pytest.raises(InvalidArgumentError, match="it is c or python"):
        module.here  # noqa: B018


def test_a_handler_in_the_middle_of_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a signal handler or finalizer used the module while its own thread was importing it."""
    module: Any = LazyModule(name)

    def handler() -> None:
        with pytest.raises(XenStoreError) as caught:
            module.here  # noqa: B018
        refused.append(caught.value.errno)

    refused: list[int | None] = []
    monkeypatch.setattr(sys, "handler", handler, raising=False)
    (tmp_path / f"{name}.py").write_text("import sys; sys.handler(); here = 1")
    assert module.here == 1
    assert refused == [errno.EDEADLK]
