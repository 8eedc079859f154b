"""Builds the C extensions: ``xsffi._xenstore``, which binds libxenstore through cffi without linking to it; and
``xsffi._wire``, the hand-written connection of the wire backend, independent of libxenstore.

One table, FUNCTIONS, describes the C API. From it are generated the declarations that Python sees, a slot for the
address of each function, and a wrapper for each slot that fails with ENOSYS while the slot is empty. The library is
loaded at run time, by ``lib.xsffi_load``, so one build serves every host, whichever libxenstore is installed there. In
Python the functions have their C names: ``lib.xs_read(...)``; ``ffi.errno`` holds the errno that they set.

If the compiler finds <xenstore.h>, it compares every row of the tables with it and rejects any disagreement; functions
that an older header lacks are accepted. The header is searched for in the standard places and in
$XSFFI_XENSTORE_INCLUDE.

Run by hand, ``python build_ffi.py`` builds both in place, beside xsffi/__init__.py. An ordinary installation does not
need this: setup.py builds them too.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

# setuptools must be imported first: only then does compilation by cffi 1.15 accept py_limited_api.
from setuptools import Distribution, Extension  # isort: skip
from cffi import FFI

ROOT = Path(__file__).resolve().parent
NATIVE = ROOT / "xsffi" / "_native"

# One binary for every CPython from 3.9 on. Builds of CPython without a stable ABI get a binary of their own.
STABLE_ABI = (
    platform.python_implementation() == "CPython"
    and not sysconfig.get_config_var("Py_GIL_DISABLED")
    and not hasattr(sys, "gettotalrefcount")
)


class Function(NamedTuple):
    """A function of libxenstore."""

    returns: str
    name: str
    parameters: str
    on_failure: str  # the C expression it returns on failure; empty if void
    version: str  # the version of its symbol in the library


class Constant(NamedTuple):
    """An integer named in xenstore.h, as a macro or in an enum."""

    name: str
    value: int


class Struct(NamedTuple):
    """A struct of xenstore.h whose fields callers use."""

    name: str
    fields: Sequence[tuple[str, str]]  # (type, name)


# The Xen release that introduced a symbol version. 4.0 is as old as libxenstore.so.4, so not worth mentioning.
RELEASES = {"4.0": "", "4.1": "4.21", "4.2": "4.22"}

# Common parameters.
HANDLE = "struct xs_handle *h"
NODE = f"{HANDLE}, xs_transaction_t t, const char *path"
WATCH = f"{HANDLE}, const char *path, const char *token"
DOMAIN = f"{HANDLE}, unsigned int domid"
COMMAND = f"{HANDLE}, const char *cmd, void *data, unsigned int len"

# Everything declared in xenstore.h and in xenstore_lib.h, which it includes.
FUNCTIONS = (
    Function("struct xs_handle *", "xs_open", "unsigned long flags", "NULL", "4.0"),
    Function("void", "xs_close", HANDLE, "", "4.0"),
    # Old names of xs_open(0) and xs_close, deprecated in C.
    Function("struct xs_handle *", "xs_daemon_open", "void", "NULL", "4.0"),
    Function("struct xs_handle *", "xs_domain_open", "void", "NULL", "4.0"),
    Function("struct xs_handle *", "xs_daemon_open_readonly", "void", "NULL", "4.0"),
    Function("void", "xs_daemon_close", HANDLE, "", "4.0"),
    Function("void", "xs_daemon_destroy_postfork", HANDLE, "", "4.0"),
    # Nodes
    Function("char **", "xs_directory", f"{NODE}, unsigned int *num", "NULL", "4.0"),
    Function("void *", "xs_read", f"{NODE}, unsigned int *len", "NULL", "4.0"),
    Function("bool", "xs_write", f"{NODE}, const void *data, unsigned int len", "false", "4.0"),
    Function("bool", "xs_mkdir", NODE, "false", "4.0"),
    Function("bool", "xs_rm", NODE, "false", "4.0"),
    Function("struct xs_permissions *", "xs_get_permissions", f"{NODE}, unsigned int *num", "NULL", "4.0"),
    Function(
        "bool", "xs_set_permissions", f"{NODE}, struct xs_permissions *perms, unsigned int num_perms", "false", "4.0"
    ),
    Function("bool", "xs_restrict", DOMAIN, "false", "4.0"),
    # Watches
    Function("bool", "xs_watch", WATCH, "false", "4.0"),
    Function("bool", "xs_watch_depth", f"{WATCH}, unsigned int depth", "false", "4.2"),
    Function("bool", "xs_watch_try_depth", f"{WATCH}, unsigned int depth", "false", "4.2"),
    Function("bool", "xs_unwatch", WATCH, "false", "4.0"),
    Function("int", "xs_fileno", HANDLE, "-1", "4.0"),
    Function("char **", "xs_check_watch", HANDLE, "NULL", "4.0"),
    Function("char **", "xs_read_watch", f"{HANDLE}, unsigned int *num", "NULL", "4.0"),
    # Transactions
    Function("xs_transaction_t", "xs_transaction_start", HANDLE, "XBT_NULL", "4.0"),
    Function("bool", "xs_transaction_end", f"{HANDLE}, xs_transaction_t t, bool abort", "false", "4.0"),
    # Domains
    Function("bool", "xs_introduce_domain", f"{DOMAIN}, unsigned long mfn, unsigned int eventchn", "false", "4.0"),
    Function("bool", "xs_set_target", f"{DOMAIN}, unsigned int target", "false", "4.0"),
    Function("bool", "xs_resume_domain", DOMAIN, "false", "4.0"),
    Function("bool", "xs_release_domain", DOMAIN, "false", "4.0"),
    Function("char *", "xs_get_domain_path", DOMAIN, "NULL", "4.0"),
    Function("bool", "xs_is_domain_introduced", DOMAIN, "false", "4.0"),
    Function("int", "xs_suspend_evtchn_port", "int domid", "-1", "4.0"),
    # The daemon
    Function("bool", "xs_get_features_supported", f"{HANDLE}, unsigned int *features", "false", "4.1"),
    Function("bool", "xs_get_features_domain", f"{DOMAIN}, unsigned int *features", "false", "4.1"),
    Function("bool", "xs_set_features_domain", f"{DOMAIN}, unsigned int features", "false", "4.1"),
    Function("const char **", "xs_get_quota_names", f"{HANDLE}, unsigned int *num", "NULL", "4.2"),
    Function("bool", "xs_get_global_quota", f"{HANDLE}, const char *quota, unsigned int *value", "false", "4.2"),
    Function("bool", "xs_set_global_quota", f"{HANDLE}, const char *quota, unsigned int value", "false", "4.2"),
    Function("bool", "xs_get_domain_quota", f"{DOMAIN}, const char *quota, unsigned int *value", "false", "4.2"),
    Function("bool", "xs_set_domain_quota", f"{DOMAIN}, const char *quota, unsigned int value", "false", "4.2"),
    Function("char *", "xs_control_command", COMMAND, "NULL", "4.0"),
    Function("char *", "xs_debug_command", COMMAND, "NULL", "4.0"),  # deprecated in C: xs_control_command's old name
    # Helpers that do not talk to a daemon
    Function("const char *", "xs_daemon_rundir", "void", "NULL", "4.0"),
    Function("const char *", "xs_daemon_socket", "void", "NULL", "4.0"),
    Function("const char *", "xs_daemon_socket_ro", "void", "NULL", "4.0"),
    Function("bool", "xs_path_is_subpath", "const char *parent, const char *child", "false", "4.0"),
    Function(
        "bool",
        "xs_strings_to_perms",
        "struct xs_permissions *perms, unsigned int num, const char *strings",
        "false",
        "4.0",
    ),
    Function("bool", "xs_write_all", "int fd, const void *data, unsigned int len", "false", "4.0"),
)

CONSTANTS = (
    Constant("XBT_NULL", 0),
    Constant("XS_OPEN_READONLY", 1),
    Constant("XS_OPEN_SOCKETONLY", 2),
    Constant("XS_UNWATCH_FILTER", 4),
    Constant("XS_WATCH_PATH", 0),
    Constant("XS_WATCH_TOKEN", 1),
    Constant("XS_PERM_NONE", 0),
    Constant("XS_PERM_READ", 1),
    Constant("XS_PERM_WRITE", 2),
)

# Older headers declare perms as an enum of the same width.
PERMISSIONS = Struct("xs_permissions", (("unsigned int", "id"), ("unsigned int", "perms")))

TRANSACTION_TYPE = "typedef uint32_t xs_transaction_t;"

# The hand-written C in xsffi/_native, and what it exports to Python. It may call libxenstore's functions by name.
OWN_SOURCES = ("loader.c", "waiting.c", "reading.c", "shortcuts.c")
OWN_FUNCTIONS = """
const char *xsffi_load(const char *soname);
const char *xsffi_library(void);
int xsffi_has(const char *function);
const char *xsffi_since(const char *function);
extern int xsffi_forks;

