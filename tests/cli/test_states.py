"""XenbusStates, and the nodes that hold them."""

from __future__ import annotations

import pytest

from xsffi.cli.states import is_state, state_name


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (b"0", "unknown"),
        (b"1", "initialising"),
        (b"2", "init-wait"),
        (b"3", "initialised"),
        (b"4", "connected"),
        (b"5", "closing"),
        (b"6", "closed"),
        (b"7", "reconfiguring"),
        (b"8", "reconfigured"),
        (b"9", None),
        (b"", None),
        (b"04", None),
        (b"4 ", None),
        (b"connected", None),
        (b"\xb2", None),
    ],
)
def test_names(value: bytes, name: str | None) -> None:
    assert state_name(value) == name


@pytest.mark.parametrize(
    "path",
    [
        "/local/domain/5/device/vif/0/state",
        "/local/domain/0/backend/vbd/5/51712/state",
        "/local/domain/3/backend/vif/5/0/state",
        "/local/domain/0/backend/pci/5/0/state-0",
        "/local/domain/5/device/vscsi/0/vscsi-devs/dev-0/state",
        "/local/domain/0/backend/vscsi/5/0/vscsi-devs/dev-0/state",
        "/libxl/5/device/vif/0/state",
        "device/vif/0/state",
        "backend/vif/5/0/state",
    ],
)
def test_a_state(path: str) -> None:
    assert is_state(path)


@pytest.mark.parametrize(
    "path",
    [
        "/local/domain/5/device/vif/0/mac",
        "/local/domain/5/device/vif/0/state/x",
        "/local/domain/5/device/vif/0/restate",
        "/local/domain/5/device/vif/0/state-of-play",
        "/local/domain/5/device/vif/0/hotplug-status",
        "/local/domain/5/device/vif/state",
        "/local/domain/0/backend/vif/5/state",
        "/local/domain/0/device-model/5/state",
        "/local/domain/5/data/device/vif/0/state",
        "/local/domain/5/state",
        "/vm/device/vif/0/state",
        "/device/vif/0/state",
        "/state",
        "state",
    ],
)
def test_no_state(path: str) -> None:
    assert not is_state(path)
