"""Visible differences between the releases of Xen, as facts: each a scene to play, and its outcome on each release."""

from __future__ import annotations

from typing import Callable

from xsffi.server.releases import RELEASES

from .scene import Scene

__all__ = ["FACTS", "Fact"]

Fact = Callable[[Scene], object]

FACTS: list[tuple[Fact, dict[str, object]]] = []


def _fact(**answers: object) -> Callable[[Fact], Fact]:
    """Registers a fact. ``since_4_14=...`` is its outcome from that release on, until the next one given."""

    def note(function: Fact) -> Fact:
        seen: dict[str, object] = {}
        found: object = None
        for release in RELEASES:
            found = answers.pop(f"since_{release.replace('.', '_')}", found)
            seen[release] = found
        assert not answers
        FACTS.append((function, seen))
        return function

    return note


def _most(scene: Scene, name: str, type: str, *parts: str) -> tuple[int, str]:
    """How many times a client can make a request, numbered by ``{}`` in its parts, and the error that it gets then."""
    for number in range(2000):
        answer = scene.ask(name, type, *[part.format(number) for part in parts])
        if answer.startswith("E"):
            return number, answer
    raise AssertionError("there is no end")


# Requests


@_fact(since_4_14=["ENOSYS"] * 4, since_4_22=["14", "1000", "OK", "OK"])
def messages(scene: Scene) -> object:
    return [
        scene.ask("dom0", type, *parts)
        for type, parts in (
            ("GET_FEATURE", ()),
            ("GET_QUOTA", ("nodes",)),
            ("SET_FEATURE", ("9", "2")),
            ("SET_QUOTA", ("nodes", "999")),
        )
    ]


@_fact(since_4_14="EINVAL", since_4_22="OK")
def depth_of_a_watch(scene: Scene) -> object:
    return scene.ask("dom0", "WATCH", "/a", "token", "1")


# Paths


@_fact(
    since_4_14=["OK", "OK", "EINVAL"],
    since_4_17=["OK", "EINVAL", "EINVAL"],
    since_4_20=["OK", "OK", "OK"],
)
def length_of_dom0s_paths(scene: Scene) -> object:
    return [scene.ask("dom0", "WRITE", "/" + "x" * (length - 1)) for length in (2048, 2049, 3073)]


@_fact(
    since_4_14=["OK", "OK", "OK"],
    since_4_17=["OK", "OK", "EINVAL"],
    since_4_22=["OK", "EINVAL", "EINVAL"],
)
def length_of_guests_paths(scene: Scene) -> object:
    return [scene.ask("5", "WATCH", "/" + "x" * (length - 1), "t") for length in (2047, 2048, 2049)]


@_fact(since_4_14=["OK", "OK"], since_4_20=["EINVAL", "OK"])
def watches_of_special_paths(scene: Scene) -> object:
    return [scene.ask("dom0", "WATCH", path, "t") for path in ("@a b", "@a_b")]


@_fact(since_4_14="ENOENT", since_4_20="EINVAL")
def unwatching_what_is_no_path(scene: Scene) -> object:
    return scene.ask("dom0", "UNWATCH", "/a//b", "t")


# Special paths


@_fact(
    since_4_14=["EINVAL", "EINVAL", "EINVAL"],
    since_4_20=["n0", "n0", "ENOENT"],
    since_4_22=["n0 r32757", "n0", "ENOENT"],
)
def permissions_of_special_paths(scene: Scene) -> object:
    return [scene.ask("dom0", "GET_PERMS", path) for path in ("@releaseDomain", "@introduceDomain", "@other")]


@_fact(since_4_14="EINVAL", since_4_20="EACCES", since_4_22="n0 r32757")
def permissions_of_special_paths_for_guests(scene: Scene) -> object:
    return scene.ask("5", "GET_PERMS", "@releaseDomain")


@_fact(since_4_14=[], since_4_20=["@releaseDomain s", "@releaseDomain r"], since_4_22=["@releaseDomain s"])
def event_of_their_permissions(scene: Scene) -> object:
    scene.ask("other", "WATCH", "@releaseDomain", "s")
    scene.ask("other", "WATCH", "/", "r")
    scene.events("other")
    scene.ask("dom0", "SET_PERMS", "@releaseDomain", "n0", "r5")
    return scene.events("other")


