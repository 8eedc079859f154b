"""The differences between releases of Xen: one table, which the store consults.

The sources are xenstored's, by file and function as named in the given release; where there was a daemon to run, facts
were verified on it. What does not differ is not here.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, replace

from ..domids import DOMID_ANY, DOMID_MAX
from ..permissions import Permission
from ..protocol.wire import Feature, MessageType
from .quota import Quota

__all__ = ["NEWEST", "RELEASES", "Release", "release_named"]


@dataclass(frozen=True)
class Release:
    """How C xenstored of one release behaves, where releases differ."""

    name: str

    # What may be requested.

    unknown_messages: frozenset[MessageType]
    """Message types that it does not know; answered with ENOSYS (wire_funcs in xenstored_core.c, core.c)."""

    features: Feature
    """What a domain may use unless SET_FEATURE says otherwise (XENSTORE_FEATURES in domain.c)."""

    # Paths.

    path_max: int | None
    """The maximum length of an absolute path, unless a quota sets it (is_valid_nodename in 4.14); None: a quota
    does."""

    path_quota_binds_dom0: bool
    """Whether the path quota applies to everybody (is_valid_nodename in 4.17), not only guests (canonicalize in
    core.c)."""

    special_paths_checked: bool
    """Whether a watched special path may only have the usual characters of paths (canonicalize in core.c), rather than
    any, up to 2048 of them (do_watch in 4.14, check_watch_path in 4.17)."""

    unwatch_error: int
    """The error of UNWATCH for an invalid path: up to 4.17, that nothing is watched there (do_unwatch)."""

    # Special paths.

    special_nodes: bool
    """Whether ``@introduceDomain`` and ``@releaseDomain`` are nodes owned by dom0 (setup_structure in core.c): their
    permissions can be read, also in transactions, and setting them is an event. Before, they were lists that could only
    be set, with immediate effect (set_perms_special in 4.17)."""

    release_permissions: tuple[Permission, ...]
    """The initial permissions of ``@releaseDomain`` (setup_structure in core.c; set_dom_perms_default in 4.17)."""

    root_covers_special: bool
    """Whether a watch of ``/`` gets the events of special paths, as if they were below it (is_child in watch.c)."""

    special_events_exact: bool
    """Whether introductions and releases only fire watches of exactly that path (the callers of fire_watches)."""

    special_events_name_domain: bool
    """Whether watches of special paths with a depth, and of paths that include the domid, are told which domain it is
    (fire_special_watches in domain.c)."""

    # Domains.

    domid_max: int
    """The highest domid in requests (parse_domid in domain.c, since 4.22; before, whatever atoi parses)."""

    owner_error: int
    """The error for a guest that changes a node's owner: EPERM, which had no wire name in 4.14 (xsd_errors)."""

    forgets_special_permissions: bool
    """Whether RELEASE removes the domain from the permissions of special paths (remove_domid_from_perm in 4.17,
    domain_tree_remove in 4.22)."""

    forgets_permissions: bool
    """Whether RELEASE removes the domain from the permissions of all nodes (domain_tree_remove_sub in 4.22)."""

    # Quotas.

    quotas: tuple[Quota, ...]
    """All quotas in order (hard_quotas and soft_quotas in xenstored_control.c; quota_adm and quotas in domain.c)."""

    node_header: int
    """How many bytes a node counts besides its permissions, value and names of children (struct xs_tdb_record_hdr in
    utils.h, struct node_hdr in core.h)."""

    watch_quota_error: int
    """The error for a guest that has too many watches (do_watch)."""

    quota_counts_request: bool
    """Whether the quota of nodes counts those that the current request has created so far (create_node and its
    callee)."""

    quota_counts_transaction: bool
    """Whether the quota of nodes counts those created in a transaction before the commit (create_node)."""

    failures_count: bool
    """Whether a removal that fails half way in a transaction stays counted (domain_entry_dec in 4.17), rather than
    being dropped with the request (send_error in core.c)."""

    commit_always_checks: bool
    """Whether every commit checks the quota of nodes (transaction_fix_domains in 4.14), not only those of guests that
    created nodes (do_transaction_end)."""

    commit_leaves_room: int
    """How many nodes fewer a domain may own after a commit than after a single request (transaction_fix_domains in
    4.17, acc_fix_domains in transaction.c)."""

    commit_may_remove: bool
    """Whether a commit may remove nodes of a domain that still has too many afterwards (domain_quota_add_exceeds in
    4.22)."""

    commits_below_zero_fail: bool
    """Whether a commit that removes more of a guest's nodes than are left fails with ENOMEM, or ENOSPC if it checks the
    quota (acc_fix_domains in 4.20: a negative number, as unsigned, exceeds any quota). Otherwise it is a conflict; 4.14
    dies of it."""

    control_sets_known: bool
    """Whether ``quota set`` of CONTROL applies to all domains, not only to new ones (alloc_domain, which since 4.22
    copies the values at that time)."""

    # CONTROL.

    commands: tuple[tuple[str, str], ...]
    """The commands, and their usage in ``help`` (cmds in control.c)."""

    help_line: str
    """A line of ``help``: command and usage (do_control_help)."""

    help_ends: str
    """The end of the answer to ``help`` (do_control_help)."""

    use_line: str
    """A line of ``quota <domid>``: name, current use, and maximum (domain_get_quota)."""

    uses: tuple[str, ...]
    """The keys of the quotas that ``quota <domid>`` shows (domain_get_quota)."""

    keeps_maxima: bool
    """Whether ``quota max`` shows the maximum that any guest used (domain_max_global_acc in domain.c)."""

    log_switches: tuple[str, ...]
    """What ``log`` can switch on and off individually (trace_switches in core.c); empty: only everything."""


