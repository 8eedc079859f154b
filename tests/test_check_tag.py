"""ci/check-tag: the checks before a tag is published on PyPI."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import xsffi

ROOT = Path(__file__).resolve().parents[1]
VERSION = xsffi.__version__


def check(folder: Path, *tags: str) -> tuple[int, str]:
    """Its exit status and error output."""
    done = subprocess.run([folder / "ci/check-tag", *tags], stderr=subprocess.PIPE, text=True)
    return done.returncode, done.stderr


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A copy of the files that it reads, in which this version is released."""
    for name in ("ci/check-tag", "xsffi/__init__.py", "CHANGELOG.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    changes = tmp_path / "CHANGELOG.md"
    changes.write_text(re.sub(r"(?m)^## .*$", f"## {VERSION} (2030-01-31)", changes.read_text(), count=1))
    return tmp_path


def test_a_release(released: Path) -> None:
    assert check(released, f"v{VERSION}") == (0, "")


@pytest.mark.parametrize("tag", [VERSION, f"v{VERSION}.1", f"v{VERSION}-rc1", "v", ""])
def test_another_version(released: Path, tag: str) -> None:
    said = f"ci/check-tag: the tag is {tag}, and xsffi/__init__.py has {VERSION}: v{VERSION} is expected\n"
    assert check(released, tag) == (1, said)


@pytest.mark.parametrize("heading", ["## 9.9.9 (2030-01-31)", f"## {VERSION} (not released)", f"## {VERSION}"])
def test_changes_that_are_not_released(released: Path, heading: str) -> None:
    changes = released / "CHANGELOG.md"
    changes.write_text(re.sub(r"(?m)^## .*$", heading, changes.read_text(), count=1))
    said = f"ci/check-tag: CHANGELOG.md begins with '{heading}', not with '## {VERSION} (YYYY-MM-DD)'\n"
    assert check(released, f"v{VERSION}") == (1, said)


@pytest.mark.parametrize("tags", [(), ("v1", "v2")])
def test_one_tag_is_to_be_given(released: Path, tags: tuple[str, ...]) -> None:
    assert check(released, *tags) == (1, "ci/check-tag: usage: ci/check-tag TAG\n")
