"""Ways to use the drop-in: install(), and python -m xsffi.lowlevel."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from daemons.packages import REPOSITORY


def python(*arguments: str, path: Path | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    places = [str(REPOSITORY), *([str(path)] if path is not None else [])]
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def says(program: str, path: Path | None = None) -> str:
    """The output of a program for which the drop-in is installed."""
    done = python("-c", f"import xsffi.lowlevel, sys; xsffi.lowlevel.install()\n{program}", path=path)
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout.strip()


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """A folder with packages as installed by Xen."""
    lowlevel = tmp_path / "real" / "xen" / "lowlevel"
    lowlevel.mkdir(parents=True)
    (lowlevel.parent / "__init__.py").write_text("REAL = True\n")
    (lowlevel.parent / "util.py").write_text("")
    (lowlevel / "__init__.py").write_text("")
    (lowlevel / "xc.py").write_text("class xc: pass\n")
    (lowlevel / "xs.py").write_text("class xs: pass\n")
    return tmp_path / "real"


IMPORTS = (
    "import xen.lowlevel.xs; found = xen.lowlevel.xs",
    "import xen.lowlevel.xs as found",
    "from xen.lowlevel import xs as found",
    "from xen.lowlevel.xs import xs; import sys; found = sys.modules['xen.lowlevel.xs']",
    "import importlib; found = importlib.import_module('xen.lowlevel.xs')",
    "import sys; assert 'xen.lowlevel.xs' in sys.modules; found = sys.modules['xen.lowlevel.xs']",
)
TELL = "; print(found.__name__, found.xs.__name__, found.Error.__name__)"


@pytest.mark.parametrize("statement", IMPORTS)
def test_every_form_of_import_finds_ours(statement: str) -> None:
    assert says(statement + TELL) == "xsffi.lowlevel.xs xs Error"


@pytest.mark.parametrize("statement", IMPORTS)
def test_every_form_of_import_finds_ours_beside_the_real_ones(statement: str, real: Path) -> None:
    assert says(statement + TELL, real) == "xsffi.lowlevel.xs xs Error"


def test_a_real_xc_stays_importable(real: Path) -> None:
    program = "import xen.lowlevel.xc, xen.lowlevel.xs, xen.util; print(xen.REAL, xen.lowlevel.xc.__file__)"
    assert says(program, real) == f"True {real}/xen/lowlevel/xc.py"
    assert says("from xen.lowlevel import xc, xs; print(xc.xc, xs.__name__)", real).endswith(" xsffi.lowlevel.xs")


def test_a_real_xc_that_is_found_later(real: Path) -> None:
    program = f"sys.path.insert(0, {str(real)!r}); import xen.lowlevel.xc as xc, xen.lowlevel.xs as xs, xen.util\n"
    assert says(program + "print(xc.__name__, xs.__name__)") == "xen.lowlevel.xc xsffi.lowlevel.xs"


def test_no_xc() -> None:
    program = "try: import xen.lowlevel.xc\nexcept ImportError as error: print(error)"
    assert says(program) == "No module named 'xen.lowlevel.xc'"


def test_install_in_place_of_one_that_is_loaded(real: Path) -> None:
    program = (
        "import sys, xen.lowlevel.xs, xsffi.lowlevel\n"
        "before = xen.lowlevel.xs\n"
        "ours = xsffi.lowlevel.install(); assert xsffi.lowlevel.install() is ours\n"
        "assert xen.lowlevel.xs is ours is sys.modules['xen.lowlevel.xs']\n"
        "xsffi.lowlevel.uninstall(); xsffi.lowlevel.uninstall()\n"
        "assert xen.lowlevel.xs is before is sys.modules['xen.lowlevel.xs']\n"
    )
    done = python("-c", program, path=real)
    assert (done.returncode, done.stderr) == (0, "")


def test_uninstall_leaves_nothing() -> None:
    program = "xsffi.lowlevel.uninstall(); print([name for name in sys.modules if name.split('.')[0] == 'xen'])"
    assert says(program) == "[]"


def test_what_a_real_package_lacks_is_told(tmp_path: Path) -> None:
    (tmp_path / "xen").mkdir()
    (tmp_path / "xen" / "__init__.py").write_text("import there_is_no_such_module\n")
    done = python("-c", "import xsffi.lowlevel; xsffi.lowlevel.install()", path=tmp_path)
    assert "No module named 'there_is_no_such_module'" in done.stderr


def test_a_script(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("VALUE = 5\n")
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, beside\nfrom xen.lowlevel.xs import xs\n"
        "print(xs.__module__, sys.argv, __name__, __file__, beside.VALUE)\nsys.exit(7)\n"
    )
    done = python("-m", "xsffi.lowlevel", str(script), "-m", "--help", "x")
    assert done.returncode == 7
    assert done.stdout == f"xen.lowlevel.xs {[str(script), '-m', '--help', 'x']} __main__ {script} 5\n"
    assert done.stderr == ""


def test_a_module(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "__main__.py").write_text(
        "import sys\nfrom xen.lowlevel import xs\nprint(xs.__name__, sys.argv[1:], __name__, __package__)\n"
    )
    done = python("-m", "xsffi.lowlevel", "-m", "package", "-x", "y", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "xsffi.lowlevel.xs ['-x', 'y'] __main__ package\n"


def test_how_it_is_used() -> None:
    for arguments in ((), ("-m",), ("--nothing",)):
        done = python("-m", "xsffi.lowlevel", *arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("usage: python -m xsffi.lowlevel SCRIPT")
    done = python("-m", "xsffi.lowlevel", "--help")
    assert (done.returncode, done.stdout[:6]) == (0, "usage:")
