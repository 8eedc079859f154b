"""Operations on domains and on the daemon, over every backend, on every daemon."""

from __future__ import annotations

import itertools
import re
from typing import Callable

import pytest
from daemons import Daemon
from daemons.releases import EVERY_DOMAIN, FEATURES, OWNERS_RELEASE_KILLS, QUOTAS, WATCH_DEPTH, Ability, require

import xsffi
from xsffi import Client

_domids = itertools.count(100)


@pytest.fixture
def domid() -> int:
    """A domain that no other test uses."""
    return next(_domids)


def test_get_domain_path(xs: Client) -> None:
    assert xs.get_domain_path(0) == "/local/domain/0"
    assert xs.get_domain_path(65535) == "/local/domain/65535"


def test_introduce_and_release(xs: Client, domid: int) -> None:
    assert xs.is_domain_introduced(domid) is False
    xs.introduce_domain(domid, 1, domid + 100)
    assert xs.is_domain_introduced(domid) is True
    xs.release_domain(domid)
    assert xs.is_domain_introduced(domid) is False


def test_an_unknown_domain(xs: Client, daemon: Daemon, domid: int) -> None:
    expected = xsffi.NodeNotFoundError if daemon.kind == "xenstored" else xsffi.InvalidArgumentError
    for verb in (xs.release_domain, xs.resume_domain):
        with pytest.raises(expected):
            verb(domid)
    assert xs.get_domain_path(0) == "/local/domain/0"


def test_resume_and_set_target(xs: Client, domid: int) -> None:
    target = next(_domids)
    for each in (domid, target):
        xs.introduce_domain(each, 1, each + 100)
    xs.resume_domain(domid)
    xs.set_target(domid, target)
    for each in (domid, target):
        xs.release_domain(each)


def test_domain_0_is_not_released(xs: Client, top: str) -> None:
    with pytest.raises(xsffi.InvalidArgumentError):
        xs.release_domain(0)
    assert xs.exists(top)


@pytest.mark.parametrize("path", ["@introduceDomain", "@releaseDomain"])
def test_the_owner_of_a_special_path_is_not_released(xs: Client, daemon: Daemon, domid: int, path: str) -> None:
    """If the daemon would die of it, and reports who the owner is."""
    xs.introduce_domain(domid, 1, domid + 100)
    xs.set_permissions(path, [f"n{domid}"])
    if OWNERS_RELEASE_KILLS.of(daemon):
        with pytest.raises(xsffi.InvalidArgumentError, match=f"domain {domid} owns {path}") as caught:
            xs.release_domain(domid)
        assert caught.value.filename == path
        assert xs.is_domain_introduced(domid)
        xs.set_permissions(path, ["n0"])
    xs.release_domain(domid)
    assert not xs.is_domain_introduced(domid)
    if daemon.kind == "oxenstored":
        xs.mkdir(path)  # the domain's release removed it


def test_permissions_for_every_domain(xs: Client, daemon: Daemon, top: str) -> None:
    """Before Xen 4.22, DOMID_ANY is a domain like any other, and harmless."""
    if EVERY_DOMAIN.of(daemon):
        with pytest.raises(xsffi.InvalidArgumentError, match="DOMID_ANY"):
            xs.set_permissions(top, ["n0", f"r{xsffi.DOMID_ANY}"])
        assert xs.exists(top)
        return
    xs.set_permissions(top, ["n0", f"r{xsffi.DOMID_ANY}"])
    assert xs.get_permissions(top)[1] == xsffi.Permission(xsffi.DOMID_ANY, "r")
    xs.load(xs.dump(top))


def test_control(xs: Client, daemon: Daemon) -> None:
    answer = xs.control("help")
    if daemon.kind == "xenstored":
        assert "quota" in answer
        assert "memreport" in answer
    else:
        assert answer == "OK"


def test_control_takes_arguments(xs: Client, daemon: Daemon) -> None:
    if daemon.kind == "oxenstored":  # which says OK to all that it does not know
        assert xs.control("no-such-command", "1") == "OK"
        return
    assert "watches" in xs.control("quota", "0")
    with pytest.raises(xsffi.InvalidArgumentError):
        xs.control("no-such-command")


def test_features(xs: Client, daemon: Daemon, domid: int) -> None:
    require(FEATURES, daemon, xs.backend.name)
    assert isinstance(xs.get_features(), xsffi.Feature)
    assert xs.get_features(0) == xs.get_features()
    assert bool(xs.get_features() & xsffi.Feature.WATCH_DEPTH) == WATCH_DEPTH.of(daemon)
    xs.set_features(domid, xsffi.Feature.ERROR)
    assert xs.get_features(domid) == xsffi.Feature.ERROR


def test_quotas(xs: Client, daemon: Daemon, domid: int) -> None:
    require(QUOTAS, daemon, xs.backend.name)
    assert "nodes" in xs.quota_names()
    before = xs.get_quota("nodes")
    xs.set_quota("nodes", 7)
    assert xs.get_quota("nodes") == 7
    xs.set_quota("nodes", before)
    xs.introduce_domain(domid, 1, domid + 100)
    xs.set_quota("watches", 5, domid=domid)
    assert xs.get_quota("watches", domid=domid) == 5
    xs.release_domain(domid)
    with pytest.raises(xsffi.InvalidArgumentError):
        xs.get_quota("no-such-quota")


def test_features_and_quotas_that_are_not_known(xs: Client, daemon: Daemon) -> None:
    """No daemon is sent a request that it would not answer."""
    uses: dict[Ability, tuple[Callable[[], object], ...]] = {
        FEATURES: (xs.get_features, lambda: xs.get_features(5), lambda: xs.set_features(5, 1)),
        QUOTAS: (
            xs.quota_names,
            lambda: xs.get_quota("nodes"),
            lambda: xs.get_quota("nodes", 5),
            lambda: xs.set_quota("nodes", 100),
            lambda: xs.set_quota("nodes", 100, 5),
        ),
    }
    for use in (use for ability in uses if not ability.through(daemon, xs.backend.name) for use in uses[ability]):
        with pytest.raises(xsffi.NotSupportedError) as caught:
            use()
        assert isinstance(caught.value, NotImplementedError)
        assert re.search("GET_|SET_|4\\.2|the daemon does not know", str(caught.value)), caught.value
    assert xs.get_domain_path(0) == "/local/domain/0"