_NOBODY = (Permission(0, "n"),)
_LIVE_UPDATE = (
    "live-update",
    "[-c <cmdline>] [-F] [-t <timeout>] <file>\n    Default timeout is 60 seconds.",
)

_4_14 = Release(
    name="4.14",
    unknown_messages=frozenset(
        (MessageType.GET_FEATURE, MessageType.SET_FEATURE, MessageType.GET_QUOTA, MessageType.SET_QUOTA)
    ),
    features=Feature(0),
    path_max=3072,
    path_quota_binds_dom0=True,
    special_paths_checked=False,
    unwatch_error=errno.ENOENT,
    special_nodes=False,
    release_permissions=_NOBODY,
    root_covers_special=True,
    special_events_exact=False,
    special_events_name_domain=False,
    domid_max=0x7FFFFFFF,
    owner_error=errno.EINVAL,
    forgets_special_permissions=False,
    forgets_permissions=False,
    quotas=(
        Quota("nodes", 1000, "Nodes per domain"),
        Quota("watches", 128, "Watches per domain", spare=1),
        Quota("transactions", 10, "Transactions per domain", spare=1),
        Quota("outstanding", 20, "Outstanding requests per domain"),
        Quota("transaction-nodes", 1024, "Max. number of accessed nodes per transaction"),
        Quota("memory", 2560 * 1024, "Total Xenstore memory per domain (error level)"),
        Quota("node-size", 2048, "Max. size of a node", spare=-1),
        Quota("node-permissions", 5, "Max. number of permissions per node", name="permissions"),
        Quota("memory", 2048 * 1024, "Total Xenstore memory per domain (warning level)", soft=True),
    ),
    node_header=24,
    watch_quota_error=errno.E2BIG,
    quota_counts_request=True,
    quota_counts_transaction=False,
    failures_count=True,
    commit_always_checks=True,
    commit_leaves_room=1,
    commit_may_remove=False,
    commits_below_zero_fail=False,
    control_sets_known=True,
    commands=(
        ("check", ""),
        ("log", "on|off"),
        ("logfile", "<file>"),
        ("memreport", "[<file>]"),
        ("print", "<string>"),
        ("quota", "[set <name> <val>|<domid>]"),
        ("quota-soft", "[set <name> <val>]"),
        ("help", ""),
    ),
    help_line="{}\t{}\n",
    help_ends="",
    use_line="{:<16}: {:8}\n",
    uses=("nodes", "watches", "transactions", "outstanding", "memory"),
    keeps_maxima=False,
    log_switches=(),
)

_4_17 = replace(
    _4_14,
    name="4.17",
    path_max=None,
    special_events_exact=True,
    owner_error=errno.EPERM,
    forgets_special_permissions=True,
    quotas=(
        *_4_14.quotas[:7],
        Quota("path-max", 2048, "Max. length of a node path"),
        *_4_14.quotas[7:],
    ),
    commit_always_checks=False,
    commands=(*_4_14.commands[:2], _LIVE_UPDATE, *_4_14.commands[2:]),
    help_ends="\0",
)

