"""The command ``xsffi``, in groups of commands: one module per group, imported when one of its commands is called."""

from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    class Entry(NamedTuple):
        """What is known about a command before its module is imported."""

        module: str
        summary: str
        usage_status: int = 2
else:
    Entry = namedtuple("Entry", ["module", "summary", "usage_status"], defaults=[2])

__all__ = ["COMMANDS", "Entry"]

#: All commands, in the order of the help. Those that xenstore-utils also have, as ``xenstore-NAME``, exit with the same
#: status on wrong usage.
COMMANDS = {
    "read": Entry("reading", "print the values of nodes", usage_status=1),
    "write": Entry("writing", "write values", usage_status=1),
    "ls": Entry("listing", "list the tree below a node, one line per node", usage_status=1),
    "list": Entry("reading", "list the names of a node's children", usage_status=1),
    "rm": Entry("writing", "remove nodes and everything below them", usage_status=1),
    "exists": Entry("reading", "show by the exit status whether nodes exist", usage_status=1),
    "chmod": Entry("writing", "set the permissions of a node", usage_status=1),
    "watch": Entry("watching", "print changes, with values on request", usage_status=1),
    "control": Entry("control", "send a command to xenstored"),
    "tree": Entry("tree", "draw the tree below a node"),
    "wait": Entry("waiting", "wait until a node has a value, exists, or is gone"),
    "dump": Entry("dumps", "print the tree below a node as lines of JSON"),
    "load": Entry("dumps", "write the nodes in a dump"),
    "diff": Entry("differences", "compare two dumps or subtrees"),
    "domains": Entry("domains", "list the domains and their devices"),
    "devices": Entry("domains", "list the devices of domains, and which are dangling"),
    "serve": Entry("serving", "serve a store in memory, without Xen"),
    "completion": Entry("completion", "print a completion script for a shell"),
    "manual": Entry("manual", "write the man pages"),
}
