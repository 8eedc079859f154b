"""The loop that calls callbacks: run(), and how it ends."""

from __future__ import annotations

import errno
import logging
import math
import threading
from time import monotonic
from typing import Any

import pytest
from harness.alarms import at_moment, interrupted_after
from harness.descriptors import open_descriptors
from harness.fakes import PATIENCE, FakeBackend, FakeEvents, make_client
from harness.threads import Call, until

from xsffi import Client, WatchEvent
from xsffi.errors import ClientClosedError, ConnectionLostError


class TestRun:
    def test_callbacks_in_order(self, client: Client, fake: FakeBackend) -> None:
        seen: list[tuple[str, WatchEvent]] = []
        client.watch("/a", token="first", callback=lambda event: seen.append(("first", event)))
        names = [fake.last_token]
        client.watch("/a", token="second", callback=lambda event: seen.append(("second", event)))
        names.append(fake.last_token)
        for path, name in [("/1", names[0]), ("/2", names[1]), ("/3", names[0])]:
            fake.put_event(path, name)
        client.watch("/stop", callback=lambda event: client.stop())
        fake.put_event("/stop", fake.last_token)
        run_until_stopped(client)
        assert seen == [
            ("first", WatchEvent("/1", "first")),
            ("second", WatchEvent("/2", "second")),
            ("first", WatchEvent("/3", "first")),
        ]

    def test_until_the_time_is_up(self, client: Client) -> None:
        for timeout in (0, 0.01):
            begin = monotonic()
            client.run(timeout)
            client.run(timeout=timeout)
            assert monotonic() - begin >= 2 * timeout

    def test_an_event_that_comes_while_it_waits(self, client: Client, fake: FakeBackend) -> None:
        client.watch("/a", callback=lambda event: client.stop())
        name = fake.last_token
        running = Call(client.run)
        until(lambda: fake.waits)
        fake.put_event("/a", name)
        assert running.result() is None

    @pytest.mark.parametrize("timeout", [30 * 24 * 3600, 1e12, math.inf])
    def test_a_long_time(self, client: Client, fake: FakeBackend, timeout: float) -> None:
        client.watch("/a", callback=lambda event: client.stop())
        name = fake.last_token
        running = Call(lambda: client.run(timeout))
        until(lambda: fake.waits)
        fake.put_event("/a", name)
        assert running.result() is None

    def test_it_rests_while_there_is_nothing(self, client: Client, fake: FakeBackend) -> None:
        client.run(timeout=0.05)
        assert len(fake.waits) < 10

    def test_events_of_nobody_are_dropped(self, client: Client, fake: FakeBackend) -> None:
        for _ in range(3):
            fake.put_event("/a", "nobody's")
        client.run(timeout=0.01, otherwise=lambda event: pytest.fail("it is nobody's"), raise_errors=True)

    def test_a_callback_may_do_anything(self, client: Client, fake: FakeBackend) -> None:
        """No lock is held, not even the one of the watches."""
        seen = []

        def callback(event: WatchEvent) -> None:
            seen.append(event.path)
            client.watch("/new", token="new", callback=print).close()
            assert client.check_watch() is None
            client.write("/b", b"value")
            event.token.close()
            client.stop()

        client.watch("/a", callback=callback)
        fake.put_event("/a", fake.last_token)
        run_until_stopped(client)
        assert seen == ["/a"]

    def test_events_of_a_watch_that_its_callback_closed(self, client: Client, fake: FakeBackend) -> None:
        seen = []

        def callback(event: WatchEvent) -> None:
            seen.append(event.path)
            event.token.close()

        client.watch("/a", callback=callback)
        name = fake.last_token
        for path in ("/1", "/2"):
            fake.put_event(path, name)
        client.run(timeout=0.01, raise_errors=True)
        assert seen == ["/1"]

    def test_not_twice_at_once(self, client: Client, fake: FakeBackend) -> None:
        client.watch("/a", callback=lambda event: client.run(timeout=0))
        fake.put_event("/a", fake.last_token)
        with pytest.raises(RuntimeError, match="already running"):
            client.run(timeout=0, raise_errors=True)
        client.run(timeout=0)  # it can run again after it has ended

    @pytest.mark.parametrize("otherwise", [5, "print", []])
    def test_otherwise_is_called(self, client: Client, fake: FakeBackend, otherwise: Any) -> None:
        with pytest.raises(TypeError, match=f"not {type(otherwise).__name__}"):
            client.run(timeout=0, otherwise=otherwise)
        assert fake.waits == []


