"""Recorded answers of xenstored of Xen 4.22, as tables of clients, requests and answers.

A row is a client of :mod:`.scene`, a request with its strings, and the answer: the name of an error, or the strings of
the reply. The request "events" means the events that the client has received since the last such row.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["COMMANDS", "CONTROL", "DEPTHS", "DOMAINS", "FEATURES", "GUEST", "PERMISSIONS", "QUOTAS", "TABLES", "Row"]


class Row(NamedTuple):
    client: str
    request: str
    parts: tuple[str, ...]
    answer: str | list[str]


def _row(client: str, text: str, answer: str | list[str]) -> Row:
    request, *parts = text.split(" ")
    return Row(client, request, tuple(parts), answer)


def _rows(client: str, *lines: tuple[str, str | list[str]]) -> list[Row]:
    return [_row(client, text, answer) for text, answer in lines]


FEATURES = _rows(
    "dom0",
    ("GET_FEATURE", "14"),
    ("GET_FEATURE 0", "14"),
    ("GET_FEATURE 5", "14"),
    ("GET_FEATURE 32752", "ENOENT"),
    ("GET_FEATURE 65536", "EINVAL"),
    ("GET_FEATURE 5 6", "EINVAL"),
    ("SET_FEATURE 5 2", "OK"),
    ("GET_FEATURE 5", "2"),
    ("SET_FEATURE 5 1", "EINVAL"),
    ("SET_FEATURE 5 8", "OK"),
    ("SET_FEATURE 5 16", "EINVAL"),
    ("SET_FEATURE 5 2147483648", "EINVAL"),
    ("SET_FEATURE 5", "EINVAL"),
    ("SET_FEATURE 0 2", "EBUSY"),
    ("SET_FEATURE 0 16", "EBUSY"),
    ("SET_FEATURE 32752 2", "ENOENT"),
)

QUOTAS = _rows(
    "dom0",
    (
        "GET_QUOTA",
        "nodes watches outstanding memory soft-memory transactions transaction-nodes node-permissions path-max "
        "node-size",
    ),
    ("GET_QUOTA nodes", "1000"),
    ("GET_QUOTA watches", "128"),
    ("GET_QUOTA outstanding", "20"),
    ("GET_QUOTA memory", "2621440"),
    ("GET_QUOTA soft-memory", "2097152"),
    ("GET_QUOTA transactions", "10"),
    ("GET_QUOTA transaction-nodes", "1024"),
    ("GET_QUOTA node-permissions", "5"),
    ("GET_QUOTA path-max", "2048"),
    ("GET_QUOTA node-size", "2048"),
    ("GET_QUOTA permissions", "EINVAL"),
    ("GET_QUOTA bogus", "EINVAL"),
    ("GET_QUOTA soft-nodes", "EINVAL"),
    ("GET_QUOTA 5 nodes", "1000"),
    ("GET_QUOTA 32753 nodes", "ENOENT"),
    ("GET_QUOTA 5 nodes nodes", "EINVAL"),
    ("SET_QUOTA nodes 77", "OK"),
    ("GET_QUOTA nodes", "77"),
    ("GET_QUOTA 5 nodes", "1000"),  # introduced before
    ("GET_QUOTA 6 nodes", "77"),
    ("SET_QUOTA 5 watches 3", "OK"),
    ("GET_QUOTA 5 watches", "3"),
    ("GET_QUOTA watches", "128"),
    ("SET_QUOTA nodes 0", "OK"),
    ("GET_QUOTA nodes", "0"),
    ("SET_QUOTA nodes 2147483648", "OK"),
    ("GET_QUOTA nodes", "2147483648"),
    ("SET_QUOTA nodes 4294967294", "OK"),
    ("GET_QUOTA nodes", "4294967294"),
    ("SET_QUOTA nodes 4294967295", "EINVAL"),
    ("SET_QUOTA bogus 5", "EINVAL"),
    ("SET_QUOTA nodes", "EINVAL"),
    ("SET_QUOTA 32753 nodes 5", "ENOENT"),
    ("SET_QUOTA soft-memory 0", "OK"),
    ("GET_QUOTA soft-memory", "0"),
)

DEPTHS = [
    *_rows(
        "other",
        ("WATCH /w d0 0", "OK"),
        ("WATCH /w d1 1", "OK"),
        ("WATCH /w d2 2", "OK"),
        ("WATCH /w dM 2147483647", "OK"),
        ("WATCH /w dX 2147483648", "EINVAL"),
        ("WATCH /w dX 4294967295", "EINVAL"),
        ("WATCH /w dX 1 1", "EINVAL"),
        ("WATCH /w d1 5", "EEXIST"),
        ("WATCH / r0 0", "OK"),
        ("WATCH / r1 1", "OK"),
        ("events", ["/w d0", "/w d1", "/w d2", "/w dM", "/ r0", "/ r1"]),
    ),
    _row("dom0", "WRITE /w", "OK"),
    _row("other", "events", ["/w d0", "/w d1", "/w d2", "/w dM", "/w r1"]),
    _row("dom0", "WRITE /w/a", "OK"),
    _row("other", "events", ["/w/a d1", "/w/a d2", "/w/a dM"]),
    _row("dom0", "WRITE /w/a/b", "OK"),
    _row("other", "events", ["/w/a/b d2", "/w/a/b dM"]),
    _row("dom0", "WRITE /w/a/b/c", "OK"),
    _row("other", "events", ["/w/a/b/c dM"]),
    _row("dom0", "WRITE /top", "OK"),
    _row("other", "events", ["/top r1"]),
    _row("other", "WATCH /w/a/b e0 0", "OK"),
    _row("other", "events", ["/w/a/b e0"]),
    _row("dom0", "RM /w", "OK"),  # watches below the path fire, and of those above only the top's
    _row("other", "events", ["/w/a/b e0", "/w d0", "/w d1", "/w d2", "/w dM", "/w r1"]),
    _row("other", "UNWATCH /w d0", "OK"),
    _row("other", "UNWATCH /w d0", "ENOENT"),
    _row("other", "UNWATCH /w/ d1", "EINVAL"),
    _row("dom0", "WRITE /", "OK"),
    _row("other", "events", ["/ r0", "/ r1"]),
]

DOMAINS = [
    *_rows(
        "other",
        ("WATCH @introduceDomain i", "OK"),
        ("WATCH @introduceDomain i0 0", "OK"),
        ("WATCH @introduceDomain i1 1", "OK"),
        ("WATCH @introduceDomain i2 2", "OK"),
        ("WATCH @releaseDomain r", "OK"),
        ("WATCH @releaseDomain r0 0", "OK"),
        ("WATCH @releaseDomain r1 1", "OK"),
        ("WATCH @releaseDomain r5 5", "OK"),
        ("WATCH @releaseDomain/7 r7", "OK"),
        ("WATCH @releaseDomain/7 r70 0", "OK"),
        ("WATCH @releaseDomain/7 r71 1", "OK"),
        ("WATCH @introduceDomain/7 i7", "OK"),
        ("WATCH @introduceDomain/7 i70 0", "OK"),
        ("WATCH @other o", "OK"),
        ("WATCH @releaseDomain/007 r007", "OK"),
        ("WATCH @releaseDomain/x rx", "OK"),
        ("WATCH @releaseDomain/ rx", "EINVAL"),
        ("WATCH @a.b rx", "EINVAL"),
        (
            "events",
            [
                "@introduceDomain i", "@introduceDomain i0", "@introduceDomain i1", "@introduceDomain i2",
                "@releaseDomain r", "@releaseDomain r0", "@releaseDomain r1", "@releaseDomain r5",
                "@releaseDomain/7 r7", "@releaseDomain/7 r70", "@releaseDomain/7 r71",
                "@introduceDomain/7 i7", "@introduceDomain/7 i70",
                "@other o", "@releaseDomain/007 r007", "@releaseDomain/x rx",
            ],
        ),
    ),
    _row("dom0", "INTRODUCE 7 1 1", "OK"),
    _row(
        "other",
        "events",
        [
            "@introduceDomain i", "@introduceDomain/7 i1", "@introduceDomain/7 i2",
            "@introduceDomain/7 i7", "@introduceDomain/7 i70",
        ],
    ),
    _row("dom0", "INTRODUCE 8 1 1", "OK"),
    _row("other", "events", ["@introduceDomain i", "@introduceDomain/8 i1", "@introduceDomain/8 i2"]),
    _row("dom0", "RELEASE 8", "OK"),
    _row("other", "events", ["@releaseDomain r", "@releaseDomain/8 r1", "@releaseDomain/8 r5"]),
    _row("dom0", "RELEASE 7", "OK"),
    _row(
        "other",
        "events",
        [
            "@releaseDomain r", "@releaseDomain/7 r1", "@releaseDomain/7 r5",
            "@releaseDomain/7 r7", "@releaseDomain/7 r70", "@releaseDomain/7 r71",
        ],
    ),
    _row("dom0", "IS_DOMAIN_INTRODUCED 7", "F"),
    _row("dom0", "RELEASE 7", "ENOENT"),
]  # fmt: skip

PERMISSIONS = _rows(
    "dom0",
    ("GET_PERMS @releaseDomain", "n0 r32757"),
    ("GET_PERMS @introduceDomain", "n0"),
    ("GET_PERMS @releaseDomain/5", "ENOENT"),
    ("SET_PERMS @releaseDomain/5 n0", "ENOENT"),
    ("GET_PERMS @other", "ENOENT"),
    ("SET_PERMS @releaseDomain n0 r5", "OK"),
    ("GET_PERMS @releaseDomain", "n0 r5"),
    ("MKDIR /any", "OK"),
    ("SET_PERMS /any n0 r65535", "OK"),
    ("GET_PERMS /any", "n0 r65535"),
    ("SET_PERMS /any n0 r32756", "OK"),
    ("GET_PERMS /any", "n0 r32756"),
    ("SET_PERMS /any n0 b32756", "OK"),
    ("GET_PERMS /any", "n0 b32756"),
    ("SET_PERMS /any n0 r32752", "OK"),
    ("GET_PERMS /any", "n0 r32752"),
    ("SET_PERMS /any n0 n32756", "OK"),
    ("GET_PERMS /any", "n0 n32756"),
    ("SET_PERMS /any n32756", "ENOENT"),
    ("DIRECTORY @releaseDomain", "EINVAL"),
    ("READ @releaseDomain", "EINVAL"),
    ("WRITE @releaseDomain", "EINVAL"),
    ("MKDIR @releaseDomain/7", "EINVAL"),
    ("RM @releaseDomain", "EINVAL"),
    ("DIRECTORY /", "tool any"),
)

GUEST = [
    _row("dom0", "SET_FEATURE 6 2", "OK"),
    *[
        row
        for guest, features in (("5", "14"), ("6", "2"))
        for row in _rows(
            guest,
            ("GET_FEATURE", features),
            (f"GET_FEATURE {guest}", "EACCES"),
            ("GET_FEATURE 0", "EACCES"),
            ("SET_FEATURE 9 2", "EACCES"),
            ("GET_QUOTA", "EACCES"),
            ("GET_QUOTA nodes", "EACCES"),
            ("SET_QUOTA nodes 5", "EACCES"),
            ("CONTROL check", "EACCES"),
            ("MKDIR mine", "OK"),
            (f"SET_PERMS mine n{guest} r32757", "OK"),
            ("GET_PERMS mine", f"n{guest} r32757"),
            ("GET_PERMS @releaseDomain", "n0 r32757"),
            ("GET_PERMS @introduceDomain", "EACCES"),
            ("SET_PERMS @releaseDomain n0", "EACCES"),
            ("WATCH @releaseDomain rd", "OK"),
            ("WATCH @releaseDomain/8 rd8", "OK"),
            ("WATCH @introduceDomain id", "OK"),
            ("events", ["@releaseDomain rd", "@releaseDomain/8 rd8", "@introduceDomain id"]),
        )
    ],
    _row("5", "SET_PERMS mine n32757", "EPERM"),
    _row("6", "SET_PERMS mine n32757", "ENOENT"),
    _row("5", "READ /local/domain/6/mine", "EACCES"),  # 6 lacks the feature, so its entry for every domain is ignored
    _row("6", "READ /local/domain/5/mine", ""),
    _row("5", "WATCH data d 1", "OK"),
    _row("5", "WATCH data e 2147483648", "EINVAL"),
    _row("6", "WATCH data d 1", "EINVAL"),
    _row("5", "events", ["data d"]),
    _row("dom0", "INTRODUCE 8 1 1", "OK"),
    _row("dom0", "MKDIR /p8", "OK"),
    _row("dom0", "SET_PERMS /p8 n0 r8 r9", "OK"),
    _row("dom0", "RELEASE 8", "OK"),
    _row("5", "events", ["@releaseDomain rd", "@releaseDomain/8 rd8"]),
    _row("6", "events", ["@releaseDomain rd", "@releaseDomain/8 rd8"]),
    _row("dom0", "GET_PERMS /p8", "n0 r9"),
]

# The commands of CONTROL, as listed by ``help``; the store also has ``fault``.
COMMANDS = [
    "check           ",
    "log             [on|off|+<switch>|-<switch>]",
    "live-update     [-c <cmdline>] [-F] [-t <timeout>] [-v <version>] <file>",
    "    Default timeout is 60 seconds, default version is 2.",
    "logfile         <file>",
    "memreport       [<file>]",
    "print           <string>",
    "quota           [set <name> <val>|<domid>|max [-r]]",
    "quota-soft      [set <name> <val>]",
    "help            ",
]


def _quotas(nodes: int) -> str:
    return "\n".join([
        "Quota settings:",
        f"nodes            : {nodes:8} Nodes per domain",
        "watches          :      128 Watches per domain",
        "outstanding      :       20 Outstanding requests per domain",
        "memory           :  2621440 Total Xenstore memory per domain",
        "transactions     :       10 Active transactions per domain",
        "transaction-nodes:     1024 Max. number of accessed nodes per transaction",
        "node-permissions :        5 Max. number of permissions per node",
        "path-max         :     2048 Max. length of a node path",
        "node-size        :     2048 Max. size of a node",
        "",
    ])  # fmt: skip


_NONE_SEEN = "\n".join([
    "Max. seen accounting values:",
    "nodes            :        0",
    "watches          :        0",
    "outstanding      :        0",
    "memory           :        0",
    "transactions     :        0",
    "transaction-nodes:        0",
    "node-permissions :        0",
    "path-max         :        0",
    "node-size        :        0",
    "",
])  # fmt: skip
_NONE_USED = "\n".join([
    "Domain 5:",
    "nodes            :        0 (max        0)",
    "watches          :        0 (max        0)",
    "outstanding      :        0 (max        0)",
    "memory           :        0 (max        0)",
    "transactions     :        0 (max        0)",
    "transaction-nodes:        0 (max        0)",
    "node-permissions :        0 (max        0)",
    "path-max         :        0 (max        0)",
    "node-size        :        0 (max        0)",
    "",
])  # fmt: skip

CONTROL = _rows(
    "dom0",
    ("CONTROL check", "OK"),
    ("CONTROL check x", "EINVAL"),
    ("CONTROL help x", "EINVAL"),
    ("CONTROL bogus", "EINVAL"),
    ("CONTROL print x", "OK"),
    ("CONTROL print", "EINVAL"),
    (
        "CONTROL log",
        "Log switch settings:\nobj     : on\nio      : on\nwrl     : off\nacc     : off\ntdb     : off\n",
    ),
    ("CONTROL log -io", "OK"),
    ("CONTROL log +tdb", "OK"),
    (
        "CONTROL log",
        "Log switch settings:\nobj     : on\nio      : off\nwrl     : off\nacc     : off\ntdb     : on\n",
    ),
    ("CONTROL log bogus", "EINVAL"),
    ("CONTROL log +bogus", "EINVAL"),
    ("CONTROL log -- -io", "EINVAL"),
    ("CONTROL log off", "OK"),
    ("CONTROL memreport", "EINVAL"),
    ("CONTROL memreport a b", "EINVAL"),
    ("CONTROL logfile", "EINVAL"),
    ("CONTROL live-update -a", "No live-update session active."),
    ("CONTROL live-update", "EINVAL"),
    ("CONTROL quota", _quotas(1000)),
    ("CONTROL quota 999", "ENOENT"),
    ("GET_FEATURE 5", "14"),
    ("CONTROL quota 5", _NONE_USED),
    ("CONTROL quota max", _NONE_SEEN),
    ("CONTROL quota max -r", _NONE_SEEN),
    ("CONTROL quota max x", "EINVAL"),
    ("CONTROL quota set nodes 2000", "OK"),
    ("CONTROL quota", _quotas(2000)),
    ("GET_QUOTA nodes", "2000"),
    ("GET_QUOTA 5 nodes", "1000"),
    ("CONTROL quota set nodes x", "EINVAL"),
    ("CONTROL quota set nodes 0", "EINVAL"),
    ("CONTROL quota set nope 3", "EINVAL"),
    ("CONTROL quota set nodes", "EINVAL"),
    ("CONTROL quota-soft", "Quota settings:\nmemory           :  2097152 Total Xenstore memory per domain\n"),
    ("CONTROL quota-soft set nodes 5", "EINVAL"),
    ("CONTROL quota-soft set memory 5", "OK"),
    ("CONTROL quota-soft", "Quota settings:\nmemory           :        5 Total Xenstore memory per domain\n"),
    ("CONTROL quota-soft 5", "EINVAL"),
    ("CONTROL quota set soft-memory 5", "EINVAL"),
    ("CONTROL quota-soft set soft-memory 5", "EINVAL"),
    ("SET_QUOTA nodes 4294967294", "OK"),
    ("CONTROL quota", _quotas(-2)),
)

TABLES = {
    "features": FEATURES,
    "quotas": QUOTAS,
    "depths": DEPTHS,
    "domains": DOMAINS,
    "permissions": PERMISSIONS,
    "guest": GUEST,
    "control": CONTROL,
}
