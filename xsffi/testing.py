"""A XenStore of one's own, for tests: no Xen, no daemon, nothing left behind.

::

    from xsffi.testing import EmbeddedStore

    with EmbeddedStore({"/local/domain/5/name": "guest"}) as store, store.connect() as xs:
        assert xs.read_text("/local/domain/5/name") == "guest"
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import weakref
from contextlib import contextmanager

from .addresses import SOCKET_PATH_MAX, absolute
from .options import validate_count, validate_seconds
from .paths import validate
from .permissions import validate_domid
from .protocol.wire import MessageType
from .records import Node
from .server.dump import contents, fill
from .server.faults import Cut, Refusal
from .server.loop import Loop
from .server.releases import NEWEST, release_named
from .server.store import Store
from .sync.client import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from .server.dump import Contents

__all__ = ["EmbeddedStore"]


class EmbeddedStore:
    """A store served by a thread of this process, over a unix socket, from its making until :meth:`stop`.

    Any client can use it: set ``XENSTORED_PATH`` to :attr:`path`, or see :meth:`environment`. As a context manager it
    stops at the end. A child of this process, by fork, can connect to it, and cannot stop it.

    Once it was stopped, and in such a child, the other methods raise RuntimeError. A domid is an int from 0 to 65535;
    another raises InvalidArgumentError, or TypeError.
    """

    def __init__(
        self,
        tree: Contents | None = None,
        *,
        path: str | os.PathLike[str] | None = None,
        release: str | None = None,
    ) -> None:
        """Start one.

        :param tree: nodes to begin with, see :meth:`load`.
        :param path: where its socket is to be, in a folder that is there; by default, in a temporary one of its own,
            removed in the end.
        :param release: as xenstored of which Xen it behaves: "4.14", "4.17", "4.20" or "4.22"; by default, the newest.

        Raises ValueError where it knows no such release; OSError, with `path` as its filename, where there can be no
        socket: EADDRINUSE where somebody listens there already; and for the tree what :meth:`load` does.
        """
        #: the release of Xen as whose xenstored it behaves
        self.release = NEWEST if release is None else release
        self._store = Store(release_named(self.release))
        if tree is not None:
            fill(self._store, tree)
        self._loop = Loop(self._store)
        self._thread = threading.Thread(target=self._loop.run, name="xsffi.testing.EmbeddedStore", daemon=True)
        self._owner = os.getpid()
        self._folders: list[str] = []  # at most one, for the sockets whose place is ours to choose
        # Also where nobody calls stop(): when this is garbage, or the process ends.
        self._finalizer = weakref.finalize(self, _put_away, self._owner, self._loop, self._thread, self._folders)
        try:
            #: the socket of dom0's clients
            self.path = absolute(os.fsdecode(path)) if path else self._path_for("socket")
            self._loop.listen(self.path)
            self._thread.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Close all connections, as a daemon that dies, and remove the socket. Again does nothing.

        Any thread may, and any signal handler; it returns once that is done.
        """
        self._finalizer()
        if os.getpid() == self._owner and self._thread.ident is not None:
            _join(self._thread)  # another thread may have begun

    def __enter__(self) -> EmbeddedStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<xsffi.testing.EmbeddedStore at {self.path}>"

    # Clients.

    def connect(self, domid: int = 0, *, backend: str = "auto", timeout: float | None = None) -> Client:
        """A new client, as the domain `domid`: one that is introduced, and has its home, from then on.

        `backend` and `timeout` are those of :class:`xsffi.Client`. libxenstore opens where the environment says: so
        "auto" is the wire, unless ``XENSTORED_PATH`` names this socket, and "libxenstore" raises NotSupportedError
        there. Once the store was stopped, raises BackendUnavailableError.
        """
        return Client(self.socket_path(domid), backend, timeout)

    def socket_path(self, domid: int = 0) -> str:
        """The socket where clients connect as the domain `domid`, which is introduced, and has its home, from then on.

        It is there until the domain is released.
        """
        domid = validate_domid(domid)
        if domid == 0:
            return self.path
        return self._loop.call(lambda: self._listen(domid))

    def create_domain(self, domid: int) -> None:
        """Introduce a domain, as a toolstack does, and make its home ``/local/domain/N``, which it owns."""
        domid = validate_domid(domid)
        self._loop.call(lambda: self._store.create_domain(domid))

    def environment(self, domid: int = 0) -> dict[str, str]:
        """The environment for a program that is to use this store: that of this process, and ``XENSTORED_PATH``."""
        path = self.socket_path(domid)
        return {**os.environ, "XENSTORED_PATH": path}

    # Contents.

    def load(self, tree: Contents) -> None:
        """Write nodes, as dom0 does, watches and all.

        :param tree: a mapping from path, or name, to a value (str as UTF-8, or bytes), or to a mapping of the same kind
            for what is below; or nodes, as :meth:`dump` and :meth:`xsffi.Client.dump` give them.

        Raises :class:`~xsffi.errors.XenStoreError`, or TypeError, for what can be no node, or is longer than a client
        could write; what came before it is there then.
        """
        self._loop.call(lambda: fill(self._store, tree))

    def dump(self, top: str = "/") -> list[Node]:
        """All nodes from `top` on, each before those below it, as they were at one moment; none where `top` is missing.
        Raises InvalidArgumentError where that is no path."""
        validate(top)
        root = self._loop.call(lambda: self._store.tree.get(top))
        return [] if root is None else list(contents(top, root))

    # Faults.

    def fail_commits(self, count: int = 1) -> None:
        """The next `count` commits are in conflict; nothing of them is written. Raises ValueError where `count` is no
        int from 0 on."""
        validate_count(count, "a number of commits")
        self._set_fault("conflicts", count)

    def fail(self, error: str, operation: str | None = None, path: str | None = None, *, times: int | None = 1) -> None:
        """Requests get an error instead of being carried out.

        :param error: its name on the wire, such as "EACCES"; any, since daemons may send any.
        :param operation: the message's type, such as "WRITE"; None: any but CONTROL.
        :param path: the absolute path of the node concerned; None: any.
        :param times: how many of them; None: all, until :meth:`clear_faults`.

        Raises ValueError where there is no such operation, or `times` is no int from 0 on, and TypeError where `error`
        is no str.
        """
        if not isinstance(error, str):
            raise TypeError(f"an error is given by its name, a str, not {type(error).__name__}: {error!r}")
        if times is not None:
            validate_count(times, "times")
        refusal = Refusal(error, None if operation is None else _message_type(operation), path, times)
        self._loop.call(lambda: self._store.faults.refusals.append(refusal))

    def delay_answers(self, seconds: float) -> None:
        """From now on everything that is sent waits for so many seconds; 0: no longer. What waits already is not
        hurried. Raises TypeError or ValueError where that is no number of seconds."""
        validate_seconds(seconds, "a delay")
        self._set_fault("delay", seconds)

    def cut_next_answer(self, *, middle: bool = False, domid: int | None = None) -> None:
        """The connection that is to get the next answer is closed instead, or in the `middle` of it. The request itself
        is carried out. `domid`: only a connection of this domain."""
        self._loop.call(lambda: self._store.faults.cuts.append(Cut(middle, domid)))

    def hold_events(self) -> None:
        """From now on events wait, until :meth:`release_events`."""
        self._set_fault("holding_events", True)

    def release_events(self) -> None:
        """Send the events that wait, in order, and let later ones through."""
        self._loop.call(self._store.release_events)

    @contextmanager
    def events_held(self) -> Iterator[None]:
        """Hold events back within the ``with`` block."""
        self.hold_events()
        try:
            yield
        finally:
            self.release_events()

    def clear_faults(self) -> None:
        """Nothing of the above is to happen any more, but events that wait go on to."""
        self._loop.call(self._store.faults.clear)

    # Inside.

    def _set_fault(self, name: str, value: object) -> None:
        self._loop.call(lambda: setattr(self._store.faults, name, value))

    def _listen(self, domid: int) -> str:
        path = self._loop.socket_path(domid)
        if path is None:
            self._store.create_domain(domid)
            path = self._path_for(f"domain-{domid}")
            self._loop.listen(path, domid)
        return path

    def _path_for(self, name: str) -> str:
        if not self._folders:
            folder = tempfile.mkdtemp(prefix="xs-")
            if len(folder) + len("/domain-65535") > SOCKET_PATH_MAX:
                os.rmdir(folder)
                folder = tempfile.mkdtemp(prefix="xs-", dir="/tmp")
            self._folders.append(folder)
        return os.path.join(self._folders[0], name)


def _put_away(owner: int, loop: Loop, thread: threading.Thread, folders: list[str]) -> None:
    if os.getpid() != owner:
        return  # the exit of a forked child is not the end of its parent's store
    loop.stop()
    if thread.ident is None:
        loop.close()
    else:
        _join(thread)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _join(thread: threading.Thread) -> None:
    """Wait for the end of the loop's thread, which closes it, unless that is where the last reference was dropped."""
    if thread is not threading.current_thread():
        thread.join()


def _message_type(name: str) -> MessageType:
    try:
        return MessageType[name.upper()]
    except KeyError:
        raise ValueError(f"there is no operation {name!r}: one of {', '.join(MessageType.__members__)}") from None