_4_20 = replace(
    _4_17,
    name="4.20",
    path_quota_binds_dom0=False,
    special_paths_checked=True,
    unwatch_error=errno.EINVAL,
    special_nodes=True,
    forgets_special_permissions=False,
    quotas=(
        Quota("nodes", 1000, "Nodes per domain"),
        Quota("watches", 128, "Watches per domain", spare=1),
        Quota("outstanding", 20, "Outstanding requests per domain"),
        Quota("memory", 2560 * 1024, "Total Xenstore memory per domain (error level)"),
        Quota("memory", 2048 * 1024, "Total Xenstore memory per domain (warning level)", soft=True),
        Quota("transactions", 10, "Active transactions per domain", spare=1),
        Quota("transaction-nodes", 1024, "Max. number of accessed nodes per transaction"),
        Quota("node-permissions", 5, "Max. number of permissions per node"),
        Quota("path-max", 2048, "Max. length of a node path"),
        Quota("node-size", 2048, "Max. size of a node"),
    ),
    node_header=16,
    quota_counts_transaction=True,
    failures_count=False,
    commits_below_zero_fail=True,
    commands=(
        ("check", ""),
        ("log", "[on|off|+<switch>|-<switch>]"),
        _LIVE_UPDATE,
        ("logfile", "<file>"),
        ("memreport", "[<file>]"),
        ("print", "<string>"),
        ("quota", "[set <name> <val>|<domid>|max [-r]]"),
        ("quota-soft", "[set <name> <val>]"),
        ("help", ""),
    ),
    help_line="{:<15} {}\n",
    use_line="{:<17}: {:8} (max {:8})\n",
    uses=(
        "nodes", "watches", "outstanding", "memory", "transactions",
        "transaction-nodes", "node-permissions", "path-max", "node-size",
    ),
    keeps_maxima=True,
    log_switches=("obj", "io", "wrl", "acc", "tdb"),
)  # fmt: skip

_4_22 = replace(
    _4_20,
    name="4.22",
    unknown_messages=frozenset(),
    features=Feature.ERROR | Feature.WATCH_DEPTH | Feature.DOMID_ANY,
    release_permissions=(*_NOBODY, Permission(DOMID_ANY, "r")),
    domid_max=DOMID_MAX,
    root_covers_special=False,
    special_events_name_domain=True,
    forgets_special_permissions=True,
    forgets_permissions=True,
    quotas=(
        Quota("nodes", 1000, "Nodes per domain", spare=-1),
        Quota("watches", 128, "Watches per domain", spare=-1),
        Quota("outstanding", 20, "Outstanding requests per domain"),
        Quota("memory", 2560 * 1024, "Total Xenstore memory per domain"),
        Quota("memory", 2048 * 1024, "Total Xenstore memory per domain", soft=True),
        Quota("transactions", 10, "Active transactions per domain", spare=-1),
        Quota("transaction-nodes", 1024, "Max. number of accessed nodes per transaction", spare=-1),
        Quota("node-permissions", 5, "Max. number of permissions per node", spare=-1),
        Quota("path-max", 2048, "Max. length of a node path", spare=-1),
        Quota("node-size", 2048, "Max. size of a node", spare=-1),
    ),
    watch_quota_error=errno.ENOSPC,
    quota_counts_request=False,
    quota_counts_transaction=False,
    commit_leaves_room=0,
    commit_may_remove=True,
    commits_below_zero_fail=False,
    control_sets_known=False,
    commands=(
        *_4_20.commands[:2],
        (
            "live-update",
            "[-c <cmdline>] [-F] [-t <timeout>] [-v <version>] <file>\n"
            "    Default timeout is 60 seconds, default version is 2.",
        ),
        *_4_20.commands[3:],
    ),
)

NEWEST = _4_22.name
RELEASES = {release.name: release for release in (_4_14, _4_17, _4_20, _4_22)}


def release_named(name: str) -> Release:
    """The release of this name; raises ValueError if it is not one of :data:`RELEASES`."""
    release = RELEASES.get(name)
    if release is None:
        raise ValueError(f"a release must be one of {', '.join(RELEASES)}, not {name!r}")
    return release
