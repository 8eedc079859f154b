"""README and the documentation: what they show runs, what they name exists, and every public name is documented."""

from __future__ import annotations

import importlib
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from daemons import DAEMON_KINDS, require_packages, start_daemon
from harness.embedded import EmbeddedDaemon
from harness.pages import Page
from harness.stores import BACKENDS, require_libxenstore

import xsffi

REPOSITORY = Path(__file__).resolve().parent.parent
README = Page(REPOSITORY / "README.md")
BESIDE = ("CONTRIBUTING.md", "SECURITY.md", "examples/README.md")
PAGES = [README, *(Page(REPOSITORY / name) for name in BESIDE), *map(Page, sorted((REPOSITORY / "docs").rglob("*.md")))]
PUBLIC = (
    "xsffi",
    "xsffi.aio",
    "xsffi.conditions",
    "xsffi.lowlevel",
    "xsffi.lowlevel.xs",
    "xsffi.pytest_plugin",
    "xsffi.testing",
)


def name_of(page: Page) -> str:
    return str(page.path.relative_to(REPOSITORY))


def with_each(pages: list[Page]) -> pytest.MarkDecorator:
    assert pages
    return pytest.mark.parametrize("page", pages, ids=name_of)


STORES = [*DAEMON_KINDS, "embedded"]
# The README runs with every combination of store and backend, the other pages once on each store.
EVERYWHERE = list(itertools.product(STORES, BACKENDS))
SOMEWHERE = list(zip(STORES, itertools.cycle(BACKENDS)))


@pytest.mark.parametrize(
    ("page", "store", "backend"),
    [
        pytest.param(page, *place, id="-".join([name_of(page), *place]))
        for page in PAGES
        if page.snippets()
        for place in (EVERYWHERE if page is README else SOMEWHERE)
    ],
)
def test_the_snippets(page: Page, store: str, backend: str) -> None:
    require_packages()
    with EmbeddedDaemon() if store == "embedded" else start_daemon(store) as daemon:
        environment = {**daemon.environment(), "PYTHONPATH": str(REPOSITORY)}
        if backend == "libxenstore":
            require_libxenstore()  # libxenstore is then the default; an embedded store in a page still uses the wire
        else:
            environment["XSFFI_BACKEND"] = backend
        printed = page.run(environment)
    assert printed == [snippet.prints for snippet in page.snippets()]


@with_each([page for page in PAGES if page.files()])
def test_the_files(page: Page, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # the plugins are named instead, whether installed or not
    monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY}:{pytester.path}")
    for name, text in page.files().items():
        pytester.path.joinpath(name).write_text(text, encoding="utf-8")
    tests = sum(len(re.findall(r"\bdef test_", text)) for text in page.files().values())
    plugins = ["-p", "xsffi.pytest_plugin", "-p", "pytest_asyncio.plugin", "-o", "asyncio_mode=auto"]
    run = pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider", *plugins)
    run.assert_outcomes(passed=tests)


@with_each([page for page in PAGES if any(page.links())])
def test_every_file_that_it_links_to_is_there(page: Page) -> None:
    for target in page.links():
        file, _, _ = target.partition("#")
        assert (page.path.parent / file).exists(), target


@with_each(PAGES)
def test_every_file_that_it_names_is_there(page: Page) -> None:
    for name in re.findall(r"`((?:benchmarks|ci|examples|tests|xsffi)/[^`\s]*)", page.text):
        assert any(REPOSITORY.glob(name.rstrip("/"))), name


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_in_the_reference(module: str) -> None:
    directive = re.compile(r"^\.\. (?:auto\w+|py:data):: ([\w.]+)", re.MULTILINE)
    described = {name if "." in name else f"xsffi.{name}" for page in PAGES for name in directive.findall(page.text)}
    if any(f".. automodule:: {module}\n   :members:\n" in page.text for page in PAGES):
        return
    named = {f"{module}.{name}" for name in importlib.import_module(module).__all__}
    assert named - described == set()


def test_the_demo() -> None:
    """Without this process's packages and without the extension."""
    assert "ci/demo\n" in README.blocks("sh")
    environment = {"PATH": os.defpath, "XSFFI_EXTENSION": "no"}
    demo = subprocess.run([REPOSITORY / "ci/demo"], env=environment, capture_output=True, text=True, timeout=60)
    assert demo.returncode == 0, demo.stderr
    assert demo.stdout.count("the driver has connected") == 1
    assert demo.stdout.splitlines()[-1].startswith("/local/domain/")


def test_the_real_demo() -> None:
    require_packages()
    require_libxenstore()
    environment = {**os.environ, "XSFFI_PYTHON": sys.executable}
    command = [str(REPOSITORY / "ci/demo"), "--real"]
    demo = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert demo.returncode == 0, demo.stderr
    assert demo.stdout.count("the driver has connected") == 2
    assert demo.stdout.splitlines()[-1].startswith("/local/domain/")


def test_the_figures_are_those_that_were_measured() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "benchmarks.summary"], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    assert said in README.text


@with_each([page for page in PAGES if page.rows(r"`NodeNotFoundError`")])
def test_every_error_is_told(page: Page) -> None:
    told = page.rows(r"`(\w+Error)` \|(?: `(\w+)`)?")
    errors = {name for name in xsffi.__all__ if name.endswith("Error")}
    assert {row[1] for row in told} == errors - {"XenStoreError"}
    for _, name, builtin in ((row[0], row[1], row[2]) for row in told):
        assert issubclass(getattr(xsffi, name), getattr(__import__("builtins"), builtin or "OSError")), name


@with_each([page for page in PAGES if page.rows("`XSFFI_BACKEND`")])
def test_every_environment_variable_is_told(page: Page) -> None:
    told = {row[1] for row in page.rows(r"`(X\w+)`")}
    used = set()
    for source in [*REPOSITORY.glob("xsffi/**/*.py"), REPOSITORY / "setup.py", REPOSITORY / "build_ffi.py"]:
        used |= set(re.findall(r'environ(?:\.get\(|\[)"(X\w+)"', source.read_text()))
    assert used <= told
