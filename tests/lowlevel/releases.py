"""The C module's answers that differ with other releases of Xen than the one that answers.txt was recorded on. They
come from the daemon: the module passes them on."""

from __future__ import annotations

from daemons.releases import Difference

__all__ = ["OTHERWISE"]

_ERROR = "raises xen.lowlevel.xs.Error"
_INVALID = f"{_ERROR}(22, 'Invalid argument'): (22, 'Invalid argument')"
_MISSING = f"{_ERROR}(2, 'No such file or directory'): (2, 'No such file or directory')"
_NONE = "builtins.NoneType None"

_OVER_QUOTA = Difference("a path of dom0's over 2048 bytes", xenstored={"4.14": _NONE, "4.17": _INVALID, "4.20": _NONE})
_OVER_LIMIT = Difference("a path over the 3072 bytes of xs_wire.h", xenstored={"4.14": _INVALID, "4.20": _NONE})
_NO_PATH = Difference("UNWATCH of what is no path", xenstored={"4.14": _MISSING, "4.20": _INVALID})


def _no_domid(answer: str) -> Difference[str]:
    return Difference("a number that is no domain's", xenstored={"4.14": answer, "4.22": _INVALID})


def _in_order(added: str, sorted_by_name: str) -> Difference[str]:
    return Difference("the order of children", oxenstored={"4.14": added, "4.17": sorted_by_name})


OTHERWISE: dict[tuple[str, str, str], Difference[str]] = {
    ("xenstored", "read", 'h.read("", "/" + "a" * 3000)'): _OVER_QUOTA,
    ("xenstored", "read", 'h.read("", "/" + "a" * 3071)'): _OVER_QUOTA,
    ("xenstored", "read", 'h.read("", "/" + "a" * 3072)'): _OVER_LIMIT,
    ("xenstored", "read", 'h.read("", "/" + "a" * 4094)'): _OVER_LIMIT,
    ("xenstored", "read", 'h.read("", "a" * 2049)'): _OVER_QUOTA,
    ("xenstored", "watches", 'h.unwatch("not a path", 1)'): _NO_PATH,
    ("xenstored", "watches", 'h.unwatch("", 1)'): _NO_PATH,
    ("xenstored", "domains", "h.get_domain_path(65536)"): _no_domid("builtins.str '/local/domain/65536'"),
    ("xenstored", "domains", "h.get_domain_path(-1)"): _no_domid("builtins.str '/local/domain/4294967295'"),
    ("xenstored", "domains", "h.get_domain_path(2**31 - 1)"): _no_domid("builtins.str '/local/domain/2147483647'"),
    ("xenstored", "domains", "h.get_domain_path(-2**31)"): _no_domid("builtins.str '/local/domain/2147483648'"),
    ("xenstored", "domains", "h.release_domain(-1)"): _no_domid(_MISSING),
    ("oxenstored", "transactions", 'h.mkdir(t, TOP + "/m"), h.ls(t, TOP), h.ls("", TOP)'): _in_order(
        "builtins.tuple (None, ['n', 'm'], ['n'])", "builtins.tuple (None, ['m', 'n'], ['n'])"
    ),
    ("oxenstored", "transactions", 'h.read("", N), h.ls("", TOP), h.get_permissions("", N)'): _in_order(
        "builtins.tuple (b'inside', ['n', 'm'], [{'dom': 3, 'read': 0, 'write': 0}])",
        "builtins.tuple (b'inside', ['m', 'n'], [{'dom': 3, 'read': 0, 'write': 0}])",
    ),
}
