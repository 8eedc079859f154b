"""A guest and its ring."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from daemons import (
    Daemon,
    DaemonError,
    Guest,
    MessageType,
    Packet,
    error_reply,
    strings,
    write_payload,
)

ALL_BYTES = bytes(range(256))
OK = b"OK\0"


class TestGuest:
    def test_reads_and_writes_its_own(self, daemon: Daemon) -> None:
        with Guest(daemon, 5) as guest, daemon.connect() as dom0:
            assert daemon.is_introduced(5)
            assert guest.call(MessageType.WRITE, write_payload("data", ALL_BYTES)).payload == OK
            assert guest.call(MessageType.READ, strings("data")).payload == ALL_BYTES
            assert dom0.call(MessageType.READ, strings("/local/domain/5/data")).payload == ALL_BYTES

    def test_may_not_read_what_is_not_its_own(self, daemon: Daemon) -> None:
        with Guest(daemon, 5) as guest, daemon.connect() as dom0:
            dom0.call(MessageType.WRITE, write_payload("/secret", b"x"))
            assert guest.call(MessageType.READ, strings("/secret")) == error_reply("EACCES")
            assert guest.call(MessageType.WRITE, write_payload("/secret", b"y")) == error_reply("EACCES")

    def test_is_told_of_changes(self, daemon: Daemon) -> None:
        with Guest(daemon, 5) as guest, daemon.connect() as dom0:
            guest.call(MessageType.WATCH, strings("data", "token"))
            assert guest.next_event() == (b"data", b"token")  # read at once, since xenstored merges waiting events
            dom0.call(MessageType.WRITE, write_payload("/local/domain/5/data", b""))
            assert guest.next_event() == (b"data", b"token")
            with pytest.raises(TimeoutError):
                guest.next_event(timeout=0.01)

    def test_large_messages_pass_the_small_ring(self, daemon: Daemon) -> None:
        value = ALL_BYTES * 15
        with Guest(daemon, 5) as guest, daemon.connect() as dom0:
            dom0.call(MessageType.WRITE, write_payload("/local/domain/5/data", value))
            assert guest.call(MessageType.READ, strings("data")).payload == value
            too_large = guest.call(MessageType.MKDIR, b"x" * 4095 + b"\0")
        assert too_large.type == MessageType.ERROR

    def test_many_requests_before_one_reply_is_read(self, daemon: Daemon) -> None:
        count = 300  # several times what both rings hold
        with Guest(daemon, 5) as guest:
            guest.call(MessageType.WRITE, write_payload("data", b"x" * 100))
            guest.send(
                b"".join(Packet(MessageType.READ, number, 0, strings("data")).encode() for number in range(count))
            )
            assert [guest.receive().request_id for _ in range(count)] == list(range(count))

    def test_rings_more_often_than_a_paused_daemon_hears(self, daemon: Daemon) -> None:
        with Guest(daemon, 5) as guest:
            daemon.pause()
            for number in range(40):
                guest.send(Packet(MessageType.READ, number, 0, strings(".")).encode())
            daemon.resume()
            assert [guest.receive().request_id for _ in range(40)] == list(range(40))

    def test_several_domains(self, daemon: Daemon) -> None:
        with ExitStack() as stack:
            guests = [stack.enter_context(Guest(daemon, domid)) for domid in (1, 2, 32750)]
            for guest in guests:
                guest.call(MessageType.WRITE, write_payload("id", str(guest.domid).encode()))
            assert [guest.call(MessageType.READ, strings("id")).payload for guest in guests] == [b"1", b"2", b"32750"]

    def test_released_and_created_again(self, daemon: Daemon) -> None:
        with Guest(daemon, 5) as guest:
            guest.call(MessageType.WRITE, write_payload("data", b"old"))
        daemon.release(5)
        assert not daemon.is_introduced(5)
        with Guest(daemon, 5) as guest:
            assert guest.call(MessageType.READ, strings("data")) == error_reply("ENOENT")
        with pytest.raises(DaemonError, match="RELEASE 77"):
            daemon.release(77)

    def test_of_a_daemon_that_died(self, daemon: Daemon) -> None:
        with Guest(daemon, 5) as guest:
            daemon.kill()
            with pytest.raises(ConnectionResetError):
                guest.call(MessageType.READ, strings("."))
