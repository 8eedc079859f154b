"""``xsffi domains`` and ``xsffi devices``."""

from __future__ import annotations

import errno
from json import dumps

from ..errors import AccessDeniedError, NodeNotFoundError, XenStoreError, error_from_errno
from .command import DOMAIN, Command
from .devices import DANGLING, Seen, devices_of, link_of
from .places import DOMAINS, domid_of, find_domain, home, split
from .snapshots import read_tree
from .states import state_name, state_style
from .tables import write_table
from .values import shown_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Mapping
    from typing import Any

    from ..sync.client import Client
    from .devices import Device
    from .output import Output

__all__ = ["COMMANDS", "devices", "domains"]

_DEVICE_HEADS = ("DEVICE", "STATE", "BACKEND DOMAIN", "BACKEND", "STATE", "DANGLING")
_NOTHING = ("", "")


def _domains_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--json", action="store_true", help='an object with "domid", "name", "home" and "devices" for each'
    )


def _devices_arguments(parser: ArgumentParser) -> None:
    parser.epilog = (
        "A device is dangling if its frontend's backend is gone, was never created, or belongs to another frontend; "
        "the reverse; or if its domain is gone. Nodes that this domain may not read do not count as gone."
    )
    parser.add_argument(
        "domain",
        metavar="DOMAIN",
        nargs="?",
        help="only show devices with an end in this domain (number or name); by default, that of --domain, or all",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="exit with 1 if a device is dangling, 2 if that cannot be determined",
    )
    parser.add_argument("--json", action="store_true", help="one object per line for each device")


def domains(xs: Client, out: Output, json: bool = False) -> int:
    """Print a table of all domains that have a home, with their devices."""
    seen = _look(xs)
    names = _names(seen)
    found = devices_of(seen)
    rows: list[list[tuple[str, str]]] = []
    for domid in _domids(seen):
        its = [device for device in found if device.domid == domid and device.frontend is not None]
        if json:
            name = names[domid].decode("utf-8", "backslashreplace") if domid in names else None
            fields = {"domid": domid, "name": name, "home": home(domid), "devices": [_fields(each) for each in its]}
            out.line(dumps(fields))
            continue
        lines = [_cells(device, names, out) for device in its] or [[_NOTHING] * len(_DEVICE_HEADS)]
        rows.append([(str(domid), "bold"), (_name(domid, names, out), "cyan"), (home(domid), ""), *lines[0]])
        rows += [[_NOTHING, _NOTHING, _NOTHING, *line] for line in lines[1:]]
    if not json:
        write_table(out, ("ID", "NAME", "HOME", *_DEVICE_HEADS), rows)
    return 0


def devices(xs: Client, out: Output, domain: str | None = None, check: bool = False, json: bool = False) -> int:
    """Print a table of the devices, all or those of one domain; with `check`, return 1 if any is dangling."""
    seen = _look(xs)
    names = _names(seen)
    found = devices_of(seen)
    if domain is not None:
        domid = find_domain(domain, lambda: names)
        found = [device for device in found if domid in (device.domid, device.backend_domid)]
        if not found and seen.lacks(home(domid)):
            raise error_from_errno(errno.ENOENT, home(domid), f"there is no domain {domid}, and nothing is left of it")
    if json:
        for device in found:
            out.line(dumps(_fields(device)))
    else:
        rows = [[(_domain(device.domid, names, out), "cyan"), *_cells(device, names, out)] for device in found]
        write_table(out, ("DOMAIN", *_DEVICE_HEADS), rows)
    return 1 if check and any(device.dangling for device in found) else 0


def _look(xs: Client) -> Seen:
    """Everything about all domains, at one moment; a guest sees its own home, and the backends that this names."""
    try:
        nodes, unread = read_tree(xs, DOMAINS)
    except NodeNotFoundError:
        return Seen({}, [DOMAINS])
    except AccessDeniedError as error:
        return _look_as_guest(xs, error)
    return Seen({node.path: node for node in nodes}, [DOMAINS], unread)


def _look_as_guest(xs: Client, error: AccessDeniedError) -> Seen:
    domid = domid_of(xs.get("domid"))
    if domid is None:
        raise error
    nodes, unread = read_tree(xs, home(domid))
    seen = {node.path: node for node in nodes}
    not_seen = dict(unread)
    tops = [home(domid)]
    for node in nodes:
        backend = link_of(node.value) if node.path.endswith("/backend") else None
        if backend is None or backend in tops:
            continue
        tops.append(backend)
        try:
            nodes, unread = read_tree(xs, backend)
        except NodeNotFoundError:
            continue  # it is gone
        except XenStoreError as reason:
            unread = {backend: reason}  # not a valid path, or somebody else's
        else:
            seen.update({node.path: node for node in nodes})
        not_seen.update(unread)
    return Seen(seen, tops, not_seen)


def _domids(seen: Seen) -> list[int]:
    """The domains whose homes were read."""
    return sorted(domid for domid, names in map(split, seen.nodes) if domid is not None and not names)


def _names(seen: Seen) -> dict[int, bytes]:
    names = {domid: seen.value(f"{home(domid)}/name") for domid in _domids(seen)}
    return {domid: name for domid, name in names.items() if name is not None}


def _cells(device: Device, names: Mapping[int, bytes], out: Output) -> list[tuple[str, str]]:
    """The cells of a device in a table."""
    return [
        (shown_name(_label(device)), ""),
        _state(device.state, out),
        (_domain(device.backend_domid, names, out), "cyan"),
        (shown_name(device.backend_kind or ""), ""),
        _state(device.backend_state, out),
        (shown_name(_dangling(device)), "red"),
    ]


def _label(device: Device) -> str:
    return f"{device.kind}/{device.id}" if device.id else device.kind


def _dangling(device: Device) -> str:
    return DANGLING[device.dangling].format_map(device._asdict()) if device.dangling else ""


def _state(value: bytes | None, out: Output) -> tuple[str, str]:
    if not value:
        return _NOTHING
    name = state_name(value)
    return (out.shown(value), "red") if name is None else (f"{value.decode('ascii')} {name}", state_style(name))


def _domain(domid: int | None, names: Mapping[int, bytes], out: Output) -> str:
    if domid is None:
        return ""
    return f"{domid} ({_name(domid, names, out)})" if domid in names else str(domid)


def _name(domid: int, names: Mapping[int, bytes], out: Output) -> str:
    return out.shown(names[domid]) if domid in names else ""


def _fields(device: Device) -> dict[str, Any]:
    """A device in JSON: its states by number and by name."""
    fields: dict[str, Any] = {}
    for field, value in device._asdict().items():
        if field in ("state", "backend_state"):
            name = None if value is None else state_name(value)
            fields[field] = None if name is None else int(value)
            fields[f"{field}_name"] = "invalid" if value is not None and name is None else name
        else:
            fields[field] = value
    return fields


COMMANDS = {
    "domains": Command(_domains_arguments, domains),
    "devices": Command(_devices_arguments, devices, {"domain": DOMAIN}, failure=2),
}
