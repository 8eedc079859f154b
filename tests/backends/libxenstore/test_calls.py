"""Which C function carries which request, and which requests have none."""

from __future__ import annotations

from typing import Any, Callable

import pytest

import xsffi
from xsffi import Permission
from xsffi.addresses import Kind
from xsffi.backends.libxenstore.calls import call_of
from xsffi.protocol import requests as r

from .conftest import RunProgram

TX = 7  # a transaction id
OWNER = Permission(0, "n")
CARRIED: list[tuple[r.Request[Any], tuple[object, ...]]] = [
    (r.Read(b"/a"), ("xs_read", TX, b"/a")),
    (r.Write(b"/a", b"1"), ("xs_write", TX, b"/a", b"1")),
    (r.Mkdir(b"/a"), ("xs_mkdir", TX, b"/a")),
    (r.Rm(b"/a"), ("xs_rm", TX, b"/a")),
    (r.Directory(b"/a"), ("xs_directory", TX, b"/a")),
    (r.GetPermissions(b"/a"), ("xs_get_permissions", TX, b"/a")),
    (r.SetPermissions(b"/a", [OWNER]), ("xs_set_permissions", TX, b"/a", [OWNER])),
    (r.Watch(b"/a", b"token", None), ("xs_watch", b"/a", b"token")),
    (r.Watch(b"/a", b"token", 0), ("xs_watch_depth", b"/a", b"token", 0)),
    (r.Unwatch(b"/a", b"token"), ("xs_unwatch", b"/a", b"token")),
    (r.TransactionStart(), ("xs_transaction_start",)),
    (r.TransactionEnd(commit=True), ("xs_transaction_end", TX, False)),
    (r.TransactionEnd(commit=False), ("xs_transaction_end", TX, True)),
    (r.Introduce(5, 6, 8), ("xs_introduce_domain", 5, 6, 8)),
    (r.Release(5), ("xs_release_domain", 5)),
    (r.Resume(5), ("xs_resume_domain", 5)),
    (r.SetTarget(5, 6), ("xs_set_target", 5, 6)),
    (r.GetDomainPath(5), ("xs_get_domain_path", 5)),
    (r.IsDomainIntroduced(5), ("xs_is_domain_introduced", 5)),
    (r.Control([b"help"]), ("xs_control_command", b"help", b"")),
    (r.Control([b"quota", b"nodes", b"5"]), ("xs_control_command", b"quota", b"nodes\x005\0")),
    (r.GetFeatures(None), ("xs_get_features_domain", 0)),
    (r.GetFeatures(5), ("xs_get_features_domain", 5)),
    (r.SetFeatures(5, 3), ("xs_set_features_domain", 5, 3)),
    (r.GetQuotaNames(), ("xs_get_quota_names",)),
    (r.GetQuota(b"nodes", None), ("xs_get_global_quota", b"nodes")),
    (r.GetQuota(b"nodes", 5), ("xs_get_domain_quota", 5, b"nodes")),
    (r.SetQuota(b"nodes", 9, None), ("xs_set_global_quota", b"nodes", 9)),
    (r.SetQuota(b"nodes", 9, 5), ("xs_set_domain_quota", 5, b"nodes", 9)),
]
REFUSED: list[r.Request[Any]] = [r.ResetWatches(), r.DirectoryPart(b"/a", 0)]


class Called:
    """Replaces a handle: each function returns its name and arguments."""

    def __getattr__(self, name: str) -> Callable[..., tuple[object, ...]]:
        return lambda *arguments: (name, *arguments)


@pytest.mark.parametrize(("request_", "called"), CARRIED, ids=repr)
def test_what_a_request_calls(request_: r.Request[Any], called: tuple[object, ...]) -> None:
    handle: Any = Called()
    assert call_of(request_, Kind.SOCKET)(handle, TX, request_) == called


@pytest.mark.parametrize("request_", REFUSED, ids=repr)
def test_what_the_library_has_no_function_for(request_: r.Request[Any]) -> None:
    with pytest.raises(
        xsffi.NotSupportedError, match=f"no function for {request_.type.name}; the wire backend supports it"
    ):
        call_of(request_, Kind.SOCKET)


def test_these_are_all_requests() -> None:
    named = [getattr(r, name) for name in r.__all__]
    requests = {each for each in named if isinstance(each, type) and issubclass(each, r.Request)} - {r.Request}
    assert {type(request) for request, _ in CARRIED} | set(map(type, REFUSED)) == requests


LONGEST: dict[str, Callable[[int], r.Request[Any]]] = {
    "a value": lambda size: r.Write(b"/a", bytes(size - len(b"/a\0"))),
    "a token": lambda size: r.Watch(b"/a", b"t" * (size - len(b"/a\0\0")), None),
    "an argument": lambda size: r.Control([b"help", b"x" * (size - len(b"help\0\0"))]),
    "a quota's name": lambda size: r.GetQuota(b"q" * (size - 1), None),
}


@pytest.mark.parametrize(("kind", "limit"), [(Kind.SOCKET, 4096), (Kind.DEVICE, 4080)])
@pytest.mark.parametrize("of_size", LONGEST.values(), ids=LONGEST)
def test_what_is_longer_than_a_message(of_size: Callable[[int], r.Request[Any]], kind: str, limit: int) -> None:
    """Refused before it is sent, since libxenstore would close the connection."""
    request = of_size(limit)
    assert len(request.payload()) == limit
    assert callable(call_of(request, kind))
    with pytest.raises(xsffi.TooBigError, match=f"at most {limit} bytes, .* this one has {limit + 1}") as caught:
        call_of(of_size(limit + 1), kind)
    assert caught.value.filename == (None if request.path is None else "/a")


def test_a_list_of_permissions_that_is_longer_than_a_message() -> None:
    with pytest.raises(xsffi.TooBigError, match="at most 4096 bytes"):
        call_of(r.SetPermissions(b"/a", [OWNER] * 1500), Kind.SOCKET)


def test_features_of_a_guest(run_over_4_22: RunProgram) -> None:
    """A guest may not query domain 0, so libxenstore's cached answer is used."""
    assert run_over_4_22("print(xs.get_features())", FAKE_GUEST="1") == "2\n"
