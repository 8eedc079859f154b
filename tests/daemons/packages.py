"""Where Xen's own daemons, tools and libraries lie, once ci/fetch-xen has unpacked them."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Packages:
    """An unpacked tree of the distribution's Xen packages, and the stand-in for the hypervisor beside it."""

    directory: Path
    version: str
    """The version of Xen, such as "4.17"."""

    @property
    def root(self) -> Path:
        """The directory that holds the packages' usr/."""
        return self.directory / "packages"

    @property
    def hypervisor(self) -> Path:
        """The library to preload into a daemon."""
        return self.directory / "hypervisor.so"

    @property
    def programs(self) -> Path:
        """The directory of the programs that are bound to this version of Xen."""
        return self.root / "usr/lib" / f"xen-{self.version}" / "bin"

    @property
    def xenstored(self) -> Path:
        return self.programs / "xenstored"

    @property
    def oxenstored(self) -> Path:
        return self.programs / "oxenstored"

    @property
    def test_xenstore(self) -> Path:
        return self.programs / "test-xenstore"

    def tool(self, name: str) -> Path:
        """The path of a command line tool, such as "xenstore-read"."""
        for directory in (self.root / "usr/bin", self.root / "usr/sbin", self.programs):
            if (directory / name).exists():
                return directory / name
        raise FileNotFoundError(f"Xen's packages in {self.root} have no program {name!r}")

    @property
    def libxenstore(self) -> Path:
        """The full path of libxenstore.so.4."""
        found = list(self.root.glob("usr/lib/*/libxenstore.so.4"))
        if len(found) != 1:
            raise FileNotFoundError(f"there are {len(found)} files usr/lib/*/libxenstore.so.4 in {self.root}, not one")
        return found[0]

    @property
    def library_path(self) -> str:
        """What programs of these packages need as LD_LIBRARY_PATH."""
        libraries = self.libxenstore.parent
        return f"{libraries}:{self.root / 'lib' / libraries.name}"

    @property
    def include(self) -> Path:
        """The directory of xenstore.h."""
        return self.root / "usr/include"

    @property
    def lowlevel_python(self) -> Path:
        """The directory to put on PYTHONPATH for xen.lowlevel.xs."""
        return self.root / "usr/lib" / f"xen-{self.version}" / "lib/python"

    @property
    def lowlevel_interpreter(self) -> str | None:
        """A Python that xen.lowlevel.xs was compiled for, if one is here: it is for the distribution's own alone."""
        for module in (self.lowlevel_python / "xen/lowlevel").glob("xs.cpython-3*.so"):
            minor = module.name.split("-")[1][1:]
            if sys.version_info[:2] == (3, int(minor)):
                return sys.executable
            return shutil.which(f"python3.{minor}", path="/usr/bin:/usr/local/bin")
        return None


def load_packages() -> Packages | None:
    """The unpacked packages in $XSFFI_XEN_DIR or the repository's .cache/xen; None where ci/fetch-xen has not been."""
    directory = Path(os.environ.get("XSFFI_XEN_DIR") or REPOSITORY / ".cache/xen").absolute()
    try:
        manifest = json.loads((directory / "manifest.json").read_text())
    except FileNotFoundError:
        return None
    return Packages(directory, manifest["xen"])


def require_packages() -> Packages:
    """The unpacked packages. Without them the test that asks is skipped; under CI (where $CI is set) it fails."""
    import pytest  # here, so that programs which are no tests can use this package without it

    packages = load_packages()
    if packages is None:
        message = "Xen's store daemons are not unpacked, nothing is tested against them: run ci/fetch-xen"
        if os.environ.get("CI"):
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    return packages
