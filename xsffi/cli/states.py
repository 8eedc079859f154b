"""XenbusState, by which the two ends of a device tell each other how far they are (xen/include/public/io/xenbus.h)."""

from __future__ import annotations

from .homes import below_home

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
    """What the state is called that the value of such a node stands for; None where it stands for none."""
    return _NAMES.get(value)


def state_style(name: str) -> str:
    """The style, one of rich's, in which a state is shown."""
    return {"connected": "green", "closed": "red", "unknown": "red"}.get(name, "yellow")


def is_state(path: str) -> bool:
    """Whether a node holds a XenbusState, by its path.

    It is named ``state``, or ``state-N`` for each device that one of PCI passthrough stands for, and lies in the
    directory of a device or below it, as SCSI's do: ``device/CLASS/ID`` and ``backend/CLASS/DOMID/ID`` in the home of a
    domain, absolute or relative, or ``/libxl/DOMID/device/CLASS/ID``, where libxl keeps what a device began with.
    """
    above, _, name = path.rpartition("/")
    if name != "state" and not (name.startswith("state-") and name[6:].isdigit()):
        return False
    parts = below_home(above)
    if parts[:2] == ["", "libxl"]:
        del parts[:3]
    return (parts[:1] == ["device"] and len(parts) >= 3) or (parts[:1] == ["backend"] and len(parts) >= 4)