@_fact(
    since_4_14=["@introduceDomain s", "@introduceDomain r", "@releaseDomain r"],
    since_4_17=["@introduceDomain s"],
    since_4_22=["@introduceDomain s", "@introduceDomain/7 i", "@releaseDomain/7 d"],
)
def events_of_a_domain(scene: Scene) -> object:
    for path, token in (
        ("@introduceDomain", "s"),
        ("/", "r"),
        ("@introduceDomain/7", "i"),
        ("@releaseDomain/7", "d"),
        ("@releaseDomain/8", "e"),
    ):
        scene.ask("other", "WATCH", path, token)
    scene.events("other")
    scene.ask("dom0", "INTRODUCE", "7", "1", "1")
    scene.ask("dom0", "RELEASE", "7")
    return scene.events("other")


@_fact(since_4_14=[], since_4_22=["@releaseDomain s"])
def guests_are_told_of_releases(scene: Scene) -> object:
    scene.ask("5", "WATCH", "@releaseDomain", "s")
    scene.events("5")
    scene.ask("dom0", "INTRODUCE", "7", "1", "1")
    scene.ask("dom0", "RELEASE", "7")
    return scene.events("5")


@_fact(since_4_14=[], since_4_20=["@introduceDomain s"])
def readers_of_the_root_are_told(scene: Scene) -> object:
    scene.ask("dom0", "SET_PERMS", "/", "r0")
    scene.ask("5", "WATCH", "@introduceDomain", "s")
    scene.events("5")
    scene.ask("dom0", "INTRODUCE", "7", "1", "1")
    return scene.events("5")


@_fact(since_4_20=["n0", "n0 r7", "n0", "n0 r7"], since_4_22=["n0 r32757", "n0 r7", "n0 r32757", "n0 r7"])
def special_paths_in_transactions(scene: Scene) -> object:
    tx_id = scene.begin("dom0")
    before = scene.ask("dom0", "GET_PERMS", "@releaseDomain", tx_id=tx_id)
    scene.ask("dom0", "SET_PERMS", "@releaseDomain", "n0", "r7", tx_id=tx_id)
    within = scene.ask("dom0", "GET_PERMS", "@releaseDomain", tx_id=tx_id)
    outside = scene.ask("other", "GET_PERMS", "@releaseDomain")
    scene.ask("dom0", "TRANSACTION_END", "T", tx_id=tx_id)
    return [before, within, outside, scene.ask("other", "GET_PERMS", "@releaseDomain")]


# Domains


@_fact(since_4_14=["/local/domain/65536", "ENOENT", "F"], since_4_22=["EINVAL", "EINVAL", "EINVAL"])
def a_domid_that_is_none(scene: Scene) -> object:
    types = ("GET_DOMAIN_PATH", "RELEASE", "IS_DOMAIN_INTRODUCED")
    return [scene.ask("dom0", type, "65536") for type in types]


@_fact(since_4_14="EINVAL", since_4_17="EPERM")
def a_guest_changes_the_owner(scene: Scene) -> object:
    return scene.ask("5", "SET_PERMS", "/local/domain/5", "n6")


@_fact(since_4_14=["n0 r7 b5", "n5 r7"], since_4_22=["n0 b5", "n5"])
def permissions_of_a_domain_that_is_gone(scene: Scene) -> object:
    scene.client("5")
    scene.ask("dom0", "INTRODUCE", "7", "1", "1")
    scene.ask("dom0", "WRITE", "/a/b")
    scene.ask("dom0", "SET_PERMS", "/a", "n0", "r7", "b5")
    scene.ask("dom0", "SET_PERMS", "/a/b", "n5", "r7")
    scene.ask("dom0", "RELEASE", "7")
    return [scene.ask("dom0", "GET_PERMS", path) for path in ("/a", "/a/b")]


@_fact(since_4_14=["@introduceDomain s"], since_4_17=[])
def special_permissions_of_a_domain_that_is_gone(scene: Scene) -> object:
    """As seen by the next domain with its id."""
    scene.ask("dom0", "INTRODUCE", "7", "1", "1")
    scene.ask("dom0", "SET_PERMS", "@introduceDomain", "n0", "r7")
    scene.ask("dom0", "RELEASE", "7")
    scene.ask("dom0", "WRITE", "/later")
    scene.ask("7", "WATCH", "@introduceDomain", "s")
    scene.events("7")
    scene.ask("dom0", "INTRODUCE", "8", "1", "1")
    return scene.events("7")


