"""The console sessions in docs/command-line.md show the actual output."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from harness.console import Shell, blocks_of

from xsffi import Node
from xsffi.cli import COMMANDS
from xsffi.testing import EmbeddedStore

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = (REPOSITORY / "docs/command-line.md").read_text()
SAMPLE = (REPOSITORY / "examples/store.jsonl").read_text()


def sections() -> dict[str, str]:
    """The page's sections by their headings."""
    parts = re.split(r"^## (.*)\n", PAGE, flags=re.MULTILINE)
    return {"introduction": parts[0], **dict(zip(parts[1::2], parts[2::2]))}


@pytest.mark.parametrize("heading", [heading for heading, text in sections().items() if list(blocks_of(text))])
def test_what_the_page_shows(heading: str, tmp_path: Path) -> None:
    """Each section starts from the store as it is at the beginning of the page."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XENSTORED", "XSFFI_"))}
    environment["PYTHONPATH"] = str(REPOSITORY)
    environment["LC_ALL"] = "C.UTF-8"
    with EmbeddedStore(map(Node.from_json, SAMPLE.splitlines())) as store:
        environment["XENSTORED_PATH"] = store.path
        Shell(tmp_path, environment).check(list(blocks_of(sections()[heading])))


def test_every_command_has_a_section_that_shows_it() -> None:
    found = {
        heading
        for heading, text in sections().items()
        for block in blocks_of(text)
        if any(re.search(rf"\bxsffi\b.* {heading}\b", step.command) for step in block.steps)
    }
    assert set(COMMANDS) - found == set()
