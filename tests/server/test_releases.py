"""Differences between the releases of Xen: each fact is checked on the embedded store as each release, and on the
installed xenstored."""

from __future__ import annotations

import pytest
from daemons import require_packages
from harness.embedded import release_like

import xsffi
from xsffi.server.releases import NEWEST, RELEASES, release_named
from xsffi.testing import EmbeddedStore

from .facts import FACTS, Fact
from .scene import scene_of


@pytest.mark.parametrize(
    ("function", "release", "answer"),
    [
        pytest.param(function, release, answer, id=f"{function.__name__}-{release}")
        for function, seen in FACTS
        for release, answer in seen.items()
        if answer is not None
    ],
)
def test_embedded(function: Fact, release: str, answer: object) -> None:
    with scene_of("embedded", release) as scene:
        assert function(scene) == answer


@pytest.mark.parametrize(("function", "seen"), FACTS, ids=[function.__name__ for function, _ in FACTS])
def test_xenstored(function: Fact, seen: dict[str, object]) -> None:
    version = require_packages().version
    if version not in RELEASES:
        pytest.skip(f"Xen {version} is none that the embedded store knows")
    if seen[version] is None:
        pytest.skip(f"Xen {version} is not asked for this")
    with scene_of("xenstored") as scene:
        assert function(scene) == seen[version]


# Selecting a release


def test_the_newest_unless_another_is_named() -> None:
    with EmbeddedStore() as store, EmbeddedStore(release="4.17") as old:
        assert (store.release, old.release) == (NEWEST, "4.17")
        assert NEWEST == release_like("99.0") == list(RELEASES)[-1]
        with store.connect(backend="wire") as xs, old.connect(backend="wire") as xs_of_old:
            assert xs.get_features() == xsffi.Feature.ERROR | xsffi.Feature.WATCH_DEPTH | xsffi.Feature.DOMID_ANY
            with pytest.raises(xsffi.NotSupportedError):
                xs_of_old.get_features()


@pytest.mark.parametrize("name", ["", "4", "4.1", "4.21", "4.17.1", "5.0", "newest"])
def test_a_release_that_it_does_not_know(name: str) -> None:
    with pytest.raises(ValueError, match=r"4\.14, 4\.17, 4\.20, 4\.22, not '"):
        release_named(name)
    with pytest.raises(ValueError, match=repr(name)):
        EmbeddedStore(release=name)


def test_each_release_differs_from_the_one_before() -> None:
    releases = list(RELEASES.values())
    for release, next_one in zip(releases, releases[1:]):
        assert {**vars(release), "name": ""} != {**vars(next_one), "name": ""}
        assert any(seen[release.name] != seen[next_one.name] for _, seen in FACTS)
