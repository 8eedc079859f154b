"""``xsffi domains`` and ``xsffi devices``, on trees as created by toolstacks, and as guests may leave them."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from harness.commands import Ran, called, environment_for, on_terminal, ran

import xsffi
from xsffi.cli.devices import DANGLING, Device, Seen, devices_of
from xsffi.cli.domains import devices, domains
from xsffi.cli.main import run
from xsffi.cli.output import Output
from xsffi.testing import EmbeddedStore

DOM0 = {"name": "Domain-0", "backend": {}}


def found(tree: dict[str, Any], top: str = "/local/domain") -> list[Device]:
    """The devices of a tree that is visible from `top` down."""
    with EmbeddedStore({top: tree}) as store:
        return devices_of(Seen({node.path: node for node in store.dump(top)}, [top]))


def device(**fields: Any) -> Device:
    """A typical device, except for these fields."""
    usual = {
        "kind": "vif",
        "id": "0",
        "domid": 5,
        "frontend": "/local/domain/5/device/vif/0",
        "state": b"4",
        "backend_domid": 0,
        "backend_kind": "vif",
        "backend": "/local/domain/0/backend/vif/5/0",
        "backend_state": b"4",
        "dangling": None,
        "other": None,
    }
    return Device(**{**usual, **fields})


def frontend(**nodes: str) -> dict[str, Any]:
    """The home of a domain with a frontend."""
    usual = {"backend": "/local/domain/0/backend/vif/5/0", "backend-id": "0", "state": "4"}
    return {"device": {"vif": {"0": {**usual, **nodes}}}}


def backend(**nodes: str) -> dict[str, Any]:
    usual = {"frontend": "/local/domain/5/device/vif/0", "frontend-id": "5", "state": "4"}
    return {"backend": {"vif": {"5": {"0": {**usual, **nodes}}}}}


class TestDevices:
    def test_a_pair(self) -> None:
        assert found({"5": frontend(), "0": backend()}) == [device()]

    def test_a_backend_of_another_class_and_domain(self) -> None:
        path = "/local/domain/3/backend/qdisk/5/51712"
        disk = {"device": {"vbd": {"51712": {"backend": path, "state": "1"}}}}
        driver = {"backend": {"qdisk": {"5": {"51712": {"frontend": "/local/domain/5/device/vbd/51712"}}}}}
        assert found({"5": disk, "3": driver}) == [
            device(
                kind="vbd",
                id="51712",
                frontend="/local/domain/5/device/vbd/51712",
                state=b"1",
                backend_domid=3,
                backend_kind="qdisk",
                backend=path,
                backend_state=None,
            )
        ]

    @pytest.mark.parametrize(
        "named", ["/", "/local/domain/5/device/vif/0", "/tool/x", "/local/domain/70000/backend/a/b/c"]
    )
    def test_a_frontend_that_names_what_is_no_backend(self, named: str) -> None:
        """A guest may write anything there."""
        (one,) = found({"5": frontend(backend=named), "0": {"backend": {}}}, "/local/domain")
        assert (one.dangling, one.backend) == ("not-a-backend", named)

    def test_what_a_guest_keeps_elsewhere_is_no_backend(self) -> None:
        forged = {"data": {"x": {"frontend": "/etc/x"}, "y": {"backend": "/etc/y"}}}
        assert found({"5": {**frontend(), **forged}, "0": backend()}) == [device()]

    def test_the_console_whose_frontend_lies_elsewhere(self) -> None:
        path = "/local/domain/0/backend/console/5/0"
        assert found(
            {
                "5": {"console": {"backend": path, "backend-id": "0", "port": "2"}},
                "0": {"backend": {"console": {"5": {"0": {"frontend": "/local/domain/5/console", "state": "1"}}}}},
            }
        ) == [
            device(
                kind="console",
                frontend="/local/domain/5/console",
                state=None,
                backend_kind="console",
                backend=path,
                backend_state=b"1",
            )
        ]

    def test_what_is_no_device(self) -> None:
        assert (
            found(
                {
                    "0": {"backend": {"vif": {"5": ""}, "qdisk": {"feature": {"0": {"x": ""}}, "5": {"0": ""}}}},
                    "5": {
                        "device": {"suspend": {"event-channel": ""}, "vif": ""},
                        "control": {"backend": "", "frontend": "no path"},
                    },
                    "x": {"device": {"vif": "0"}},
                }
            )
            == []
        )

    @pytest.mark.parametrize(
        ("home", "text", "more"),
        [
            (frontend(), "backend-gone", {}),
            (frontend(backend="/local/domain/3/backend/vif/5/0"), "backend-domain-gone", {"backend_domid": 3}),
            (frontend(backend="none"), "no-backend", {"backend_domid": 0, "backend_kind": None}),
            ({"device": {"vif": {"0": {"state": "4"}}}}, "no-backend", {"backend_domid": None}),
        ],
        ids=["no backend", "no domain", "no path", "nothing"],
    )
    def test_a_frontend_that_dangles(self, home: dict[str, Any], text: str, more: dict[str, Any]) -> None:
        [one] = found({"5": home, "0": DOM0})
        assert (one.frontend, one.state, one.backend_state) == ("/local/domain/5/device/vif/0", b"4", None)
        assert (one.kind, one.id, one.domid, one.dangling) == ("vif", "0", 5, text)
        for name, value in more.items():
            assert getattr(one, name) == value

    @pytest.mark.parametrize(
        ("tree", "text"),
        [
            ({"0": backend(), "5": {}}, "frontend-gone"),
            ({"0": backend()}, "domain-gone"),
            ({"0": backend(frontend="none"), "5": {}}, "no-frontend"),
            ({"0": backend(frontend="none")}, "domain-gone"),
            ({"0": backend(frontend="/local/domain/9/device/vif/0"), "5": {}}, "domain-gone"),
        ],
        ids=["no frontend", "no domain", "no path", "neither", "another domain"],
    )
    def test_a_backend_that_dangles(self, tree: dict[str, Any], text: str) -> None:
        [one] = found(tree)
        assert (one.backend, one.backend_state, one.state) == ("/local/domain/0/backend/vif/5/0", b"4", None)
        assert (one.kind, one.id, one.dangling) == ("vif", "0", text)
        assert one.domid in (5, 9)

    def test_a_frontend_that_names_no_backend_is_told_with_it(self) -> None:
        assert found({"5": frontend(backend=""), "0": backend()}) == [device(dangling="no-backend")]

    def test_a_backend_that_names_no_frontend_is_told_with_it(self) -> None:
        assert found({"5": frontend(), "0": backend(frontend="")}) == [device(dangling="backend-names-none")]

    def test_a_frontend_that_names_the_backend_of_another(self) -> None:
        """A guest may do that."""
        other = {"device": {"vif": {"0": {"backend": "/local/domain/0/backend/vif/5/0", "state": "4"}}}}
        path = "/local/domain/6/device/vif/0"
        owner = "/local/domain/5/device/vif/0"
        assert found({"5": frontend(), "0": backend(), "6": other}) == [
            device(),
            device(domid=6, frontend=path, dangling="backend-names-another", other=owner),
        ]

    def test_a_backend_whose_frontend_has_another(self) -> None:
        """For example if a device was moved to another backend domain, and the old backend left behind."""
        path = "/local/domain/3/backend/vif/5/0"
        assert found({"5": frontend(backend=path), "3": backend(), "0": backend()}) == [
            device(
                state=b"4",
                dangling="frontend-names-another",
                other=path,
            ),
            device(backend_domid=3, backend=path),
        ]

    def test_what_was_not_seen_is_not_gone(self) -> None:
        tree = {"5": frontend(), "0": backend()}
        with EmbeddedStore({"/local/domain": tree}) as store:
            for top in ("/local/domain/5", "/local/domain/0"):
                [one] = devices_of(Seen({node.path: node for node in store.dump(top)}, [top]))
                assert one._replace(state=b"4", backend_state=b"4") == device()
                everything = {node.path: node for node in store.dump("/local/domain") if node.path.startswith(top)}
                [one] = devices_of(Seen(everything, ["/local/domain"], ["/local/domain/0", "/local/domain/5"]))
                assert one.dangling is None

    def test_their_order(self) -> None:
        many = {str(number): {"state": "1"} for number in (10, 9, 100)}
        devices = found({"5": {"device": {"vif": many, "vbd": {"x": {"state": "1"}}}}, "4": frontend(), "0": DOM0})
        order = [(each.domid, each.kind, each.id) for each in devices]
        assert order == [(4, "vif", "0"), (5, "vbd", "x"), (5, "vif", "9"), (5, "vif", "10"), (5, "vif", "100")]


TABLE = """\
DOMAIN   DEVICE     STATE           BACKEND DOMAIN  BACKEND  STATE           DANGLING
5 (web)  console/0                  0 (Domain-0)    console  1 initialising
5 (web)  vbd/51712  4 connected     0 (Domain-0)    qdisk    4 connected
5 (web)  vbd/51728  5 closing       0 (Domain-0)    qdisk                    its backend is gone
5 (web)  vif/0      4 connected     0 (Domain-0)    vif      4 connected
5 (web)  vif/1      1 initialising  3 (net)         vif      2 init-wait
7        vif/0                      0 (Domain-0)    vif      2 init-wait     domain 7 is gone
"""


def test_a_table_of_devices(xs: xsffi.Client) -> None:
    assert called(devices, xs) == Ran(0, TABLE, "")


def test_in_a_process_too(store: EmbeddedStore) -> None:
    assert ran(environment_for(store.path), "devices") == Ran(0, TABLE, "")


def test_a_table_on_a_terminal_has_colours_alone_beside(store: EmbeddedStore) -> None:
    sent = on_terminal(environment_for(store.path), "devices", columns=200).output
    assert re.sub(r"\x1b\[[\d;]*m", "", sent) == TABLE
    assert sent != TABLE


@pytest.mark.parametrize("domain", ["3", "net"])
def test_the_devices_of_a_domain_are_those_of_which_it_has_an_end(xs: xsffi.Client, domain: str) -> None:
    status, output, _ = called(devices, xs, domain, json=True)
    assert status == 0
    assert [json.loads(line)["frontend"] for line in output.splitlines()] == ["/local/domain/5/device/vif/1"]


def test_devices_in_json(xs: xsffi.Client) -> None:
    xs.write("/local/domain/5/device/vif/0/state", "connected")  # a guest may write anything
    _, output, _ = called(devices, xs, json=True)
    lines = [json.loads(line) for line in output.splitlines()]
    assert lines[3] == {
        "kind": "vif",
        "id": "0",
        "domid": 5,
        "frontend": "/local/domain/5/device/vif/0",
        "state": None,
        "state_name": "invalid",
        "backend_domid": 0,
        "backend_kind": "vif",
        "backend": "/local/domain/0/backend/vif/5/0",
        "backend_state": 4,
        "backend_state_name": "connected",
        "dangling": None,
        "other": None,
    }
    assert [line["dangling"] for line in lines] == [
        None,
        None,
        "backend-gone",
        None,
        None,
        "domain-gone",
    ]
    assert [line["state_name"] for line in lines] == [None, "connected", "closing", "invalid", "initialising", None]
    assert [line["backend_state"] for line in lines] == [1, 4, None, 4, 2, 2]


def test_how_a_device_dangles_in_words(xs: xsffi.Client) -> None:
    xs.write("/local/domain/3/device/vif/0/backend", "/local/domain/0/backend/vif/5/0")
    xs.write("/local/domain/5/device/vif/1/backend", "/local/domain/8/backend/vif/5/1")
    xs.write("/local/domain/5/device/vif/2/backend", "/etc/{x}")
    column = [line.partition("  ")[2].rpartition("  ")[2] for line in called(devices, xs).output.splitlines()[1:]]
    assert column == [
        "its backend belongs to /local/domain/5/device/vif/0",
        "1 initialising",
        "4 connected",
        "its backend is gone",
        "4 connected",
        "its frontend has another backend: /local/domain/8/backend/vif/5/1",
        "backend domain 8 is gone",
        "what it names is not a backend: /etc/{x}",
        "domain 7 is gone",
    ]


def test_every_way_to_dangle_has_words_and_is_documented() -> None:
    assert [words.format_map(device()._asdict()) for words in DANGLING.values()].count("") == 0
    page = (Path(__file__).resolve().parents[2] / "docs/command-line.md").read_text()
    rows = re.findall(
        r"^\| `([a-z-]+)` \| (.*) \|$", page.partition("## devices")[2].partition("\n## ")[0], re.MULTILINE
    )
    assert [code for code, _ in rows] == list(DANGLING)


def test_check(xs: xsffi.Client) -> None:
    assert called(devices, xs, "web", check=True).status == 1
    assert called(devices, xs, "7", check=True).status == 1  # a backend is left over
    assert called(devices, xs, "net", check=True).status == 0


@pytest.mark.parametrize(
    ("domain", "text"),
    [
        ("9", "/local/domain/9: there is no domain 9, and nothing is left of it"),
        ("nobody", "no domain has the name 'nobody'"),
        ("70000", "domid"),
    ],
)
def test_a_domain_that_is_not_there(store: EmbeddedStore, domain: str, text: str) -> None:
    errors = io.StringIO()
    assert run(["--socket", store.path, "devices", domain], Output(io.BytesIO(), errors)) == 2
    assert re.fullmatch(f"xsffi: .*{text}.*\n", errors.getvalue())


def test_two_domains_of_one_name(xs: xsffi.Client) -> None:
    xs.write("/local/domain/3/name", "web")
    with pytest.raises(xsffi.InvalidArgumentError, match="several domains have the name 'web': 3, 5"):
        called(devices, xs, "web")


def test_a_table_of_domains(xs: xsffi.Client) -> None:
    xs.rm("/local/domain/5/device/vbd")
    xs.rm("/local/domain/0/backend/qdisk")
    assert called(domains, xs) == Ran(
        0,
        "ID  NAME      HOME             DEVICE     STATE           BACKEND DOMAIN  BACKEND  STATE\n"
        "0   Domain-0  /local/domain/0\n"
        "3   net       /local/domain/3\n"
        "5   web       /local/domain/5  console/0                  0 (Domain-0)    console  1 initialising\n"
        "                               vif/0      4 connected     0 (Domain-0)    vif      4 connected\n"
        "                               vif/1      1 initialising  3 (net)         vif      2 init-wait\n",
        "",
    )


def test_domains_in_json(xs: xsffi.Client) -> None:
    xs.rm("/local/domain/3/name")
    status, output, _ = called(domains, xs, json=True)
    assert status == 0
    lines = [json.loads(line) for line in output.splitlines()]
    assert [(line["domid"], line["name"], line["home"], len(line["devices"])) for line in lines] == [
        (0, "Domain-0", "/local/domain/0", 0),
        (3, None, "/local/domain/3", 0),
        (5, "web", "/local/domain/5", 5),
    ]


def test_a_store_without_domains() -> None:
    with EmbeddedStore() as store, store.connect() as xs:
        for command, heads in ((domains, "ID  NAME  HOME"), (devices, "DOMAIN")):
            status, output, errors = called(command, xs)
            assert (status, errors, output.count("\n")) == (0, "", 1)
            assert output.startswith(heads)
            assert called(command, xs, json=True) == Ran(0, "", "")


def test_a_guest_sees_its_own(store: EmbeddedStore) -> None:
    """A missing node is reported as gone only if the guest may read it."""
    with store.connect() as xs:
        xs.set_permissions("/local/domain/3/backend/vif/5/1/state", ["n3"])
    with store.connect(domid=5) as guest:
        assert called(devices, guest, check=True).output.count("its backend is gone") == 1
        with store.connect() as xs:
            xs.set_permissions("/local/domain/0/backend/qdisk/5", ["n0"])
        status, output, errors = called(devices, guest, check=True)
        assert (status, errors) == (0, "")
        assert output == (
            "DOMAIN   DEVICE     STATE           BACKEND DOMAIN  BACKEND  STATE\n"
            "5 (web)  console/0                  0               console  1 initialising\n"
            "5 (web)  vbd/51712  4 connected     0               qdisk    4 connected\n"
            "5 (web)  vbd/51728  5 closing       0               qdisk\n"
            "5 (web)  vif/0      4 connected     0               vif      4 connected\n"
            "5 (web)  vif/1      1 initialising  3               vif\n"
        )
        assert called(domains, guest, json=True).output.count("\n") == 1


def test_a_guest_that_does_not_know_its_number(store: EmbeddedStore) -> None:
    with store.connect(domid=9) as guest, pytest.raises(xsffi.AccessDeniedError):
        called(devices, guest)


def test_control_characters_of_guests_stay_out(store: EmbeddedStore, xs: xsffi.Client) -> None:
    xs.write("/local/domain/5/name", b"\x1b[31m")
    xs.write("/local/domain/5/device/vif/0/state", b"\x1b[2J")
    xs.write("/local/domain/5/device/vif/1/backend", b"/\x1b]0;x\x07")
    for command in (["devices"], ["domains"], ["devices", "--json"], ["domains", "--json"]):
        for output in (
            ran(environment_for(store.path), *command).output,
            on_terminal(environment_for(store.path, NO_COLOR="1"), *command).output,
        ):
            assert "\x1b" not in output
