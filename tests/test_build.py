"""The C extension and the wheels, as built by build_ffi.py and setup.py."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

import pytest
from daemons import require_packages
from harness.stores import require_libxenstore

from xsffi import __version__

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("build_ffi.py", "setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE", "README.md", "CHANGELOG.md")
NO_COMPILER = {"CC": "/nonexistent/cc"}


def load_build_ffi() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_ffi", ROOT / "build_ffi.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build_ffi = load_build_ffi()
NAMES = [function.name for function in build_ffi.FUNCTIONS]


def unavailable(reason: str) -> NoReturn:
    """Skip the test, or let it fail in CI, where all tests must run."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without the variables that control a build, plus the given ones."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XSFFI_", "XENSTORED_"))}
    kept.pop("CC", None)
    return {**kept, "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", **extra}


def python(*arguments: str | Path, cwd: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment(extra),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="session")
def compiler() -> str:
    found = shutil.which("cc")
    if found is None:
        unavailable("there is no C compiler")
    return found


def test_the_readme_holds_where_the_repository_is_not(source: Path) -> None:
    """For example on PyPI."""
    wheel = build_wheel(source, XSFFI_BUILD_EXTENSION="no")
    with zipfile.ZipFile(wheel.path) as archive:
        (name,) = (name for name in wheel.files if name.endswith("/METADATA"))
        text = archive.read(name).decode("utf-8")
    assert "Description-Content-Type: text/markdown" in text
    targets = re.findall(r"\]\(([^)]*)\)", text)
    assert len(targets) > 10
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []
    urls = set(re.findall(r"^Project-URL: \w+, (\S+)", text, re.MULTILINE))
    assert any(target.startswith(f"{url}/blob/main/docs/") for target in targets for url in urls)
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", text)
    assert pictures
    assert all(target.startswith("https://raw.githubusercontent.com/") for target in pictures)


# --- Wheels -----------------------------------------------------------------------------------------------------------


class Wheel(NamedTuple):
    path: Path
    files: set[str]
    output: str  # of the build


