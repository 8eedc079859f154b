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
        usage_status: int = 2
else:
    Entry = namedtuple("Entry", ["module", "summary", "usage_status"], defaults=[2])

__all__ = ["COMMANDS", "Entry"]

#: All commands, in the order in which help shows them. Those that xenstore-utils have too, as ``xenstore-NAME``, have
#: the exit status of theirs for wrong usage.
COMMANDS = {
    "read": Entry("reading", "print the values of nodes", usage_status=1),
    "write": Entry("writing", "write values", usage_status=1),
    "ls": Entry("listing", "list the tree below a node, a line for each", usage_status=1),
    "list": Entry("reading", "list the names of a node's children", usage_status=1),
    "rm": Entry("writing", "remove nodes with all below them", usage_status=1),
    "exists": Entry("reading", "tell by the exit status whether nodes are there", usage_status=1),
    "chmod": Entry("writing", "set the permissions of a node", usage_status=1),
    "watch": Entry("watching", "tell of changes, with values if asked", usage_status=1),
    "control": Entry("control", "give xenstored a command"),
    "tree": Entry("tree", "draw the tree below a node"),
    "wait": Entry("waiting", "wait until a node has a value, is there, or is gone"),
    "dump": Entry("dumps", "print the tree below a node as lines of JSON"),
    "load": Entry("dumps", "write the nodes of a dump"),
    "diff": Entry("differences", "compare two dumps, or subtrees"),
    "domains": Entry("domains", "list the domains and their devices"),
    "devices": Entry("domains", "list the devices of domains, and what is dangling"),
    "serve": Entry("serving", "serve a store in memory, without Xen"),
    "completion": Entry("completion", "print a shell's completion of all this"),
    "manual": Entry("manual", "write the man pages"),
}
