"""Plays scripts of calls to xen.lowlevel.xs, whichever module that is, and reports the outcome of each call.

It is a separate program, for any Python from 3.9 on, since the C module only loads into the version it was compiled
for. It reads the scripts from stdin and writes the answers to stdout, both as JSON. XENSTORED_PATH names the daemon's
socket.
"""

from __future__ import annotations

import copy
import importlib
import json
import pickle
import re
import select
import signal
import sys
import time
import weakref
from typing import Any

module: Any = importlib.import_module("xen.lowlevel.xs")
TOP = "/differential"  # the parent of all nodes in the scripts
_QUIET = 0.1  # seconds without an event after which no more are expected


class Index:
    """An integer that is not an int."""

    def __index__(self) -> int:
        return 3


class BadIndex:
    """One whose value cannot be obtained."""

    def __index__(self) -> int:
        raise KeyError("no value")


class Text(str):
    """A subclass of str."""


class Dict(dict):  # type: ignore[type-arg]
    """A subclass of dict."""


class List(list):  # type: ignore[type-arg]
    """A subclass of list."""


class Equal:
    """Equal to all of its kind, and not hashable."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Equal)

    def __repr__(self) -> str:
        return "Equal()"


def drain(handle: Any) -> list[Any]:
    """All events that arrive, and the errors in between.

    A handle may become readable with half an event, so there is none to take yet; if it stays so, that is reported as
    None.
    """
    events: list[Any] = []
    since = None  # since when it has been readable without an event
    while select.select([handle], [], [], _QUIET)[0]:
        try:
            event = handle.check_watch()
        except module.Error as error:
            event = error
        if event is None:
            since = since or time.monotonic()
            if time.monotonic() - since < _QUIET:
                continue
        since = None
        events.append(event)
    return events


def soon(handle: Any) -> bool:
    """Whether the handle becomes readable."""
    return bool(select.select([handle], [], [], 5)[0])


def play(script: str) -> list[list[str]]:
    """Each line of the script, and its outcome as comparable text."""
    h, g = module.xs(), module.xs()
    g.rm("", TOP)
    g.mkdir("", TOP)
    names = {
        "module": module, "h": h, "g": g, "TOP": TOP, "N": f"{TOP}/n", "T": lambda: h.transaction_start(),
        "Index": Index, "BadIndex": BadIndex, "Text": Text, "Dict": Dict, "List": List, "Equal": Equal,
        "drain": drain, "soon": soon, "copy": copy, "pickle": pickle, "weakref": weakref, "select": select,
        "sleep": time.sleep,
    }  # fmt: skip
    answers = [[line, _outcome(line, names)] for line in script.splitlines() if line]
    for handle in (h, g):
        try:
            handle.close()
        except module.Error:
            pass
    return answers


def _outcome(line: str, names: dict[str, Any]) -> str:
    try:
        try:
            code = compile(line, "call", "eval")
        except SyntaxError:
            exec(line, names)
            return "done"
        value = eval(code, names)
    except Exception as error:
        kind = type(error)
        words = f"raises {kind.__module__}.{kind.__qualname__}{error.args!r}: {error}"
    else:
        words = f"{type(value).__module__}.{type(value).__qualname__} {value!r}"
    return re.sub(r" at 0x[0-9a-f]+", " at …", words)


def main() -> None:
    signal.alarm(120)  # if a call hangs, end this program, not the tests
    scripts = json.load(sys.stdin)
    json.dump({name: play(script) for name, script in scripts.items()}, sys.stdout)


if __name__ == "__main__":
    main()
