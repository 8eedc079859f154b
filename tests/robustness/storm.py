"""``python -m robustness.storm BACKEND PATH SECONDS SEED``: threads, signals, finalizers, forks and close, all at once.

Clients shared by threads are used, interrupted and closed at random moments, one after the other. Each call must end:
with its result, or with an error that is justified. If there is no progress any more, the program prints where it
hangs.
"""

from __future__ import annotations

import errno
import faulthandler
import gc
import os
import random
import signal
import sys
import threading
import time
from contextlib import suppress
from types import FrameType

from harness.alarms import Interrupt, end_this_process_after, silence

import xsffi

WORKERS = 3
HANGS = 60  # seconds without any step
PATIENCE = 30.0  # seconds for a thread to end once its client is closed, and for a child to end


class Storm:
    """One client, and what is done to it."""

    def __init__(self, backend: str, path: str, seed: int, may_be_lost: bool) -> None:
        self.chance = random.Random(seed)
        self.xs = xsffi.Client(path, backend=backend)
        self.top = f"/storm/{os.getpid()}"
        self.may_be_lost = may_be_lost  # by an exception in the middle of a step, as a connection in Python may be
        self.closed = False
        self.may_interrupt = False
        self.wrong: list[BaseException] = []
        self.steps = 0

    def is_the_end(self, error: xsffi.XenStoreError) -> bool:
        """Whether the error says that the client is over, and that is justified."""
        if isinstance(error, xsffi.ClientClosedError):
            return self.closed
        return isinstance(error, xsffi.ConnectionLostError) and self.may_be_lost and "in the middle" in str(error)

    def use(self, chance: random.Random, node: str, number: int) -> None:
        """Make one call or a few, of a random kind. Only one thread may use the node."""
        xs, path, value = self.xs, f"{self.top}/{node}", b"%d" % number
        what = chance.randrange(6)
        if what == 0:
            xs.write(path, value)
            assert xs.read(path) == value
        elif what == 1:
            assert xs.get(f"{path}/missing") is None
        elif what == 2:
            xs.write(path, value)
            assert xs.read_many([path] * 20) == [value] * 20
        elif what == 3:
            with xs.watch(path, token=f"{node} {number}"):  # an interruption may leave this watch set
                xs.write(path, value)
        elif what == 4:
            with suppress(xsffi.WaitTimeoutError):
                xs.read_watch(chance.choice([0, 0.001]))
        else:
            xs.check_watch()
        self.steps += 1

    def try_to_use(self) -> None:
        """For handlers and finalizers, where a call may be refused."""
        try:
            assert self.xs.read("/") == b""
        except xsffi.XenStoreError as error:
            if error.errno not in (errno.EDEADLK, errno.EBADF) and not self.is_the_end(error):
                self.wrong.append(error)
        except Interrupt:
            raise
        except BaseException as error:
            self.wrong.append(error)

    def work(self, number: int) -> None:
        """The main function of a thread."""
        chance = random.Random(number)
        try:
            for step in range(1_000_000_000):
                if chance.random() < 0.1:
                    Garbage(self)
                self.use(chance, f"worker-{number}", step)
        except xsffi.XenStoreError as error:
            if not self.is_the_end(error):
                self.wrong.append(error)
        except BaseException as error:
            self.wrong.append(error)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGALRM."""
        what = self.chance.randrange(4)
        signal.setitimer(signal.ITIMER_REAL, self.chance.uniform(0.0001, 0.005))
        if what == 0 and self.may_interrupt:
            self.may_interrupt = False
            raise Interrupt
        if what == 1:
            self.try_to_use()
        if what == 2 and self.chance.random() < 0.02:
            self.close()

    def close(self) -> None:
        self.closed = True
        self.xs.close()

    def fork(self) -> None:
        """Use the client in a child, where it must be refused."""
        pid = os.fork()
        if pid == 0:
            status = 1
            end_this_process_after(120)
            try:
                for call in (lambda: self.xs.read("/"), self.xs.check_watch, lambda: self.xs.read_watch(1)):
                    try:
                        call()
                    except xsffi.ForkedError:
                        status = 0
                    except xsffi.ClientClosedError:
                        status = 0 if self.closed else 1
            finally:
                os._exit(status)
        end = time.monotonic() + PATIENCE
        while (found := os.waitpid(pid, os.WNOHANG))[0] == 0:
            if time.monotonic() > end:
                os.kill(pid, signal.SIGABRT)  # which makes it print where it hangs
            time.sleep(0.001)
        assert found[1] == 0, f"the child ended with {os.waitstatus_to_exitcode(found[1])}"

    def run(self, seconds: float) -> None:
        """Run everything for so many seconds."""
        threads = [threading.Thread(target=self.work, args=(number,), daemon=True) for number in range(WORKERS)]
        for thread in threads:
            thread.start()
        signal.signal(signal.SIGALRM, self.handle)
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        end = time.monotonic() + seconds
        step = 0
        while time.monotonic() < end and not self.wrong:
            faulthandler.dump_traceback_later(HANGS, exit=True)
            step += 1
            if step % 50 == 0:
                self.fork()
            try:
                self.may_interrupt = True
                self.use(self.chance, "main", step)
                self.may_interrupt = False
            except Interrupt:
                pass
            except xsffi.XenStoreError as error:
                self.may_interrupt = False
                if not self.is_the_end(error):
                    self.wrong.append(error)
                break
        silence()
        self.close()
        for thread in threads:
            thread.join(PATIENCE)
            if thread.is_alive():
                faulthandler.dump_traceback(all_threads=True)
                os._exit(3)


class Garbage:
    """Garbage that uses the client when it is collected."""

    def __init__(self, storm: Storm) -> None:
        self.storm = storm
        self.me = self

    def __del__(self) -> None:
        with suppress(Interrupt):  # it would only be printed
            self.storm.try_to_use()


def main() -> None:
    backend, path = sys.argv[1:3]
    seconds, seed = float(sys.argv[3]), int(sys.argv[4])
    may_be_lost = os.environ.get("XSFFI_CONNECTION") == "python" or os.environ.get("XSFFI_EXTENSION") == "no"
    faulthandler.enable()
    gc.set_threshold(100)
    chance = random.Random(seed)
    end = time.monotonic() + seconds
    rounds = steps = 0
    while time.monotonic() < end:
        storm = Storm(backend, path, chance.randrange(1 << 30), may_be_lost)
        storm.run(min(chance.uniform(0.05, 1), end - time.monotonic()))
        if storm.wrong:
            raise storm.wrong[0]
        rounds, steps = rounds + 1, steps + storm.steps
    faulthandler.cancel_dump_traceback_later()
    with xsffi.Client(path, backend="wire") as xs:
        xs.rm(f"/storm/{os.getpid()}")
    print(f"{rounds} clients, {steps} steps", flush=True)


if __name__ == "__main__":
    main()
