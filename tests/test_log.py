"""The log: logging is used only if the program has imported it, or if there is a warning."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from xsffi import log

ROOT = Path(__file__).resolve().parents[1]


def test_what_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "xsffi")
    log.debug("a %s", 1)
    log.info("b %s", 2)
    log.warning("c %s", 3)
    try:
        raise ValueError("e")
    except ValueError:
        log.exception("d %s", 4)
    assert caplog.record_tuples == [
        ("xsffi", logging.DEBUG, "a 1"),
        ("xsffi", logging.INFO, "b 2"),
        ("xsffi", logging.WARNING, "c 3"),
        ("xsffi", logging.ERROR, "d 4"),
    ]
    assert {record.filename for record in caplog.records} == {Path(__file__).name}  # the caller's file
    assert "ValueError: e" in caplog.text


def test_who_hears_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "xsffi")
    assert (log.is_enabled(log.INFO), log.is_enabled(log.DEBUG)) == (True, False)
    assert (log.INFO, log.DEBUG) == (logging.INFO, logging.DEBUG)
    assert log.logger() is logging.getLogger("xsffi")


@pytest.mark.parametrize(
    ("said", "heard"),
    [("debug('x')", ""), ("info('x')", ""), ("is_enabled(log.INFO)", ""), ("warning('x')", "x\n")],
)
def test_where_the_program_has_not_imported_logging(said: str, heard: str) -> None:
    script = f"import sys; from xsffi import log; log.{said}; print('logging' in sys.modules)"
    # Without the site module, whose hooks may import logging.
    done = subprocess.run([sys.executable, "-S", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"{heard != ''}\n", heard)


def test_without_descriptors_nothing_is_said() -> None:
    """Importing logging opens files."""
    script = """
import os, resource
from xsffi import log
resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))
try:
    while True:
        os.dup(0)
except OSError:
    pass
log.warning("x")
try:
    raise ValueError
except ValueError:
    log.exception("x")
os.write(1, b"done")
"""
    done = subprocess.run([sys.executable, "-S", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("done", "")
