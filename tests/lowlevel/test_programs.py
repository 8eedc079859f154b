"""Whole programs, in the styles of those that use xen.lowlevel.xs: each must print the same with ours and the C
module."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from daemons import Daemon
from daemons.packages import REPOSITORY
from harness.stores import require_libxenstore

# A memory balancer, as in Qubes OS: one loop for all domains, whose tokens are objects that know what to do.
BALANCER = """
import dataclasses
import xen.lowlevel.xs

@dataclasses.dataclass
class Watch:
    function: object
    parameter: object

class Balancer:
    def __init__(self):
        self.handle = xen.lowlevel.xs.xs()
        self.watches = {}
        self.log = []
        self.handle.watch('/vms', Watch(Balancer.domains_changed, None))

    def domains_changed(self, parameter):
        there = set(self.handle.ls('', '/vms') or [])
        for domid in sorted(there - set(self.watches)):
            self.watches[domid] = Watch(Balancer.meminfo_changed, domid)
            self.handle.watch('/vms/%s/meminfo' % domid, self.watches[domid])
        for domid in sorted(set(self.watches) - there):
            self.handle.unwatch('/vms/%s/meminfo' % domid, self.watches.pop(domid))

    def meminfo_changed(self, domid):
        value = self.handle.read('', '/vms/%s/meminfo' % domid)
        if value:
            self.log.append((domid, value))

    def loop(self):
        while len(self.log) < 3:
            path, token = self.handle.read_watch()
            token.function(self, token.parameter)

other = xen.lowlevel.xs.xs()
other.rm('', '/vms')
for domid in '123':
    other.write('', '/vms/' + domid + '/meminfo', domid * 4)
balancer = Balancer()
balancer.loop()
print(sorted(balancer.log))
other.rm('', '/vms/2')
while '2' in balancer.watches:
    path, token = balancer.handle.read_watch()
    token.function(balancer, token.parameter)
print(sorted(balancer.watches))
"""

# Transactions that are retried until they succeed, as in xend.
TRANSACTIONS = """
from xen.lowlevel.xs import xs, Error

class Transaction:
    handle = xs()

    def __init__(self, path):
        self.path = path
        self.t = self.handle.transaction_start()

    def commit(self):
        return self.handle.transaction_end(self.t, False)

    def read(self, key):
        return self.handle.read(self.t, self.path + '/' + key)

    def write(self, key, value):
        self.handle.write(self.t, self.path + '/' + key, value)

    def children(self):
        return self.handle.ls(self.t, self.path)

other = xs()
other.rm('', '/xend')
other.write('', '/xend/count', '0')
attempts = 0
while True:
    t = Transaction('/xend')
    children = t.children()
    count = int(t.read('count'))
    attempts += 1
    if attempts < 3:
        other.write('', '/xend/rival-%d' % attempts, '')
    t.write('count', str(count + 1))
    if t.commit():
        break
print(attempts, other.read('', '/xend/count'), sorted(other.ls('', '/xend')))
t = Transaction('/xend')
t.write('count', 'dropped')
Transaction.handle.transaction_end(t.t, abort=1)
try:
    t.commit()
except Error as error:
    print('gone', error.args[0] in (2, 5))
print(other.read('', '/xend/count'))
"""

# A monitor: a separate thread waits for events, while others use the same handle.
MONITOR = """
import threading
from xen.lowlevel import xs

handle = xs.xs()
handle.rm('', '/monitor')
handle.mkdir('', '/monitor')
seen = {}
changed = threading.Condition()

class Watch:
    def __init__(self, path):
        self.path = path
        handle.watch(path, self)

    def called(self, path):
        with changed:
            seen[path] = handle.read('', path)
            changed.notify()

def wait():
    while True:
        path, watch = handle.read_watch()
        if isinstance(watch, Watch):
            watch.called(path)

threading.Thread(target=wait, daemon=True).start()
watch = Watch('/monitor')
for number in range(5):
    handle.write('', '/monitor/%d' % number, 'v%d' % number)
with changed:
    print(changed.wait_for(lambda: len(seen) == 6, 10))
print(sorted(seen.items()))
handle.unwatch('/monitor', watch)
"""

# A script with its connection at module level, and a loop over select.
SCRIPT = """
import os, select, sys
import xen.lowlevel.xs as xenstore

xs = xenstore.xs()

def get(path, default=None):
    try:
        value = xs.read('', path)
    except xenstore.Error as e:
        return str(e)
    return default if value is None else value.decode()

def main(arguments):
    xs.rm('', '/script')
    xs.write('', '/script/name', arguments[0])
    print(get('/script/name'), get('/script/other', 'none'), get('not a path'))
    xs.watch('/script', 'changed')
    events = []
    while len(events) < 2:
        readable, _, _ = select.select([xs], [], [], 10)
        for handle in readable:
            event = handle.check_watch()
            if event is not None:
                events.append(event)
                if len(events) == 1:
                    xs.write('', '/script/name', 'again')
    print(events)
    print('xen.lowlevel.xs' in sys.modules, __name__, os.path.basename(sys.argv[0]))
    xs.set_permissions('', '/script', [{'dom': 3, 'read': True}])
    print([sorted(p.items()) for p in xs.get_permissions('', '/script')])
    return 3

if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
"""

PROGRAMS = {"balancer": BALANCER, "transactions": TRANSACTIONS, "monitor": MONITOR, "script": SCRIPT}
EXPECTED = {
    "balancer": (0, "[('1', b'1111'), ('2', b'2222'), ('3', b'3333')]\n['1', '3']\n"),
    "transactions": (0, "3 b'1' ['count', 'rival-1', 'rival-2']\ngone True\nb'1'\n"),
    "monitor": (
        0,
        "True\n[('/monitor', b''), ('/monitor/0', b'v0'), ('/monitor/1', b'v1'), ('/monitor/2', b'v2'), "
        "('/monitor/3', b'v3'), ('/monitor/4', b'v4')]\n",
    ),
    "script": (
        3,
        "argument none (22, 'Invalid argument')\n[('/script', 'changed'), ('/script/name', 'changed')]\n"
        "True __main__ script.py\n"
        "[[('dom', 0), ('read', 0), ('write', 0)], [('dom', 3), ('read', 1), ('write', 0)]]\n",
    ),
}


def run(command: list[str], daemon: Daemon, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [*command, "argument"],
        env={**daemon.environment(), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.mark.parametrize("name", PROGRAMS)
def test_over_ours(name: str, daemon: Daemon, backend: str, tmp_path: Path) -> None:
    if backend == "libxenstore":
        require_libxenstore()
    program = tmp_path / f"{name}.py"
    program.write_text(PROGRAMS[name])
    command = [sys.executable, "-m", "xsffi.lowlevel", str(program)]
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    assert run(command, daemon, PYTHONPATH=path, XSFFI_BACKEND=backend) == EXPECTED[name]


@pytest.mark.parametrize("name", PROGRAMS)
def test_over_the_c_module(name: str, daemon: Daemon, tmp_path: Path) -> None:
    interpreter = daemon.packages.lowlevel_interpreter
    if interpreter is None:
        pytest.skip("there is no interpreter here that xen.lowlevel.xs was compiled for")
    program = tmp_path / f"{name}.py"
    program.write_text(PROGRAMS[name])
    path = str(daemon.packages.lowlevel_python)
    # Python before 3.10 warns of how the module parses its arguments.
    quiet = [interpreter, "-W", "ignore::DeprecationWarning", str(program)]
    assert run(quiet, daemon, PYTHONPATH=path) == EXPECTED[name]
