"""``xsffi write``, ``rm`` and ``chmod``, beyond what xenstore-utils do (see test_differential.py)."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.commands import called, environment_for, ran, typed

import xsffi
from xsffi.cli.writing import chmod, rm, write
from xsffi.testing import EmbeddedStore

EVERY_BYTE = bytes(range(256))


class TestFrom:
    """A value from a file or standard input."""

    def test_a_file(self, xs: xsffi.Client, tmp_path: Path) -> None:
        file = tmp_path / "value"
        file.write_bytes(EVERY_BYTE)
        assert called(write, xs, ["/v/bytes"], source=str(file)) == (0, "", "")
        assert xs.read("/v/bytes") == EVERY_BYTE

    @pytest.mark.parametrize("value", [b"", b"a line\n", b"\\n", EVERY_BYTE], ids=range(4))
    def test_stdin(self, store: EmbeddedStore, xs: xsffi.Client, value: bytes) -> None:
        assert ran(environment_for(store.path), "write", "/v/bytes", "--from", "-", given=value) == (0, "", "")
        assert xs.read("/v/bytes") == value

    def test_a_file_that_is_named_like_an_option(
        self, store: EmbeddedStore, xs: xsffi.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "-R").write_text("value")
        monkeypatch.chdir(tmp_path)
        assert typed(store.path, "write", "--from", "-R", "/v/a") == (0, "", "")
        assert typed(store.path, "write", "/v/b", "--from=-R") == (0, "", "")
        assert xs.read_many(["/v/a", "/v/b"]) == [b"value"] * 2

    @pytest.mark.parametrize("arguments", [["/a", "value"], ["/a", "value", "/b"], []])
    def test_paths_and_values_make_no_sense_with_it(self, store: EmbeddedStore, arguments: list[str]) -> None:
        status, output, errors = typed(store.path, "write", "--from", "/etc/hostname", *arguments)
        assert (status, output) == (1, "")
        assert "\nusage: xsffi write " in errors
        assert "--from" in errors

    def test_what_cannot_be_read(self, store: EmbeddedStore, tmp_path: Path) -> None:
        missing = str(tmp_path / "missing")
        expected = (1, "", f"xsffi: {missing}: No such file or directory\n")
        assert typed(store.path, "write", "/v/new", "--from", missing) == expected
        assert typed(store.path, "write", "/v/new", "--from", "/") == (1, "", "xsffi: /: Is a directory\n")

    def test_what_has_no_end(self, store: EmbeddedStore, xs: xsffi.Client) -> None:
        status, _, errors = typed(store.path, "write", "/v/new", "--from", "/dev/zero")
        assert status == 1
        assert errors == "xsffi: /dev/zero: it has more than the 4096 bytes of a message\n"
        assert not xs.exists("/v/new")

    def test_what_is_just_too_long(self, store: EmbeddedStore, tmp_path: Path) -> None:
        """The message also contains the path and a NUL."""
        file = tmp_path / "value"
        file.write_bytes(b"x" * 4096)
        status, _, errors = typed(store.path, "write", "/v/new", "--from", str(file))
        assert status == 1
        assert errors.startswith("xsffi: /v/new: a request may have at most 4096 bytes")

    def test_a_stdin_that_is_closed(self, store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdin", None)
        assert typed(store.path, "write", "/v/new", "--from", "-") == (1, "", "xsffi: -: closed\n")


def test_which_value_is_missing(store: EmbeddedStore) -> None:
    status, _, errors = typed(store.path, "write", "/v/a", "1", "/v/b")
    assert status == 1
    assert errors.splitlines()[0] == "xsffi: paths and values must alternate: '/v/b' has no value"


def test_all_or_nothing(xs: xsffi.Client) -> None:
    before = xs.dump()
    with pytest.raises(xsffi.XenStoreError, match="4096 bytes"):
        called(write, xs, ["/v/a", "1", "/v/b", "x" * 5000])
    with pytest.raises(xsffi.NodeNotFoundError):
        called(rm, xs, ["/tool/name", "/nothing/at/all"])
    with pytest.raises(xsffi.InvalidArgumentError, match="'r'"):
        called(chmod, xs, "/tool/name", ["n5", "r"], upto=True)
    assert xs.dump() == before


def test_the_home_of_a_domain(store: EmbeddedStore, xs: xsffi.Client) -> None:
    home = "/local/domain/5"
    assert typed(store.path, "--domain", "web", "write", "data/a", "1", "/v/b", "2", "data/c", "data/a").status == 0
    assert xs.read_many([f"{home}/data/a", "/v/b", f"{home}/data/c"]) == [b"1", b"2", b"data/a"]
    assert typed(store.path, "--domain", "web", "chmod", "data", "n5", "r0", "-r").status == 0
    assert {tuple(map(str, node.permissions)) for node in xs.walk(f"{home}/data")} == {("n5", "r0")}
    assert typed(store.path, "--domain", "web", "rm", "-t", "data/a", "data/c").status == 0
    assert not xs.exists(f"{home}/data")
    assert xs.exists(home)


def test_rm_tidy_ends_at_the_first_name_of_a_relative_path(store: EmbeddedStore, xs: xsffi.Client) -> None:
    xs.mkdir("/local/domain/7")
    with store.connect(7) as guest:
        guest.write("a/b/c", "1")
        assert called(rm, guest, ["a/b/c"], tidy=True).status == 0
        assert guest.ls("/local/domain/7") == []
    assert xs.exists("/local/domain/7")


@pytest.mark.parametrize(("release", "status"), [("4.20", 0), ("4.22", 1)])
def test_every_domain(release: str, status: int) -> None:
    """An option is needed where it could kill the daemon."""
    with EmbeddedStore({"/v": ""}, release=release) as store, store.connect() as xs:
        assert typed(store.path, "chmod", "/v", "n0", "r32757").status == status
        assert typed(store.path, "chmod", "--allow-any-domain", "/v", "n0", "b32757").status == 0
        assert [str(permission) for permission in xs.get_permissions("/v")] == ["n0", "b32757"]


def test_upto_has_to_be_told_how_far(store: EmbeddedStore) -> None:
    assert typed(store.path, "chmod", "-u", "a/b", "n0") == (
        1,
        "",
        "xsffi: a/b: -u needs an absolute path, to know how far up to go\n",
    )
