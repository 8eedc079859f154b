"""Many operations at once: they are on their way together, and the daemon need not wait for the client between two of
them."""

from __future__ import annotations

import warnings

from ..errors import NodeNotFoundError, TooBigError, XenStoreError
from ..paths import encode
from ..permissions import parse_permissions
from ..protocol import programs
from ..protocol.requests import Directory, GetPermissions, Mkdir, Read, Rm, SetPermissions, Write
from .operations import encode_removable, encode_value
from .safeguards import any_domain_error, names_any_domain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Any

    from ..permissions import PermissionLike
    from ..protocol.requests import Request
    from .operations import NodeOperations
    from .safeguards import AnyDomain
    from .transaction import Transactions

__all__ = ["Pipeline"]


class _Item:
    """An operation that is queued, and what makes its result of what came back."""

    __slots__ = ("finish", "refusal", "request")

    def __init__(
        self, request: Request[Any], finish: Callable[[Any, NodeOperations], Any], refusal: XenStoreError | None
    ) -> None:
        self.request = request
        self.finish = finish
        self.refusal = refusal  # of what would end a daemon to which DOMID_ANY is deadly, see AnyDomain


class Pipeline:
    """Queues operations and carries them all at once; their results are in :attr:`results`, in the same order.

    The verbs are those of a client and take the same, and what breaks a rule is refused as it is queued. With a
    ``with`` block they are carried at its end, and dropped where an exception leaves it; else by :meth:`execute`.
    """

    def __init__(
        self,
        target: NodeOperations,
        any_domain: AnyDomain,
        transactions: Transactions | None = None,
        attempts: int = 1,
    ) -> None:
        """To be had from :meth:`xsffi.Client.pipeline`."""
        self.results: list[Any] = []  #: what came back of each operation: its result, or its error
        self._target = target
        self._any_domain = any_domain
        self._transactions = transactions
        self._attempts = attempts
        self._items: list[_Item] = []

    def read(self, path: str) -> None:
        """Queue :meth:`xsffi.Client.read`."""
        self._queue(Read(encode(path)))

    def get(self, path: str, default: Any = None) -> None:
        """Queue :meth:`xsffi.Client.get`."""

        def finish(outcome: Any, target: NodeOperations) -> Any:
            return default if isinstance(outcome, NodeNotFoundError) else outcome

        self._queue(Read(encode(path)), finish)

    def exists(self, path: str) -> None:
        """Queue :meth:`xsffi.Client.exists`."""

        def finish(outcome: Any, target: NodeOperations) -> Any:
            if isinstance(outcome, XenStoreError) and not isinstance(outcome, NodeNotFoundError):
                return outcome
            return not isinstance(outcome, XenStoreError)

        self._queue(Read(encode(path)), finish)

    def write(self, path: str, value: bytes | str) -> None:
        """Queue :meth:`xsffi.Client.write`."""
        self._queue(Write(encode(path), encode_value(value)))

    def mkdir(self, path: str) -> None:
        """Queue :meth:`xsffi.Client.mkdir`."""
        self._queue(Mkdir(encode(path)))

    def rm(self, path: str) -> None:
        """Queue :meth:`xsffi.Client.rm`."""
        self._queue(Rm(encode_removable(path)))

    def ls(self, path: str) -> None:
        """Queue :meth:`xsffi.Client.ls`."""
        encoded = encode(path)

        def finish(outcome: Any, target: NodeOperations) -> Any:
            if not isinstance(outcome, TooBigError):
                return outcome
            try:
                return programs.run(programs.directory(encoded), target._call)
            except XenStoreError as error:
                return error

        self._queue(Directory(encoded), finish)

    def get_permissions(self, path: str) -> None:
        """Queue :meth:`xsffi.Client.get_permissions`."""
        self._queue(GetPermissions(encode(path)))

    def set_permissions(
        self, path: str, permissions: Iterable[PermissionLike], *, allow_any_domain: bool = False
    ) -> None:
        """Queue :meth:`xsffi.Client.set_permissions`. Whether it would end the daemon is asked as it is carried: its
        error stands in its place then."""
        request = SetPermissions(encode(path), parse_permissions(permissions))
        refused = not allow_any_domain and names_any_domain(request.permissions)
        self._queue(request, refusal=any_domain_error(path) if refused else None)

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Carry what is queued, and return the results, which are in :attr:`results` too.

        Every operation is carried, whichever fails; then the first error is raised, or, with `raise_on_error` false,
        each error stands in its place. In a transaction an error that is raised aborts it. Raises
        :class:`~xsffi.errors.TransactionConflictError` where the last attempt to commit was in conflict, and
        :class:`~xsffi.errors.ConnectionLostError` where the daemon is gone: what was carried by then is not known.
        """
        items, self._items, self.results = self._items, [], []
        if self._transactions is None:
            self._carry(items, self._target, raise_on_error)
        else:
            self._transactions.repeat(lambda t: self._carry(items, t, raise_on_error), self._attempts)
        return self.results

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.execute()
        else:
            self._items = []

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        items = getattr(self, "_items", None)
        if items:
            _warn(f"a pipeline was dropped with operations queued: {len(items)}", ResourceWarning, source=self)

    def __len__(self) -> int:
        """How many operations are queued."""
        return len(self._items)

    def _queue(
        self,
        request: Request[Any],
        finish: Callable[[Any, NodeOperations], Any] | None = None,
        refusal: XenStoreError | None = None,
    ) -> None:
        self._items.append(_Item(request, finish or _as_it_is, refusal))

    def _carry(self, items: list[_Item], target: NodeOperations, raise_on_error: bool) -> None:
        refusing = any(item.refusal for item in items) and self._any_domain.is_deadly()
        outcomes = iter(target._call_many([item.request for item in items if not (refusing and item.refusal)]))
        self.results = [
            item.refusal if refusing and item.refusal else item.finish(next(outcomes), target) for item in items
        ]
        if raise_on_error:
            for result in self.results:
                if isinstance(result, XenStoreError):
                    raise result


def _as_it_is(outcome: Any, target: NodeOperations) -> Any:
    return outcome
