"""Fixtures for pytest: a store of one's own for every test. Nothing is started, or imported, until one is used."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .sync.client import Client
    from .testing import EmbeddedStore

__all__ = ["xenstore", "xenstore_release", "xenstore_server"]

_OPTION = "--xenstore-release"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("xsffi", "the embedded XenStore")
    group.addoption(
        _OPTION,
        action="append",
        default=[],
        metavar="RELEASE",
        help="have xenstore_server behave as xenstored of this Xen, such as 4.17, and not of the newest that it knows; "
        "given several times, each test that uses it runs once for each",
    )


def pytest_configure(config: pytest.Config) -> None:
    releases = config.getoption(_OPTION)
    if releases:
        from .server.releases import release_named

        try:
            for release in releases:
                release_named(release)
        except ValueError as error:
            raise pytest.UsageError(f"{_OPTION}: {error}") from None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    releases = metafunc.config.getoption(_OPTION)
    if len(releases) > 1 and "xenstore_release" in metafunc.fixturenames:
        metafunc.parametrize("xenstore_release", releases, indirect=True)


@pytest.fixture
def xenstore_release(request: pytest.FixtureRequest) -> str | None:
    """The release of Xen that :func:`xenstore_server` is to behave as, such as "4.17"; None: the newest that it knows.

    It is what ``--xenstore-release`` says; a project may have a fixture of this name that says otherwise.
    """
    release: str | None = getattr(request, "param", None)
    if release is None:
        release = next(iter(request.config.getoption(_OPTION)), None)
    return release


@pytest.fixture
def xenstore_server(monkeypatch: pytest.MonkeyPatch, xenstore_release: str | None) -> Iterator[EmbeddedStore]:
    """A fresh, empty :class:`xsffi.testing.EmbeddedStore`, which ends with the test; code that asks the environment for
    the store (``XENSTORED_PATH``) finds it."""
    from .testing import EmbeddedStore

    with EmbeddedStore(release=xenstore_release) as server:
        monkeypatch.setenv("XENSTORED_PATH", server.path)
        yield server


@pytest.fixture
def xenstore(xenstore_server: EmbeddedStore) -> Iterator[Client]:
    """A :class:`xsffi.Client` of :func:`xenstore_server`, as dom0, which is closed with the test."""
    with xenstore_server.connect() as client:
        yield client
