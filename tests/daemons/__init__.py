"""Real store daemons for tests: Xen's own, run on a machine without Xen.

ci/fetch-xen downloads them. `start_xenstored` and `start_oxenstored` start them, `Guest` is an unprivileged domain that
uses one, and the bridges connect a client through a ring, through a character device, or in small pieces.
"""

from .bridge import PtyBridge, RingBridge, SocketBridge
from .connection import Connection, Event, Reply, SocketConnection, error_reply
from .daemon import (
    DAEMON_KINDS,
    Daemon,
    DaemonError,
    GuestQuotas,
    start_daemon,
    start_oxenstored,
    start_xenstored,
)
from .guest import Guest
from .messages import MessageType, Packet, PacketSplitter, strings, write_payload
from .packages import Packages, load_packages, require_packages

__all__ = [
    "DAEMON_KINDS",
    "Connection",
    "Daemon",
    "DaemonError",
    "Event",
    "Guest",
    "GuestQuotas",
    "MessageType",
    "Packages",
    "Packet",
    "PacketSplitter",
    "PtyBridge",
    "Reply",
    "RingBridge",
    "SocketBridge",
    "SocketConnection",
    "error_reply",
    "load_packages",
    "require_packages",
    "start_daemon",
    "start_oxenstored",
    "start_xenstored",
    "strings",
    "write_payload",
]
