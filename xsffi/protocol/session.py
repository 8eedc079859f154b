"""The client's end of a connection, without the connection: ids, who waits for which reply, and the events in between.

Messages go in and bytes come out; bytes come in, and replies find the exchange they belong to by their id, in whatever
order they come. The methods are for one thread at a time, and none is to be called while another is under way.
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
    #: The payload of a reply of the request's type; type and payload of any other; or the error that came instead of
    #: one.
    Reply = Union[bytes, "tuple[int, bytes]", XenStoreError]

__all__ = ["STRANGE_EVENTS_MAX", "SUSPECTS_GRACE", "EventQueue", "EventQueues", "Exchange", "Session", "reply_of"]

# Where ids begin: those that kernels give by themselves, which count from 1, are none of ours for a long time.
_FIRST_ID = 0x10000000
_LAST_ID = 0xFFFFFFFF
_PIECES_MAX = 64  # pieces that are sent as one
# How many seconds a reply with an id of ours may take, once one with another id has come: see Session.suspects.
SUSPECTS_GRACE = 0.02
STRANGE_EVENTS_MAX = 1000  # events of watches that nobody set, after which the other end is no daemon

_ERROR = int(MessageType.ERROR)
_WATCH = int(MessageType.WATCH)
_UNWATCH = int(MessageType.UNWATCH)
_TRANSACTION_START = int(MessageType.TRANSACTION_START)
_WATCH_EVENT = int(MessageType.WATCH_EVENT)


class Exchange:
    """Requests on their way whose replies are waited for together; their ids are in a row."""

    __slots__ = ("abandoned", "first", "messages", "missing", "replies", "unsent", "waiter")

    def __init__(self, first: int, messages: Sequence[Message]) -> None:
        self.first = first  # the id of the first
        self.messages = messages
        self.replies: list[Reply | None] = [None] * len(messages)  # in the order of the requests
        self.missing = len(messages)  # how many are still to come
        self.unsent = 0  # of how many pieces not even a part was sent
        self.waiter: Any = None  # for whoever waits for them, to keep something
        self.abandoned = False  # nobody waits for them any more


class EventQueue:
    """The events of those watches whose token has this prefix."""

    def __init__(self, queues: EventQueues, prefix: str, limit: int) -> None:
        """To be had from :meth:`EventQueues.open`."""
        self.prefix = prefix
        self.limit = limit
        self.events: deque[WatchEvent] = deque()
        self._queues = queues

    def new_token(self) -> bytes:
        """A token that no watch of the connection ever had."""
        return b"%s%x" % (self.prefix.encode("ascii"), self._queues.next_number())


class EventQueues:
    """The queues of one connection, and which one an event goes to.

    A token is the prefix of its queue and a number that is never used twice: so it can be told whether it was ever one
    of ours.
    """

    def __init__(self) -> None:
        self._open: dict[str, EventQueue] = {}
        self._last = 0

    def open(self, prefix: str, limit: int = 0) -> EventQueue:
        """A new queue. `prefix`: empty, or it ends with a colon; of two queues with the same, the later one has what
        comes. `limit`: the most events that wait in it, 0 for any number; where there is one more, OVERFLOW
        takes the place of those before it."""
        if prefix and not prefix.endswith(":"):
            raise ValueError(f"a prefix ends with a colon: {prefix!r}")
        queue = self._open[prefix] = EventQueue(self, prefix, limit)
        return queue

    def close(self, queue: EventQueue) -> None:
        """Drop what is in the queue, and what comes for it still."""
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
        """Put an event into its queue, which is returned; None where it belongs to none.

        Raises ProtocolError where its token was never one of ours.
        """
        prefix, colon, number = event.token.rpartition(":")
        try:
            if not 0 < int(number, 16) <= self._last or number != f"{int(number, 16):x}":
                raise ValueError
        except ValueError:
            raise ProtocolError(
                errno.EPROTO, f"an event came of a watch that nobody set: its token is {event.token!r:.80}"
            ) from None
        queue = self._open.get(prefix + colon)
        if queue is not None:
            if queue.limit and len(queue.events) >= queue.limit:
                # In one call, so that neither an exception nor another thread comes in between.
                deque.__init__(queue.events, (OVERFLOW, event))
            else:
                queue.events.append(event)
        return queue


class Session:
    """The state of one connection."""

    def __init__(self, joined: bool = True, completed: Callable[[Exchange], object] | None = None) -> None:
        """`joined`: whether several messages may be sent as one piece; the kernel's device takes them one by one.
        `completed` is called with each exchange whose last reply has come."""
        self.queues = EventQueues()
        #: Replies with ids that are none of ours came before any with one: those of a daemon that sends nonsense, or
        #: of a kernel that numbers requests anew. Where no other comes, :meth:`accept_suspects` tells that it is that.
        self.suspects: list[tuple[int, bytes]] = []
        self._reader = PacketReader()
        self._joined = joined
        self._completed = completed
        self._outgoing: OrderedDict[int, tuple[Exchange, bytes]] = OrderedDict()  # by the id of their first message
        self._sent = 0  # how much of the first of those
        # Those that miss replies, by their first id, in the order of sending; and how many they miss.
        self._exchanges: OrderedDict[int, Exchange] = OrderedDict()
        self._missing = 0
        self._last_id = _FIRST_ID - 1
        self._ids_return: bool | None = None  # whether replies bear the ids of their requests; None: not yet known
        self._strange_events = 0

    def send(self, messages: Sequence[Message], tx_id: int = 0) -> Exchange:
        """Put requests among the :meth:`data_to_send`."""
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
            del self._exchanges[first]  # nothing is missing
        return exchange

    def post(self, type: int, payload: bytes, tx_id: int = 0) -> None:
        """Put a request among the :meth:`data_to_send` for whose reply nobody waits."""
        self.send([(type, payload)], tx_id).abandoned = True

    def data_to_send(self) -> bytes | memoryview | None:
        """The next bytes to send, or None; how many were sent is told by :meth:`data_sent`."""
        if not self._outgoing:
            return None
        if len(self._outgoing) == 1 or self._sent or not self._joined:
            _, data = next(iter(self._outgoing.values()))
            return memoryview(data)[self._sent :] if self._sent else data
        return b"".join([data for _, data in islice(self._outgoing.values(), _PIECES_MAX)])

    def data_sent(self, size: int) -> None:
        """So many of the bytes to send were sent."""
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
        """Whether there is any."""
        return bool(self._outgoing)

    def refuse(self, error: XenStoreError) -> None:
        """The next message to send was not taken, and will not be: its reply is this error. Only where messages are not
        joined."""
        req_id, (exchange, _) = self._outgoing.popitem(last=False)
        exchange.unsent -= 1
        self._put(exchange, req_id - exchange.first, error)

    def abandon(self, exchange: Exchange) -> None:
        """Nobody waits for the replies any more. They are dropped when they come, and a watch or a transaction that was
        to be set up is taken back. Where all have come already, :meth:`take_back` is for that."""
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
        """The exchanges that miss replies."""
        return list(self._exchanges.values())

    def receive_data(self, data: bytes) -> None:
        """Take bytes that came in, and hand on every packet that is whole: replies to their exchanges, events to their
        queues.

        Raises :class:`~xsffi.errors.ProtocolError` where no daemon would send that; the connection is over then.
        """
        self._reader.receive_data(data)
        for type, req_id, _, payload in self._reader.packets():
            # By type first: older kernels leave the other fields of an event's header unset.
            if type == _WATCH_EVENT:
                self._take_event(payload)
                continue
            exchange = self._exchange_of(req_id)
            if exchange is not None:
                self._ids_return = True
                self._take_reply(exchange, req_id - exchange.first, type, payload)
            elif req_id == 0 and type in (_WATCH, _UNWATCH):
                # So older kernels answer these two, which they serve themselves.
                self._take_first(type, payload, type)
            elif _FIRST_ID <= req_id <= self._last_id or self._ids_return:
                pass  # it came after the wait for it had ended, or twice
            elif self._ids_return is False:
                self._take_first(type, payload)
            elif len(self.suspects) < self._missing:
                self.suspects.append((type, payload))

    def accept_suspects(self) -> None:
        """No reply with an id of ours came: from here on they are taken in the order of the requests."""
        self._ids_return = False
        suspects, self.suspects = self.suspects, []
        for type, payload in suspects:
            self._take_first(type, payload)

    def _exchange_of(self, req_id: int) -> Exchange | None:
        exchange = self._exchanges.get(req_id)
        if exchange is None and req_id >= _FIRST_ID:
            for other in self._exchanges.values():  # in their order, and most replies belong to the first
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
            pass  # it is no id, so there is no transaction

    def _take_first(self, type: int, payload: bytes, of_type: int | None = None) -> None:
        """Take the reply to the first request, of this type, that misses one."""
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
    """What a reply to the request says, decoded; raises the error that it is."""
    if isinstance(reply, bytes):
        return request.decode(reply)
    if isinstance(reply, XenStoreError):
        raise reply
    assert reply is not None, "it has not come yet"
    type, payload = reply
    path = None if request.path is None else request.path.decode("utf-8", "surrogateescape")
    if type == _ERROR:
        name = payload.rstrip(b"\0").decode("utf-8", "surrogateescape")
        message = f"the daemon knows no {request.type.name}" if name == "ENOSYS" else None
        raise error_from_wire(name, path, message)
    raise ProtocolError(errno.EPROTO, f"a reply of type {type} came to a request of type {request.type}", path)
