"""The table of differences between releases of Xen."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from daemons import releases
from daemons.releases import Ability, Difference, require


@dataclass(frozen=True)
class Store:
    kind: str
    xen_release: str


def test_a_value_holds_until_the_next_one() -> None:
    difference = Difference("x", xenstored={"4.14": "old", "4.17": "between", "4.20": "new"}, oxenstored={"4.14": "x"})
    found = [difference.at("xenstored", release) for release in ("4.14", "4.16", "4.17", "4.19", "4.20", "4.100")]
    assert found == ["old", "old", "between", "between", "new", "new"]
    assert difference.of(Store("oxenstored", "4.20")) == "x"


@pytest.mark.parametrize("values", [{"4.17": 1}, {"4.14": 1, "4.20": 2, "4.17": 3}, {"4.14": 1, "4.100": 2, "4.20": 3}])
def test_a_row_begins_with_the_oldest_and_is_in_order(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="in order"):
        Difference("x", xenstored=values)


def test_what_libxenstore_lacks_cannot_be_done_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ability = Ability("x", xenstored="4.20", oxenstored=None, libxenstore="4.22")
    new = Store("xenstored", "4.20")
    monkeypatch.setenv("XSFFI_XEN_RELEASE", "4.20")
    assert (ability.through(new, "wire"), ability.through(new, "libxenstore")) == (True, False)
    assert not ability.through(Store("xenstored", "4.17"), "wire")
    assert not ability.through(Store("oxenstored", "4.20"), "wire")
    require(ability, new, "wire")
    with pytest.raises(pytest.skip.Exception, match=r"xenstored of Xen 4\.20 over libxenstore has no x"):
        require(ability, new, "libxenstore")
    monkeypatch.setenv("XSFFI_XEN_RELEASE", "4.22")
    assert ability.through(new, "libxenstore")


def test_every_row_tells_of_both_daemons() -> None:
    rows = [row for row in vars(releases).values() if isinstance(row, Difference)]
    assert len(rows) >= 9
    for row in rows:
        for kind in ("xenstored", "oxenstored"):
            row.at(kind, releases.OLDEST)