#define XSFFI_EVENTS ...
#define XSFFI_WOKEN ...
#define XSFFI_HUNG_UP ...
int xsffi_wait(int events, int wakeup, int liveness, int64_t nanoseconds);
int xsffi_open_wakeup(int *place);
int xsffi_open_combined(int *place, int events, int wakeup, int liveness);
void xsffi_set(int wakeup);
void xsffi_clear(int wakeup);
void xsffi_close(int *place);
int xsffi_is_connected_to(int fd, const char *path);
int xsffi_peer(int fd);

void free(void *);
char *getenv(const char *name);
int shutdown(int fd, int how);
"""


def declaration(function: Function, name: str) -> str:
    """The C declaration of a function of this type under the given name: also of a pointer, as ``(*slot)``."""
    space = "" if function.returns.endswith("*") else " "
    return f"{function.returns}{space}{name}({function.parameters})"


def struct_definition(struct: Struct, name: str) -> str:
    fields = " ".join(f"{type_} {field};" for type_, field in struct.fields)
    return f"struct {name} {{ {fields} }};"


def python_declarations(functions: Sequence[Function], constants: Sequence[Constant], permissions: Struct) -> str:
    """The declarations for cffi: everything in ``lib``."""
    return "\n".join(
        [
            "struct xs_handle;",
            TRANSACTION_TYPE,
            struct_definition(permissions, permissions.name),
            *(f"#define {constant.name} {constant.value}" for constant in constants),
            *(f"{declaration(function, function.name)};" for function in functions),
            OWN_FUNCTIONS,
        ]
    )


def types_in_c(constants: Sequence[Constant], permissions: Struct) -> str:
    """Our types and constants: defined if xenstore.h is absent, otherwise compared with its own."""
    ours = f"xsffi_{permissions.name}"
    checks = [
        f'_Static_assert({constant.name} == {constant.value}, "{constant.name} has another value in xenstore.h");'
        for constant in constants
    ]
    complaint = f'"struct {permissions.name} differs in xenstore.h"'
    checks.append(f"_Static_assert(sizeof(struct {ours}) == sizeof(struct {permissions.name}), {complaint});")
    for _, field in permissions.fields:
        there, here = (f"((struct {name} *)0)->{field}" for name in (permissions.name, ours))
        checks.append(
            f"_Static_assert(offsetof(struct {ours}, {field}) == offsetof(struct {permissions.name}, {field})"
            f" && sizeof({here}) == sizeof({there}), {complaint});"
        )
    return "\n".join(
        [
            struct_definition(permissions, ours),
            "#ifndef XSFFI_XENSTORE_H",
            struct_definition(permissions, permissions.name),
            *(f"#define {constant.name} {constant.value}" for constant in constants),
            "#endif",
            "struct xs_handle;",
            TRANSACTION_TYPE,
            *checks,
        ]
    )


def wrapper_in_c(function: Function) -> str:
    """The slot of a function, the wrapper that calls it, and a macro that gives the wrapper the function's name."""
    slot, wrapper = f"xsffi_slot_{function.name}", f"xsffi_call_{function.name}"
    names = [] if function.parameters == "void" else re.findall(r"(\w+)(?:,|$)", function.parameters)
    nothing = function.returns == "void"
    return "\n".join(
        [
            f"static {declaration(function, f'(*{slot})')};",
            f"static {declaration(function, wrapper)}",
            "{",
            f"    if ({slot} == NULL) {{",
            "        errno = ENOSYS;",
            "        return;" if nothing else f"        return {function.on_failure};",
            "    }",
            f"    {'' if nothing else 'return '}{slot}({', '.join(names)});",
            "}",
            f"#define {function.name} {wrapper}",
        ]
    )


