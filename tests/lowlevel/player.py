"""Plays scripts of calls to xen.lowlevel.xs, whichever module that is, and tells what came of each call.

A program of its own, for any Python from 3.9 on, since the C module runs under the one that it was compiled for alone:
the scripts come in as JSON on stdin, the answers go out as JSON on stdout. XENSTORED_PATH says where the daemon is.
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
TOP = "/differential"  # where all nodes of the scripts are
_QUIET = 0.1  # seconds without an event after which none is expected any more


class Index:
    """An integer that is no int."""

    def __index__(self) -> int:
        return 3


class BadIndex:
    """One whose value is not to be had."""

    def __index__(self) -> int:
        raise KeyError("no value")


class Text(str):
    """A str that is no plain str."""


class Dict(dict):  # type: ignore[type-arg]
    """A dict that is no plain dict."""


class List(list):  # type: ignore[type-arg]
    """A list that is no plain list."""


class Equal:
    """Equal to all of its kind, and not to be hashed."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Equal)

    def __repr__(self) -> str:
        return "Equal()"


def drain(handle: Any) -> list[Any]:
    """All events that come, and the errors in between.

    A handle may be readable with half an event, which is none yet; one that stays so is told, by a None.
    """
    events: list[Any] = []
    since = None  # when it was first readable without an event
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
    """What came of each line: the line, and the outcome in words that can be compared."""
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
    signal.alarm(120)  # a call that hangs is to end this program, not the tests
    scripts = json.load(sys.stdin)
    json.dump({name: play(script) for name, script in scripts.items()}, sys.stdout)


if __name__ == "__main__":
    main()
