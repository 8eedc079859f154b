"""How a transaction ends, and what the daemon's errors within one mean: for every face's transactions."""

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

_IN_CONFLICT = "not committed: it was in conflict with other changes"
_LOST = "lost"
_PAUSE = 0.001  # seconds that the second try waits at most; each further one up to twice as long
_PAUSE_MAX = 0.1
_DOUBLINGS_MAX = 10  # which are enough for that, and no number grows too large


class TransactionState:
    """Whether a transaction has ended, and how. Its programs are to be run within the transaction."""

    def __init__(self) -> None:
        self.ended: str | None = None

    def check(self) -> None:
        """Raises TransactionGoneError where it has ended."""
        if self.ended is not None:
            raise TransactionGoneError(errno.ENOENT, f"the transaction was {self.ended}")

    def end(self, commit: bool) -> Program[None]:
        """Commit or abort. It has ended then, whatever that comes to.

        Raises TransactionConflictError where it was not committed, and TransactionGoneError where the daemon does not
        know it any more.
        """
        self.check()
        self.ended = "committed" if commit else "aborted"
        try:
            yield TransactionEnd(commit)
        except TransactionConflictError as error:
            self.ended = _IN_CONFLICT
            raise _conflict(
                "the transaction was not committed", "it can be done again, as transact() does", error
            ) from None
        except XenStoreError as error:
            self.ended = _LOST
            # No path is concerned, so ENOENT is said of the transaction.
            if isinstance(error, NodeNotFoundError) or _is_io_error(error):
                raise _gone() from error
            raise

    def look_into(self, error: XenStoreError) -> Program[None]:
        """Raise TransactionGoneError or TransactionConflictError if that is what the daemon's error to a request means.

        xenstored says EIO where a node is to be removed or made whose parent another client has changed since.
        """
        if not isinstance(error, NodeNotFoundError) and not _is_io_error(error):
            return
        gone = yield from transaction_is_gone()
        if not gone and _is_io_error(error):
            text = "others have changed what this is about since the transaction began: it cannot be committed any more"
            raise TransactionConflictError(errno.EAGAIN, text, *filter(None, [error.filename])) from error
        if gone and self.ended in (None, _LOST):  # else another task, or thread, has ended it meanwhile
            self.ended = _LOST
            raise _gone() from error

    def interrupt(self) -> TransactionEnd:
        """The wait for its end was interrupted: give what makes sure of one, whose reply nobody waits for."""
        self.ended = "interrupted"
        return TransactionEnd(commit=False)


def pause_before_next(state: TransactionState, error: TransactionConflictError, attempt: int, attempts: int) -> float:
    """How many seconds to wait after an attempt that was in conflict, before the next of so many; raises what is to be
    raised after the last."""
    if attempt == attempts:
        if state.ended is not _IN_CONFLICT:
            raise error  # it is about something within
        tried = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        advice = "more attempts may do, or a transaction that uses fewer nodes"
        raise _conflict(f"the transaction was not committed in {tried}", advice, error) from error
    if attempt == 1:
        return 0.0
    longest = min(_PAUSE * 2 ** min(attempt, _DOUBLINGS_MAX), _PAUSE_MAX)
    return random.uniform(0, longest)  # two that keep meeting must fall out of step


def _conflict(what: str, advice: str, error: TransactionConflictError) -> TransactionConflictError:
    """The error of the daemon, saying what happened and what to do."""
    text = f"{what}: others had changed what it used, and nothing of it was written; {advice}"
    conflict = TransactionConflictError(error.errno, text)
    conflict.wire_name = error.wire_name
    return conflict


def _gone() -> TransactionGoneError:
    return TransactionGoneError(errno.ENOENT, "the daemon does not know the transaction any more")


def _is_io_error(error: XenStoreError) -> bool:
    return error.errno == errno.EIO and error.wire_name in (None, "EIO")
