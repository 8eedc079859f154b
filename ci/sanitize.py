"""Runs the tests of the C code in a copy of this directory built with sanitizers, and threads that share connections
without Python (see ci/sanitize). Arguments go to pytest, instead of the list of tests."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tests"))

from daemons import load_packages  # noqa: E402
from daemons.packages import RELEASES  # noqa: E402
from harness.compiled import compile_races, compiler  # noqa: E402

COPIED = ("xsffi", "tests", "build_ffi.py", "setup.py", "pyproject.toml", "README.md")
PLAIN = ["-O1", "-g", "-fno-omit-frame-pointer"]
MEMORY = [*PLAIN, "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
RACES = [*PLAIN, "-fsanitize=thread"]
SECONDS = os.environ.get("XSFFI_RACES_SECONDS", "20")

# On one daemon, since what is allocated does not depend on which. Without the tests of failing allocators and of memory
# use, which do not work with a sanitizer's own allocator.
TESTS = (
    "tests/backends",
    "tests/conformance",
    "-k",
    "(libxenstore or wire) and not (Python or oxenstored or embedded or memory)",
)

# No time limit for a test.
PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=0")

# A program that makes a request.
CARRY = """
import socket
from xsffi.backends.wire.native import open_in_c
from xsffi.records import WatchEvent
client, daemon = socket.socketpair()
client.setblocking(False)
connection = open_in_c(client.detach(), 0.1, 0, 0.5, lambda *told: TimeoutError(), WatchEvent)
try:
    connection.carry(2, b"/a\\0")
except TimeoutError:
    pass
"""


class Fault(NamedTuple):
    """A line of a file, the wrong line to replace it, and what must be reported then."""

    file: str
    right: str
    wrong: str
    told: str


OVERFLOW = Fault(
    "connection.c", "calloc(1, sizeof *x + count", "calloc(1, sizeof *x - 16 + count", "heap-buffer-overflow"
)
UNDEFINED = Fault(
    "connection.c", "c->spin.limit = spin_limit;", "c->spin.limit = INT64_MAX + spin_limit;", "signed integer overflow"
)
RACE = Fault(
    "events.c",
    "    connection_lock(c);\n    q->woken = true;\n    notify(q);\n    pthread_mutex_unlock(&c->lock);\n",
    "    q->woken = true;\n    notify(q);\n",
    "data race",
)


class Copy:
    """A copy of this directory, with this fault if given."""

    def __init__(self, directory: Path, fault: Fault | None = None) -> None:
        self.directory = directory
        for name in COPIED:
            source = REPOSITORY / name
            if source.is_dir():
                shutil.copytree(source, directory / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
            else:
                shutil.copy(source, directory / name)
        releases = directory / RELEASES.relative_to(REPOSITORY)
        releases.parent.mkdir()
        releases.symlink_to(RELEASES)
        if fault is not None:
            path = self.native / fault.file
            text = path.read_text()
            assert fault.right in text, f"the line to replace no longer exists: {fault.right}"
            path.write_text(text.replace(fault.right, fault.wrong))

    @property
    def native(self) -> Path:
        return self.directory / "xsffi" / "_native" / "wire"

    def build(self) -> None:
        """Build both extensions with the sanitizers."""
        flags = shlex.join(MEMORY)
        environment = {**os.environ, "CFLAGS": flags, "LDFLAGS": flags}
        command = [sys.executable, "build_ffi.py"]
        subprocess.run(command, cwd=self.directory, env=environment, stdout=subprocess.DEVNULL, check=True)

    def python(self, *arguments: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
        """Run Python with them."""
        packages = load_packages()
        assert packages is not None
        environment = {
            **os.environ,
            "CI": "true",
            "PYTHONPATH": str(self.directory),
            # Python's own allocator would hide what happens within its arenas.
            "PYTHONMALLOC": "malloc",
            "LD_PRELOAD": _library_of_sanitizer(),
            "LD_LIBRARY_PATH": packages.library_path,
            "XSFFI_LIBXENSTORE": str(packages.libxenstore),
            # Python does not free everything on exit. Leaks are for memcheck to find.
            "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=1:quarantine_size_mb=32",
            "UBSAN_OPTIONS": "print_stacktrace=1",
        }
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.directory,
            env=environment,
            stderr=subprocess.PIPE if capture else None,
            text=True,
        )

    def threads(self, options: Sequence[str], seconds: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
        """Run the threads that share connections, compiled with these options."""
        program = self.directory / "races"
        compile_races(self.directory, program, options)
        environment = {**os.environ, "ASAN_OPTIONS": "detect_stack_use_after_return=1"}
        return subprocess.run(
            [str(program), seconds], env=environment, stderr=subprocess.PIPE if capture else None, text=True
        )


def _library_of_sanitizer() -> str:
    """The library that must be preloaded if the program itself was not built with the sanitizer."""
    command = [*compiler(), "-print-file-name=libasan.so"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def _is_found(fault: Fault, result: subprocess.CompletedProcess[str]) -> bool:
    found = result.returncode != 0 and fault.told in result.stderr
    if not found:
        print(f"no {fault.told} was reported for a program that has one (status {result.returncode}):\n{result.stderr}")
    return found


def all_faults_are_found(directory: Path) -> bool:
    """Whether the sanitizers report the errors of faulty programs."""
    overflow = Copy(directory / "overflow", OVERFLOW)
    overflow.build()
    found = [_is_found(OVERFLOW, overflow.python("-c", CARRY, capture=True))]
    found.append(_is_found(UNDEFINED, Copy(directory / "undefined", UNDEFINED).threads(MEMORY, "2", capture=True)))
    found.append(_is_found(RACE, Copy(directory / "race", RACE).threads(RACES, "2", capture=True)))
    return all(found)


def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        if not all_faults_are_found(Path(directory)):
            return 1
        copy = Copy(Path(directory, "right"))
        copy.build()
        failed = [
            what
            for what, result in (
                ("a right program", copy.python("-c", CARRY)),
                ("threads, memory", copy.threads(MEMORY, SECONDS)),
                ("threads, races", copy.threads(RACES, SECONDS)),
                (
                    "tests",
                    copy.python(
                        "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=0", *(sys.argv[1:] or TESTS)
                    ),
                ),
            )
            if result.returncode != 0
        ]
    print(f"sanitize: {', '.join(failed)} failed" if failed else "sanitize: no errors")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
