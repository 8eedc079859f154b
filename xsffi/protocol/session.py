"""The client's side of a connection without I/O: request ids, pending replies, and the events in between.

Messages go in and bytes come out; bytes come in, and replies are matched to their exchange by request id, in whatever
order they arrive. The methods are for one thread at a time, and are not re-entrant.
"""

from __future__ import annotations

import errno
from collections import OrderedDict, deque
from itertools import islice

from ..errors import ProtocolError, XenStoreError, error_from_wire
from ..records import OVERFLOW, WatchEvent
from .requests import TransactionEnd, TransactionStart, Unwatch, Watch
from .wire import MessageType, PacketReader, encode_packet, parse_event

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, Union

    from ..static_types import T
    from .requests import Request

    Message = tuple[int, bytes]  # the type of a request and its payload
    #: The payload of a reply of the request's type; type and payload of any other; or the error that replaces the
    #: reply.
    Reply = Union[bytes, "tuple[int, bytes]", XenStoreError]

__all__ = ["STRANGE_EVENTS_MAX", "SUSPECTS_GRACE", "EventQueue", "EventQueues", "Exchange", "Session", "reply_of"]

# The first id: kernels number requests of their own from 1, and do not reach ours for a long time.
_FIRST_ID = 0x10000000
_LAST_ID = 0xFFFFFFFF
_PIECES_MAX = 64  # pieces to join into one write
# How many seconds to wait for a reply with an id of ours once one with another id has arrived: see Session.suspects.
SUSPECTS_GRACE = 0.02
STRANGE_EVENTS_MAX = 1000  # events of unknown watches, after which the other end is taken for broken

_ERROR = int(MessageType.ERROR)
_WATCH = int(MessageType.WATCH)
_UNWATCH = int(MessageType.UNWATCH)
_TRANSACTION_START = int(MessageType.TRANSACTION_START)
_WATCH_EVENT = int(MessageType.WATCH_EVENT)


class Exchange:
    """Requests in flight whose replies are waited for together; their ids are consecutive."""

    __slots__ = ("abandoned", "first", "messages", "missing", "replies", "unsent", "waiter")

    def __init__(self, first: int, messages: Sequence[Message]) -> None:
        self.first = first  # the id of the first
        self.messages = messages
        self.replies: list[Reply | None] = [None] * len(messages)  # in the order of the requests
        self.missing = len(messages)  # how many are outstanding
        self.unsent = 0  # how many pieces have not even been sent in part
        self.waiter: Any = None  # for the waiter's own use
        self.abandoned = False  # nobody waits for the replies any more


class EventQueue:
    """The events of the watches whose token starts with this prefix."""

    def __init__(self, queues: EventQueues, prefix: str, limit: int) -> None:
        """Created by :meth:`EventQueues.open`."""
        self.prefix = prefix
        self.limit = limit
        self.events: deque[WatchEvent] = deque()
        self._queues = queues

    def new_token(self) -> bytes:
        """A token that no watch of the connection has had."""
        return b"%s%x" % (self.prefix.encode("ascii"), self._queues.next_number())


class EventQueues:
    """The queues of one connection, and the dispatch of events to them.

    A token is the prefix of its queue and a number that is never reused, so it is known whether a token was ever one of
    ours.
    """

    def __init__(self) -> None:
        self._open: dict[str, EventQueue] = {}
        self._last = 0

    def open(self, prefix: str, limit: int = 0) -> EventQueue:
        """A new queue. `prefix`: empty, or ends with a colon; of two queues with the same prefix, the newer one gets
        the events. `limit`: the most events that may be pending, 0 for no limit; on overflow, OVERFLOW replaces the
        pending ones."""
        if prefix and not prefix.endswith(":"):
            raise ValueError(f"a prefix must end with a colon: {prefix!r}")
        queue = self._open[prefix] = EventQueue(self, prefix, limit)
        return queue

    def close(self, queue: EventQueue) -> None:
        """Discard pending and future events of the queue."""
        if self._open.get(queue.prefix) is queue:
            del self._open[queue.prefix]
        queue.events.clear()

    def __iter__(self) -> Iterator[EventQueue]:
        return iter(list(self._open.values()))

    def next_number(self) -> int:
        """A number that no token has had."""
        self._last += 1
        return self._last

    def route(self, event: WatchEvent) -> EventQueue | None:
        """Put an event into its queue and return that; None if it belongs to none.

        Raises ProtocolError if its token was never one of ours.
        """
        prefix, colon, number = event.token.rpartition(":")
        try:
            if not 0 < int(number, 16) <= self._last or number != f"{int(number, 16):x}":
                raise ValueError
        except ValueError:
            raise ProtocolError(
                errno.EPROTO, f"received an event of an unknown watch: its token is {event.token!r:.80}"
            ) from None
        queue = self._open.get(prefix + colon)
        if queue is not None:
            if queue.limit and len(queue.events) >= queue.limit:
                # One call, so that neither an exception nor another thread can come in between.
                deque.__init__(queue.events, (OVERFLOW, event))
            else:
                queue.events.append(event)
        return queue


