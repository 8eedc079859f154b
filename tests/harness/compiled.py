"""Small programs and libraries in C, compiled for a test."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["compile_library"]

_SOURCES = Path(__file__).resolve().parent


def compile_library(name: str, directory: Path) -> Path:
    """The library that ``name.c``, of this folder, makes; where there is no compiler, the test is skipped, but not
    under CI."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        if os.environ.get("CI"):
            pytest.fail(f"there is no compiler: {compiler[0]}", pytrace=False)
        pytest.skip(f"there is no compiler: {compiler[0]}")
    library = directory / f"{name}.so"
    command = [*compiler, "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(library)]
    subprocess.run([*command, str(_SOURCES / f"{name}.c"), "-ldl"], check=True)
    return library