# Quotas


@_fact(since_4_14=(129, "E2BIG"), since_4_22=(127, "ENOSPC"))
def watches(scene: Scene) -> object:
    return _most(scene, "5", "WATCH", "a", "{}")


@_fact(since_4_14=(11, "ENOSPC"), since_4_22=(9, "ENOSPC"))
def transactions(scene: Scene) -> object:
    return _most(scene, "5", "TRANSACTION_START", "")


@_fact(since_4_14=(9, "ENOSPC"), since_4_22=(8, "ENOSPC"))
def nodes(scene: Scene) -> object:
    """Besides the guest's home."""
    scene.ask("dom0", "CONTROL", "quota", "set", "nodes", "10")
    return _most(scene, "5", "MKDIR", "n{}")


@_fact(since_4_14="OK OK ENOSPC", since_4_22="OK ENOSPC ENOSPC")
def entries(scene: Scene) -> object:
    lists = (["n5", *["r6"] * count] for count in (3, 4, 5))
    return " ".join([scene.ask("5", "SET_PERMS", "/local/domain/5", *entries) for entries in lists])


@_fact(since_4_14=2015, since_4_20=2024, since_4_22=2023)
def size_of_a_value(scene: Scene) -> object:
    sizes = range(2010, 2030)
    return max(size for size in sizes if scene.ask("5", "WRITE", "v", value=bytes(size)) == "OK")


@_fact(since_4_14=[1024, "ENOSPC"], since_4_22=[1023, "ENOSPC"])
def nodes_of_a_transaction(scene: Scene) -> object:
    tx_id = scene.begin("5")
    for number in range(2000):
        # The first request also reads the parent.
        answer = scene.ask("5", "READ", f"n{number}", tx_id=tx_id)
        if answer != "ENOENT":
            return [number + 1, answer]
    return None


@_fact(since_4_14=["ENOSPC", "OK"], since_4_22=["OK", "ENOSPC"])
def many_nodes_at_once(scene: Scene) -> object:
    scene.ask("dom0", "CONTROL", "quota", "set", "nodes", "5")
    return [scene.ask("5", "MKDIR", path) for path in ("a/b/c/d/e/f", "g")]


@_fact(since_4_14=["OK", "ENOSPC"], since_4_20=["ENOSPC", "OK"], since_4_22=["OK", "ENOSPC"])
def many_nodes_in_a_transaction(scene: Scene) -> object:
    """The outcomes of the last MKDIR, and of the commit."""
    scene.ask("dom0", "CONTROL", "quota", "set", "nodes", "5")
    scene.client("5")
    tx_id = scene.begin("5")
    for number in range(4):
        scene.ask("5", "MKDIR", f"n{number}", tx_id=tx_id)
    last = scene.ask("5", "MKDIR", "n5", tx_id=tx_id)
    if last == "ENOSPC":
        scene.ask("5", "RM", "n0", tx_id=tx_id)
    return [last, scene.ask("5", "TRANSACTION_END", "T", tx_id=tx_id)]


@_fact(since_4_14="ENOSPC", since_4_17="OK")
def dom0_gives_a_guest_too_many_nodes(scene: Scene) -> object:
    scene.ask("dom0", "CONTROL", "quota", "set", "nodes", "3")
    scene.client("5")
    tx_id = scene.begin("dom0")
    for path in ("/a", "/b", "/c"):
        scene.ask("dom0", "MKDIR", path, tx_id=tx_id)
        scene.ask("dom0", "SET_PERMS", path, "n5", tx_id=tx_id)
    return scene.ask("dom0", "TRANSACTION_END", "T", tx_id=tx_id)


