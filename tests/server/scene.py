"""A store, embedded or C xenstored, with its clients; requests and their outcomes are short texts."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType

from daemons import Connection, Daemon, Guest, SocketConnection, require_packages, start_xenstored, strings
from harness.embedded import release_like

from xsffi.protocol.wire import MessageType
from xsffi.testing import EmbeddedStore

__all__ = ["STORES", "Scene", "scene_of"]

STORES = ("embedded", "xenstored")


class Scene:
    """The clients of a store: "dom0" and "other" are dom0's; "5" is a guest, introduced when it is first used."""

    def __init__(self, store: EmbeddedStore | Daemon) -> None:
        self.store = store
        self.release = store.release if isinstance(store, EmbeddedStore) else release_like(store.packages.version)
        self._open = ExitStack()
        self._clients: dict[str, Connection] = {}
        self._open.enter_context(store)

    def __enter__(self) -> Scene:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.close()

    def ask(self, name: str, type: str, *parts: str, value: bytes = b"", tx_id: int = 0) -> str:
        """The outcome of a client's request: the name of an error, or the strings of the reply.

        `parts` are strings, each terminated by NUL, and followed by `value`.
        """
        reply = self.client(name).call(MessageType[type], strings(*parts) + value, tx_id)
        return reply.payload.decode("latin-1").rstrip("\0").replace("\0", " ")

    def events(self, name: str) -> list[str]:
        """The events that a client has received so far, each as path and token."""
        client = self.client(name)
        client.call(MessageType.GET_DOMAIN_PATH, strings("0"))  # what was sent before the reply has arrived
        found = [f"{event.path.decode()} {event.token.decode()}" for event in client.events]
        client.events.clear()
        return found

    def begin(self, name: str) -> int:
        """The id of a new transaction of a client."""
        return int(self.ask(name, "TRANSACTION_START", ""))

    def client(self, name: str) -> Connection:
        """The connection of a client."""
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = self._open.enter_context(self._connect(name))
        return client

    def _connect(self, name: str) -> Connection:
        if isinstance(self.store, EmbeddedStore):
            return SocketConnection(self.store.socket_path(int(name) if name.isdigit() else 0))
        return Guest(self.store, int(name)) if name.isdigit() else self.store.connect()


def scene_of(store: str, release: str | None = None) -> Scene:
    """A fresh store: "embedded", imitating a release, or "xenstored", from the installed packages."""
    if store == "embedded":
        return Scene(EmbeddedStore(release=release))
    require_packages()
    return Scene(start_xenstored())
