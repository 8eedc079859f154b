"""Fixtures for pytest: a fresh store for every test. Nothing is started, or imported, until one is used."""

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
        help="the Xen release, such as 4.17, whose xenstored xenstore_server mimics (default: the newest supported); "
        "if given several times, each test that uses it runs once for each",
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
    """The Xen release, such as "4.17", that :func:`xenstore_server` mimics; None: the newest supported.

    Set by ``--xenstore-release``; a project may override this fixture.
    """
    release: str | None = getattr(request, "param", None)
    if release is None:
        release = next(iter(request.config.getoption(_OPTION)), None)
    return release


@pytest.fixture
def xenstore_server(monkeypatch: pytest.MonkeyPatch, xenstore_release: str | None) -> Iterator[EmbeddedStore]:
    """A fresh, empty :class:`xsffi.testing.EmbeddedStore`, stopped after the test; the environment
    (``XENSTORED_PATH``) names it as the store."""
    from .testing import EmbeddedStore

    with EmbeddedStore(release=xenstore_release) as server:
        monkeypatch.setenv("XENSTORED_PATH", server.path)
        yield server


@pytest.fixture
def xenstore(xenstore_server: EmbeddedStore) -> Iterator[Client]:
    """A :class:`xsffi.Client` of :func:`xenstore_server`, as dom0, closed after the test."""
    with xenstore_server.connect() as client:
        yield client
