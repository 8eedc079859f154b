"""A memory balancer's job, as Qubes' qmemman does it: domains report what they use, and get a share of the memory.

An agent in each domain writes to its memory/meminfo how many kB are in use; the balancer writes to memory/target how
many it is to have, and its balloon driver follows. Domains come and go, and write what they like: what is wrong with
one is logged, and is no other's trouble. (A real one also asks Xen what was given back, before it gives it to others.)
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

STEP = 16 * 1024  # kB: a target that would change by less is left as it is
DOMAINS = object()  # the token of the watches that tell of domains

log = logging.getLogger("memory_balancer")


@dataclass(eq=False)
class Domain:
    home: str
    used: int = 0  # kB; 0: nothing was reported yet
    target: int = 0  # kB; 0: none was written yet


class Balancer:
    def __init__(self, xs: aio.Client, total: int, minimum: int) -> None:
        self.xs, self.total, self.minimum = xs, total, minimum
        self.watches: dict[int, aio.Watch] = {}  # one for each domain, which is its token
        self.lock = asyncio.Lock()  # one balances at a time

    async def run(self) -> None:
        """Goes on until it is cancelled; raises ConnectionLostError once the daemon is gone."""
        for path in ("@introduceDomain", "@releaseDomain"):
            await self.xs.watch(path, token=DOMAINS)
        async for event in self.xs.events():
            if event.token is DOMAINS:  # the other watches have a callback
                await self.look_for_domains()

    async def look_for_domains(self) -> None:
        """Whoever makes a domain makes its home, and then introduces it: so it is seen here."""
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
                log.warning("%s is left out: %s", domain.home, error)
        await self.balance()

    async def reported(self, event: xsffi.WatchEvent) -> None:
        """Each watch calls this in a task of its own."""
        domain: Domain = event.token
        try:
            used = int(await self.xs.read(f"{domain.home}/memory/meminfo"))
        except xsffi.NodeNotFoundError:
            return  # nothing was reported yet, or the domain has just gone
        except (xsffi.XenStoreError, ValueError) as error:
            log.warning("what %s uses is not known: %.200s", domain.home, error)
            return
        domain.used = min(max(used, 0), self.total)
        await self.balance()

    async def balance(self) -> None:
        """Each domain that has reported gets the minimum, and of the rest a share in proportion to what it uses."""
        async with self.lock:
            domains: list[Domain] = [watch.token for watch in self.watches.values() if watch.token.used]
            used = sum(domain.used for domain in domains)
            # Targets may stay off by a step: so much of each is held back, lest together they be more than the total.
            rest = self.total - len(domains) * (self.minimum + STEP)
            if rest < 0:
                log.warning("%d kB are too little for %d domains", self.total, len(domains))
                return
            changes = [(self.minimum + rest * domain.used // used - domain.target, domain) for domain in domains]
            for change, domain in sorted(changes, key=lambda pair: pair[0]):  # who gives, before who takes
                if abs(change) >= STEP or not domain.target:
                    await self.set_target(domain, domain.target + change)

    async def set_target(self, domain: Domain, target: int) -> None:
        async def write(t: aio.Transaction) -> None:
            await t.read(domain.home)  # raises where the domain has gone: to write would make its nodes anew
            await t.write(f"{domain.home}/memory/target", str(target))

        try:
            await self.xs.transact(write)
            domain.target = target
            log.info("%s uses %d kB, and is to have %d kB", domain.home, domain.used, target)
        except xsffi.XenStoreError as error:
            log.warning("%s gets no target: %s", domain.home, error)


async def main() -> None:
    parser = argparse.ArgumentParser(description="Share memory out among domains, by what each of them uses.")
    parser.add_argument("--total", type=int, required=True, help="kB that all domains together are to have")
    parser.add_argument("--minimum", type=int, default=200 * 1024, help="kB that each is to have at least")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    async with aio.Client() as xs:
        running = asyncio.ensure_future(Balancer(xs, options.total, options.minimum).run())
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, running.cancel)
        try:
            await running
        except asyncio.CancelledError:
            log.info("it was told to end")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except xsffi.XenStoreError as error:
        sys.exit(f"memory_balancer: {error}")
