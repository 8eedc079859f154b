"""``python -m xsffi.lowlevel SCRIPT ARGS…`` or ``-m MODULE ARGS…``: run it with this ``xen.lowlevel.xs``."""

from __future__ import annotations

import os
import runpy
import sys

from . import install

USAGE = """\
usage: python -m xsffi.lowlevel SCRIPT [ARGUMENT ...]
       python -m xsffi.lowlevel -m MODULE [ARGUMENT ...]

Runs an unmodified program that uses xen.lowlevel.xs on xsffi.
"""


def main(arguments: list[str]) -> int:
    """Run the program in the arguments as Python itself would."""
    if arguments[:1] in (["-h"], ["--help"]):
        print(USAGE, end="")
        return 0
    is_module = arguments[:1] == ["-m"]
    program = arguments[1:] if is_module else arguments
    if not program or (not is_module and program[0].startswith("-")):
        print(USAGE, end="", file=sys.stderr)
        return 2
    install()
    sys.argv = program
    if is_module:
        runpy.run_module(program[0], run_name="__main__", alter_sys=True)
    else:
        if not getattr(sys.flags, "safe_path", sys.flags.isolated):
            sys.path[0] = os.path.dirname(os.path.realpath(program[0]))  # for the script's own modules
        runpy.run_path(program[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
