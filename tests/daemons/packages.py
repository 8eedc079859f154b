"""The location of Xen's daemons, tools and libraries, of the release under test, as unpacked by ci/fetch-xen."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
RELEASES = REPOSITORY / ".cache/xen"
DEFAULT_RELEASE = "4.17"
SONAMES = ("libxenstore.so.4", "libxenstore.so.3.0")


def release() -> str:
    """The release of Xen under test: $XSFFI_XEN_RELEASE, or the default one, for which all tests are written."""
    return os.environ.get("XSFFI_XEN_RELEASE") or DEFAULT_RELEASE


@dataclass(frozen=True)
class Packages:
    """A release of Xen as laid out by ci/fetch-xen: an unpacked tree, and beside it the stand-in for the hypervisor."""

    directory: Path
    version: str
    """The version of Xen, such as "4.17"."""
    source: str
    """Which package of Debian's, or which folder, it is taken from."""

    @property
    def root(self) -> Path:
        """The directory that contains the packages' usr/."""
        return self.directory / "packages"

    @property
    def hypervisor(self) -> Path:
        """The library to preload into a daemon."""
        return self.directory / "hypervisor.so"

    @property
    def daemons(self) -> tuple[str, ...]:
        """The daemons that this release has here: a build of Xen may lack oxenstored."""
        return tuple(kind for kind in ("xenstored", "oxenstored") if self._program(kind).exists())

    @property
    def xenstored(self) -> Path:
        return self._program("xenstored")

    @property
    def oxenstored(self) -> Path:
        return self._program("oxenstored")

    @property
    def test_xenstore(self) -> Path:
        """Xen's own test of a store. Xen 4.14 has none, and not every build includes it."""
        return self._program("test-xenstore")

    def tool(self, name: str) -> Path:
        """The path of a command-line tool, such as "xenstore-read"."""
        program = self._program(name)
        if not program.exists():
            raise FileNotFoundError(f"Xen's packages in {self.root} have no program {name!r}")
        return program

    def _program(self, name: str) -> Path:
        return self.directory / "bin" / name

    @property
    def libxenstore(self) -> Path:
        """The full path of libxenstore.so.4 or, before Xen 4.15, libxenstore.so.3.0."""
        for soname in SONAMES:
            if (self.directory / "lib" / soname).exists():
                return self.directory / "lib" / soname
        raise FileNotFoundError(f"there is no {' or '.join(SONAMES)} in {self.root}")

    @property
    def has_own_libc(self) -> bool:
        """Whether the release needs a newer C library than this system's: then its programs are started with their own,
        and no other program can load its libraries."""
        return (self.directory / "libc").exists()

    @property
    def library_path(self) -> str:
        """The LD_LIBRARY_PATH for programs of these packages, and for others that load their libraries."""
        return "" if self.has_own_libc else str(self.directory / "lib")

    @property
    def include(self) -> Path:
        """The directory of xenstore.h."""
        return self.directory / "include"

    @property
    def lowlevel_python(self) -> Path:
        """The directory to put on PYTHONPATH for xen.lowlevel.xs."""
        return self.directory / "python"

    @property
    def lowlevel_interpreter(self) -> str | None:
        """A Python that can load xen.lowlevel.xs, if this system has one: the module is compiled for the distribution's
        Python only."""
        if self.has_own_libc:
            return None
        for module in (self.lowlevel_python / "xen/lowlevel").glob("xs.cpython-3*.so"):
            minor = module.name.split("-")[1][1:]
            if sys.version_info[:2] == (3, int(minor)):
                return sys.executable
            return shutil.which(f"python3.{minor}", path="/usr/bin:/usr/local/bin")
        return None


def load_packages() -> Packages | None:
    """The unpacked packages of the release under test; None if ci/fetch-xen has not been run."""
    directory = RELEASES / release()
    try:
        manifest = json.loads((directory / "manifest.json").read_text())
    except FileNotFoundError:
        return None
    return Packages(directory, manifest["xen"], manifest["source"])


def require_packages() -> Packages:
    """The unpacked packages. If there are none, the test is skipped, or fails under CI ($CI is set)."""
    import pytest  # imported here, so that programs other than tests can use this package without it

    packages = load_packages()
    if packages is None:
        message = f"Xen's store daemons are not unpacked, nothing is tested against them: run ci/fetch-xen {release()}"
        if os.environ.get("CI"):
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    return packages