class TestCallbacksThatRaise:
    def test_it_is_reported_and_the_loop_goes_on(
        self, client: Client, fake: FakeBackend, caplog: pytest.LogCaptureFixture
    ) -> None:
        seen = []

        def callback(event: WatchEvent) -> None:
            seen.append(event.path)
            if event.path == "/1":
                raise ZeroDivisionError("mine")
            client.stop()

        client.watch("/watched", callback=callback)
        name = fake.last_token
        for path in ("/1", "/2"):
            fake.put_event(path, name)
        run_until_stopped(client)
        assert seen == ["/1", "/2"]
        (record,) = caplog.records
        assert (record.name, record.levelno) == ("xsffi", logging.ERROR)
        assert "/watched" in record.getMessage()
        assert record.exc_info is not None
        assert isinstance(record.exc_info[1], ZeroDivisionError)

    def test_it_goes_out_if_asked_to(self, client: Client, fake: FakeBackend, caplog: pytest.LogCaptureFixture) -> None:
        def callback(event: WatchEvent) -> None:
            raise ZeroDivisionError(event.path)

        client.watch("/a", callback=callback)
        name = fake.last_token
        for path in ("/1", "/2"):
            fake.put_event(path, name)
        for path in ("/1", "/2"):  # run() can be called again, and no event is lost
            with pytest.raises(ZeroDivisionError, match=path):
                client.run(timeout=0, raise_errors=True)
        assert caplog.records == []

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
    def test_what_ends_the_program_always_goes_out(
        self, client: Client, fake: FakeBackend, error: type[BaseException]
    ) -> None:
        def callback(event: WatchEvent) -> None:
            raise error

        client.watch("/a", callback=callback)
        fake.put_event("/a", fake.last_token)
        with pytest.raises(error):
            client.run(timeout=0)
        client.run(timeout=0)

    def test_that_of_otherwise_is_treated_the_same(
        self, client: Client, fake: FakeBackend, caplog: pytest.LogCaptureFixture
    ) -> None:
        def otherwise(event: WatchEvent) -> None:
            raise ZeroDivisionError

        client.watch("/a")
        name = fake.last_token
        fake.put_event("/a", name)
        client.run(timeout=0, otherwise=otherwise)
        assert [record.levelno for record in caplog.records] == [logging.ERROR]
        fake.put_event("/a", name)
        with pytest.raises(ZeroDivisionError):
            client.run(timeout=0, otherwise=otherwise, raise_errors=True)

    @pytest.mark.parametrize("raise_errors", [False, True])
    def test_the_end_of_the_connection_always_goes_out(
        self, client: Client, fake: FakeBackend, monkeypatch: pytest.MonkeyPatch, raise_errors: bool
    ) -> None:
        def lost(queue: FakeEvents, timeout: float | None) -> None:
            raise ConnectionLostError(errno.ECONNRESET, "lost")

        monkeypatch.setattr(FakeEvents, "next_event", lost)
        with pytest.raises(ConnectionLostError):
            client.run(timeout=0, raise_errors=raise_errors)


class TestEventsWithoutCallback:
    def test_they_are_dropped_with_a_warning(
        self, client: Client, fake: FakeBackend, caplog: pytest.LogCaptureFixture
    ) -> None:
        client.watch("/a")
        fake.put_event("/a/b", fake.last_token)
        client.run(timeout=0)
        (record,) = caplog.records
        assert (record.name, record.levelno) == ("xsffi", logging.WARNING)
        assert "/a/b" in record.getMessage()
        assert client.check_watch() is None

    def test_otherwise_gets_them(self, client: Client, fake: FakeBackend, caplog: pytest.LogCaptureFixture) -> None:
        called: list[tuple[str, WatchEvent]] = []
        client.watch("/a", token="with", callback=lambda event: called.append(("callback", event)))
        fake.put_event("/1", fake.last_token)
        client.watch("/a", token="without")
        fake.put_event("/2", fake.last_token)
        client.run(timeout=0.01, otherwise=lambda event: called.append(("otherwise", event)))
        assert called == [("callback", WatchEvent("/1", "with")), ("otherwise", WatchEvent("/2", "without"))]
        assert caplog.records == []


