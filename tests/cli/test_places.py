"""The places of domains and devices, and finding domains by number or name."""

from __future__ import annotations

import pytest

import xsffi
from xsffi.cli.homes import home_of
from xsffi.cli.places import domain_names, domid_of, find_domain, in_backend, in_frontend, lists_domains, split


@pytest.mark.parametrize(
    ("text", "domid"),
    [
        ("0", 0),
        (b"5", 5),
        ("65535", 65535),
        ("65536", None),
        ("100000", None),
        ("05", None),
        (b"0005", None),
        ("00", None),
        ("", None),
        ("-1", None),
        ("+1", None),
        (" 5", None),
        ("\u0665", None),
        (b"\xff", None),
        (None, None),
    ],
)
def test_domids(text: str | bytes | None, domid: int | None) -> None:
    assert domid_of(text) == domid


@pytest.mark.parametrize(
    ("path", "domid", "names"),
    [
        ("/local/domain/5", 5, []),
        ("/local/domain/5/device/vif", 5, ["device", "vif"]),
        ("/local/domain/05/device", None, ["", "local", "domain", "05", "device"]),
        ("/local/domain", None, ["", "local", "domain"]),
        ("/local/domains/5", None, ["", "local", "domains", "5"]),
        ("/tool/device", None, ["", "tool", "device"]),
        ("device/vif/0", None, ["device", "vif", "0"]),
        ("/", None, ["", ""]),
    ],
)
def test_homes(path: str, domid: int | None, names: list[str]) -> None:
    assert split(path) == (domid, names)


@pytest.mark.parametrize(
    ("path", "frontend", "backend"),
    [
        ("device/vif/0", True, False),
        ("device/vscsi/0/vscsi-devs/dev-0", True, False),
        ("device/vif", False, False),
        ("backend/vif/5/0", False, True),
        ("backend/vif/5", False, False),
        ("backend/vif/05/0", False, False),
        ("data/device/vif/0", False, False),
        ("", False, False),
    ],
)
def test_ends_of_devices(path: str, frontend: bool, backend: bool) -> None:
    for names in (path.split("/"), split(f"/local/domain/5/{path}")[1]):
        assert (in_frontend(names), in_backend(names)) == (frontend, backend)


@pytest.mark.parametrize(
    "path", ["/local/domain", "/libxl", "/local/domain/0/device-model", "/local/domain/0/backend/vif", "backend/vif"]
)
def test_where_domains_are_listed(path: str) -> None:
    assert lists_domains(path)


@pytest.mark.parametrize(
    "path", ["/", "/local", "/local/domain/5", "/local/domain/0/backend", "/local/domain/0/backend/vif/5", "/libxl/5"]
)
def test_where_other_things_are(path: str) -> None:
    assert not lists_domains(path)


def test_a_number_with_leading_zeros_is_no_domain(xs: xsffi.Client) -> None:
    """A node of that name is not the home of the domain with that number."""
    xs.write("/local/domain/003/name", "zeros")
    xs.write("/local/domain/007/name", "zeros")
    names = domain_names(xs)
    assert names == {0: b"Domain-0", 3: b"net", 5: b"web"}
    with pytest.raises(xsffi.NodeNotFoundError, match="no domain has the name '005'"):
        find_domain("005", lambda: names)
    with pytest.raises(xsffi.NodeNotFoundError, match="no domain has the name 'zeros'"):
        find_domain("zeros", lambda: names)


def test_a_name_may_be_digits_that_are_no_domid(xs: xsffi.Client) -> None:
    xs.write("/local/domain/3/name", "003")
    assert home_of(xs, "003") == "/local/domain/3"


@pytest.mark.parametrize(
    ("domain", "home"), [("5", "/local/domain/5"), ("9", "/local/domain/9"), ("web", "/local/domain/5"), (None, None)]
)
def test_the_home_of_a_domain(xs: xsffi.Client, domain: str | None, home: str | None) -> None:
    """The same as the daemon says."""
    assert home_of(xs, domain) == home
    if home is not None:
        assert xs.get_domain_path(int(home.rpartition("/")[2])) == home