def c_source(functions: Sequence[Function], constants: Sequence[Constant], permissions: Struct) -> str:
    """The C that precedes what cffi generates."""
    return "\n".join(
        [
            '#include "native.h"',
            types_in_c(constants, permissions),
            # Never called, so never linked to. The compiler rejects those that disagree with xenstore.h.
            *(f"extern {declaration(function, function.name)};" for function in functions),
            *map(wrapper_in_c, functions),
            "static const struct xsffi_function xsffi_functions[] = {",
            *(
                f'    {{"{function.name}", "{RELEASES[function.version]}", &xsffi_slot_{function.name}}},'
                for function in functions
            ),
            "};",
            *(f'#include "{name}"' for name in OWN_SOURCES),
        ]
    )


def header_directories() -> list[str]:
    """Where to look for xenstore.h besides the standard places."""
    directory = os.environ.get("XSFFI_XENSTORE_INCLUDE", "")
    if not directory:
        return []
    if not Path(directory, "xenstore.h").is_file():
        raise FileNotFoundError(f"XSFFI_XENSTORE_INCLUDE={directory}: it does not contain xenstore.h")
    return [os.path.abspath(directory)]


def make_ffi(
    functions: Sequence[Function] = FUNCTIONS,
    constants: Sequence[Constant] = CONSTANTS,
    permissions: Struct = PERMISSIONS,
) -> FFI:
    ffi = FFI()
    ffi.cdef(python_declarations(functions, constants, permissions))
    ffi.set_source(
        "xsffi._xenstore",
        c_source(functions, constants, permissions),
        include_dirs=[str(NATIVE), *header_directories()],
        depends=[str(path) for path in sorted(NATIVE.glob("*.[ch]"))],
        # Since glibc 2.34 dlopen and the mutexes are in the C library itself; before, they were in separate libraries.
        libraries=["dl", "pthread"] if sys.platform == "linux" else [],
        py_limited_api=STABLE_ABI,
        define_macros=[("Py_LIMITED_API", "0x03090000")] if STABLE_ABI else [],
    )
    return ffi


