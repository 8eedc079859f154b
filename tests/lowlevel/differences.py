"""Where our answers differ from the C module's, and why: the complete list, whose titles docs/coming-from.md mentions.

The test fails on a difference that is not listed, and on one that is listed but no longer occurs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from daemons import DAEMON_KINDS
from daemons.releases import OLDEST, order
from harness.stores import BACKENDS

__all__ = ["DIFFERENCES", "SAID_BY_THE_INTERPRETER", "Difference"]

_ERROR = "raises xen.lowlevel.xs.Error"
_INVALID = f"{_ERROR}(22, 'Invalid argument'): (22, 'Invalid argument')"
_TYPE_NAME = "xen.lowlevel.xs.xs'"  # the name that the C module gives its type


_NO_SUCH_FEATURE = (
    "h < g",
    "len(h)",
    "iter(h)",
    "h()",
    "with h: pass",
    "h.nothing",
    "h.attribute = 1",
    "h.__dict__",
    "weakref.ref(h)",
)
# Messages of the interpreter itself, which vary with its version.
SAID_BY_THE_INTERPRETER = (*_NO_SUCH_FEATURE, "module.xs.ls()")


class Difference(NamedTuple):
    """A difference, in some calls."""

    title: str
    script: str
    calls: Mapping[str, str]  # the lines that show it, each with our answer; "" if only the type's name differs
    daemons: tuple[str, ...] = DAEMON_KINDS
    backends: tuple[str, ...] = BACKENDS
    since: str = OLDEST  # the first release of Xen with it
    until: str = "999"  # the first later one without it

    def holds(self, kind: str, backend: str, release: str) -> bool:
        """Whether it occurs on this daemon, over this backend, with this release."""
        of_release = order(self.since) <= order(release) < order(self.until)
        return kind in self.daemons and backend in self.backends and of_release

    def ours(self, line: str, theirs: str) -> str:
        """Our answer to a line to which the C module answers `theirs`."""
        return self.calls[line] or theirs.replace(_TYPE_NAME, "xs'")


def _raises(kind: str, text: str) -> str:
    return f"raises builtins.{kind}({text!r},): {text}"


DIFFERENCES = (
    Difference(
        "The constructor's errors",
        "the class",
        {
            "module.xs(0, 0)": _raises("TypeError", "function takes at most 1 argument (2 given)"),
            "module.xs(0, readonly=1)": _raises("TypeError", "function takes at most 1 argument (2 given)"),
            "module.xs(other=1)": _raises("TypeError", "'other' is an invalid keyword argument for this function"),
            'module.xs("0")': _raises("TypeError", "'str' object cannot be interpreted as an integer"),
            "module.xs(None)": _raises("TypeError", "'NoneType' object cannot be interpreted as an integer"),
            "module.xs(1.5)": _raises("TypeError", "'float' object cannot be interpreted as an integer"),
            "module.xs(2**40)": _raises("OverflowError", "signed integer is greater than maximum"),
        },
    ),
    Difference(
        "The type's name in the interpreter's own messages",
        "the class",
        dict.fromkeys(_NO_SUCH_FEATURE, ""),
    ),
    Difference(
        "A method called on the class, without a connection",
        "the class",
        {
            'module.xs.ls("", "/nowhere")': _raises("AttributeError", "'str' object has no attribute '_parse'"),
            "module.xs.ls()": _raises("TypeError", "xs.ls() missing 1 required positional argument: 'self'"),
        },
    ),
    Difference(
        "Permissions that are no dicts",
        "permissions",
        {
            'h.set_permissions("", N, ["n0"])': _raises("TypeError", "a permission must be dict, not str"),
            'h.set_permissions("", N, [None])': _raises("TypeError", "a permission must be dict, not NoneType"),
        },
    ),
    Difference(
        "Domain ids beyond 65535 in permissions",
        "domain ids beyond all",
        {'h.get_permissions("", N)': f"{_ERROR}(71, 'Protocol error'): (71, 'Protocol error')"},
        daemons=("oxenstored",),
        backends=("wire",),
    ),
    Difference(
        "A list of children that is too long for libxenstore",
        "ls, mkdir, rm",
        {
            'len(h.ls("", TOP + "/long")), sorted(h.ls("", TOP + "/long"))[:2]': (
                "builtins.tuple (600, ['name-of-a-child-0', 'name-of-a-child-1'])"
            )
        },
        daemons=("oxenstored",),
        backends=("wire",),
    ),
    Difference(
        "The length of a watch's path",
        "a watch's path that just fits",
        {'h.watch("/" + "a" * 4088, 1)': _INVALID},
        daemons=("xenstored",),
        until="4.20",
    ),
    Difference(
        "The length of a watch's path",
        "a watch's path that just fits",
        {'h.watch("/" + "a" * 4088, 1)': "builtins.NoneType None"},
        daemons=("xenstored",),
        since="4.20",
    ),
    Difference(
        "The length of a watch's path",
        "a watch's path that just fits",
        {'h.watch("/" + "a" * 4088, 1)': "builtins.NoneType None"},
        daemons=("oxenstored",),
    ),
    Difference(
        "A stale event, checked",
        "a stale event, checked",
        {"h.check_watch()": "builtins.NoneType None"},
    ),
    Difference(
        "A stale event, checked",
        "a stale event before one that is not",
        {
            "first = h.check_watch()": "done",
            "first": "builtins.tuple ('/differential', ['b'])",
            "second": "builtins.NoneType None",
        },
    ),
    Difference(
        "A stale event of a token that has another watch",
        "a stale event of a token that has another watch",
        {"drain(h)": "builtins.list [('/differential/other', ['token'])]"},
    ),
    Difference(
        "A watch that is set twice, or an unwatch that fails",
        "an unwatch that fails",
        {
            "[event[0] for event in drain(h)]": "builtins.list ['/differential']",
            "drain(h)": "builtins.list [('/differential/n', ['token'])]",
        },
    ),
    Difference(
        "None as a token",
        "None as a token",
        {"drain(h)": "builtins.list [('/differential', None), ('/differential/other', 3)]"},
    ),
    Difference(
        "The same path in two spellings",
        "another spelling of a path",
        {'h.watch("/local/domain/0/there", A)': "builtins.NoneType None"},
    ),
    Difference(
        "The root, and domain 0",
        "domains",
        {"h.release_domain(0)": _INVALID},
        daemons=("oxenstored",),
    ),
    Difference(
        "The root, and domain 0",
        "the root",
        {'h.rm("", "/")': _INVALID, 'h.read("", N)': "builtins.bytes b'kept'"},
        daemons=("oxenstored",),
    ),
)
