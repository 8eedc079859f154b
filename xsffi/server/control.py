"""The commands of CONTROL: xenstored's, as far as they make sense here, and ``fault``, for tests."""

from __future__ import annotations

import errno
import logging

from ..errors import error_from_errno
from ..protocol.wire import MessageType
from .dump import contents
from .faults import Cut, Refusal
from .releases import Release
from .store import Store
from .trace import append

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["control"]

_log = logging.getLogger("xsffi.server")

_OK = "OK"
_INT_MAX = 0x7FFFFFFF
_FAULTS = "conflict <n>|error <name> [<operation> [<path>]]|cut before|cut middle|delay <ms>|hold|release|clear"


def control(store: Store, arguments: list[str]) -> str:
    """Carry out a command; raises InvalidArgumentError for one that is unknown or malformed."""
    command, *rest = arguments
    if command != "fault" and all(command != name for name, _ in store.xen.commands):
        raise _invalid()
    return _COMMANDS[command](store, rest)


def _help(store: Store, arguments: list[str]) -> str:
    _expect_none(arguments)
    release = store.xen
    lines = [release.help_line.format(*command) for command in (*release.commands, ("fault", _FAULTS))]
    return "".join(lines) + release.help_ends


def _check(store: Store, arguments: list[str]) -> str:
    _expect_none(arguments)
    return _OK  # the tree cannot be inconsistent


def _print(store: Store, arguments: list[str]) -> str:
    if len(arguments) != 1:
        raise _invalid()
    _log.warning("control: %s", arguments[0])
    return _OK


def _switch_trace(store: Store, arguments: list[str]) -> str:
    trace = store.trace
    if not arguments and trace.switches:
        lines = [f"{name:<8}: {'on' if on else 'off'}\n" for name, on in trace.switches.items()]
        return "Log switch settings:\n" + "".join(lines)
    if len(arguments) != 1:
        raise _invalid()
    if arguments[0] == "on":
        _with_file(trace.open)
    elif arguments[0] == "off":
        trace.close()
    else:
        trace.set_switch(arguments[0])
    return _OK


def _set_trace_file(store: Store, arguments: list[str]) -> str:
    if len(arguments) != 1 or not arguments[0]:
        raise _invalid()
    _with_file(lambda: store.trace.open(arguments[0]))
    return _OK


def _memory_report(store: Store, arguments: list[str]) -> str:
    path = arguments[0] if arguments else store.trace.path
    if len(arguments) > 1 or not path:
        raise _invalid()
    nodes = sum(1 for _ in contents("/", store.tree.root))
    _with_file(lambda: append(path, f"{nodes} nodes, {len(store.peers)} connections\n"))
    return _OK


def _update_live(store: Store, arguments: list[str]) -> str:
    # The steps of an update are separate commands; a client prints any answer other than OK.
    if arguments[:1] not in (["-f"], ["-c"], ["-s"], ["-a"]):
        raise _invalid()
    return (
        "No live-update session active." if arguments == ["-a"] else "The embedded store does not support live updates."
    )


def _quota(store: Store, arguments: list[str]) -> str:
    if not arguments:
        return _settings(store, soft=False)
    if arguments[0] == "set":
        return _set_quota(store, arguments[1:], soft=False)
    if arguments[0] == "max" and store.xen.keeps_maxima:
        return _maxima(store, arguments[1:])
    if len(arguments) != 1:
        raise _invalid()
    domid = _number(arguments[0])
    domain = store.domains.find(domid)
    if domain is None:
        raise error_from_errno(errno.ENOENT)
    names = _names(store.xen)
    line = store.xen.use_line
    lines = [line.format(names[key], domain.used.get(key, 0), domain.most.get(key, 0)) for key in store.xen.uses]
    return f"Domain {domid}:\n" + "".join(lines)


def _maxima(store: Store, arguments: list[str]) -> str:
    if arguments == ["-r"]:
        store.domains.reset_maxima()
    else:
        _expect_none(arguments)
    names = _names(store.xen)
    lines = [f"{names[key]:<17}: {store.domains.seen.get(key, 0):8}\n" for key in store.xen.uses]
    return "Max. seen accounting values:\n" + "".join(lines)


def _soft_quota(store: Store, arguments: list[str]) -> str:
    if not arguments:
        return _settings(store, soft=True)
    if arguments[0] == "set":
        return _set_quota(store, arguments[1:], soft=True)
    raise _invalid()


def _settings(store: Store, soft: bool) -> str:
    values = store.domains.quotas
    lines = [
        f"{quota.short_name:<17}: {_as_int(values[quota.wire_name]):8} {quota.description}\n"
        for quota in store.xen.quotas
        if quota.soft == soft
    ]
    return "Quota settings:\n" + "".join(lines)


def _set_quota(store: Store, arguments: list[str], soft: bool) -> str:
    if len(arguments) != 2 or not 1 <= _number(arguments[1]) <= _INT_MAX:
        raise _invalid()
    for quota in store.xen.quotas:
        if quota.soft == soft and quota.short_name == arguments[0]:
            store.domains.set_quota(quota.wire_name, _number(arguments[1]))
            return _OK
    raise _invalid()


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


def _with_file(work: Callable[[], None]) -> None:
    """Do something with a file that a client named; raises InvalidArgumentError on failure."""
    try:
        work()
    except OSError as error:
        raise error_from_errno(errno.EINVAL, message=f"{error.filename}: {error.strerror}") from None


def _names(release: Release) -> dict[str, str]:
    """A release's names of its quotas, by key."""
    return {quota.key: quota.short_name for quota in release.quotas}


def _as_int(value: int) -> int:
    """A value as a C int shows it."""
    return value if value <= _INT_MAX else value - (1 << 32)


def _expect_none(arguments: list[str]) -> None:
    if arguments:
        raise _invalid()


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 10:
        raise _invalid()
    return int(text)


def _invalid() -> Exception:
    return error_from_errno(errno.EINVAL)


_COMMANDS = {
    "check": _check,
    "log": _switch_trace,
    "live-update": _update_live,
    "logfile": _set_trace_file,
    "memreport": _memory_report,
    "print": _print,
    "quota": _quota,
    "quota-soft": _soft_quota,
    "fault": _fault,
    "help": _help,
}
