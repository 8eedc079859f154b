"""How a transaction ends, and what errors within one mean; used by all transaction classes."""

from __future__ import annotations

import errno

from ..errors import NodeNotFoundError, TransactionConflictError, TransactionGoneError, XenStoreError
from ..lazy import lazy_module
from .programs import transaction_is_gone
from .requests import TransactionEnd

TYPE_CHECKING = False
if TYPE_CHECKING:
    import random

    from .programs import Program
else:
    random = lazy_module("random")

__all__ = ["TransactionState", "pause_before_next"]

_IN_CONFLICT = "not committed: it conflicted with other changes"
_LOST = "lost"
_PAUSE = 0.001  # the longest wait before the second attempt, in seconds; doubled for each further one
_PAUSE_MAX = 0.1
_DOUBLINGS_MAX = 10  # enough for that, without huge numbers


class TransactionState:
    """Whether and how a transaction has ended. Its programs must be run within the transaction."""

    def __init__(self) -> None:
        self.ended: str | None = None

    def check(self) -> None:
        """Raises TransactionGoneError if it has ended."""
        if self.ended is not None:
            raise TransactionGoneError(errno.ENOENT, f"the transaction was {self.ended}")

    def end(self, commit: bool) -> Program[None]:
        """Commit or abort. Whatever the outcome, the transaction has then ended.

        Raises TransactionConflictError if it was not committed, and TransactionGoneError if the daemon does not know it
        any more.
        """
        self.check()
        self.ended = "committed" if commit else "aborted"
        try:
            yield TransactionEnd(commit)
        except TransactionConflictError as error:
            self.ended = _IN_CONFLICT
            raise _conflict("the transaction was not committed", "retry it, as transact() does", error) from None
        except XenStoreError as error:
            self.ended = _LOST
            # No path is involved, so ENOENT means the transaction.
            if isinstance(error, NodeNotFoundError) or _is_io_error(error):
                raise _gone() from error
            raise

    def look_into(self, error: XenStoreError) -> Program[None]:
        """Raise TransactionGoneError or TransactionConflictError if that is what the daemon's error to a request means.

        xenstored answers EIO if a node is removed or created whose parent another client has changed since.
        """
        if not isinstance(error, NodeNotFoundError) and not _is_io_error(error):
            return
        gone = yield from transaction_is_gone()
        if not gone and _is_io_error(error):
            text = "other clients have changed this since the transaction began, so it can no longer be committed"
            raise TransactionConflictError(errno.EAGAIN, text, *filter(None, [error.filename])) from error
        if gone and self.ended in (None, _LOST):  # otherwise another task or thread has ended it meanwhile
            self.ended = _LOST
            raise _gone() from error

    def interrupt(self) -> TransactionEnd:
        """The wait for its end was interrupted: the request that ends it for certain, to be posted."""
        self.ended = "interrupted"
        return TransactionEnd(commit=False)


def pause_before_next(state: TransactionState, error: TransactionConflictError, attempt: int, attempts: int) -> float:
    """How many seconds to wait after attempt number `attempt` failed with a conflict; after the last, raises the final
    error."""
    if attempt == attempts:
        if state.ended is not _IN_CONFLICT:
            raise error  # about something within the transaction
        tried = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        advice = "more attempts may help, or a transaction that uses fewer nodes"
        raise _conflict(f"the transaction was not committed in {tried}", advice, error) from error
    if attempt == 1:
        return 0.0
    longest = min(_PAUSE * 2 ** min(attempt, _DOUBLINGS_MAX), _PAUSE_MAX)
    return random.uniform(0, longest)  # so that two that collide do not stay in step


def _conflict(what: str, advice: str, error: TransactionConflictError) -> TransactionConflictError:
    """The daemon's error with a text that says what happened and what to do."""
    text = f"{what}: other clients had changed what it used, and nothing of it was written; {advice}"
    conflict = TransactionConflictError(error.errno, text)
    conflict.wire_name = error.wire_name
    return conflict


def _gone() -> TransactionGoneError:
    return TransactionGoneError(errno.ENOENT, "the daemon does not know the transaction any more")


def _is_io_error(error: XenStoreError) -> bool:
    return error.errno == errno.EIO and error.wire_name in (None, "EIO")