def wire_extensions() -> list[Extension]:
    """The wire's connection, where it is useful: PyPy and builds without a GIL use the one in Python."""
    if platform.python_implementation() != "CPython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return []
    return [
        Extension(
            "xsffi._wire",
            # Relative to the project's directory, as setuptools requires.
            [str(path.relative_to(ROOT)) for path in sorted(NATIVE.glob("wire/*.c"))],
            depends=[str(path.relative_to(ROOT)) for path in sorted(NATIVE.glob("**/*.h"))],
            extra_compile_args=["-fvisibility=hidden"],
            libraries=["pthread"],
            py_limited_api=STABLE_ABI,
            define_macros=[("Py_LIMITED_API", "0x03090000")] if STABLE_ABI else [],
        )
    ]


def build_wire(directory: str) -> list[Path]:
    """The files that the extensions of :func:`wire_extensions` are compiled to."""
    extensions = wire_extensions()
    command = Distribution({"ext_modules": extensions}).get_command_obj("build_ext")
    command.build_lib = command.build_temp = directory
    os.chdir(ROOT)
    command.ensure_finalized()
    command.run()
    return [Path(command.get_ext_fullpath(extension.name)) for extension in extensions]


def build_in_place(ffi: FFI) -> list[Path]:
    """Compile both; returns the paths of the results."""
    with tempfile.TemporaryDirectory() as directory:
        built = [Path(ffi.compile(tmpdir=directory)), *build_wire(directory)]
        # Remove older builds: one with another name may be preferred to the new one, and a running program may have one
        # mapped, so it must not be overwritten.
        for name in ("_xenstore", "_wire"):
            for old in (ROOT / "xsffi").glob(f"{name}.*.so"):
                old.unlink()
        return [Path(shutil.copy(each, ROOT / "xsffi" / each.name)) for each in built]


def main() -> None:
    parser = argparse.ArgumentParser(description="Builds the C extensions xsffi._xenstore and xsffi._wire in place.")
    parser.add_argument("--emit-c", metavar="FILE", help="write the C source of xsffi._xenstore to this file instead")
    arguments = parser.parse_args()
    if arguments.emit_c:
        ffibuilder.emit_c_code(arguments.emit_c)
    else:
        print(*build_in_place(ffibuilder), sep="\n")


ffibuilder = make_ffi()

if __name__ == "__main__":
    main()