def copy_of_sources(directory: Path) -> Path:
    for name in SOURCES:
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, directory)
    shutil.copytree(ROOT / "xsffi", directory / "xsffi", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    (directory / "tests").mkdir()
    (directory / "tests" / "test_something.py").touch()
    return directory


def build_wheel(source: Path, **extra: str) -> Wheel:
    if not list(metadata.distributions(name="pip")):
        unavailable("there is no pip")
    out = source / "wheels"
    done = python(
        "-m", "pip", "wheel", "-v", "--no-build-isolation", "--no-deps", "-w", out, source, cwd=source, **extra
    )
    assert done.returncode == 0, done.stdout
    (path,) = out.glob("*.whl")
    return Wheel(path, set(zipfile.ZipFile(path).namelist()), done.stdout)


def failed_build(source: Path, **extra: str) -> str:
    done = python("setup.py", "build", cwd=source, **extra)
    assert done.returncode != 0
    return done.stdout


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    return copy_of_sources(tmp_path / "source")


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources as published, unpacked. They are packed without a compiler, even if the extension is requested."""
    source = copy_of_sources(tmp_path_factory.mktemp("to-pack"))
    program = "import setuptools.build_meta as backend; backend.build_sdist('packed')"
    done = python("-c", program, cwd=source, XSFFI_BUILD_EXTENSION="yes", **NO_COMPILER)
    assert done.returncode == 0, done.stdout
    (archive,) = (source / "packed").glob("xsffi-*.tar.gz")
    (source / "unpacked").mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", source / "unpacked"], check=True)
    (directory,) = (source / "unpacked").iterdir()
    return directory


@pytest.fixture(scope="session")
def wheel(sdist: Path, compiler: str) -> Wheel:
    """A wheel with the extension, built from the published sources."""
    return build_wheel(sdist, XSFFI_BUILD_EXTENSION="yes")


def modules(wheel: Wheel) -> set[str]:
    return {name for name in wheel.files if name.endswith(".py")}


def test_the_sdist_has_all_that_is_in_the_repository(tmp_path: Path) -> None:
    """So that it also has the tests, scripts and docs."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no git repository, or git is missing")
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=True)
    tracked = {name for name in listed.stdout.split("\0") if (ROOT / name).is_file()}
    for name in tracked:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    done = python("-c", "import setuptools.build_meta as backend; backend.build_sdist('packed')", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    with tarfile.open(next((tmp_path / "packed").glob("xsffi-*.tar.gz"))) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert tracked - packed == {".ci/run", ".gitignore"}


def test_a_wheel_with_the_extension_serves_every_python(wheel: Wheel) -> None:
    if not build_ffi.STABLE_ABI:
        pytest.skip("this Python has no stable ABI")
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    assert wheel.path.name == f"xsffi-{__version__}-cp39-abi3-{platform}.whl"
    assert "xsffi/_xenstore.abi3.so" in wheel.files


def test_a_wheel_holds_the_package_and_nothing_else(wheel: Wheel) -> None:
    assert {"xsffi/__init__.py", "xsffi/py.typed", "xsffi/_xenstore.pyi"} <= wheel.files
    assert {name.partition("/")[0] for name in wheel.files} == {"xsffi", f"xsffi-{__version__}.dist-info"}
    assert not [name for name in wheel.files if name.endswith((".c", ".h"))]


def test_a_build_is_free_of_deprecated_settings(wheel: Wheel) -> None:
    assert "deprecat" not in wheel.output.lower()


def test_without_the_extension_the_wheel_serves_every_platform(source: Path, wheel: Wheel) -> None:
    pure = build_wheel(source, XSFFI_BUILD_EXTENSION="no")
    assert pure.path.name == f"xsffi-{__version__}-py3-none-any.whl"
    assert not [name for name in pure.files if name.endswith(".so")]
    assert modules(pure) == modules(wheel)
    assert "building without" not in pure.output


def test_by_default_the_extension_is_built(source: Path, compiler: str) -> None:
    assert [name for name in build_wheel(source).files if name.startswith("xsffi/_xenstore.") and name.endswith(".so")]


def test_by_default_a_missing_compiler_is_told_in_one_line(source: Path) -> None:
    pure = build_wheel(source, **NO_COMPILER)
    assert pure.path.name == f"xsffi-{__version__}-py3-none-any.whl"
    (line,) = (line for line in pure.output.splitlines() if "nonexistent" in line)
    assert "xsffi: building without the C extension, which cannot be built here:" in line


def test_an_extension_asked_for_and_impossible_fails_the_build_with_the_reason(source: Path) -> None:
    said = failed_build(source, XSFFI_BUILD_EXTENSION="yes", **NO_COMPILER)
    assert "XSFFI_BUILD_EXTENSION=yes, but the C extension cannot be built:" in said
    assert "/nonexistent/cc" in said


def test_headers_of_python_that_are_missing_are_named(source: Path, compiler: str) -> None:
    broken = source / "cc"
    broken.write_text(f'#!/bin/sh\nexec {compiler} -include no-such-Python.h "$@"\n')
    broken.chmod(0o755)
    said = failed_build(source, XSFFI_BUILD_EXTENSION="yes", CC=str(broken))
    assert re.search(r"cannot be built: .*no-such-Python.h: No such file", said)


def test_a_bad_choice_is_refused_with_the_good_ones(source: Path) -> None:
    assert "XSFFI_BUILD_EXTENSION=maybe must be auto, yes or no" in failed_build(source, XSFFI_BUILD_EXTENSION="maybe")


def test_build_ffi_builds_in_place(source: Path, compiler: str) -> None:
    (source / "xsffi" / "_xenstore.older.so").touch()
    done = python("build_ffi.py", cwd=source)
    assert done.returncode == 0, done.stdout
    (built,) = (source / "xsffi").glob("_xenstore.*.so")
    assert built.name == "_xenstore.abi3.so" or not build_ffi.STABLE_ABI
    assert str(built) in done.stdout.splitlines()
    assert not list(source.rglob("*.o"))


# --- The compiled module ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def site(wheel: Wheel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel.path).extractall(directory)
    return directory


@pytest.fixture(scope="session")
def extension(site: Path) -> Path:
    (path,) = (site / "xsffi").glob("_xenstore.*.so")
    return path


PRELUDE = """
import ctypes, errno, importlib.util, json, sys
spec = importlib.util.spec_from_file_location("xsffi._xenstore", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
ffi, lib = module.ffi, module.lib
def text(chars): return ffi.string(chars).decode() if chars else None
def load(name): return text(lib.xsffi_load(name.encode()))
"""


def run(extension: Path, expression: str, **extra: str) -> Any:
    """The value of an expression in a new process with the module, since a process can open only one libxenstore."""
    program = f"{PRELUDE}\nprint(json.dumps(({expression})))"
    done = python("-c", program, extension, cwd=extension.parent, **extra)
    assert done.returncode == 0, done.stdout
    return json.loads(done.stdout)


def test_the_module_links_to_the_c_library_alone(extension: Path) -> None:
    if shutil.which("readelf") is None:
        unavailable("there is no readelf")
    dynamic = subprocess.run(["readelf", "-dW", "--dyn-syms", extension], capture_output=True, text=True, check=True)
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic.stdout))
    assert {name.partition(".")[0] for name in needed} <= {"libc", "libdl", "libpthread"}
    undefined = re.findall(r"\bUND (\w+)", dynamic.stdout)
    assert "dlopen" in undefined
    assert not [name for name in undefined if name.startswith("xs")]


