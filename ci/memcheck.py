"""Runs programs under memcheck and reports the errors in libxenstore or the extension (see ci/memcheck)."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tests"))

from daemons import load_packages, start_xenstored  # noqa: E402

# The tests that exercise the C code, on one daemon: what is allocated does not depend on which. Without those that run
# out of descriptors, a limit that valgrind does not obey; those that make an allocator fail; and those with busy
# threads, since valgrind runs one at a time, and not fairly.
TESTS = [
    "tests/conformance",
    "tests/backends",
    "tests/robustness/test_lost_daemon.py",
    "-k",
    "(libxenstore or wire) and not (Python or oxenstored or embedded)"
    " and not (no_descriptors_left or memory or flood or forks)",
]

# A program with errors that must be found: it leaks a value, and reads one after it was freed.
FAULTY = """
from xsffi.backends.libxenstore.extension import ffi, lib, load_libxenstore
assert load_libxenstore() is None
handle = lib.xs_open(0)
assert lib.xs_write(handle, 0, b"/a", b"value", 5)
length = ffi.new("unsigned int *")
for _ in range(3):
    lib.xs_read(handle, 0, b"/a", length)
value = lib.xs_read(handle, 0, b"/a", length)
lib.free(value)
assert lib.xs_write(handle, 0, b"/b", value, 5)
lib.xs_close(handle)
"""


class Finding(NamedTuple):
    """An error reported by memcheck, with the call stack, innermost first."""

    kind: str
    what: str
    frames: list[str]


def memcheck(arguments: list[str], environment: dict[str, str]) -> tuple[int, list[Finding]]:
    """The exit status of ``python ARGUMENTS`` and what memcheck found in it."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.xml"
        command = [
            "valgrind",
            "--quiet",
            "--leak-check=full",
            "--show-leak-kinds=definite,indirect",
            "--num-callers=30",
            "--child-silent-after-fork=yes",
            "--xml=yes",
            f"--xml-file={report}",
            sys.executable,
            *arguments,
        ]
        # Python's own allocator would hide what happens within its arenas from memcheck.
        status = subprocess.run(command, env={**environment, "PYTHONMALLOC": "malloc"}, cwd=REPOSITORY).returncode
        return status, [finding for finding in _parse(report) if _is_ours(finding)]


def _parse(report: Path) -> list[Finding]:
    findings = []
    for error in ElementTree.parse(report).getroot().iter("error"):
        frames = [
            f"{frame.findtext('fn') or '?'} ({Path(frame.findtext('obj') or '?').name})"
            for frame in error.iter("frame")
        ]
        what = error.findtext("what") or error.findtext("xwhat/text") or ""
        findings.append(Finding(error.findtext("kind") or "", what, frames))
    return findings


def _is_ours(finding: Finding) -> bool:
    """Whether libxenstore or our C code is involved, other than in cffi's import of the extension, which happens
    once."""
    if any(frame.startswith("_cffi_init ") for frame in finding.frames):
        return False
    return any(name in frame for frame in finding.frames for name in ("libxenstore.so", "_xenstore.", "_wire."))


def main() -> int:
    packages = load_packages()
    assert packages is not None
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": packages.library_path,
        "XSFFI_LIBXENSTORE": str(packages.libxenstore),
        "CI": "true",
        "XSFFI_FUZZ_CASES": "150",
    }
    with start_xenstored() as daemon:
        status, findings = memcheck(["-c", FAULTY], {**environment, "XENSTORED_PATH": daemon.socket_path})
    kinds = {finding.kind for finding in findings}
    if status != 0 or not {"Leak_DefinitelyLost", "InvalidRead"} <= kinds | _syscall_reads(findings):
        print(f"memcheck did not find what is wrong with a faulty program (status {status}): {sorted(kinds)}")
        return 1
    status, findings = memcheck(["-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=0", *TESTS], environment)
    for finding in findings:
        print(f"{finding.kind}: {finding.what}", *finding.frames, sep="\n    ")
    print(f"memcheck: {len(findings)} errors in libxenstore and what is in C here")
    return 1 if findings or status != 0 else 0


def _syscall_reads(findings: list[Finding]) -> set[str]:
    """A freed value passed to the kernel is reported as a bad parameter of the system call."""
    return {"InvalidRead"} if any(finding.kind == "SyscallParam" for finding in findings) else set()


if __name__ == "__main__":
    sys.exit(main())
