"""Pages of documentation: their examples and their links. As a program, it runs snippets of Python."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

__all__ = ["Page", "Snippet"]

_FENCED = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_NAMED = re.compile(r"# (\w+\.py)\n")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


class Snippet(NamedTuple):
    """A block of Python, and its output as shown right below it."""

    code: str
    prints: str


class Page:
    """One page, in Markdown."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text(encoding="utf-8")

    def blocks(self, language: str) -> list[str]:
        """The blocks of one language."""
        return [found[2] for found in _FENCED.finditer(self.text) if found[1] == language]

    def snippets(self) -> list[Snippet]:
        """The blocks of Python that are not files."""
        found = list(_FENCED.finditer(self.text))
        return [
            Snippet(each[2], _prints(self.text[each.end() : after.start()], after) if after else "")
            for each, after in zip(found, [*found[1:], None])
            if each[1] == "python" and not _is_file(each[2])
        ]

    def files(self) -> dict[str, str]:
        """The blocks that are files: modules, which are named in their first line, and tests for pytest."""
        files = {}
        for number, code in enumerate(filter(_is_file, self.blocks("python")), 1):
            named = _NAMED.match(code)
            files[named[1] if named else f"test_{number}.py"] = code
        return files

    def links(self) -> Iterator[str]:
        """The targets of its links within the repository, as written."""
        for target in _LINK.findall(_FENCED.sub("", self.text)):
            if "://" not in target:
                yield target

    def rows(self, pattern: str) -> list[re.Match[str]]:
        """The rows of its tables that begin with this pattern."""
        return list(re.finditer(rf"^\| {pattern} \|", self.text, re.MULTILINE))

    def run(self, environment: Mapping[str, str]) -> list[str]:
        """Run the snippets one after the other in one process, and return the output of each."""
        given = json.dumps({"name": self.path.name, "code": [snippet.code for snippet in self.snippets()]})
        command = [sys.executable, "-W", "error", __file__]
        ran = subprocess.run(command, input=given, env=environment, capture_output=True, text=True, timeout=120)
        assert ran.returncode == 0, ran.stderr
        printed: list[str] = json.loads(ran.stdout)
        return printed


def _is_file(code: str) -> bool:
    return _NAMED.match(code) is not None or re.search(r"^(async )?def test_", code, re.MULTILINE) is not None


def _prints(between: str, after: re.Match[str]) -> str:
    """The text of the next block, if it shows the output of this one."""
    return after[2] if after[1] == "text" and not between.strip() else ""


def _run_snippets() -> None:
    page = json.load(sys.stdin)
    names: dict[str, object] = {"__name__": "__main__"}
    printed = []
    for code in page["code"]:
        with redirect_stdout(io.StringIO()) as said:
            exec(compile(code, page["name"], "exec"), names)
        printed.append(said.getvalue())
    print(json.dumps(printed))


if __name__ == "__main__":
    _run_snippets()