@_fact(since_4_14=["ENOSPC", "ENOSPC"], since_4_22=["ENOSPC", "OK"])
def a_commit_that_leaves_a_guest_with_too_many_nodes(scene: Scene) -> object:
    """It removes a node, after it could not create one."""
    scene.ask("dom0", "CONTROL", "quota", "set", "nodes", "3")
    scene.client("5")
    for number in range(5):
        scene.ask("dom0", "MKDIR", f"/local/domain/5/{number}")
        scene.ask("dom0", "SET_PERMS", f"/local/domain/5/{number}", "n5")
    tx_id = scene.begin("5")
    made = scene.ask("5", "MKDIR", "new", tx_id=tx_id)
    scene.ask("5", "RM", "1", tx_id=tx_id)
    return [made, scene.ask("5", "TRANSACTION_END", "T", tx_id=tx_id)]


@_fact(since_4_17="EAGAIN", since_4_20="ENOMEM", since_4_22="EAGAIN")
def a_commit_that_removes_what_is_gone(scene: Scene) -> object:
    """4.14 dies of it."""
    scene.client("5")
    tx_id = scene.begin("dom0")
    scene.ask("dom0", "RM", "/local/domain/5", tx_id=tx_id)
    scene.ask("dom0", "RM", "/local/domain/5")
    return scene.ask("dom0", "TRANSACTION_END", "T", tx_id=tx_id)


@_fact(since_4_17="EAGAIN", since_4_20="ENOSPC", since_4_22="EAGAIN")
def a_guests_commit_that_removes_what_is_gone(scene: Scene) -> object:
    """4.14 dies of it."""
    scene.client("6")
    scene.ask("dom0", "SET_PERMS", "/local/domain", "b0")
    scene.ask("dom0", "SET_PERMS", "/local/domain/6", "b6")
    scene.client("5")
    tx_id = scene.begin("5")
    scene.ask("5", "RM", "/local/domain/6", tx_id=tx_id)
    scene.ask("5", "MKDIR", "new", tx_id=tx_id)
    scene.ask("dom0", "RM", "/local/domain/6")
    return scene.ask("5", "TRANSACTION_END", "T", tx_id=tx_id)


@_fact(since_4_14=[2, 2], since_4_22=[127, 0])
def quotas_set_by_control(scene: Scene) -> object:
    """For a domain that is already known, and for a later one."""
    scene.client("5")
    scene.ask("dom0", "CONTROL", "quota", "set", "watches", "1")
    return [_most(scene, name, "WATCH", "a", "{}")[0] for name in ("5", "6")]


# CONTROL


@_fact(
    since_4_14="check log logfile memreport print quota quota-soft help",
    since_4_17="check log live-update Default logfile memreport print quota quota-soft help",
)
def commands(scene: Scene) -> object:
    lines = scene.ask("dom0", "CONTROL", "help").splitlines()
    return " ".join([line.split()[0] for line in lines if not line.startswith("fault")])


@_fact(since_4_14="log\ton|off", since_4_20="log             [on|off|+<switch>|-<switch>]")
def line_of_help(scene: Scene) -> object:
    return scene.ask("dom0", "CONTROL", "help").splitlines()[1]


@_fact(
    since_4_14="nodes watches transactions outstanding transaction-nodes memory node-size permissions",
    since_4_17="nodes watches transactions outstanding transaction-nodes memory node-size path-max permissions",
    since_4_20="nodes watches outstanding memory transactions transaction-nodes node-permissions path-max node-size",
)
def names_of_quotas(scene: Scene) -> object:
    lines = scene.ask("dom0", "CONTROL", "quota").splitlines()[1:]
    return " ".join([line.partition(":")[0].strip() for line in lines])


@_fact(since_4_14="nodes           :        3", since_4_20="nodes            :        3 (max        3)")
def line_of_use(scene: Scene) -> object:
    scene.ask("5", "MKDIR", "a/b")
    return scene.ask("dom0", "CONTROL", "quota", "5").splitlines()[1]


@_fact(since_4_20="nodes            :        1")
def maxima(scene: Scene) -> object:
    scene.client("5")
    return scene.ask("dom0", "CONTROL", "quota", "max").splitlines()[1]


@_fact(since_4_14=["EINVAL", "EINVAL"], since_4_20=["Log switch settings:", "OK"])
def switches(scene: Scene) -> object:
    return [
        scene.ask("dom0", "CONTROL", "log").splitlines()[0],
        scene.ask("dom0", "CONTROL", "log", "-io"),
    ]
