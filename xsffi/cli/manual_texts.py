"""What the man pages say beside the options: exit statuses, environment and examples."""

from __future__ import annotations

from . import COMMANDS
from .command import command_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ENVIRONMENT", "EXAMPLES", "FURTHER_STATUSES", "exit_statuses"]

#: What an exit status means beside what it means for every command.
FURTHER_STATUSES: Mapping[str, Mapping[int, str]] = {
    "ls": {1: "some of the tree may not be read"},
    "exists": {0: "all of the nodes exist", 1: "one does not exist, or may not be read"},
    "watch": {127: "the program of --exec or --shell cannot be started"},
    "control": {3: "the daemon refuses the command"},
    "tree": {1: "some of the tree may not be read"},
    "wait": {0: "the condition holds", 1: "timeout"},
    "diff": {0: "no differences", 1: "differences"},
    "devices": {1: "with --check: a device is dangling"},
}

#: The variables that the command heeds, most of them as the library does.
ENVIRONMENT = {
    "XENSTORED_PATH": "where the store is: a socket or a device",
    "XENSTORED_RUNDIR": "the daemon's directory, instead of /var/run/xenstored; its socket is opened",
    "XSFFI_BACKEND": 'what "auto" means: libxenstore or wire',
    "XSFFI_LIBXENSTORE": "the libxenstore to open, by name or path",
    "XSFFI_TRACE": "1, or anything but 0: print each request on stderr",
    "NO_COLOR": "if set, no colours on a terminal",
}

#: Command lines, each with what it does; None: of xsffi itself.
EXAMPLES: Mapping[str | None, Mapping[str, str]] = {
    None: {
        "xsffi ls": "Print the whole store.",
        "xsffi --domain web read device/vif/0/state": "Read below the home of the domain named web.",
    },
    "read": {
        "xsffi read /tool/name": "Print a value.",
        "xsffi read --json /local/domain/5/name /tool/name": "Print two values of the same moment as lines of JSON.",
    },
    "write": {
        "xsffi write /tool/a 1 /tool/b 2": "Write two values, or none.",
        "xsffi write /tool/number -- -5": "Write a value that begins with a dash.",
        "printf '\\377' | xsffi write /tool/bytes --from -": "Write arbitrary bytes.",
    },
    "ls": {"xsffi ls -fp /local/domain/5": "Print full paths, values and permissions."},
    "list": {"xsffi list -p /local/domain": "Print the home of each domain."},
    "rm": {"xsffi rm -t /tool/name": "Remove a node, and what is empty above it."},
    "exists": {"xsffi exists /local/domain/5 && echo running": "Print running if there is a domain 5."},
    "chmod": {
        "xsffi chmod -r /tool n0 r5 b3": "Dom0 owns the tree, domain 5 may read, and domain 3 read and write it."
    },
    "watch": {
        "xsffi watch --values /local/domain/5/device": "Print each change of the devices of domain 5.",
        "xsffi watch /tool/name --exec logger --": "Run a program for each change.",
    },
    "control": {"xsffi control check": "Have the daemon check its store."},
    "tree": {"xsffi tree -L 2 /local": "Draw two levels."},
    "wait": {"xsffi wait /local/domain/5/device/vif/0/state 4 --timeout 30": "Wait until a device is connected."},
    "dump": {"xsffi --domain web dump > web.jsonl": "Save the home of a domain."},
    "load": {
        "xsffi load web.jsonl --under /backup/web": "Write a dump elsewhere.",
        "xsffi load web.jsonl --replace --dry-run": "Show what it would take to go back to a dump.",
    },
    "diff": {"xsffi diff web.jsonl /local/domain/5": "Show what has changed since a dump."},
    "domains": {"xsffi domains --json": "Print a line of JSON for each domain."},
    "devices": {"xsffi devices web --check": "Print the devices of a domain; fail if one is dangling."},
    "serve": {"xsffi serve --load web.jsonl /tmp/store": "Serve the nodes of a dump at a socket."},
    "completion": {"xsffi completion bash > xsffi": "Write the completion for bash to a file."},
    "manual": {"xsffi manual watch | man -l -": "Read a page that is not installed."},
}


def exit_statuses(name: str | None) -> dict[int, str]:
    """What the exit statuses of a command, or of xsffi itself, mean."""
    usage, failure = (COMMANDS[name].usage_status, command_of(name).failure) if name else (2, 1)
    further = FURTHER_STATUSES.get(name or "", {})
    meanings: dict[int, list[str]] = {0: [further.get(0, "success")]}
    for status, meaning in (
        *further.items(),
        (failure, "an error of the store or a node"),
        (usage, "a wrong command line"),
    ):
        if status:
            meanings.setdefault(status, []).append(meaning)
    return {status: "; or ".join(texts) for status, texts in sorted(meanings.items())}
