"""A memory balancer, as in Qubes' qmemman: domains report what they use, and get a share of the memory.

An agent in each domain writes to its memory/meminfo how many kB are in use; the balancer writes to memory/target how
many it should have, and its balloon driver follows. Domains may appear and disappear, and write anything: an error in
one is logged, and does not affect the others. (A real one also asks Xen what was given back before it gives it to
others.)
Usage: memory_balancer.py --total KB [--minimum KB]. Ctrl-C or SIGTERM ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from dataclasses import dataclass

import xsffi
from xsffi import aio

STEP = 16 * 1024  # kB: smaller changes of a target are not made
DOMAINS = object()  # the token of the watches for domains

log = logging.getLogger("memory_balancer")


@dataclass(eq=False)
class Domain:
    home: str
    used: int = 0  # kB; 0: nothing reported yet
    target: int = 0  # kB; 0: none written yet


class Balancer:
    def __init__(self, xs: aio.Client, total: int, minimum: int) -> None:
        self.xs, self.total, self.minimum = xs, total, minimum
        self.watches: dict[int, aio.Watch] = {}  # one for each domain, with the domain as its token
        self.lock = asyncio.Lock()  # only one task balances at a time

    async def run(self) -> None:
        """Runs until cancelled; raises ConnectionLostError once the daemon is gone."""
        for path in ("@introduceDomain", "@releaseDomain"):
            await self.xs.watch(path, token=DOMAINS)
        async for event in self.xs.events():
            if event.token is DOMAINS:  # the other watches have callbacks
                await self.look_for_domains()

    async def look_for_domains(self) -> None:
        """A toolstack creates a domain's home before it introduces the domain: so it is seen here."""
        try:
            domids = {int(name) for name in await self.xs.ls("/local/domain") if name.isdecimal()}
        except xsffi.NodeNotFoundError:
            domids = set()
        for domid in self.watches.keys() - domids:
            await self.watches.pop(domid).close()
        for domid in domids - self.watches.keys():
            domain = Domain(f"/local/domain/{domid}")
            try:
                path = f"{domain.home}/memory/meminfo"
                self.watches[domid] = await self.xs.watch(path, token=domain, callback=self.reported)
            except xsffi.XenStoreError as error:
                log.warning("ignoring %s: %s", domain.home, error)
        await self.balance()

    async def reported(self, event: xsffi.WatchEvent) -> None:
        """The callback of each domain's watch, called in a task of the watch."""
        domain: Domain = event.token
        try:
            used = int(await self.xs.read(f"{domain.home}/memory/meminfo"))
        except xsffi.NodeNotFoundError:
            return  # nothing reported yet, or the domain has just disappeared
        except (xsffi.XenStoreError, ValueError) as error:
            log.warning("unknown use of memory in %s: %.200s", domain.home, error)
            return
        domain.used = min(max(used, 0), self.total)
        await self.balance()

    async def balance(self) -> None:
        """Each domain that has reported gets the minimum, and a share of the rest in proportion to what it uses."""
        async with self.lock:
            domains: list[Domain] = [watch.token for watch in self.watches.values() if watch.token.used]
            used = sum(domain.used for domain in domains)
            # Targets may be off by a step: so hold back a step for each, lest together they exceed the total.
            rest = self.total - len(domains) * (self.minimum + STEP)
            if rest < 0:
                log.warning("%d kB are not enough for %d domains", self.total, len(domains))
                return
            changes = [(self.minimum + rest * domain.used // used - domain.target, domain) for domain in domains]
            for change, domain in sorted(changes, key=lambda pair: pair[0]):  # those that give memory first
                if abs(change) >= STEP or not domain.target:
                    await self.set_target(domain, domain.target + change)

    async def set_target(self, domain: Domain, target: int) -> None:
        async def write(t: aio.Transaction) -> None:
            await t.read(domain.home)  # raises if the domain is gone: writing would create its nodes again
            await t.write(f"{domain.home}/memory/target", str(target))

        try:
            await self.xs.transact(write)
            domain.target = target
            log.info("%s uses %d kB, new target: %d kB", domain.home, domain.used, target)
        except xsffi.XenStoreError as error:
            log.warning("cannot set the target of %s: %s", domain.home, error)


async def main() -> None:
    parser = argparse.ArgumentParser(description="Balance memory among domains by what each of them uses.")
    parser.add_argument("--total", type=int, required=True, help="kB for all domains together")
    parser.add_argument("--minimum", type=int, default=200 * 1024, help="kB for each domain at least")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    async with aio.Client() as xs:
        running = asyncio.ensure_future(Balancer(xs, options.total, options.minimum).run())
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, running.cancel)
        try:
            await running
        except asyncio.CancelledError:
            log.info("terminating")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except xsffi.XenStoreError as error:
        sys.exit(f"memory_balancer: {error}")
