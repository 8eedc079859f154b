"""A toolstack's job: give a guest a network interface, and wait until the driver has connected it.

It writes the device's tree in one transaction, so that nobody sees half of it, reads it back, watches the driver's
side, and receives the change that the driver makes. Usage: attach_device.py [DOMID]. Run examples/driver.py beside it.
"""

from __future__ import annotations

import sys

import xsffi

CONNECTED = b"4"  # XenbusStateConnected (xen/include/public/io/xenbus.h)


def main(domid: int) -> None:
    with xsffi.Client() as xs:
        print(f"attach_device: the backend is {xs.backend.name}")
        frontend = f"{xs.get_domain_path(domid)}/device/vif/0"
        backend = f"{xs.get_domain_path(0)}/backend/vif/{domid}/0"

        def write_device(t: xsffi.Transaction) -> None:
            if t.exists(backend):
                t.rm(backend)  # left over from an earlier device
            for path, owner, reader in ((frontend, domid, 0), (backend, 0, domid)):
                t.mkdir(path)
                t.set_permissions(path, [f"n{owner}", f"r{reader}"])
            t.write(f"{frontend}/backend", backend)
            t.write(f"{frontend}/backend-id", "0")
            t.write(f"{frontend}/handle", "0")
            t.write(f"{frontend}/mac", "00:16:3e:00:00:05")
            t.write(f"{frontend}/state", "1")
            t.write(f"{backend}/frontend", frontend)
            t.write(f"{backend}/frontend-id", str(domid))
            t.write(f"{backend}/state", "1")

        xs.transact(write_device)
        for name in xs.ls(frontend):
            print(f"attach_device: {frontend}/{name} = {xs.read_text(f'{frontend}/{name}')}")

        with xs.watch(f"{backend}/state"):
            for event in xs.events(timeout=10):
                state = xs.read(event.path)
                print(f"attach_device: {event.path} is {state.decode()}")
                if state == CONNECTED:
                    print("attach_device: the driver has connected")
                    return
        sys.exit("attach_device: no driver connected within ten seconds")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
