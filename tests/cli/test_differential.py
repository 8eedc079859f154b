"""Commands shared with xenstore-utils: each command line is run through both, on each store; output, exit status and
all nodes afterwards must be the same. Error messages are our own."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import cast

import pytest
from daemons import DAEMON_KINDS, Daemon, require_packages, start_daemon
from daemons.releases import LIVE_UPDATE, require
from harness.commands import Ran, program, program_on_terminal, typed
from harness.embedded import EmbeddedDaemon
from harness.guests import place_of_guest
from harness.stores import client_of
from hypothesis import given, settings
from hypothesis import strategies as st

from xsffi import Client, Node, Permission

EVERY_BYTE = bytes(range(256))
SAMPLE = {
    "name": b"guest",
    "empty": b"",
    "bytes": EVERY_BYTE,
    "text": 'a tab\t, a newline\n, a back\\slash, a quote", \u00fcn\u00efcode'.encode(),
    "digit": b"\0" + b"0",
    "long": b"x" * 500,
    "wide": b"\xff" * 60,
    "device/vif/0/state": b"4",
    "device/vif/0/backend": b"/local/domain/0/backend/vif/5/0",
    "device/vif/1/state": b"1",
    "a-long-name-that-goes-on_" + "and-on" * 12: b"value",
    "deep" + "/x" * 30: b"below",
    "tidy/one/two": b"2",
    "tidy/none/of/these/has/a/value": b"but this",
}
MANY = {f"many/{number}": b"" for number in range(1000)}  # more names than fit into one message
NOBODYS = (Permission(0, "n"),)
PERMISSIONS = {
    "name": (*NOBODYS, Permission(5, "r")),
    "device/vif/0/state": (Permission(5, "b"), *NOBODYS, Permission(1, "w"), Permission(2, "n"), Permission(3, "r")),
    "tidy/one/two": (Permission(7, "r"),),
    "long": (*NOBODYS, Permission(1, "r")),
}

# Each runs on the above nodes below /s; {} stands for /s.
READ = """
read {}/name
read {}/empty
read {}/bytes
read {}/text
read {}/digit
read {}/nothing
read {}/nothing/at/all
read /
read {}
read name
read {}/name/
read {}//name
read ''
read 'a b'
read {}/name {}/text {}/bytes
read {}/name {}/nothing {}/text
read {}/nothing {}/name
read {}/name {}/name
read -p {}/name
read -p {}/name {}/bytes
read -p {}/name {}/nothing {}/text
read -R {}/name
read -R {}/bytes
read -R {}/bytes {}/name
read -pR {}/name {}/bytes
read -R -p {}/text
read --raw {}/bytes
read --prefix {}/name
read --pre --ra {}/name
read -s {}/name
read -sp {}/name
read {}/name -p
read {}/name -R {}/text -p
read -- {}/name
read -p -- {}/name -R
read -- -p
read
read -p
read --
read -t {}/name
read -f {}/name
read @releaseDomain
"""
LIST = """
list {}
list {}/device
list {}/many
list {}/device/vif/0/state
list {}/nothing
list {}/
list /
list -p {}
list -p {}/device {}/tidy
list {}/device {}/nothing {}/tidy
list {}/name {}/device
list --prefix {}/device/vif
list {}/device -p
list -s {}/device
list -- {}/device
list
list -R {}
"""
EXISTS = """
exists {}/name
exists {}/empty
exists {}/nothing
exists {}/nothing/at/all
exists {}/name {}/nothing
exists {}/nothing {}/name
exists {}/name {}/device {}
exists /
exists {}//name
exists ''
exists -s {}/name
exists {}/name -- {}/device
exists
exists -p {}/name
"""
WRITE = """
write {}/name other
write {}/new value
write {}/new/and/below value
write {}/name ''
write {}/one 1 {}/two 2 {}/three 3
write {}/one 1 {}/two/ 2
write {}/one 1 {}//two 2 {}/three 3
write {}/one 1 {}/two
write {}/one
write
write relative/path value
write {}/new 'a value'
write {}/new 'a\\tb\\nc\\rd\\\\e'
write {}/new '\\x41\\x4\\x00\\xff\\xzz'
write {}/new '\\101\\0\\7777\\400'
write {}/new '\\a\\b\\8\\9\\"'
write {}/new 'ends in \\'
write {}/new '\\x'
write -R {}/new 'a\\tb\\x41\\'
write --raw {}/new '\\n' {}/newer '\\\\'
write {}/new '\\n' -R
write -s {}/new value
write {}/new -- -p
write -- {}/new -p
write -- {}/new --
write -- -p {}/new
write {}/new -
write {}/new 'ünïcode €'
write {}/new/ value
write 'a b' value
write {}/name a {}/name b
write -p {}/new value
write -p
write {}/new value {}/name
"""
RM = """
rm {}/name
rm {}/device
rm {}/nothing
rm {}/nothing/at/all
rm {}/name {}/device
rm {}/name {}/nothing/at/all {}/device
rm {}/name {}/name
rm {}//name
rm {}/name/
rm -t {}/name
rm -t {}/tidy/one/two
rm -t {}/tidy/one/two {}/tidy/none/of/these/has/a/value
rm -t {}/tidy/none/of/these/has/a/value
rm {}/tidy/none/of/these/has/a/value
rm -t {}/device/vif/0/state
rm -t {}/nothing/at/all
rm -t {}/tidy/none/of/nothing
rm -t {}/name {}/nothing/at/all
rm --tidy {}/tidy/one
rm {}/tidy/one/two -t
rm -s {}/name
rm -- {}/name
rm
rm -t
rm -r {}/name
"""
CHMOD = """
chmod {}/name n0
chmod {}/name n0 r5 w6 b7
chmod {}/name b5
chmod {}/nothing n0
chmod {}/nothing/at/all n0
chmod {}/name/ n0
chmod -u {}/device/vif/0/state n0 r9
chmod --upto {}/device/vif/0 n0 r9
chmod -u {}/nothing n0 r9
chmod -r {}/device n0 r9
chmod --recurse {}/device/vif n0 r9
chmod -r {}/name n0 r9
chmod -r {}/nothing n0 r9
chmod -ur {}/device/vif n0 r9
chmod -r -u {}/deep/x/x n0 r9
chmod -r {}/many n0 r9
chmod {}/name -r n0 r9
chmod {}/device n0 r9 -ur
chmod -s {}/name n0
chmod -- {}/name n0
chmod {}/name x0
chmod {}/name 0
chmod {}/name n0 x5
chmod {}/name
chmod
chmod -t {}/name n0
chmod -u relative/path n0
chmod /
"""
LS = """
ls
ls {}
ls -p
ls -f {}
ls -p {}
ls -fp {}
ls -pf {}
ls -f -p {}
ls --flat --prefix {}
ls {} -f
ls {}/device {}/tidy
ls {}/device {}/nothing {}/tidy
ls {}/name
ls {}/nothing
ls {}/
ls /
ls -f /
ls -fp /
ls -s {}/device
ls -- {}/device
ls -R {}
ls -t
"""
OTHER = """
control
control help
control check
control print hello
control print
control quota
control quota 7
control quota set nodes 1001
control log on
control nix
control print 'two words' more
control live-update
control live-update -F
control live-update -t
control live-update /nothing/there
"""
LINES = [line for text in (READ, LIST, EXISTS, WRITE, RM, CHMOD, LS, OTHER) for line in text.strip().splitlines()]
TOP = "/s"
WIRE = ("--backend", "wire")  # the bridge to a guest's ring serves one connection at a time

WIDTHS = [0, 1, 2, 3, 9, 10, 11, 12, 13, 20, 21, 35, 60, 62, 63, 79, 80, 81, 120, 600]


in_one_store = pytest.mark.parametrize("store", ["embedded"], indirect=True)  # for what depends on the client alone


@pytest.fixture(scope="module", params=[*DAEMON_KINDS, "embedded"])
def store(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """A store of each kind, used by these tests only."""
    require_packages()
    with EmbeddedDaemon() if request.param == "embedded" else start_daemon(request.param) as store:
        yield cast(Daemon, store)  # the embedded store has the attributes that these tests use


@pytest.fixture
def dom0(store: Daemon) -> Iterator[Client]:
    with client_of(store, "wire") as client:
        yield client


def fill(dom0: Client, values: Mapping[str, bytes]) -> None:
    """Reset the store to its initial state, with these nodes."""
    home = "/local/domain/0"
    dom0.mkdir(home)
    for top in (TOP, f"{home}/relative"):
        dom0.rm(top)
    nodes = [Node(f"{TOP}/{name}", value, (), PERMISSIONS.get(name, NOBODYS)) for name, value in values.items()]
    dom0.load([Node(TOP, b"", (), NOBODYS), *nodes])


def theirs(store: Daemon, command: str, *arguments: str) -> Ran:
    """Run the tool of xenstore-utils."""
    return program(store.environment(), store.packages.tool(f"xenstore-{command}"), *arguments)


def ours(store: Daemon, command: str, *arguments: str) -> Ran:
    """Run our command."""
    return typed(store.socket_path, command, *arguments)


def check_same(store: Daemon, dom0: Client, command: str, *arguments: str, conflicts: int = 0) -> None:
    """Run a command line with both, on the same nodes; the first `conflicts` commits fail with a conflict."""
    values = {**SAMPLE, **MANY} if f"{TOP}/many" in arguments else SAMPLE

    def outcome(carry_out: Callable[[], Ran]) -> tuple[Ran, list[Node]]:
        fill(dom0, values)
        if conflicts:
            dom0.control("fault", "conflict", str(conflicts))
        ran = carry_out()
        if conflicts:
            dom0.control("fault", "clear")
        return ran, dom0.dump()

    they, their_tree = outcome(lambda: theirs(store, command, *arguments))
    we, our_tree = outcome(lambda: ours(store, command, *arguments))
    assert (we.output, we.status) == (they.output, they.status), (we.errors, they.errors)
    assert our_tree == their_tree
    assert bool(we.errors) == bool(they.errors) or command == "exists"  # ours says why it is not a valid path


@pytest.mark.parametrize("line", LINES)
def test_a_command_line(store: Daemon, dom0: Client, line: str) -> None:
    if line.startswith("control live-update"):
        require(LIVE_UPDATE, store, "wire")
    check_same(store, dom0, *shlex.split(line.replace("{}", TOP)))


@pytest.mark.parametrize("columns", WIDTHS)
def test_ls_on_a_terminal(store: Daemon, dom0: Client, columns: int) -> None:
    fill(dom0, SAMPLE)
    for options in ([], ["-p"], ["-f"], ["-fp"]):
        tool = store.packages.tool("xenstore-ls")
        they = program_on_terminal(store.environment(), tool, *options, TOP, columns=columns)
        assert typed(store.socket_path, "ls", *options, TOP, columns=columns) == they


@in_one_store
@pytest.mark.parametrize(
    "line",
    [
        "read {}/name {}/text",
        "read -R {}/name {}/nothing",
        "list {}",
        "list {} {}/device",
        "exists {}/name {}/nothing",
        "exists {}/name {}/text",
        "write {}/one 1 {}/two 2",
        "write {}/one 1 {}/two/ 2",
        "rm -t {}/tidy/one/two",
        "rm {}/name {}/text",
        "chmod -ur {}/device/vif n3",
    ],
)
def test_in_conflict_with_others(store: Daemon, dom0: Client, line: str) -> None:
    """The transaction is repeated, and the output appears once."""
    check_same(store, dom0, *line.replace("{}", TOP).split(), conflicts=3)


# Client-side formatting and parsing, which a list of examples cannot cover.


@in_one_store
@settings(max_examples=100)
@given(st.lists(st.text("\\x0123789abfgXF+- \t\ntnr\u00fc").map(lambda text: text.encode()) | st.binary(), min_size=1))
def test_what_write_makes_of_a_text(store: Daemon, texts: list[bytes]) -> None:
    values = []
    for name, carry_out in (("/theirs", theirs), ("/ours", ours)):
        paths = [f"{name}/{number}" for number in range(len(texts))]
        written = [os.fsdecode(text.replace(b"\0", b"")) for text in texts]
        assert carry_out(store, "write", "--", *chain.from_iterable(zip(paths, written))) == (0, "", "")
        with client_of(store, "wire") as dom0:
            values.append(dom0.read_many(paths))
    assert values[1] == values[0]


@in_one_store
@settings(max_examples=100)
@given(st.lists(st.binary(max_size=40), min_size=1))
def test_how_read_shows_a_value(store: Daemon, values: list[bytes]) -> None:
    paths = [f"/shown/{number}" for number in range(len(values))]
    with client_of(store, "wire") as dom0:
        dom0.load([Node(path, value, (), NOBODYS) for path, value in zip(paths, values)])
    assert ours(store, "read", *paths) == theirs(store, "read", *paths)


names = st.text("ab-@_", min_size=1, max_size=30)


@in_one_store
@settings(max_examples=100)
@given(
    st.dictionaries(
        st.lists(names, min_size=1, max_size=6).map(lambda names: "/".join(names)), st.binary(max_size=100), max_size=10
    ),
    st.integers(0, 130),
    st.sampled_from([[], ["-p"], ["-f"], ["-pf"]]),
)
def test_how_ls_lays_out_a_tree(store: Daemon, values: dict[str, bytes], columns: int, options: list[str]) -> None:
    with client_of(store, "wire") as dom0:
        dom0.rm("/tree")
        dom0.mkdir("/tree")
        dom0.load([Node(f"/tree/{name}", value, (), NOBODYS) for name, value in values.items()])
    tool = store.packages.tool("xenstore-ls")
    they = program_on_terminal(store.environment(), tool, *options, "/tree", columns=columns)
    assert typed(store.socket_path, "ls", *options, "/tree", columns=columns) == they
    assert ours(store, "ls", *options, "/tree") == theirs(store, "ls", *options, "/tree")


class TestOnPurpose:
    """Intended differences."""

    def test_unknown_options_are_refused(self, store: Daemon, dom0: Client) -> None:
        fill(dom0, SAMPLE)
        assert theirs(store, "read", "-x", "--nothing", f"{TOP}/name").output == "guest\n"
        for option in ("-x", "--nothing", "-px", "-5"):
            we = ours(store, "read", option, f"{TOP}/name")
            assert (we.status, we.output) == (1, "")
            assert we.errors.startswith(f"xsffi: unknown option {'-x' if option == '-px' else option};")

    def test_a_value_that_is_an_option_by_mistake(self, store: Daemon, dom0: Client) -> None:
        """Theirs drops it, and takes the next path as the value."""
        fill(dom0, SAMPLE)
        line = ["write", f"{TOP}/name", "-5", f"{TOP}/other"]
        assert theirs(store, *line).status == 0
        assert dom0.read(f"{TOP}/name") == f"{TOP}/other".encode()
        fill(dom0, SAMPLE)
        assert ours(store, *line).status == 1
        assert dom0.read(f"{TOP}/name") == b"guest"

    def test_list_of_the_root_with_prefix(self, store: Daemon, dom0: Client) -> None:
        """As in Xen 4.22; earlier releases print two slashes."""
        they = theirs(store, "list", "-p", "/").output
        assert ours(store, "list", "-p", "/").output == they.replace("//", "/")

    def test_permissions_are_checked(self, store: Daemon, dom0: Client) -> None:
        for mode in ("n", "r5x", "r-1"):
            fill(dom0, SAMPLE)
            we = ours(store, "chmod", "--", f"{TOP}/name", mode)
            assert we.status == 1
            assert repr(mode) in we.errors
            assert tuple(dom0.get_permissions(f"{TOP}/name")) == PERMISSIONS["name"]
        assert theirs(store, "chmod", f"{TOP}/name", "r5x").status == 0
        assert dom0.get_permissions(f"{TOP}/name") == [Permission(5, "r")]

    def test_chmod_of_a_deep_tree(self, store: Daemon, dom0: Client) -> None:
        """Theirs truncates paths to 255 bytes: it then finds no such node, or loops forever on the one it finds."""
        fill(dom0, SAMPLE)
        names = ["x" * 21] * 40  # the 255th byte is within a name
        dom0.write("/".join([TOP, *names]), "")
        assert theirs(store, "chmod", "-r", TOP, "n8").status == 1
        assert ours(store, "chmod", "-r", TOP, "n8") == (0, "", "")
        assert {node.permissions for node in dom0.walk(TOP)} == {(Permission(8, "n"),)}

    def test_the_root_is_safe(self, store: Daemon, dom0: Client) -> None:
        fill(dom0, SAMPLE)
        before = dom0.dump()
        for line in (["rm", "/"], ["rm", "-t", "/"], ["chmod", "-r", "/", "n8"]):
            we = ours(store, *line)
            assert (we.status, we.output) == (1, "")
            assert we.errors.startswith("xsffi: /: ")
        assert dom0.dump() == before

    def test_ls_of_what_a_guest_may_not_read(self, store: Daemon, dom0: Client) -> None:
        """Theirs stops there, after an empty line."""
        home = "/local/domain/5"
        with place_of_guest(store, 5) as place:
            readable = [Permission(0, "n"), Permission(5, "b")]
            for path in (home, f"{home}/a", f"{home}/a/hidden", f"{home}/b"):
                dom0.write(path, "1")
                dom0.set_permissions(path, readable[:1] if path.endswith("hidden") else readable)
            dom0.write(f"{home}/a/hidden/below", "")
            tool = store.packages.tool("xenstore-ls")
            they = program({**store.environment(), "XENSTORED_PATH": place}, tool, home)
            assert (they.status, they.output) == (1, 'a = "1"\n hidden:\n\n')
            hidden = f"xsffi: {home}/a/hidden: Permission denied\n"
            assert typed(place, *WIRE, "ls", home) == (1, 'a = "1"\n hidden:\nb = "1"\n', hidden)
            assert typed(place, *WIRE, "ls", "-fp", home) == (
                1,
                f'{home}/a = "1"   (n0,b5)\n{home}/a/hidden:\n{home}/b = "1"   (n0,b5)\n',
                hidden,
            )
            lines = typed(place, *WIRE, "ls", "--json", "a", home).output.splitlines()
            assert [Node.from_json(line).path for line in lines] == [f"{home}/a", f"{home}/b"]
            assert typed(place, *WIRE, "ls") == (1, "", "xsffi: /: Permission denied\n")
            for line in ("read a/hidden a", "read a a/hidden", "exists a/hidden", "exists a/b", "exists /b", "list a"):
                command, *arguments = line.split()
                tool = store.packages.tool(f"xenstore-{command}")
                they = program({**store.environment(), "XENSTORED_PATH": place}, tool, *arguments)
                we = typed(place, *WIRE, *line.split())
                assert (we.output, we.status) == (they.output, they.status), line
