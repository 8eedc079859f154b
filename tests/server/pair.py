"""C xenstored and the embedded store side by side: both get the same requests, and their answers are compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType

from daemons import (
    Connection,
    Event,
    Guest,
    GuestQuotas,
    MessageType,
    Reply,
    SocketConnection,
    start_xenstored,
    strings,
)
from harness.embedded import parse_use, release_like

from xsffi.server.releases import RELEASES
from xsffi.testing import EmbeddedStore

__all__ = ["GUESTS", "KnownDeath", "Pair"]

GUESTS = (5, 6)

_QUOTAS = {
    "nodes": "nodes",
    "node_size": "node-size",
    "watches": "watches",
    "transactions": "transactions",
    "permissions": "node-permissions",
    "path_length": "path-max",
}


class KnownDeath(Exception):
    """xenstored 4.14 dies of a commit that removes more of a guest's nodes than it still has."""


@dataclass
class _Both:
    """A client of both stores."""

    real: Connection
    embedded: Connection
    transactions: list[int] = field(default_factory=list)


class Pair:
    """Both stores, fresh, with two clients of dom0 and one of each guest.

    Replies are compared as they are; events are compared client by client, in order.
    """

    def __init__(self, quotas: GuestQuotas | None = None) -> None:
        self.daemon = start_xenstored(quotas=quotas)
        self.store = EmbeddedStore(release=release_like(self.daemon.packages.version))
        self.xen = RELEASES[self.store.release]
        self.log: list[str] = []
        self.differences = 0  # in replies within transactions that could no longer be committed
        self.clients: dict[str, _Both] = {}
        for name in ("a", "b"):
            self.clients[name] = _Both(self.daemon.connect(), SocketConnection(self.store.path))
        # Before there are guests, since from 4.22 on it only applies to later ones.
        names = {quota.key: quota.short_name for quota in self.xen.quotas}
        for key, value in quotas.named(_QUOTAS).items() if quotas else ():
            request = strings("quota", "set", names[key], value)
            assert self.clients["a"].embedded.call(MessageType.CONTROL, request).payload == b"OK\0"
        for domid in GUESTS:
            self.introduce(domid)

    def close(self) -> None:
        for client in self.clients.values():
            client.real.close()
            client.embedded.close()
        self.daemon.stop()
        self.store.stop()

    def __enter__(self) -> Pair:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def call(self, name: str, type: MessageType, payload: bytes = b"\0", tx_id: int = 0) -> Reply:
        """Send a request as a client of both; returns the reply, which must be the same. Events are compared too."""
        client = self.clients[name]
        try:
            real = client.real.call(type, payload, tx_id)
        except OSError:
            if "domain_entry_fix: Assertion" in self.daemon.log:
                raise KnownDeath from None
            raise
        embedded = client.embedded.call(type, payload, tx_id)
        request = f"{name}: {type.name} {payload!r}" + (f" in {tx_id}" if tx_id else "")
        self.log.append(f"{request} -> {_shown(real)}")
        if _comparable(type, embedded) != _comparable(type, real):
            story = self._story(f"the embedded store answered {_shown(embedded)}")
            assert tx_id in client.transactions, story
            assert type != MessageType.TRANSACTION_END, story
            # A transaction that can no longer be committed may see anything; but then neither store may commit it.
            end = (MessageType.TRANSACTION_END, strings("T"), tx_id)
            real_end, embedded_end = client.real.call(*end), client.embedded.call(*end)
            assert real_end.type == embedded_end.type == MessageType.ERROR, story
            # In some releases, its removals are counted before conflicts are checked.
            assert real_end == embedded_end or self.xen.commits_below_zero_fail, story
            client.transactions.remove(tx_id)
            self.differences += 1
            self.compare_events()
            return real
        self._track(client, type, real, tx_id)
        self.compare_events()
        return real

    def introduce(self, domid: int) -> None:
        """Create a guest, and connect as it."""
        guest = Guest(self.daemon, domid)
        self.clients[f"guest {domid}"] = _Both(guest, SocketConnection(self.store.socket_path(domid)))
        # The harness makes two requests to create the home. xenstored sends an event for each, unless it merges them
        # while they are unread, as the embedded store always does.
        for client in self.clients.values():
            for connection in (client.real, client.embedded):
                connection.call(MessageType.GET_DOMAIN_PATH, strings("0"))
                connection.events.clear()

    def release(self, domid: int) -> None:
        """Release a connected guest."""
        guest = self.clients.pop(f"guest {domid}")
        self.ask("a", MessageType.RELEASE, str(domid))
        self.daemon.ring_path(domid).unlink()
        guest.real.close()
        guest.embedded.close()

    def write(self, name: str, path: str, value: bytes = b"", tx_id: int = 0) -> Reply:
        """Send WRITE, as a client."""
        return self.call(name, MessageType.WRITE, strings(path) + value, tx_id)

    def ask(self, name: str, type: MessageType, *parts: str, tx_id: int = 0) -> Reply:
        """Send a request whose payload consists of strings, as a client."""
        return self.call(name, type, strings(*parts), tx_id)

    def compare_events(self) -> dict[str, list[Event]]:
        """All events since the last comparison, the same in both stores."""
        found = {}
        for name, client in self.clients.items():
            events = []
            for connection in (client.real, client.embedded):
                # Everything sent before the reply to this has arrived before it.
                connection.call(MessageType.GET_DOMAIN_PATH, strings("0"))
                events.append(list(connection.events))
                connection.events.clear()
            if events[0]:
                self.log.append(f"   {name} gets {events[0]}")
            assert events[1] == events[0], self._story(f"{name} got {events[1]} from the embedded store")
            found[name] = events[0]
        return found

    def compare_use(self) -> None:
        """Compare each guest's use of its quotas, as counted by the two stores."""
        client = self.clients["a"]
        for domid in GUESTS:
            request = (MessageType.CONTROL, strings("quota", str(domid)))
            real, embedded = (connection.call(*request).payload for connection in (client.real, client.embedded))
            assert _counted(embedded) == _counted(real), self._story(f"{real!r} from xenstored, but {embedded!r}")

    def _track(self, client: _Both, type: MessageType, reply: Reply, tx_id: int) -> None:
        if type == MessageType.RESET_WATCHES:
            client.transactions.clear()
        elif type == MessageType.TRANSACTION_START and reply.type == type:
            client.transactions.append(int(reply.payload.rstrip(b"\0")))
        elif type == MessageType.TRANSACTION_END and tx_id in client.transactions:
            client.transactions.remove(tx_id)

    def _story(self, end: str) -> str:
        return "\n".join(["", *self.log, end])


def _comparable(type: MessageType, reply: Reply) -> Reply:
    if type == MessageType.DIRECTORY_PART and reply.type == type:
        return Reply(type, reply.payload.partition(b"\0")[2])  # each store has its own generation numbers
    return reply


def _counted(answer: bytes) -> dict[str, int]:
    """The use of the quotas that both stores count, from the answer to ``quota <domid>``."""
    uses = parse_use(answer.rstrip(b"\0").decode())
    return {name: uses[name] for name in ("nodes", "watches", "transactions")}


def _shown(reply: Reply) -> str:
    return reply.payload.rstrip(b"\0").decode() if reply.type == MessageType.ERROR else repr(reply.payload)
