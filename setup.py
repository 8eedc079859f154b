"""Builds xsffi, and its C extensions if possible; everything else is in pyproject.toml.

$XSFFI_BUILD_EXTENSION decides about the two extensions, xsffi._xenstore and xsffi._wire:

    auto    build them if a compiler, Python's headers and cffi are available, otherwise say why not and continue
    (default)
    yes     build them; if that is impossible, the build fails and says why
    no      do not build them

Without them, xsffi only uses its own implementation of the wire protocol, and the wheel serves every platform.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from setuptools import Distribution, Extension, setup

VARIABLE = "XSFFI_BUILD_EXTENSION"
FILES = "https://github.com/xsffi/xsffi/blob/main"
PICTURES = "https://raw.githubusercontent.com/xsffi/xsffi/main"

# These describe or pack the sources. They must work without a compiler, and need not mention it.
COMMANDS_WITHOUT_BUILD = {"egg_info", "dist_info", "sdist"}

PROBE = """
#define Py_LIMITED_API 0x03090000
#include <Python.h>
PyMODINIT_FUNC PyInit_probe(void) { return NULL; }
"""


@contextmanager
def stderr_into(file: IO[bytes]) -> Iterator[None]:
    """Redirects standard error of this process and its children to the file."""
    sys.stderr.flush()
    saved = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def why_not() -> str | None:
    """Why the extension cannot be built here, or None if it can: determined by building a tiny one."""
    if importlib.util.find_spec("cffi") is None:
        return "the Python package cffi is missing"
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryFile() as said:
        source = Path(directory, "probe.c")
        source.write_text(PROBE)
        command = Distribution({"ext_modules": [Extension("probe", [str(source)])]}).get_command_obj("build_ext")
        command.build_lib = command.build_temp = directory
        try:
            with stderr_into(said):
                command.ensure_finalized()
                command.run()
        except Exception as problem:  # setuptools has no single class for "the compiler is missing or fails"
            said.seek(0)
            errors = [line.strip() for line in said.read().decode(errors="replace").splitlines() if "error:" in line]
            return errors[0] if errors else str(problem)
    return None


def extension_wanted() -> bool:
    choice = os.environ.get(VARIABLE) or "auto"
    if choice not in ("auto", "yes", "no"):
        raise SystemExit(f"xsffi: {VARIABLE}={choice} must be auto, yes or no")
    if choice == "no" or COMMANDS_WITHOUT_BUILD.intersection(sys.argv):
        return False
    reason = why_not()
    if reason is None:
        return True
    if choice == "yes":
        raise SystemExit(f"xsffi: {VARIABLE}=yes, but the C extension cannot be built: {reason}")
    print(f"xsffi: building without the C extension, which cannot be built here: {reason}", file=sys.stderr)
    return False


def extension_options() -> dict[str, Any]:
    # A build front end need not put this directory on the path.
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from build_ffi import STABLE_ABI, wire_extensions

    options = {"bdist_wheel": {"py_limited_api": "cp39"}} if STABLE_ABI else {}
    return {"cffi_modules": ["build_ffi.py:ffibuilder"], "ext_modules": wire_extensions(), "options": options}


def readme() -> str:
    """The README, with links to repository files as absolute URLs: PyPI has no files beside it."""
    text = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
    text = re.sub(r"(!\[[^\]]*\]\()(?![a-z]+:|#)", rf"\1{PICTURES}/", text)
    return re.sub(r"(?<!\])(\]\()(?![a-z]+:|#)", rf"\1{FILES}/", text)


setup(
    license="MIT",
    long_description=readme(),
    long_description_content_type="text/markdown",
    **(extension_options() if extension_wanted() else {}),
)
