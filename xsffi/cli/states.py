"""XenbusState, by which the two ends of a device report their progress (xen/include/public/io/xenbus.h)."""

from __future__ import annotations

from .places import in_backend, in_frontend, split

__all__ = ["is_state", "state_name", "state_style"]

_NAMES = {
    b"0": "unknown",
    b"1": "initialising",
    b"2": "init-wait",
    b"3": "initialised",
    b"4": "connected",
    b"5": "closing",
    b"6": "closed",
    b"7": "reconfiguring",
    b"8": "reconfigured",
}


def state_name(value: bytes) -> str | None:
    """The name of the state in the value of such a node; None if it is not valid."""
    return _NAMES.get(value)


def state_style(name: str) -> str:
    """The style, one of rich's, for a state."""
    return {"connected": "green", "closed": "red", "unknown": "red"}.get(name, "yellow")


def is_state(path: str) -> bool:
    """Whether a node holds a XenbusState, by its path.

    It is named ``state``, or ``state-N`` for each device of a PCI passthrough, and is in the directory of a device or
    below it, as for SCSI: ``device/CLASS/ID`` and ``backend/CLASS/DOMID/ID`` in the home of a domain, absolute or
    relative, or ``/libxl/DOMID/device/CLASS/ID``, where libxl keeps the initial configuration of a device.
    """
    above, _, name = path.rpartition("/")
    if name != "state" and not (name.startswith("state-") and name[6:].isdigit()):
        return False
    _, names = split(above)
    if names[:2] == ["", "libxl"]:
        del names[:3]
    return in_frontend(names) or in_backend(names)