def test_the_package_from_the_wheel_has_the_module(site: Path) -> None:
    program = "import xsffi._xenstore as module; print(module.__file__)"
    done = python("-c", program, cwd=site.parent, PYTHONPATH=str(site))
    assert done.stdout.strip().startswith(str(site)), done.stdout


def test_every_name_is_there(extension: Path) -> None:
    constants = {constant.name: constant.value for constant in build_ffi.CONSTANTS}
    assert set(NAMES) | set(constants) <= set(run(extension, "dir(lib)"))
    assert (
        run(extension, "{name: getattr(lib, name) for name in dir(lib) if name.startswith(('XS_', 'XBT_'))}")
        == constants
    )
    assert run(extension, "ffi.sizeof('struct xs_permissions')") == 8


def test_before_a_library_is_open_everything_fails_with_enosys(extension: Path) -> None:
    none = "ffi.NULL"
    assert run(extension, "lib.xsffi_has(b'xs_read'), text(lib.xsffi_library())") == [0, None]
    for call, failure in (
        (f"lib.xs_read({none}, 0, b'/', {none}) == ffi.NULL", True),
        (f"lib.xs_mkdir({none}, 0, b'/')", False),
        (f"lib.xs_fileno({none})", -1),
        (f"lib.xs_transaction_start({none})", 0),
        (f"lib.xs_close({none})", None),
        ("lib.xs_open(0) == ffi.NULL", True),
    ):
        assert run(extension, f"{call}, errno.errorcode[ffi.errno]") == [failure, "ENOSYS"], call


def test_a_library_that_is_missing_is_reported_in_the_linkers_words(extension: Path) -> None:
    assert run(extension, "load('no-such.so')") == (
        "no-such.so: cannot open shared object file: No such file or directory"
    )


def test_a_library_of_another_kind_is_refused(extension: Path) -> None:
    expected = "libc.so.6 is not libxenstore: it has no xs_open"
    assert run(extension, "load('libc.so.6'), text(lib.xsffi_library())") == [expected, None]


def test_the_release_of_each_function_is_known(extension: Path) -> None:
    names = ["xs_read", "xs_get_features_domain", "xs_watch_depth", "printf"]
    assert run(extension, f"[text(lib.xsffi_since(name.encode())) for name in {names}]") == ["", "4.21", "4.22", None]


STAND_IN = """
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

void *xs_open(unsigned long flags)
{
    return NULL;
}

bool xs_mkdir(void *h, unsigned int t, const char *path)
{
    errno = EEXIST;
    return h == NULL && t == 7 && *path == '/';
}
"""


