"""The demo on the embedded store (see ci/demo): the examples, each as a process, and the resulting tree."""

from __future__ import annotations

import subprocess
import sys

import xsffi
from xsffi.testing import EmbeddedStore


def main() -> None:
    with EmbeddedStore() as store:
        print(f"== an embedded store at {store.path}", flush=True)
        environment = {**store.environment(), "XSFFI_BACKEND": "wire"}
        driver = subprocess.Popen([sys.executable, "-u", "examples/driver.py"], env=environment)
        try:
            subprocess.run([sys.executable, "-u", "examples/attach_device.py"], env=environment, check=True)
        finally:
            driver.wait(15)
        print("\n== the tree")
        with xsffi.Client(store.path, backend="wire") as xs:
            for node in xs.walk("/local"):
                permissions = ",".join(map(str, node.permissions))
                print(f'{node.path} = "{node.value.decode()}"   ({permissions})')


if __name__ == "__main__":
    main()
