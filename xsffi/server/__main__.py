"""``python -m xsffi.server PATH``: a XenStore daemon for development, without Xen."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence

from ..errors import InvalidArgumentError
from ..permissions import validate_domid
from .files import check_target, load, save
from .loop import Loop
from .releases import NEWEST, RELEASES, release_named
from .store import Store

__all__ = ["add_arguments", "main", "serve"]

_log = logging.getLogger("xsffi.server")

_LINE_MAX = 500  # characters of an error that are shown


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM, SIGINT or SIGHUP; the exit status is then 0, or 1 if it could not start or end properly."""
    parser = argparse.ArgumentParser(prog="python -m xsffi.server", description=__doc__)
    add_arguments(parser)
    return serve(parser.parse_args(arguments), _fail)


def serve(options: argparse.Namespace, fail: Callable[[OSError], int]) -> int:
    """As :func:`main`, with parsed options; errors are reported with `fail`, which returns the exit status."""
    ending = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup sets it
        ending.append(signal.SIGHUP)
    for number in ending:
        signal.signal(number, signal.SIG_DFL)  # nothing to clean up yet
    logging.basicConfig(format="%(name)s: %(message)s", level=logging.INFO if options.verbose else logging.WARNING)
    _allow_many_clients()
    try:
        store = Store(release_named(options.release))
        if options.load is not None:
            load(store, options.load)
        if options.dump is not None:
            check_target(options.dump)
        loop = Loop(store)
    except OSError as error:
        return fail(error)
    for number in ending:
        signal.signal(number, lambda *_: loop.stop())
    try:
        loop.listen(options.path)
        for text, path in options.domain:
            domid = _domid(text)
            store.create_domain(domid)
            loop.listen(path, domid)
        if options.ready_fd is not None:
            os.close(options.ready_fd)
    except OSError as error:
        loop.close()
        return fail(error)
    _log.info("serving %s", options.path)
    try:
        try:
            loop.run()
        finally:  # in any case: what clients have written must not be lost
            if options.dump is not None:
                save(store, options.dump)
    except OSError as error:
        return fail(error)
    return 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to a parser."""
    parser.add_argument("path", metavar="PATH", help="where to create the socket")
    parser.add_argument(
        "--domain",
        nargs=2,
        action="append",
        default=[],
        metavar=("DOMID", "PATH"),
        help="introduce a domain, and create a socket for clients in that domain; may be given several times",
    )
    parser.add_argument(
        "--release",
        choices=RELEASES,
        default=NEWEST,
        help="mimic xenstored of this Xen release: %(choices)s; by default %(default)s",
    )
    parser.add_argument("--load", metavar="FILE", help="start with the nodes in this dump")
    parser.add_argument("--dump", metavar="FILE", help="write the nodes there on exit, one line of JSON for each")
    parser.add_argument("--ready-fd", type=int, metavar="FD", help="close this descriptor once clients can connect")
    parser.add_argument("-v", "--verbose", action="store_true", help="log more than protocol violations")


def _domid(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        raise InvalidArgumentError(errno.EINVAL, "a domid must be a number from 0 to 65535", text)
    return validate_domid(int(text))


def _allow_many_clients() -> None:
    """Raise the limit of descriptors: each client needs one, and the default limit is about a thousand."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _fail(error: OSError) -> int:
    text = ": ".join([str(part) for part in (error.filename, error.strerror or error) if part is not None])
    # One line, whatever a file or path contains.
    if len(text) > _LINE_MAX:
        text = f"{text[:_LINE_MAX]}…"
    line = "".join([letter if letter.isprintable() else repr(letter)[1:-1] for letter in text])
    print(f"xsffi.server: {line}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
