"""A toolstack waits until the two ends of a device are connected, or one of them has given up.

Usage: wait_for_device.py DOMID [--device vif/0] [--timeout SECONDS]. It exits with status 1 on timeout, or if the
device was closed.
"""

from __future__ import annotations

import argparse
import sys

import xsffi
from xsffi.conditions import View

CONNECTED, CLOSING, CLOSED = b"4", b"5", b"6"  # of XenbusState


class DeviceClosed(Exception):
    """One end of the device has closed."""


def connected(view: View, frontend: str) -> bytes | None:
    """The backend's path, once both ends are connected; the frontend names it."""
    backend = view.get(f"{frontend}/backend")
    if backend is None:
        return None
    states = [view.get(f"{end}/state") for end in (frontend, backend.decode())]
    if CLOSING in states or CLOSED in states:
        raise DeviceClosed(f"{frontend}: closed before it was connected")  # ends the wait
    return backend if states == [CONNECTED, CONNECTED] else None


def main() -> None:
    parser = argparse.ArgumentParser(description="Wait until a device of a domain is connected.")
    parser.add_argument("domid", type=int)
    parser.add_argument("--device", default="vif/0")
    parser.add_argument("--timeout", type=float, help="seconds; by default, wait without limit")
    options = parser.parse_args()
    with xsffi.Client() as xs:
        frontend = f"{xs.get_domain_path(options.domid)}/device/{options.device}"
        try:
            backend = xs.wait(lambda view: connected(view, frontend), options.timeout)
        except (xsffi.WaitTimeoutError, DeviceClosed) as error:
            sys.exit(f"wait_for_device: {error}")
        print(f"{frontend} is connected with {backend.decode()}")


if __name__ == "__main__":
    main()