class Session:
    """The state of one connection."""

    def __init__(self, joined: bool = True, completed: Callable[[Exchange], object] | None = None) -> None:
        """`joined`: whether several messages may be sent in one write; the kernel's device takes them one by one.
        `completed` is called with each exchange whose last reply has arrived."""
        self.queues = EventQueues()
        #: Replies with unknown ids that arrived before any with one of ours. Either the daemon sends garbage, or the
        #: kernel renumbers requests; if no other reply follows, :meth:`accept_suspects` decides for the latter.
        self.suspects: list[tuple[int, bytes]] = []
        self._reader = PacketReader()
        self._joined = joined
        self._completed = completed
        self._outgoing: OrderedDict[int, tuple[Exchange, bytes]] = OrderedDict()  # by the id of their first message
        self._sent = 0  # how many bytes of the first of those
        # The incomplete ones by first id, in the order of sending; and how many replies they lack.
        self._exchanges: OrderedDict[int, Exchange] = OrderedDict()
        self._missing = 0
        self._last_id = _FIRST_ID - 1
        self._ids_return: bool | None = None  # whether replies carry the ids of their requests; None: not known yet
        self._strange_events = 0

    def send(self, messages: Sequence[Message], tx_id: int = 0) -> Exchange:
        """Add requests to the :meth:`data_to_send`."""
        first = self._last_id + 1
        if first + len(messages) > _LAST_ID:
            first = _FIRST_ID
        self._last_id = first + len(messages) - 1
        exchange = self._exchanges[first] = Exchange(first, messages)
        self._missing += len(messages)
        if self._joined and len(messages) > 1:
            pieces = [encode_packet(type, first + i, tx_id, payload) for i, (type, payload) in enumerate(messages)]
            self._outgoing[first] = exchange, b"".join(pieces)
            exchange.unsent = 1
        elif messages:
            for req_id, (type, payload) in enumerate(messages, first):
                self._outgoing[req_id] = exchange, encode_packet(type, req_id, tx_id, payload)
            exchange.unsent = len(messages)
        else:
            del self._exchanges[first]  # nothing outstanding
        return exchange

    def post(self, type: int, payload: bytes, tx_id: int = 0) -> None:
        """Add a request to the :meth:`data_to_send` whose reply is ignored."""
        self.send([(type, payload)], tx_id).abandoned = True

    def data_to_send(self) -> bytes | memoryview | None:
        """The next bytes to send, or None; report with :meth:`data_sent` how many were sent."""
        if not self._outgoing:
            return None
        if len(self._outgoing) == 1 or self._sent or not self._joined:
            _, data = next(iter(self._outgoing.values()))
            return memoryview(data)[self._sent :] if self._sent else data
        return b"".join([data for _, data in islice(self._outgoing.values(), _PIECES_MAX)])

    def data_sent(self, size: int) -> None:
        """Record that this many of the bytes to send were sent."""
        begun = self._sent > 0
        self._sent += size
        while self._sent:
            req_id, (exchange, data) = next(iter(self._outgoing.items()))
            if not begun:
                exchange.unsent -= 1
            if self._sent < len(data):
                return
            del self._outgoing[req_id]
            self._sent -= len(data)
            begun = False

    @property
    def has_data_to_send(self) -> bool:
        """Whether there are bytes to send."""
        return bool(self._outgoing)

    def refuse(self, error: XenStoreError) -> None:
        """The transport refused the next message for good: its reply is this error. Only if messages are not joined."""
        req_id, (exchange, _) = self._outgoing.popitem(last=False)
        exchange.unsent -= 1
        self._put(exchange, req_id - exchange.first, error)

    def abandon(self, exchange: Exchange) -> None:
        """Ignore the outstanding replies. A watch or transaction that they set up is undone. If none is outstanding,
        use :meth:`take_back`."""
        if not exchange.missing or exchange.abandoned:
            return
        exchange.abandoned = True
        if exchange.unsent == (1 if self._joined else len(exchange.messages)):
            for req_id in range(exchange.first, exchange.first + exchange.unsent):
                del self._outgoing[req_id]
            del self._exchanges[exchange.first]
            self._missing -= exchange.missing
            return
        self.take_back(exchange)

    def take_back(self, exchange: Exchange) -> None:
        """Have the daemon undo what the requests have, or may have, set up: watches and transactions."""
        for (type, payload), reply in zip(exchange.messages, exchange.replies):
            if type == _WATCH:
                watch = Watch.parse(payload)
                self._post(Unwatch(watch.path, watch.token))
            elif type == _TRANSACTION_START and isinstance(reply, bytes):
                self._end_transaction(reply)

    def unanswered(self) -> list[Exchange]:
        """The exchanges with outstanding replies."""
        return list(self._exchanges.values())

    def receive_data(self, data: bytes) -> None:
        """Process received bytes: dispatch every complete packet, replies to their exchanges, events to their queues.

        Raises :class:`~xsffi.errors.ProtocolError` if no daemon would send that; the connection is unusable then.
        """
        self._reader.receive_data(data)
        for type, req_id, _, payload in self._reader.packets():
            # By type first: older kernels do not set the other fields of an event's header.
            if type == _WATCH_EVENT:
                self._take_event(payload)
                continue
            exchange = self._exchange_of(req_id)
            if exchange is not None:
                self._ids_return = True
                self._take_reply(exchange, req_id - exchange.first, type, payload)
            elif req_id == 0 and type in (_WATCH, _UNWATCH):
                # Older kernels serve these two requests themselves and reply with this id.
                self._take_first(type, payload, type)
            elif _FIRST_ID <= req_id <= self._last_id or self._ids_return:
                pass  # it arrived twice, or after its wait had ended
            elif self._ids_return is False:
                self._take_first(type, payload)
            elif len(self.suspects) < self._missing:
                self.suspects.append((type, payload))

    def accept_suspects(self) -> None:
        """No reply with an id of ours arrived: from now on, match replies to requests by order."""
        self._ids_return = False
        suspects, self.suspects = self.suspects, []
        for type, payload in suspects:
            self._take_first(type, payload)

    def _exchange_of(self, req_id: int) -> Exchange | None:
        exchange = self._exchanges.get(req_id)
        if exchange is None and req_id >= _FIRST_ID:
            for other in self._exchanges.values():  # in order: most replies belong to the first
                if other.first <= req_id < other.first + len(other.messages):
                    return other
        return exchange

    def _take_reply(self, exchange: Exchange, place: int, type: int, payload: bytes) -> None:
        expected = exchange.messages[place][0]
        self._put(exchange, place, payload if type == expected else (type, payload))
        if exchange.abandoned and type == expected == _TRANSACTION_START:
            self._end_transaction(payload)

    def _end_transaction(self, reply: bytes) -> None:
        try:
            self._post(TransactionEnd(commit=False), TransactionStart().decode(reply))
        except ProtocolError:
            pass  # not an id, so there is no transaction

    def _take_first(self, type: int, payload: bytes, of_type: int | None = None) -> None:
        """Take the reply to the first request of this type (None: any) without one."""
        for exchange in self._exchanges.values():
            for place, (expected, _) in enumerate(exchange.messages):
                if exchange.replies[place] is None and of_type in (None, expected):
                    self._take_reply(exchange, place, type, payload)
                    return

    def _put(self, exchange: Exchange, place: int, reply: Reply) -> None:
        if exchange.replies[place] is None:
            exchange.replies[place] = reply
            exchange.missing -= 1
            self._missing -= 1
            if not exchange.missing:
                del self._exchanges[exchange.first]
                self.suspects.clear()
                if self._completed is not None:
                    self._completed(exchange)

    def _take_event(self, payload: bytes) -> None:
        try:
            self.queues.route(WatchEvent(*parse_event(payload)))
        except ProtocolError:
            self._strange_events += 1
            if self._strange_events >= STRANGE_EVENTS_MAX:
                raise

    def _post(self, request: Request[Any], tx_id: int = 0) -> None:
        self.post(request.type, request.payload(), tx_id)


def reply_of(request: Request[T], reply: Reply | None) -> T:
    """The decoded reply to a request; raises its error."""
    if isinstance(reply, bytes):
        return request.decode(reply)
    if isinstance(reply, XenStoreError):
        raise reply
    assert reply is not None, "it has not come yet"
    type, payload = reply
    path = None if request.path is None else request.path.decode("utf-8", "surrogateescape")
    if type == _ERROR:
        name = payload.rstrip(b"\0").decode("utf-8", "surrogateescape")
        message = f"the daemon does not support {request.type.name}" if name == "ENOSYS" else None
        raise error_from_wire(name, path, message)
    raise ProtocolError(errno.EPROTO, f"received a reply of type {type} to a request of type {request.type}", path)
