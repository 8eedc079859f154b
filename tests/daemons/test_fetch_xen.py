"""ci/fetch-xen, as far as it can be tested without a network."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from daemons import (
    Packages,
    load_packages,
    require_packages,
)


class TestFetching:
    SCRIPT = Path(__file__).resolve().parents[2] / "ci/fetch-xen"

    @pytest.fixture
    def no_apt(self, tmp_path: Path) -> dict[str, str]:
        """An environment where apt can reach nothing."""
        programs = tmp_path / "programs"
        programs.mkdir()
        for name in ("apt-get", "apt-cache"):
            program = programs / name
            program.write_text("#!/bin/sh\necho no network >&2\nexit 100\n")
            program.chmod(0o755)
        return dict(os.environ, PATH=f"{programs}:{os.environ['PATH']}")

    def run(self, script: Path, environment: dict[str, str], directory: Path) -> subprocess.CompletedProcess[str]:
        environment = dict(environment, XSFFI_XEN_DIR=str(directory))
        return subprocess.run([str(script)], env=environment, capture_output=True, text=True, check=False)

    def test_a_second_run_takes_no_network(self, packages: Packages, no_apt: dict[str, str]) -> None:
        result = self.run(self.SCRIPT, no_apt, packages.directory)
        assert (result.returncode, result.stderr) == (0, "")
        assert str(packages.directory) in result.stdout

    def test_new_source_of_the_hypervisor_is_all_that_is_built(
        self, packages: Packages, no_apt: dict[str, str], tmp_path: Path
    ) -> None:
        repository = tmp_path / "repository"
        for path in ("ci/fetch-xen", "tests/daemons/hypervisor.c"):
            copy = repository / path
            copy.parent.mkdir(parents=True)
            copy.write_bytes((self.SCRIPT.parents[1] / path).read_bytes())
            copy.chmod(0o755)
        with open(repository / "tests/daemons/hypervisor.c", "a") as source:
            source.write("/* changed */\n")
        directory = tmp_path / "xen"
        directory.mkdir()
        (directory / "packages").symlink_to(packages.root)
        (directory / "manifest.json").write_bytes((packages.directory / "manifest.json").read_bytes())
        result = self.run(repository / "ci/fetch-xen", no_apt, directory)
        assert (result.returncode, result.stderr) == (0, "")
        assert (directory / "hypervisor.so").exists()
        assert {path.name for path in directory.iterdir()} == {"packages", "manifest.json", "hypervisor.so", "lock"}

    def test_failure_is_told_and_leaves_nothing_that_counts(
        self, no_apt: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        directory = tmp_path / "xen"
        result = self.run(self.SCRIPT, no_apt, directory)
        assert result.returncode != 0
        assert "fetch-xen: " in result.stderr.splitlines()[-1]
        monkeypatch.setenv("XSFFI_XEN_DIR", str(directory))
        assert load_packages() is None

    def test_without_packages_tests_are_skipped_but_fail_under_ci(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XSFFI_XEN_DIR", str(tmp_path))
        monkeypatch.delenv("CI", raising=False)
        with pytest.raises(pytest.skip.Exception, match="run ci/fetch-xen"):
            require_packages()
        monkeypatch.setenv("CI", "true")
        with pytest.raises(pytest.fail.Exception, match="run ci/fetch-xen"):
            require_packages()
