"""A driver's job: wait for a network interface to appear, and connect it. See examples/attach_device.py."""

from __future__ import annotations

from collections.abc import Iterator

import xsffi

INITIALISING, CONNECTED = b"1", "4"  # XenbusState (xen/include/public/io/xenbus.h)


def devices(xs: xsffi.Client, backends: str) -> Iterator[str]:
    """The nodes of all devices of this kind: BACKENDS/DOMID/NUMBER."""
    if xs.exists(backends):
        for domid in xs.ls(backends):
            for number in xs.ls(f"{backends}/{domid}"):
                yield f"{backends}/{domid}/{number}"


def main() -> None:
    with xsffi.Client() as xs:
        backends = f"{xs.get_domain_path(0)}/backend/vif"

        def changed(event: xsffi.WatchEvent) -> None:
            # The first event is sent at once and reports no change: so look at what exists, whatever the event says.
            for device in devices(xs, backends):
                if xs.get(f"{device}/state") == INITIALISING:
                    print(f"driver: connecting {device}")
                    xs.write(f"{device}/state", CONNECTED)
                    xs.stop()

        xs.watch(backends, callback=changed)
        xs.run(timeout=10)


if __name__ == "__main__":
    main()
