"""ci/fetch-xen, as far as it can be tested without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from daemons import Packages, load_packages, require_packages
from daemons.packages import REPOSITORY

FILES = ("ci/fetch-xen", "tests/daemons/hypervisor.c")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with just what the script needs, and nothing fetched."""
    for path in FILES:
        copy = tmp_path / "repository" / path
        copy.parent.mkdir(parents=True)
        shutil.copy(REPOSITORY / path, copy)
    return tmp_path / "repository"


@pytest.fixture
def no_apt(tmp_path: Path) -> dict[str, str]:
    """An environment where apt cannot reach anything."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("apt-get", "apt-cache"):
        program = programs / name
        program.write_text("#!/bin/sh\necho no network >&2\nexit 100\n")
        program.chmod(0o755)
    unset = ("XSFFI_XEN_RELEASE", "XSFFI_XEN_DIR")
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    return {**kept, "PATH": f"{programs}:{os.environ['PATH']}"}


def fetch(repository: Path, environment: dict[str, str], *names: str, **extra: str) -> subprocess.CompletedProcess[str]:
    command = [str(repository / "ci/fetch-xen"), *names]
    return subprocess.run(command, env={**environment, **extra}, capture_output=True, text=True, check=False)


def install(packages: Packages, folder: Path) -> None:
    """Xen as installed by someone who built it, with files in other places than Debian's."""
    for name in ("bin", "sbin", "lib", "include"):
        (folder / name).mkdir(parents=True)
    for program in ("xenstore-ls", "xenstored"):
        place = "sbin" if program == "xenstored" else "bin"
        (folder / place / program).symlink_to((packages.directory / "bin" / program).resolve())
    for library in (packages.directory / "lib").iterdir():
        (folder / "lib" / library.name).symlink_to(library.resolve())
    for header in (packages.include).iterdir():
        (folder / "include" / header.name).symlink_to(header.resolve())


def test_a_second_run_takes_no_network(packages: Packages, no_apt: dict[str, str]) -> None:
    result = fetch(REPOSITORY, no_apt, packages.version)
    assert (result.returncode, result.stderr) == (0, "")
    assert str(packages.directory) in result.stdout


def test_new_source_of_the_hypervisor_is_all_that_is_built(
    packages: Packages, no_apt: dict[str, str], repository: Path
) -> None:
    with open(repository / "tests/daemons/hypervisor.c", "a") as source:
        source.write("/* changed */\n")
    directory = repository / ".cache/xen" / packages.version
    directory.mkdir(parents=True)
    names = {"packages", "manifest.json", "bin", "lib", "include"}
    for name in names - {"manifest.json"}:
        (directory / name).symlink_to(packages.directory / name)
    shutil.copy(packages.directory / "manifest.json", directory)
    result = fetch(repository, no_apt, packages.version)
    assert (result.returncode, result.stderr) == (0, "")
    assert {path.name for path in directory.iterdir()} == names | {"hypervisor.so"}
    assert {path.name for path in directory.parent.iterdir()} == {packages.version, "lock"}


@pytest.mark.parametrize("name", ["4.17", "4.21", "testing"])
def test_failure_is_told_and_leaves_nothing_that_counts(
    no_apt: dict[str, str], repository: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    result = fetch(repository, no_apt, name)
    assert result.returncode != 0
    assert result.stderr.splitlines()[-1].startswith("fetch-xen: ")
    monkeypatch.setattr("daemons.packages.RELEASES", repository / ".cache/xen")
    monkeypatch.setenv("XSFFI_XEN_RELEASE", name)
    assert load_packages() is None
    assert {path.name for path in (repository / ".cache/xen").iterdir()} == {"lock"}


def test_what_is_no_release_is_refused(no_apt: dict[str, str], repository: Path) -> None:
    result = fetch(repository, no_apt, "sarge")
    assert (result.returncode, "'sarge' must be a release of Xen" in result.stderr) == (1, True)


class TestXenBuiltElsewhere:
    def test_it_is_taken_from_its_folder(
        self,
        packages: Packages,
        no_apt: dict[str, str],
        repository: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        if packages.has_own_libc:
            pytest.skip("what is built elsewhere has to be built for this system's C library")
        install(packages, tmp_path / "installed")
        chosen = {"XSFFI_XEN_DIR": str(tmp_path / "installed"), "XSFFI_XEN_RELEASE": packages.version}
        result = fetch(repository, no_apt, **chosen)
        assert (result.returncode, result.stderr) == (0, "")
        monkeypatch.setattr("daemons.packages.RELEASES", repository / ".cache/xen")
        found = require_packages()
        assert (found.version, found.daemons) == (packages.version, ("xenstored",))
        assert found.xenstored.resolve() == packages.xenstored.resolve()
        again = fetch(repository, no_apt, packages.version)
        assert (again.returncode, again.stderr) == (0, "")  # now it is known

    def test_another_release_than_the_one_named_is_refused(
        self, packages: Packages, no_apt: dict[str, str], repository: Path, tmp_path: Path
    ) -> None:
        install(packages, tmp_path / "installed")
        chosen = {"XSFFI_XEN_DIR": str(tmp_path / "installed"), "XSFFI_XEN_RELEASE": "4.99"}
        result = fetch(repository, no_apt, **chosen)
        assert (result.returncode, f"contains Xen {packages.version}, not 4.99" in result.stderr) == (1, True)

    def test_a_folder_without_it_is_refused(self, no_apt: dict[str, str], repository: Path, tmp_path: Path) -> None:
        empty = tmp_path / "empty"
        empty.mkdir()
        result = fetch(repository, no_apt, XSFFI_XEN_DIR=str(empty), XSFFI_XEN_RELEASE="4.99")
        assert (result.returncode, "there is no bin/xenstored of Xen 4.99" in result.stderr) == (1, True)

    def test_a_folder_that_is_not_there_is_refused(
        self, no_apt: dict[str, str], repository: Path, tmp_path: Path
    ) -> None:
        result = fetch(repository, no_apt, XSFFI_XEN_DIR=str(tmp_path / "nowhere"), XSFFI_XEN_RELEASE="4.99")
        assert (result.returncode, "XSFFI_XEN_DIR is not a directory" in result.stderr) == (1, True)


def test_without_packages_tests_are_skipped_but_fail_under_ci(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemons.packages.RELEASES", tmp_path)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="run ci/fetch-xen"):
        require_packages()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="run ci/fetch-xen"):
        require_packages()
