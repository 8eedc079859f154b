"""The commands of CONTROL: xenstored's, as far as they mean anything here, and ``fault``, for tests."""

from __future__ import annotations

import errno
import logging

from ..errors import error_from_errno
from ..protocol.wire import MessageType
from .dump import contents
from .faults import Cut, Refusal
from .quota import DESCRIPTIONS, NAMES, SOFT_NAMES, Quotas
from .store import Store

__all__ = ["control"]

_log = logging.getLogger("xsffi.server")

_OK = "OK"
_FAULTS = "conflict <n>|error <name> [<operation> [<path>]]|cut before|cut middle|delay <ms>|hold|release|clear"


def control(store: Store, arguments: list[str]) -> str:
    """Carry out a command; raises InvalidArgumentError for one that is unknown or malformed."""
    command, *rest = arguments
    known = _COMMANDS.get(command)
    if known is None:
        raise _invalid()
    return known[0](store, rest)


def _help(store: Store, arguments: list[str]) -> str:
    if arguments:
        raise _invalid()
    return "".join([f"{name}\t{usage}\n" for name, (_, usage) in _COMMANDS.items()])


def _check(store: Store, arguments: list[str]) -> str:
    if arguments:
        raise _invalid()
    return _OK  # the tree cannot be inconsistent


def _print(store: Store, arguments: list[str]) -> str:
    if len(arguments) != 1:
        raise _invalid()
    _log.warning("control: %s", arguments[0])
    return _OK


def _memory_report(store: Store, arguments: list[str]) -> str:
    if arguments:
        raise _invalid()
    nodes = sum(1 for _ in contents("/", store.tree.root))
    _log.warning("%d nodes, %d connections", nodes, len(store.peers))
    return _OK


def _switch_log(store: Store, arguments: list[str]) -> str:
    if arguments == ["on"]:
        _log.setLevel(logging.DEBUG)
    elif arguments == ["off"]:
        _log.setLevel(logging.CRITICAL)
    else:
        raise _invalid()
    return _OK


def _quota(store: Store, arguments: list[str]) -> str:
    if not arguments:
        return _settings(store.domains.quotas, NAMES, "")
    if arguments[0] == "set":
        return _set_quota(store, arguments[1:], "")
    if len(arguments) != 1:
        raise _invalid()
    domid = _number(arguments[0])
    domain = store.domains.find(domid)
    if domain is None:
        raise error_from_errno(errno.ENOENT)
    used = {"nodes": domain.nodes, "watches": domain.watches, "transactions": domain.transactions}
    return f"Domain {domid}:\n" + "".join([f"{name:<16}: {value:8}\n" for name, value in used.items()])


def _soft_quota(store: Store, arguments: list[str]) -> str:
    if not arguments:
        return _settings(store.domains.quotas, SOFT_NAMES, "soft-")
    if arguments[0] == "set":
        return _set_quota(store, arguments[1:], "soft-")
    raise _invalid()


def _settings(quotas: Quotas, names: tuple[str, ...], prefix: str) -> str:
    lines = [f"{name[len(prefix) :]:<17}: {quotas[name]:8} {DESCRIPTIONS[name]}\n" for name in names]
    return "Quota settings:\n" + "".join(lines)


def _set_quota(store: Store, arguments: list[str], prefix: str) -> str:
    if len(arguments) != 2 or _number(arguments[1]) < 1:
        raise _invalid()
    # All domains have the same here, as with xenstored before 4.22; SET_QUOTA tells them apart.
    store.domains.set_quota(prefix + arguments[0], _number(arguments[1]))
    return _OK


def _fault(store: Store, arguments: list[str]) -> str:
    faults = store.faults
    what, *rest = arguments or [""]
    if what == "conflict" and len(rest) == 1:
        faults.conflicts = _number(rest[0])
    elif what == "error" and 1 <= len(rest) <= 3:
        operation = _operation(rest[1]) if len(rest) > 1 else None
        faults.refusals.append(Refusal(rest[0], operation, rest[2] if len(rest) > 2 else None))
    elif what == "cut" and rest in (["before"], ["middle"]):
        faults.cuts.append(Cut(middle=rest == ["middle"]))
    elif what == "delay" and len(rest) == 1:
        faults.delay = _number(rest[0]) / 1000
    elif what == "hold" and not rest:
        faults.holding_events = True
    elif what == "release" and not rest:
        store.release_events()
    elif what == "clear" and not rest:
        faults.clear()
    else:
        raise _invalid()
    return _OK


def _operation(name: str) -> MessageType:
    try:
        return MessageType[name.upper()]
    except KeyError:
        raise _invalid() from None


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 10:
        raise _invalid()
    return int(text)


def _invalid() -> Exception:
    return error_from_errno(errno.EINVAL)


_COMMANDS = {
    "check": (_check, ""),
    "log": (_switch_log, "on|off"),
    "memreport": (_memory_report, ""),
    "print": (_print, "<string>"),
    "quota": (_quota, "[set <name> <val>|<domid>]"),
    "quota-soft": (_soft_quota, "[set <name> <val>]"),
    "fault": (_fault, _FAULTS),
    "help": (_help, ""),
}
