"""An exporter for Prometheus: the number of domains, and of their devices by kind and state, from a mirror.

If nothing has changed, a scrape costs the daemon one small request, however many domains there are; if the daemon was
restarted, the mirror reconnects. Usage: exporter.py [--port 9321]
"""

from __future__ import annotations

import argparse
from collections import Counter
from http.server import BaseHTTPRequestHandler, HTTPServer

import xsffi

TOP = "/local/domain"
STATES = dict(enumerate(("unknown", "initialising", "waiting", "initialised", "connected", "closing", "closed")))


def metrics(mirror: xsffi.Mirror) -> str:
    """The metrics as text; the mirror is up to date."""
    domains = len(mirror[TOP].children) if TOP in mirror else 0
    devices: Counter[tuple[str, str]] = Counter()
    for path, node in mirror.items():
        parts = path.split("/")  # "", local, domain, DOMID, device, KIND, ID, state
        if len(parts) == 8 and parts[4] == "device" and parts[7] == "state":
            state = int(node.value) if node.value.isdigit() else 0  # of XenbusState
            devices[parts[5], STATES.get(state, "unknown")] += 1
    lines = [f"xenstore_connected {int(mirror.connected)}", f"xenstore_domains {domains}"]
    for (kind, state), count in sorted(devices.items()):
        lines.append(f'xenstore_devices{{kind="{kind}",state="{state}"}} {count}')
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve numbers of domains and devices to Prometheus.")
    parser.add_argument("--port", type=int, default=9321, help="on the loopback interface; 0: any free one")
    options = parser.parse_args()
    with xsffi.Client(timeout=5) as xs, xs.mirror(TOP, reconnect=True) as mirror:

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.update()  # apply everything that has happened so far
                body = metrics(mirror).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        with HTTPServer(("127.0.0.1", options.port), Handler) as server:
            print(f"serving http://127.0.0.1:{server.server_port}/metrics", flush=True)
            server.serve_forever()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