@pytest.fixture(scope="session")
def stand_in(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A libxenstore with only two functions."""
    directory = tmp_path_factory.mktemp("library")
    (directory / "stand-in.c").write_text(STAND_IN)
    built = directory / "libxenstore.so.4"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", built, directory / "stand-in.c"], check=True)
    return built


def test_functions_are_found_one_by_one(extension: Path, stand_in: Path) -> None:
    found = run(extension, f"load({str(stand_in)!r}), lib.xsffi_has(b'xs_mkdir'), lib.xsffi_has(b'xs_read')")
    assert found == [None, 1, 0]


def test_the_errno_of_the_library_reaches_python(extension: Path, stand_in: Path) -> None:
    call = "lib.xs_mkdir(ffi.NULL, 7, b'/'), errno.errorcode[ffi.errno]"
    assert run(extension, f"load({str(stand_in)!r}), {call}") == [None, True, "EEXIST"]


def test_a_name_is_looked_for_where_the_linker_looks(extension: Path, stand_in: Path) -> None:
    said = run(extension, "load('libxenstore.so.4'), text(lib.xsffi_library())", LD_LIBRARY_PATH=str(stand_in.parent))
    assert said == [None, str(stand_in)]


def test_one_library_to_a_process(extension: Path, stand_in: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.so"
    shutil.copy(stand_in, other)
    again = f"load({str(stand_in)!r}), load({str(stand_in)!r})"
    assert run(extension, again) == [None, None]
    refused, library = run(extension, f"load({str(stand_in)!r}), load({str(other)!r}), text(lib.xsffi_library())")[1:]
    assert refused == f"{other}: this process already uses {stand_in}"
    assert library == str(stand_in)


def test_the_installed_module_is_up_to_date() -> None:
    try:
        from xsffi._xenstore import lib
    except ImportError as problem:
        unavailable(f"the extension is not built: {problem}")
    assert set(NAMES) <= set(dir(lib))


def test_the_types_are_those_of_the_table(extension: Path) -> None:
    """The stub for type checkers has every name in lib, and each function has as many parameters as in C."""
    tree = ast.parse((ROOT / "xsffi" / "_xenstore.pyi").read_text())
    (lib,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Lib")
    methods = {node.name: node for node in lib.body if isinstance(node, ast.FunctionDef)}
    constants = {node.target.id for node in lib.body if isinstance(node, ast.AnnAssign) and hasattr(node.target, "id")}
    assert methods.keys() | constants == set(run(extension, "dir(lib)"))
    in_c = run(extension, f"{{name: len(ffi.typeof(getattr(lib, name)).args) for name in {list(methods)}}}")
    in_stub = {name: len(node.args.posonlyargs + node.args.args) - len(["self"]) for name, node in methods.items()}
    assert in_stub == in_c


# --- Against Xen's own library and header -----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def libxenstore() -> Path:
    return require_packages().libxenstore


@pytest.fixture(scope="session")
def headers() -> Path:
    return require_packages().include


def run_with_libxenstore(extension: Path, libxenstore: Path, expression: str, **extra: str) -> Any:
    require_libxenstore()
    extra["LD_LIBRARY_PATH"] = str(libxenstore.parent)
    loaded, value = run(extension, f"load({libxenstore.name!r}), {expression}", **extra)
    assert loaded is None
    return value


# Also exported by libxenstore.so.3.0 of Xen 4.14, for Xen's own programs; removed since.
GONE = {"xs_count_strings", "xs_daemon_rootdir", "xs_daemon_tdb", "xs_domain_dev", "xs_perm_to_string"}


def exported(libxenstore: Path) -> set[str]:
    if shutil.which("nm") is None:
        unavailable("there is no nm")
    symbols = subprocess.run(["nm", "-D", "--defined-only", libxenstore], capture_output=True, text=True, check=True)
    return set(re.findall(r" T (xs_\w+)", symbols.stdout)) - GONE


def test_what_the_real_library_has_is_found(extension: Path, libxenstore: Path) -> None:
    has = run_with_libxenstore(extension, libxenstore, f"[n for n in {NAMES} if lib.xsffi_has(n.encode())]")
    assert set(has) == exported(libxenstore)
    assert "xs_read" in has


def test_functions_of_later_releases_are_missed_by_name(extension: Path, libxenstore: Path) -> None:
    if "xs_get_features_supported" in exported(libxenstore):
        pytest.skip("this libxenstore has them")
    missing = "lib.xsffi_has(b'xs_get_features_supported')"
    call = "lib.xs_get_features_supported(ffi.NULL, ffi.NULL), errno.errorcode[ffi.errno]"
    assert run_with_libxenstore(extension, libxenstore, f"[{missing}, {call}]") == [0, False, "ENOSYS"]


def test_the_real_library_is_called(extension: Path, libxenstore: Path) -> None:
    calls = "lib.xs_path_is_subpath(b'/a', b'/a/b'), lib.xs_path_is_subpath(b'/a/b', b'/a')"
    refused = "lib.xs_open(0) == ffi.NULL, errno.errorcode[ffi.errno]"
    found = run_with_libxenstore(extension, libxenstore, f"[{calls}, {refused}]", XENSTORED_PATH="/no/such/socket")
    assert found == [True, False, True, "ENOENT"]


def test_the_table_is_the_whole_api(headers: Path, libxenstore: Path) -> None:
    texts = [(headers / name).read_text() for name in ("xenstore.h", "xenstore_lib.h")]
    code = re.sub(r"/\*.*?\*/", "", "".join(texts), flags=re.DOTALL)
    declared = set(re.findall(r"\b(xs_\w+)\(", code)) - GONE
    assert len(declared) > 30
    assert declared <= set(NAMES)
    assert exported(libxenstore) <= set(NAMES)


def compile_c(compiler: str, directory: Path, *options: str, **tables: object) -> str:
    """The compiler's messages for the extension's source, generated from the given tables; empty if there are none."""
    source = directory / "_xenstore.c"
    build_ffi.make_ffi(**tables).emit_c_code(str(source))
    python_headers = sysconfig.get_path("include")
    command = [compiler, "-fsyntax-only", "-Wall", "-Wextra", "-Werror", f"-I{python_headers}", f"-I{build_ffi.NATIVE}"]
    if build_ffi.STABLE_ABI:
        command.append("-DPy_LIMITED_API=0x03090000")
    done = subprocess.run(
        [*command, *options, source], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}
    )
    assert (done.returncode == 0) == (done.stderr == "")
    return done.stderr


def test_the_source_compiles_without_warnings(compiler: str, headers: Path, tmp_path: Path) -> None:
    assert compile_c(compiler, tmp_path, f"-I{headers}") == ""


def test_the_source_compiles_without_xenstore_h(compiler: str, tmp_path: Path) -> None:
    assert compile_c(compiler, tmp_path, "-DXSFFI_WITHOUT_XENSTORE_H") == ""


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("xs_mkdir", {"returns": "int", "on_failure": "-1"}),
        ("xs_mkdir", {"parameters": "struct xs_handle *h, xs_transaction_t t, char *path"}),
        ("xs_rm", {"parameters": "struct xs_handle *h, xs_transaction_t t"}),
        ("xs_introduce_domain", {"parameters": "struct xs_handle *h, unsigned int d, unsigned int m, unsigned int e"}),
        ("xs_read", {"returns": "char *"}),
    ],
)
def test_a_wrong_declaration_does_not_compile(
    compiler: str, headers: Path, tmp_path: Path, name: str, change: dict[str, str]
) -> None:
    changed = [f._replace(**change) if f.name == name else f for f in build_ffi.FUNCTIONS]
    assert re.search(f"error: .*{name}", compile_c(compiler, tmp_path, f"-I{headers}", functions=changed))
    assert compile_c(compiler, tmp_path, "-DXSFFI_WITHOUT_XENSTORE_H", functions=changed) == ""


@pytest.mark.parametrize("name", [constant.name for constant in build_ffi.CONSTANTS])
def test_a_wrong_constant_does_not_compile(compiler: str, headers: Path, tmp_path: Path, name: str) -> None:
    changed = [c._replace(value=c.value + 8) if c.name == name else c for c in build_ffi.CONSTANTS]
    assert re.search(f"error: .*{name}", compile_c(compiler, tmp_path, f"-I{headers}", constants=changed))


@pytest.mark.parametrize(
    "fields",
    [
        [("unsigned int", "id"), ("unsigned char", "perms")],
        [("unsigned int", "perms"), ("unsigned int", "id")],
        [("unsigned int", "id"), ("unsigned int", "perms"), ("unsigned int", "more")],
    ],
)
def test_a_wrong_struct_does_not_compile(
    compiler: str, headers: Path, tmp_path: Path, fields: list[tuple[str, str]]
) -> None:
    changed = build_ffi.PERMISSIONS._replace(fields=fields)
    said = compile_c(compiler, tmp_path, f"-I{headers}", permissions=changed)
    assert re.search("error: .*struct xs_permissions", said)


def test_a_header_elsewhere_is_found(source: Path, compiler: str, headers: Path) -> None:
    elsewhere = source / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "xenstore.h").write_text("int xs_mkdir(void);\n")
    done = python("build_ffi.py", cwd=source, XSFFI_XENSTORE_INCLUDE=str(elsewhere), LC_ALL="C")
    assert done.returncode != 0
    assert "conflicting types for" in done.stdout
    done = python("build_ffi.py", cwd=source, XSFFI_XENSTORE_INCLUDE=str(headers))
    assert done.returncode == 0, done.stdout


def test_a_header_that_is_not_where_it_was_said_to_be_is_an_error(source: Path) -> None:
    done = python("build_ffi.py", cwd=source, XSFFI_XENSTORE_INCLUDE=str(source))
    assert done.returncode != 0
    assert f"XSFFI_XENSTORE_INCLUDE={source}: it does not contain xenstore.h" in done.stdout
