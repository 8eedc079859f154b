"""A private XenStore for tests: no Xen, no daemon, nothing left behind.

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
    """A store served by a thread of this process, over a unix socket, from construction until :meth:`stop`.

    Any client can use it: set ``XENSTORED_PATH`` to :attr:`path`, or see :meth:`environment`. As a context manager, it
    stops on exit. A forked child of this process can connect to it, but cannot stop it.

    Once it is stopped, and in such a child, the other methods raise RuntimeError. A domid is an int from 0 to 65535;
    others raise InvalidArgumentError, or TypeError.
    """

    def __init__(
        self,
        tree: Contents | None = None,
        *,
        path: str | os.PathLike[str] | None = None,
        release: str | None = None,
    ) -> None:
        """Start the store.

        :param tree: initial nodes, see :meth:`load`.
        :param path: the path of its socket, in an existing directory; by default, in a temporary one, removed on stop.
        :param release: the Xen release whose xenstored it mimics: "4.14", "4.17", "4.20" or "4.22" (the default).

        Raises ValueError for an unknown release; OSError, with `path` as its filename, if the socket cannot be created
        (EADDRINUSE if somebody already listens there); and for the tree, what :meth:`load` raises.
        """
        #: the Xen release whose xenstored it mimics
        self.release = NEWEST if release is None else release
        self._store = Store(release_named(self.release))
        if tree is not None:
            fill(self._store, tree)
        self._loop = Loop(self._store)
        self._thread = threading.Thread(target=self._loop.run, name="xsffi.testing.EmbeddedStore", daemon=True)
        self._owner = os.getpid()
        self._folders: list[str] = []  # at most one, for sockets without a given path
        # Also if nobody calls stop(): when this is garbage-collected, or the process exits.
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
        """Close all connections, as a dying daemon does, and remove the socket. Idempotent.

        Safe in any thread and signal handler; returns once that is done.
        """
        self._finalizer()
        if os.getpid() == self._owner and self._thread.ident is not None:
            _join(self._thread)  # another thread may have begun to stop it

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
        """A new client, as the domain `domid`, which is introduced, and given its home, if it does not exist yet.

        `backend` and `timeout` are those of :class:`xsffi.Client`. libxenstore only opens what the environment names:
        so "auto" is the wire unless ``XENSTORED_PATH`` names this socket, and "libxenstore" raises NotSupportedError.
        Once the store is stopped, it raises BackendUnavailableError.
        """
        return Client(self.socket_path(domid), backend, timeout)

    def socket_path(self, domid: int = 0) -> str:
        """The socket for clients in the domain `domid`, which is introduced, and given its home, if it does not exist
        yet.

        It exists until the domain is released.
        """
        domid = validate_domid(domid)
        if domid == 0:
            return self.path
        return self._loop.call(lambda: self._listen(domid))

    def create_domain(self, domid: int) -> None:
        """Introduce a domain, as a toolstack does, and create its home ``/local/domain/N``, which it owns."""
        domid = validate_domid(domid)
        self._loop.call(lambda: self._store.create_domain(domid))

    def environment(self, domid: int = 0) -> dict[str, str]:
        """The environment for a program that is to use this store: that of this process, with ``XENSTORED_PATH``
        set."""
        path = self.socket_path(domid)
        return {**os.environ, "XENSTORED_PATH": path}

    # Contents.

    def load(self, tree: Contents) -> None:
        """Write nodes as dom0, which fires watches as usual.

        :param tree: a mapping from path, or name, to a value (str as UTF-8, or bytes), or to a mapping of the same kind
            for what is below; or nodes, as from :meth:`dump` and :meth:`xsffi.Client.dump`.

        Raises :class:`~xsffi.errors.XenStoreError`, or TypeError, for an invalid node, or one longer than a client
        could write; the nodes before it have then been written.
        """
        self._loop.call(lambda: fill(self._store, tree))

    def dump(self, top: str = "/") -> list[Node]:
        """All nodes from `top` down, each before those below it, as they are at one moment; none if `top` does not
        exist. Raises InvalidArgumentError for an invalid path."""
        validate(top)
        root = self._loop.call(lambda: self._store.tree.get(top))
        return [] if root is None else list(contents(top, root))

    # Faults.

    def fail_commits(self, count: int = 1) -> None:
        """Let the next `count` commits fail with a conflict; nothing of them is written. Raises ValueError unless
        `count` is an int of at least 0."""
        validate_count(count, "a number of commits")
        self._set_fault("conflicts", count)

    def fail(self, error: str, operation: str | None = None, path: str | None = None, *, times: int | None = 1) -> None:
        """Answer requests with an error instead of carrying them out.

        :param error: its name on the wire, such as "EACCES"; any, since daemons may send any.
        :param operation: the type of message, such as "WRITE"; None: any but CONTROL.
        :param path: the absolute path of the node concerned; None: any.
        :param times: how many requests; None: all, until :meth:`clear_faults`.

        Raises ValueError for an unknown operation, or unless `times` is an int of at least 0, and TypeError if `error`
        is no str.
        """
        if not isinstance(error, str):
            raise TypeError(f"an error must be given by name, a str, not {type(error).__name__}: {error!r}")
        if times is not None:
            validate_count(times, "times")
        refusal = Refusal(error, None if operation is None else _message_type(operation), path, times)
        self._loop.call(lambda: self._store.faults.refusals.append(refusal))

    def delay_answers(self, seconds: float) -> None:
        """Delay everything that is sent from now on by so many seconds; 0: not any more, but what is delayed stays so.
        Raises TypeError or ValueError unless that is a number of seconds."""
        validate_seconds(seconds, "a delay")
        self._set_fault("delay", seconds)

    def cut_next_answer(self, *, middle: bool = False, domid: int | None = None) -> None:
        """Close the connection that is to get the next answer instead of sending it, or in the `middle` of it. The
        request itself is carried out. `domid`: only consider connections of this domain."""
        self._loop.call(lambda: self._store.faults.cuts.append(Cut(middle, domid)))

    def hold_events(self) -> None:
        """Hold back events from now on, until :meth:`release_events`."""
        self._set_fault("holding_events", True)

    def release_events(self) -> None:
        """Send the held events, in order, and stop holding back."""
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
        """Disable all faults above; held events stay held."""
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
        return  # a forked child exits; the parent's store goes on
    loop.stop()
    if thread.ident is None:
        loop.close()
    else:
        _join(thread)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _join(thread: threading.Thread) -> None:
    """Wait for the end of the loop's thread, which closes it, unless this is that thread."""
    if thread is not threading.current_thread():
        thread.join()


def _message_type(name: str) -> MessageType:
    try:
        return MessageType[name.upper()]
    except KeyError:
        raise ValueError(
            f"unknown operation {name!r}; it must be one of {', '.join(MessageType.__members__)}"
        ) from None
