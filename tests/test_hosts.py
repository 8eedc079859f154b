"""The table of hosts in the documentation matches the results of ci/hosts."""

from __future__ import annotations

import json
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "ci" / "hosts"


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr("sys.dont_write_bytecode", True)  # ci/ is not a package
    loader = SourceFileLoader("hosts", str(SCRIPT))
    spec = spec_from_loader("hosts", loader)
    assert spec is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "hosts", module)
    loader.exec_module(module)
    return module


def test_the_page_has_the_table(hosts: ModuleType) -> None:
    assert hosts.table(hosts.results_so_far()) in hosts.PAGE.read_text()


def test_what_the_table_says(hosts: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = {
        "bullseye": {"demo": {"ok": True, "python": "CPython 3.9.2", "passed": 0, "skipped": 0, "failed": 0}},
        "trixie": {"pypy": {"ok": False, "python": "PyPy 3.11.11", "passed": 7, "skipped": 0, "failed": 2}},
    }
    monkeypatch.setattr(hosts, "RESULTS", tmp_path / "hosts.json")
    monkeypatch.setattr(hosts, "PAGE", tmp_path / "hosts.md")
    hosts.RESULTS.write_text(json.dumps(results))
    hosts.PAGE.write_text(f"before\n{hosts.BEGIN}old\n{hosts.END}after\n")
    hosts.write_table()
    before, *table, after = hosts.PAGE.read_text().splitlines()
    assert (before, after) == ("before", "after")
    assert "| `ci/demo`, `ci/demo --real` | CPython 3.9.2: runs | not tried | not tried | not tried |" in table
    assert (
        "| PyPy: conformance, protocol |  | not tried | PyPy 3.11.11: **fails** 7 passed, 2 failed | not tried |"
        in table
    )
