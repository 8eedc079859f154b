"""Small programs and libraries in C, compiled for a test."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

__all__ = ["compile_library", "compile_races", "compiler"]

_SOURCES = Path(__file__).resolve().parent


def compiler() -> list[str]:
    """The command of the C compiler; if there is none, the test is skipped, or fails under CI."""
    command = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(command[0]) is None:
        if os.environ.get("CI"):
            pytest.fail(f"there is no compiler: {command[0]}", pytrace=False)
        pytest.skip(f"there is no compiler: {command[0]}")
    return command


def compile_library(name: str, directory: Path) -> Path:
    """Compile ``name.c``, in this folder, into a library."""
    library = directory / f"{name}.so"
    command = [*compiler(), "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(library)]
    subprocess.run([*command, str(_SOURCES / f"{name}.c"), "-ldl"], check=True)
    return library


def compile_races(root: Path, program: Path, options: Sequence[str]) -> None:
    """Compile races.c with the C sources of the wire in the project at `root`, except those that need Python."""
    native = root / "xsffi" / "_native" / "wire"
    sources = [path for path in sorted(native.glob("*.c")) if "objects.h" not in path.read_text()]
    command = [*compiler(), "-std=gnu11", *options, f"-I{native}", "-o", str(program)]
    races = root / "tests" / "harness" / "races.c"
    subprocess.run([*command, *map(str, [races, *sources]), "-lpthread"], check=True)
