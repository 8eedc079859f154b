"""Runs a program with a real daemon: ``python -m daemons xenstored PROGRAM ARGUMENTS…``.

The daemon serves only this program, and ends with it. The environment leads the program to the daemon, Xen's
command-line tools and libxenstore.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from . import DAEMON_KINDS, load_packages, start_daemon


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m daemons", description="Run a program with a real store daemon.")
    parser.add_argument("kind", choices=DAEMON_KINDS, help="which daemon")
    parser.add_argument("program", nargs=argparse.REMAINDER, help="the program and its arguments")
    options = parser.parse_args()
    if not options.program:
        parser.error("no program is named")
    packages = load_packages()
    if packages is None:
        parser.error("Xen's store daemons are not unpacked: run ci/fetch-xen")
    with start_daemon(options.kind) as daemon:
        tools = packages.tool("xenstore-ls").parent
        environment = {
            **daemon.environment(),
            "PATH": f"{tools}:{os.environ.get('PATH', os.defpath)}",
            "XSFFI_LIBXENSTORE": str(packages.libxenstore),
        }
        return subprocess.run(options.program, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
