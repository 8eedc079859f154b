"""The command ``xsffi``, in groups of commands: a module each, imported when one of its commands is called."""

from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    class Entry(NamedTuple):
        """What is known of a command before its module is imported."""

        module: str
        summary: str
        is_tool: bool = False
else:
    Entry = namedtuple("Entry", ["module", "summary", "is_tool"], defaults=[False])

__all__ = ["COMMANDS", "Entry"]

#: All commands, in the order in which help shows them. A tool is one that xenstore-utils have too, under the name
#: ``xenstore-NAME``.
COMMANDS = {
    "read": Entry("tools", "the values of nodes", is_tool=True),
    "write": Entry("tools", "write values", is_tool=True),
    "ls": Entry("tools", "the tree below a node, a line for each", is_tool=True),
    "list": Entry("tools", "the names of a node's children", is_tool=True),
    "rm": Entry("tools", "remove nodes with all below them", is_tool=True),
    "exists": Entry("tools", "whether there are nodes, by the exit status", is_tool=True),
    "chmod": Entry("tools", "set the permissions of a node", is_tool=True),
    "watch": Entry("watching", "tell of changes, with values if asked", is_tool=True),
    "control": Entry("tools", "give xenstored a command", is_tool=True),
    "tree": Entry("tree", "draw the tree below a node"),
    "wait": Entry("waiting", "wait until a node has a value, is there, or is gone"),
    "dump": Entry("dumps", "the tree below a node as lines of JSON"),
    "load": Entry("dumps", "write the nodes of a dump"),
    "diff": Entry("differences", "compare two dumps, or subtrees"),
    "domains": Entry("domains", "the domains of the store and their devices"),
    "devices": Entry("domains", "the devices of domains, and what is dangling"),
    "serve": Entry("serving", "serve a store of its own, without Xen"),
    "completion": Entry("completion", "print a shell's completion of all this"),
    "manual": Entry("manual", "write the man pages"),
}