class TestStop:
    def test_from_a_callback(self, client: Client, fake: FakeBackend) -> None:
        seen = []

        def callback(event: WatchEvent) -> None:
            seen.append(event.path)
            client.stop()

        client.watch("/a", callback=callback)
        name = fake.last_token
        for path in ("/1", "/2"):
            fake.put_event(path, name)
        run_until_stopped(client)
        assert seen == ["/1"]
        run_until_stopped(client)
        assert seen == ["/1", "/2"]

    def test_from_a_signal_handler(self, client: Client, fake: FakeBackend) -> None:
        with interrupted_after(0.05, client.stop):
            run_until_stopped(client)

    @pytest.mark.parametrize("moment", range(40))
    def test_from_a_handler_at_any_moment(self, client: Client, fake: FakeBackend, moment: int) -> None:
        """It ends one of two runs: the one during which the handler is called, or the next."""
        with at_moment(moment, client.stop):
            client.run(timeout=0)
        client.watch("/a", callback=lambda event: client.stop())
        fake.put_event("/a", fake.last_token)
        fake.put_event("/a", fake.last_token)
        run_until_stopped(client)
        run_until_stopped(client)

    def test_from_another_thread(self, client: Client, fake: FakeBackend) -> None:
        running = Call(client.run)
        until(lambda: fake.waits)
        client.stop()
        assert running.result() is None

    @pytest.mark.parametrize("again", [False, True], ids=["the first run", "a later run"])
    def test_before_run(self, client: Client, fake: FakeBackend, again: bool) -> None:
        if again:
            client.run(timeout=0)
        client.watch("/a", callback=lambda event: pytest.fail("it was stopped"))
        fake.put_event("/a", fake.last_token)
        client.stop()
        run_until_stopped(client)
        with pytest.raises(pytest.fail.Exception):
            client.run(timeout=0, raise_errors=True)  # one stop() ends only one run

    def test_several_times_is_once(self, client: Client, fake: FakeBackend) -> None:
        for _ in range(3):
            client.stop()
        run_until_stopped(client)
        before = len(fake.waits)
        client.run(timeout=0.01)
        assert len(fake.waits) > before  # this run has waited

    def test_one_that_meets_the_end_of_a_run(
        self, client: Client, fake: FakeBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The run has already ended when stop() wakes it up: a later run must neither end because of that nor be kept
        awake."""
        waking, ended = threading.Event(), threading.Event()
        wake = FakeEvents.wake

        def late_wake(queue: FakeEvents) -> None:
            waking.set()
            assert ended.wait(PATIENCE)
            wake(queue)

        def callback(event: WatchEvent) -> None:
            stopper.start()
            assert waking.wait(PATIENCE)

        monkeypatch.setattr(FakeEvents, "wake", late_wake)
        stopper = threading.Thread(target=client.stop)
        client.watch("/a", callback=callback)
        fake.put_event("/a", fake.last_token)
        client.run(timeout=PATIENCE, raise_errors=True)
        ended.set()
        stopper.join(PATIENCE)
        fake.waits.clear()
        client.run(timeout=0.05)
        assert 1 < len(fake.waits) < 10


class TestTheEndOfTheClient:
    def test_a_callback_may_close_it(self, client: Client, fake: FakeBackend) -> None:
        client.watch("/a", callback=lambda event: client.close())
        fake.put_event("/a", fake.last_token)
        with pytest.raises(ClientClosedError):
            client.run(timeout=PATIENCE, raise_errors=True)

    def test_another_thread_may_close_it(self, client: Client, fake: FakeBackend) -> None:
        running = Call(client.run)
        until(lambda: fake.waits)
        client.close()
        assert isinstance(running.outcome(), ClientClosedError)

    def test_every_descriptor_is_given_back(self) -> None:
        with FakeBackend() as fake:
            before = open_descriptors()
            client = make_client(fake)
            client.run(timeout=0)
            client.close()
            assert open_descriptors() == before

    def test_also_where_it_is_closed_while_it_runs(self) -> None:
        with FakeBackend() as fake:
            before = open_descriptors()
            client = make_client(fake)
            client.watch("/a", callback=lambda event: client.close())
            fake.put_event("/a", fake.last_token)
            with pytest.raises(ClientClosedError):
                client.run(timeout=PATIENCE)
            assert open_descriptors() == before

    def test_a_client_that_runs_no_more_can_be_stopped(self, client: Client) -> None:
        client.run(timeout=0)
        client.close()
        client.stop()

    def test_a_client_that_was_closed_does_not_run(self, client: Client) -> None:
        client.close()
        with pytest.raises(ClientClosedError):
            client.run(timeout=PATIENCE)


def run_until_stopped(client: Client) -> None:
    start = monotonic()
    client.run(timeout=PATIENCE)
    assert monotonic() - start < PATIENCE, "it was not stopped"
